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
    held = checks.several("points", points, "Point(...) values")
    if not all(isinstance(p, Point) for p in held):
        raise ValueError(f"points must be Point(...) values; got {points!r}")
    return interpolated([(p.clean, p.rho) for p in held], clean)


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
    found = []
    with crafting(model):
        for factor in checks.several("factors", factors, "numbers of at least 0"):
            scaled = (x + checks.number("factor", factor) * (x_adv - x)).clamp(0, 1)
            correct = is_right(exact_logits(model, scaled), y)
            found.append((float(norm.distance(x, scaled).double().mean()), float(correct.double().mean())))
    return found


def below(one: Pairs, other: Pairs, at: Sequence[float]) -> int:
    """At how many of these distances the first curve of (mean distance, accuracy) lies below the other: there the first
    attack is the stronger. One that either curve does not reach does not count."""
    return sum(interpolated(one, r) < interpolated(other, r) for r in checks.several("at", at, "mean distances"))


def interpolated(pairs: Pairs, at: float) -> float:
    """The second number where the first is `at`, on straight lines between pairs; NaN outside them. Pairs with the same
    first number count as their mean."""
    held: dict[float, list[float]] = {}
    for first, second in checks.several("points", pairs, "pairs of numbers"):
        held.setdefault(checks.number("points", first), []).append(checks.number("points", second))
    if at in held:
        return mean(held[at])
    left, right = [k for k in held if k < at], [k for k in held if k > at]
    if not left or not right:
        return math.nan
    low, high = max(left), min(right)
    share, (start, end) = (at - low) / (high - low), (mean(held[low]), mean(held[high]))
    return min(max((1 - share) * start + share * end, min(start, end)), max(start, end))
