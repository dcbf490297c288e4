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

ROUNDING = 1e-6  # of a radius, in float32
Z = 1.959964  # the normal's 97.5% point


def interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval for a share of n examples."""
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(values: Tensor) -> tuple[float, float]:
    """A 95% interval for the mean of values in [0, 1]: Wilson's, for as many yes-or-no examples as would vary as much.
    Of shares, it is theirs."""
    mean, spread = float(values.mean()), float(values.var(correction=0))
    return interval(mean, len(values) * mean * (1 - mean) / spread if spread > 0 else len(values))


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
    """Accuracy at each radius: the share of examples whose smallest distance exceeds it, by more than rounding."""
    return (distances.double()[None] > radii.double()[:, None] * (1 + ROUNDING)).double().mean(1)


@dataclass(frozen=True)
class Optimal:
    """The best that models made for single threats achieve (Tramer and Boneh 2019): `threats`, the best accuracy of any
    of them per threat; `union`, the least of these, which bounds every union; `average`, their mean."""

    threats: dict[str, float]
    n: int  # examples

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95% interval of each threat's accuracy and of the union."""
        return {k: interval(share, self.n) for k, share in (self.threats | {"union": self.union}).items()}

    @property
    def union(self) -> float:
        return min(self.threats.values())

    @property
    def average(self) -> float:
        return sum(self.threats.values()) / len(self.threats)


def optimal(reports: Sequence[Report] | Mapping[str, Report]) -> Optimal:
    """OPT values of several models' reports on the same threats; a mapping names, for each threat, the model that was
    trained for it, and takes that model's column."""
    several = tuple(reports.values()) if isinstance(reports, Mapping) else tuple(reports)
    checks.several("reports", several, "reports")
    for key in ("data", "threats"):
        if any(report.info[key] != several[0].info[key] for report in several):
            raise ValueError(f"the reports differ in their {key}; optimal values need the same for all")
    names = reports if isinstance(reports, Mapping) else several[0].threats
    for name in names:
        checks.choice("threat", name, tuple(several[0].threats))
    if isinstance(reports, Mapping):
        return Optimal({name: report.threats[name] for name, report in reports.items()}, several[0].n)
    return Optimal({name: max(report.threats[name] for report in several) for name in names}, several[0].n)


def smallest(distances: Sequence[Tensor]) -> Tensor:
    """Per example the smallest of several attacks' distances."""
    return torch.stack([d.double() for d in distances]).amin(0)
