"""The radii of attacks on several balls: in the units of the model's bounds, or the usual ones for those bounds."""

from __future__ import annotations

from typing import Any, Literal

from mrt import checks
from mrt.protocols import Ball
from mrt_foolbox.calls import BALLS

USUAL = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
"""Radii for images in [0, 1], those of CIFAR-10; times the width of the bounds for others."""
Radius = float | Literal["usual"] | None


def check_radii(**radii: Any) -> None:
    """Raise a ValueError unless each is a number above 0, "usual" or None."""
    for name, value in radii.items():
        if isinstance(value, str) and value != "usual":
            raise ValueError(f"{name} must be a number above 0, 'usual', or None; got {value!r}")
        if value is not None and value != "usual":
            checks.number(name, value, open_low=True)


def make_balls(attack: Any, factor: float, width: float) -> tuple[Ball, ...]:
    """Return a ball for each norm of which the attack has a radius, in the units of bounds of that width, its radius
    times the factor."""
    radii = {name: getattr(attack, name) for name in BALLS}
    radii = {name: USUAL[name] * width if r == "usual" else r for name, r in radii.items() if r is not None}
    return tuple(BALLS[name](radius * factor) for name, radius in radii.items())
