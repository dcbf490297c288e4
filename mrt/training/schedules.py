"""Learning rates over a run: factors of the optimizer's own rate by the share of the run that is done.

Update i of n stands in the middle of its own stretch, at (i + 1/2) / n. The published codes take (i + 1) / n, which
gives the last update of a triangle, or the only one of a trial run, the rate 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from mrt import checks

Schedule = Callable[[float], float]
"""A function from the share of the run that is done, in (0, 1), to a factor of the optimizer's rate."""


@dataclass(frozen=True)
class Constant:
    """Keeps the optimizer's own rate throughout."""

    def __call__(self, share: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Piecewise:
    """Linear between `knots`, pairs (share, factor) from share 0 to 1. MSD on CIFAR-10, peak 0.1 at epoch 20 of 50:
    Piecewise(((0, 0), (0.4, 1), (0.8, 0.05), (1, 0)))."""

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        pairs = _check_pairs("knots", self.knots)
        shares = [share for share, _ in pairs]
        if len(pairs) < 2 or shares[0] != 0 or shares[-1] != 1 or any(a >= b for a, b in pairwise(shares)):
            raise ValueError(f"knots must be pairs (share, factor), shares rising from 0 to 1; got {self.knots!r}")
        object.__setattr__(self, "knots", pairs)

    def __call__(self, share: float) -> float:
        for (start, low), (end, high) in pairwise(self.knots):
            if share <= end:
                return low + (high - low) * (share - start) / (end - start)
        return self.knots[-1][1]  # for a share that rounding has brought above 1


@dataclass(frozen=True)
class Triangular:
    """From 0 up to the rate at share `peak`, then down to 0: MSD on MNIST, MNG-AC."""

    peak: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < checks.number("peak", self.peak, high=1) < 1:  # at either end one of the two slopes divides by 0
            raise ValueError(f"peak must be a share between 0 and 1; got {self.peak!r}")

    def __call__(self, share: float) -> float:
        # Before the peak the rising line is the lower one, behind it the falling one.
        return min(share / self.peak, (1 - share) / (1 - self.peak))


@dataclass(frozen=True)
class Cosine:
    """Up from 0 over the share `warmup`, then down to 0 along half a cosine."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        if checks.number("warmup", self.warmup, high=1) == 1:
            raise ValueError(f"warmup must be a share below 1; got {self.warmup!r}")

    def __call__(self, share: float) -> float:
        if share < self.warmup:
            return share / self.warmup
        return (1 + math.cos(math.pi * (share - self.warmup) / (1 - self.warmup))) / 2


@dataclass(frozen=True)
class Drops:
    """The rate, multiplied by the factor of the last of `drops`, pairs (share, factor), whose share has been passed.
    T&B on CIFAR-10: Drops(((0.5, 0.1), (0.75, 0.01)))."""

    drops: tuple[tuple[float, float], ...] = field(default=((0.5, 0.1), (0.75, 0.01)))

    def __post_init__(self) -> None:
        pairs = _check_pairs("drops", self.drops)
        if any(a >= b for (a, _), (b, _) in pairwise(pairs)) or not all(0 < share < 1 for share, _ in pairs):
            raise ValueError(f"drops must be pairs (share, factor), shares rising within (0, 1); got {self.drops!r}")
        object.__setattr__(self, "drops", pairs)

    def __call__(self, share: float) -> float:
        factor = 1.0
        for at, new_factor in self.drops:
            if share > at:
                factor = new_factor
        return factor


def _check_pairs(name: str, value: object) -> tuple[tuple[float, float], ...]:
    """Return tuples of a share and a factor of at least 0, or raise a ValueError."""
    pairs = checks.several(name, value, "pairs (share, factor)")
    if any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in pairs):
        raise ValueError(f"{name} must be pairs (share, factor); got {value!r}")
    return tuple((checks.number(name, share), checks.number(name, factor)) for share, factor in pairs)
