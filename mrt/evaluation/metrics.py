"""Numbers made of per-example results, each with its n and a 95% interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mrt import checks

if TYPE_CHECKING:
    from mrt.evaluation.report import Report

Z = 1.959964  # the normal's 97.5% point


def interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share of n examples."""
    checks.count("n", n)
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(values: Tensor) -> tuple[float, float]:
    """The normal 95% interval for the mean of values in [0, 1]."""
    mean, half = float(values.mean()), Z * float(values.std(correction=0)) / math.sqrt(len(values))
    return max(0.0, mean - half), min(1.0, mean + half)


@dataclass(frozen=True)
class Rho:
    """The mean distance of successful perturbations (PGN, Eq. 6), an image that is misclassified as it stands counting
    as 0. `failed` is the share of images for which none was found; they are left out. n: those that count."""

    mean: float
    median: float
    low: float
    high: float
    n: int
    failed: float


def rho(distances: Tensor) -> Rho:
    """Of smallest distances (N,), 0 where misclassified from the start, inf where none was found."""
    found = distances[distances.isfinite()].double()
    n, failed = len(found), 1 - len(found) / max(len(distances), 1)
    if n == 0:
        return Rho(math.nan, math.nan, math.nan, math.nan, 0, failed)
    mean = float(found.mean())
    half = Z * float(found.std()) / math.sqrt(n) if n > 1 else math.inf
    return Rho(mean, float(found.quantile(0.5)), mean - half, mean + half, n, failed)


def curve(distances: Tensor, radii: Tensor) -> Tensor:
    """Accuracy at each radius: the share of examples whose smallest distance exceeds it."""
    return (distances.double()[None] > radii.double()[:, None]).double().mean(1)


@dataclass(frozen=True)
class Optimal:
    """The best that models made for single threats achieve (Tramer and Boneh 2019): `threats`, the best accuracy of any
    of them per threat; `union`, the least of these, which bounds every union; `average`, their mean."""

    threats: dict[str, float]

    @property
    def union(self) -> float:
        return min(self.threats.values())

    @property
    def average(self) -> float:
        return sum(self.threats.values()) / len(self.threats)


def optimal(reports: Sequence[Report] | Mapping[str, Report]) -> Optimal:
    """OPT values of several models' reports on the same threats; a mapping names, for each threat, the model that was
    trained for it, and takes that model's column."""
    if isinstance(reports, Mapping):
        return Optimal({name: report.threats[name] for name, report in reports.items()})
    checks.several("reports", tuple(reports), "reports")
    names = [name for name in reports[0].threats if all(name in r.threats for r in reports)]
    if not names:
        raise ValueError("the reports have no threat in common")
    return Optimal({name: max(report.threats[name] for report in reports) for name in names})


def smallest(distances: Sequence[Tensor]) -> Tensor:
    """Per example the smallest of several attacks' distances."""
    return torch.stack([d.double() for d in distances]).amin(0)
