"""Robustness against accuracy (PGN, Figures 3 to 7): methods compared where they cost the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.evaluation.judge import exact_logits, is_right
from mrt.protocols import Ball, Model
from mrt.threats import L2

Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Point:
    """One training of a method: its knob (eps, or PGN's penalty), its clean accuracy and its rho."""

    knob: float
    clean: float
    rho: float

    def __post_init__(self) -> None:
        for name in ("knob", "clean", "rho"):
            checks.number(name, getattr(self, name))


def rho_at(points: Sequence[Point], clean: float) -> float:
    """rho at that clean accuracy, on straight lines between the method's points, of which those of equal accuracy count
    as their mean; NaN outside their range."""
    trainings = checks.several("points", points, "Point(...) values")
    if not all(isinstance(p, Point) for p in trainings):
        raise ValueError(f"points must be Point(...) values; got {points!r}")
    return interpolate([(p.clean, p.rho) for p in trainings], clean)


def gain(points: Sequence[Point], baseline_clean: float, baseline_rho: float) -> float:
    """The method's rho over a baseline's, at the baseline's clean accuracy; NaN where no point is that accurate."""
    checks.number("baseline_rho", baseline_rho, open_low=True)
    return rho_at(points, baseline_clean) / baseline_rho


@torch.no_grad()
def distortion(
    model: Model,
    x: Tensor,
    y: Tensor,
    x_adv: Tensor,
    factors: Sequence[float],
    norm: Ball = L2(1.0),  # noqa: B008
) -> list[tuple[float, float]]:
    """(mean distance, accuracy) at each clip(x + factor (x_adv - x), 0, 1): an attack's output, made smaller or larger.
    Of `norm` only the distance is used, not the radius. All images count, misclassified ones too."""
    checks.images("x", x)
    checks.labels("y", y, x)
    checks.images("x_adv", x_adv)
    checks.same_shape("x_adv", x_adv, x)
    pairs = []
    with crafting(model):
        for factor in checks.several("factors", factors, "numbers of at least 0"):
            scaled = (x + checks.number("factor", factor) * (x_adv - x)).clamp(0, 1)
            correct = is_right(exact_logits(model, scaled), y)
            # The distance after clipping, which shortens it: of the image that the model was asked about.
            pairs.append((float(norm.distance(x, scaled).double().mean()), float(correct.double().mean())))
    return pairs


def below(one: Pairs, other: Pairs, at: Sequence[float]) -> int:
    """At how many of these distances the first curve of (mean distance, accuracy) lies below the other: there the first
    attack is the stronger. One that either curve does not reach does not count."""
    # NaN, beyond a curve's ends, is below nothing.
    return sum(interpolate(one, r) < interpolate(other, r) for r in checks.several("at", at, "mean distances"))


def interpolate(pairs: Pairs, at: float) -> float:
    """The second number where the first is `at`, on straight lines between pairs; NaN outside them. Pairs with the same
    first number count as their mean."""
    seconds: dict[float, list[float]] = {}  # of each first number
    for first, second in checks.several("points", pairs, "pairs of numbers"):
        seconds.setdefault(checks.number("points", first), []).append(checks.number("points", second))
    if at in seconds:
        return mean(seconds[at])
    left, right = [first for first in seconds if first < at], [first for first in seconds if first > at]
    if not left or not right:
        return math.nan  # nothing is said of a method beyond what was trained
    low, high = max(left), min(right)
    share, (start, end) = (at - low) / (high - low), (mean(seconds[low]), mean(seconds[high]))
    # Rounding may carry the value past an end: a level line would not be level.
    return min(max((1 - share) * start + share * end, min(start, end)), max(start, end))
