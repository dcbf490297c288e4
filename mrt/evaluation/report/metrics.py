"""Numbers made of per-example results, each with its n and a 95% interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-6  # relative: a distance this little beyond a radius is that radius, rounded in float32
Z = 1.959964  # the 97.5% point of the normal distribution: 95% lie within as many standard errors


def interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval for a share of n examples: the rates p at which the share lies within Z standard errors of
    p. Unlike share ± Z standard errors it has a length at 0 and 1, where robust accuracies often are."""
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half_width = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half_width), min(1.0, middle + half_width)  # in exact numbers never beyond


def mean_interval(values: Tensor) -> tuple[float, float]:
    """A 95% interval for the mean of values in [0, 1]: Wilson's, for as many yes-or-no examples as would vary as much.
    Of shares, it is theirs."""
    mean, variance = float(values.mean()), float(values.var(correction=0))
    # Yes-or-no values of this mean have a variance of mean (1 - mean). Values between 0 and 1 vary less, and so say as
    # much as more examples would.
    n = len(values) * mean * (1 - mean) / variance if variance > 0 else len(values)
    return interval(mean, n)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """The mean of at least two runs' figures, and their sample standard deviation."""
    # It divides by one less than there are runs, which vary less around their own mean than around the true one.
    figures = torch.tensor(values, dtype=torch.float64)
    return float(figures.mean()), float(figures.std(correction=1))


@dataclass(frozen=True)
class Rho:
    """The mean distance of successful perturbations (PGN, Eq. 6), an image that is misclassified as it stands counting
    as 0. `failed` is the share of images for which none was found; they are left out. n: those that count. From `low`
    to `high` is a 95% interval for the mean."""

    mean: float
    median: float
    low: float
    high: float
    n: int
    failed: float


def rho(distances: Tensor) -> Rho:
    """Mean and median of smallest distances (N,), 0 where misclassified from the start, inf where none was found."""
    successes = distances[distances.isfinite()].double()
    n, failed = len(successes), 1 - len(successes) / max(len(distances), 1)
    if n == 0:
        return Rho(math.nan, math.nan, math.nan, math.nan, 0, failed)
    mean = float(successes.mean())
    # The normal interval. Of one distance alone nothing is known of how they vary.
    half_width = Z * float(successes.std()) / math.sqrt(n) if n > 1 else math.inf
    return Rho(mean, float(successes.quantile(0.5)), mean - half_width, mean + half_width, n, failed)


def curve(distances: Tensor, radii: Tensor) -> Tensor:
    """Accuracy at each radius: the share of examples whose smallest distance exceeds it, by more than rounding."""
    # (radii, 1) against (1, N)
    return (distances.double()[None] > radii.double()[:, None] * (1 + ROUNDING)).double().mean(1)


def smallest(distances: Sequence[Tensor]) -> Tensor:
    """Per example the smallest of several attacks' distances."""
    return torch.stack([d.double() for d in distances]).amin(0)
