"""Motions, and several perturbations on one budget, as Foolbox attacks."""

from __future__ import annotations

import copy
from typing import Any

import eagerpy as ep
import foolbox.attacks as theirs
import torch
from foolbox.models import Model as HostModel
from torch import Tensor

import mrt
from mrt import checks
from mrt.crafting.losses import Chosen
from mrt.fast import Fast
from mrt.protocols import Attack
from mrt_foolbox.attack_base import Unmeasured, pack
from mrt_foolbox.calls import Call, say_what_mode
from mrt_foolbox.one_ball import check_fast
from mrt_foolbox.radii import Radius, check_radii, make_balls


class RotationTranslation(Unmeasured):
    """The worst of a grid of rotations and translations [#Eng19]_, or of random ones; pixels from outside have the
    lower bound. `epsilons` are factors of both ranges.

    Args:
        degrees: Rotations by up to so much either way.
        pixels: Shifts by up to so much each way.
        grid: Numbers of shifts right, shifts down and angles.
        samples: If given, so many random motions of each image instead of the grid.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,): of the motions that do not fool, the one
            where it is largest is kept.
        fast: How the model is run, see `mrt.Fast`.

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
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self.degrees, self.pixels, self.grid, self.samples = degrees, pixels, grid, samples
        self.loss, self.fast = loss, check_fast(fast)
        self.attack_for(1.0, 1.0)  # which checks the settings, so that a bad one is an error here and not in a call

    def attack_for(self, epsilon: float, width: float) -> Attack:
        # `width` plays no part: degrees and pixels are no lengths on the scale of brightness.
        threat = mrt.RotationTranslation(self.degrees * epsilon, self.pixels * epsilon)
        if self.samples is None:
            return mrt.RTGrid(threat, grid=self.grid, loss=self.loss, fast=self.fast)
        return mrt.RTWorstOf(threat, k=self.samples, loss=self.loss, fast=self.fast)

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
        linf: Radius in the units of the model's bounds; "usual" is 8/255 times their width (l2: 0.5, l1: 12), and None
            leaves the ball out.
        degrees: Rotations by up to so much either way; pixels: shifts by up to so much each way. None for both: none.
        steps: Steps of each ball.
        restarts: Draws of the shares.
        samples: Motions tried for each.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        fast: How the model is run, see `mrt.Fast`.

    References:
        .. [#Tra19] Florian Tramer, Dan Boneh, "Adversarial Training and Robustness for Multiple Perturbations",
            https://arxiv.org/abs/1904.13000
    """

    def __init__(
        self,
        *,
        linf: Radius = "usual",
        l2: Radius = None,
        l1: Radius = "usual",
        degrees: float | None = None,
        pixels: float | None = None,
        steps: int = 20,
        restarts: int = 10,
        samples: int = 10,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        check_radii(linf=linf, l2=l2, l1=l1)
        self.loss, self.fast = loss, check_fast(fast)
        self.linf, self.l2, self.l1, self.degrees, self.pixels = linf, l2, l1, degrees, pixels
        self.steps, self.restarts, self.samples = steps, restarts, samples
        self.attack_for(1.0, 1.0)  # checks the settings

    def attack_for(self, epsilon: float, width: float) -> Attack:
        members: list[Any] = [ball.scaled(1 / width) for ball in make_balls(self, epsilon, width)]
        # The motion stands first: the balls perturb the image that has been moved.
        if self.degrees is not None or self.pixels is not None:
            motion = mrt.RotationTranslation((self.degrees or 0.0) * epsilon, (self.pixels or 0.0) * epsilon)
            members.insert(0, motion)
        if len(members) < 2:
            raise ValueError("Affine needs two of linf, l2 and l1, or one and a motion; the others were None")
        settings: dict[str, Any] = {"k": self.samples, "steps": self.steps, "restarts": self.restarts}
        return mrt.AffineAttack(mrt.Affine(tuple(members)), loss=self.loss, fast=self.fast, **settings)

    def repeat(self, times: int) -> Affine:
        """Return the same attack with so many times the draws of the shares."""
        repeated = copy.copy(self)
        repeated.restarts = self.restarts * checks.count("times", times)
        return repeated


class SpatialAttack(Unmeasured, theirs.SpatialAttack):
    """Foolbox's search of rotations and translations under its name and keywords, through our motions: a shift of 3
    pixels is one of 3, wide images are not mixed up, and an image is tried no more once it fools. As in Foolbox an
    image that nothing fools comes back as it was, and `epsilons` mean nothing. A subclass's own `run` is called.

    Args:
        max_translation: Shifts by up to so many pixels each way.
        max_rotation: Rotations by up to so many degrees either way.
        num_translations: Number of shifts along each axis; num_rotations: number of angles.
        grid_search: Whether to try them all, or random motions, each image's own.
        random_steps: Number of random motions.
    """

    _own_run = True

    def __init__(
        self,
        max_translation: float = 3,
        max_rotation: float = 30,
        num_translations: int = 5,
        num_rotations: int = 5,
        grid_search: bool = True,
        random_steps: int = 100,
        *,
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        theirs.SpatialAttack.__init__(
            self, max_translation, max_rotation, num_translations, num_rotations, grid_search, random_steps
        )
        self._fast = check_fast(fast)
        self.attack_for(1.0, 1.0)  # checks the settings

    def attack_for(self, epsilon: float, width: float) -> Attack:
        threat = mrt.RotationTranslation(self.max_rot * epsilon, self.max_trans * epsilon)
        if self.grid_search:
            grid = (self.num_trans, self.num_trans, self.num_rots)
            return mrt.RTGrid(threat, grid=grid, fast=self._fast)
        return mrt.RTWorstOf(threat, k=self.random_steps, fast=self._fast)

    def __call__(self, model: HostModel, inputs: Any, criterion: Any, *, epsilons: Any = None, **kwargs: Any) -> Any:
        """Return Foolbox's (raw, clipped, success), clipped being raw."""
        if type(self).run is not SpatialAttack.run:  # a user's own, which Foolbox calls
            return theirs.SpatialAttack.__call__(self, model, inputs, criterion, **kwargs)
        call, restore = self._open(model, inputs, criterion, kwargs)
        say_what_mode(call)
        images = self._search(call)
        return pack([images], [call.judge(images)], restore, single=True)

    def run(self, model: HostModel, inputs: Any, criterion: Any, **kwargs: Any) -> Any:
        """Return the images moved where that fools, and else as they were."""
        call, restore = self._open(model, inputs, criterion, kwargs)
        return restore(ep.astensor(self._search(call)))

    def _search(self, call: Call) -> Tensor:
        moved = call.search(self.attack_for(1.0, call.range.width))
        kept = call.judge(call.x) | ~call.judge(moved)
        return torch.where(kept.reshape(-1, *[1] * (moved.ndim - 1)), call.x, moved)

    def repeat(self, times: int) -> SpatialAttack:
        """Return the same attack with so many times the random motions."""
        if self.grid_search:
            raise ValueError("repeat is not supported: a grid is the same every time; give grid_search=False")
        repeated = copy.copy(self)
        repeated.random_steps = self.random_steps * checks.count("times", times)
        return repeated
