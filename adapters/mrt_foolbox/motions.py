"""Motions, and several perturbations on one budget, as Foolbox attacks."""

from __future__ import annotations

import copy
from typing import Any

import mrt
from mrt import checks
from mrt.protocols import Attack
from mrt_foolbox.attack_base import BALLS, Unmeasured


class RotationTranslation(Unmeasured):
    """The worst of a grid of rotations and translations [#Eng19]_, or of random ones; pixels from outside have the
    lower bound. `epsilons` are factors of both ranges.

    Args:
        degrees: Rotations by up to so much either way.
        pixels: Shifts by up to so much each way.
        grid: Numbers of shifts right, shifts down and angles.
        samples: If given, so many random motions of each image instead of the grid.

    References:
        .. [#Eng19] Logan Engstrom et al., "Exploring the Landscape of Spatial Robustness",
            https://arxiv.org/abs/1712.02779
    """

    def __init__(
        self,
        degrees: float = 30.0,
        pixels: float = 3.0,
        *,
        grid: tuple[int, int, int] = (5, 5, 31),
        samples: int | None = None,
    ) -> None:
        self.degrees, self.pixels, self.grid, self.samples = degrees, pixels, grid, samples
        self.attack_for(1.0, 1.0)  # which checks the settings, so that a bad one is an error here and not in a call

    def attack_for(self, epsilon: float, width: float) -> Attack:
        # `width` plays no part: degrees and pixels are no lengths on the scale of brightness.
        threat = mrt.RotationTranslation(self.degrees * epsilon, self.pixels * epsilon)
        if self.samples is None:
            return mrt.RTGrid(threat, grid=self.grid)
        return mrt.RTWorstOf(threat, k=self.samples)

    def repeat(self, times: int) -> RotationTranslation:
        """Return the same attack with so many times the random motions."""
        if self.samples is None:
            raise ValueError("repeat is not supported: a grid is the same every time; give samples= for random motions")
        repeated = copy.copy(self)
        repeated.samples = self.samples * checks.count("times", times)
        return repeated


class Affine(Unmeasured):
    """Several perturbations on one budget [#Tra19]_: shares w with sum at most 1, each ball at w times its radius,
    after a motion at its share if `degrees` or `pixels` are given. `epsilons` are factors of all the radii.

    Args:
        linf: Radius in the units of the model's bounds; None leaves the ball out. l2 and l1 alike.
        degrees: Rotations by up to so much either way; pixels: shifts by up to so much each way. None for both: none.
        steps: Steps of each ball.
        restarts: Draws of the shares.
        samples: Motions tried for each.

    References:
        .. [#Tra19] Florian Tramer, Dan Boneh, "Adversarial Training and Robustness for Multiple Perturbations",
            https://arxiv.org/abs/1904.13000
    """

    def __init__(
        self,
        *,
        linf: float | None = 8 / 255,
        l2: float | None = None,
        l1: float | None = 12.0,
        degrees: float | None = None,
        pixels: float | None = None,
        steps: int = 20,
        restarts: int = 10,
        samples: int = 10,
    ) -> None:
        self.linf, self.l2, self.l1, self.degrees, self.pixels = linf, l2, l1, degrees, pixels
        self.steps, self.restarts, self.samples = steps, restarts, samples
        self.attack_for(1.0, 1.0)  # checks the settings

    def attack_for(self, epsilon: float, width: float) -> Attack:
        radii = {kind: getattr(self, name) for name, kind in BALLS.items() if getattr(self, name) is not None}
        members: list[Any] = [kind(eps * epsilon / width) for kind, eps in radii.items()]
        # The motion stands first: the balls perturb the image that has been moved.
        if self.degrees is not None or self.pixels is not None:
            motion = mrt.RotationTranslation((self.degrees or 0.0) * epsilon, (self.pixels or 0.0) * epsilon)
            members.insert(0, motion)
        if len(members) < 2:
            raise ValueError("Affine needs two of linf, l2 and l1, or one and a motion; the others were None")
        return mrt.AffineAttack(mrt.Affine(tuple(members)), k=self.samples, steps=self.steps, restarts=self.restarts)

    def repeat(self, times: int) -> Affine:
        """Return the same attack with so many times the draws of the shares."""
        repeated = copy.copy(self)
        repeated.restarts = self.restarts * checks.count("times", times)
        return repeated
