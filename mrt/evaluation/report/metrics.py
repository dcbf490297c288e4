"""Numbers made of per-example results, each with its n and a 95% interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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


def smallest(distances: Sequence[Tensor]) -> Tensor:
    """Per example the smallest of several attacks' distances."""
    return torch.stack([d.double() for d in distances]).amin(0)
