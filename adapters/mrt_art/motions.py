"""Motions, and several perturbations on one budget, as ART evasion attacks."""

from __future__ import annotations

from typing import Any

from art.estimators.classification import PyTorchClassifier
from torch import Tensor

import mrt
from mrt.crafting.losses import Chosen
from mrt.protocols import Attack
from mrt_art.attack_base import Native
from mrt_art.bridge import Bridge
from mrt_art.losses import read_loss
from mrt_art.radii import make_balls, read_radii


class RotationTranslation(Native):
    """
    The worst of a grid of rotations and translations, or of random ones; pixels from outside have the lower clip value.

    | Paper link: https://arxiv.org/abs/1712.02779
    """

    def __init__(
        self,
        estimator: PyTorchClassifier,
        degrees: float = 30.0,
        pixels: float = 3.0,
        grid: tuple[int, int, int] = (5, 5, 31),
        samples: int | None = None,
        targeted: bool = False,
        batch_size: int = 128,
        loss_type: Chosen = "ce",
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.RotationTranslation` instance.

        :param estimator: A trained PyTorch classifier with clip values.
        :param degrees: Rotations by up to so much either way.
        :param pixels: Shifts by up to so much each way.
        :param grid: Numbers of shifts right, shifts down and angles.
        :param samples: If given, so many random motions of each image instead of the grid.
        :param targeted: Whether `y` is the class to reach.
        :param batch_size: Images attacked at once.
        :param loss_type: "ce", "margin", "dlr", or a function (logits, labels) -> (N,): of the motions that do not
                          fool, the one where it is largest is kept.
        :param verbose: Show progress bars.
        """
        super().__init__(
            estimator, degrees=degrees, pixels=pixels, grid=grid, samples=samples, targeted=targeted,
            batch_size=batch_size, loss_type=loss_type, verbose=verbose,
        )  # fmt: skip

    def _check_params(self) -> None:
        read_loss(self.loss_type)
        super()._check_params()
        # No motion, no pixels from outside: Affine, which is checked here as well, is often made without one.
        if (self.degrees or self.pixels) and self.estimator.clip_values is None:
            raise ValueError("motions bring in pixels from outside, which have the lower clip value: give clip_values")

    def check_images(self, unit: Tensor) -> None:
        if (self.degrees or self.pixels) and unit.ndim != 4:
            raise ValueError(f"motions are for images (N, C, H, W) or (N, H, W, C); got shape {tuple(unit.shape)}")

    def attack_for(self, width: float) -> Attack:
        threat = mrt.RotationTranslation(self.degrees, self.pixels)
        if self.samples is None:
            return mrt.RTGrid(threat, grid=self.grid, loss=read_loss(self.loss_type))
        return mrt.RTWorstOf(threat, k=self.samples, loss=read_loss(self.loss_type))


class Affine(RotationTranslation):
    """
    Several perturbations on one budget: shares w with sum at most 1, each ball at w times its radius, after a motion at
    its share if `degrees` or `pixels` are not zero. With a motion it takes samples x num_random_init x max_iter steps.

    | Paper link: https://arxiv.org/abs/1904.13000
    """

    def __init__(
        self,
        estimator: PyTorchClassifier,
        eps: dict[Any, float] | None = None,
        degrees: float = 0.0,
        pixels: float = 0.0,
        max_iter: int = 20,
        num_random_init: int = 10,
        samples: int = 10,
        targeted: bool = False,
        batch_size: int = 128,
        loss_type: Chosen = "ce",
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.Affine` instance.

        :param estimator: A trained PyTorch classifier with clip values.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels.
        :param degrees: Rotations by up to so much either way.
        :param pixels: Shifts by up to so much each way.
        :param max_iter: Number of steps of each ball.
        :param num_random_init: Number of draws of the shares.
        :param samples: Motions tried for each.
        :param targeted: Whether `y` is the class to reach.
        :param batch_size: Images attacked at once.
        :param loss_type: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        :param verbose: Show progress bars.
        """
        Native.__init__(  # past RotationTranslation's, which knows other settings
            self, estimator, eps=eps, degrees=degrees, pixels=pixels, max_iter=max_iter,
            num_random_init=num_random_init, samples=samples, targeted=targeted, batch_size=batch_size,
            loss_type=loss_type, verbose=verbose,
        )  # fmt: skip

    def _check_params(self) -> None:
        self.eps = read_radii(self.eps, Bridge(self.estimator).width)
        super()._check_params()

    def attack_for(self, width: float) -> Attack:
        if len(self.eps) + bool(self.degrees or self.pixels) < 2:
            raise ValueError(f"Affine needs two perturbations or more; got eps={self.eps!r} and no motion")
        # The motion stands first: the balls perturb the image that has been moved.
        motion = (mrt.RotationTranslation(self.degrees, self.pixels),) if self.degrees or self.pixels else ()
        threat = mrt.Affine((*motion, *make_balls(self.eps, width)))
        settings: dict[str, Any] = {"k": self.samples, "steps": self.max_iter, "restarts": self.num_random_init}
        return mrt.AffineAttack(threat, loss=read_loss(self.loss_type), **settings)
