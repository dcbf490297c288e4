"""Trained generators as ART evasion attacks."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

import mrt
from mrt.crafting.gradient import crafting
from mrt.generators import L2LGenerator, PGNGenerator
from mrt.generators.generator import Generator
from mrt.protocols import Attack
from mrt_art.attack_base import Native
from mrt_art.bridge import Bridge, Seen, read_norm
from mrt_art.radii import BALLS, read_radius

ENOUGH = 8  # images that are classified correctly: of fewer, none fooled says little


class _Learned(Native):
    """An attack that a generator has learned, and that is none where the generator was not fitted to the classifier."""

    generator: Generator

    def count_fooled(self, model: Seen, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[int, int]:
        with torch.no_grad(), crafting(model) as f:
            right = f(x).argmax(1) == y
            return int(right.sum()), int((right & (f(x_adv).argmax(1) != y)).sum())

    def warn_of_failure(self, standing: int, fooled: int) -> None:
        if standing >= ENOUGH and not fooled:
            text = f"the {type(self.generator).__name__} fooled the classifier on none of {standing} images"
            warnings.warn(f"{text}: has it been fitted to it, mrt.fit_generator?", stacklevel=3)


class L2LDA(_Learned):
    """
    What a generator of L2L-DA makes in the linf ball, the worst of several latents. Untargeted; fit it to the model
    first, `mrt.fit_generator`.

    | Paper link: https://openaccess.thecvf.com/content_ICCV_2019/html/Jang_Adversarial_Defense_via_Learning_to_Generate_Diverse_Attacks_ICCV_2019_paper.html
    """  # noqa: E501

    kind: type[Generator] = L2LGenerator

    def __init__(
        self,
        estimator: PyTorchClassifier,
        generator: Generator,
        eps: float | None = None,
        samples: int = 1,
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.L2LDA` instance.

        :param estimator: A trained PyTorch classifier.
        :param generator: A trained `mrt.generators.L2LGenerator` (or `L2LStar`), which works on images in [0, 1].
        :param eps: Radius, by default 8/255 times the range of the pixels.
        :param samples: Latents drawn for each image.
        :param batch_size: Images attacked at once.
        :param verbose: Show progress bars.
        """
        super().__init__(
            estimator, generator=generator, eps=eps, samples=samples, batch_size=batch_size, verbose=verbose
        )

    def _check_params(self) -> None:
        if not isinstance(self.generator, self.kind):
            raise ValueError(f"generator must be a {self.kind.__name__}; got {type(self.generator).__name__}")
        self.eps = read_radius(self.eps, "inf", Bridge(self.estimator).width)
        super()._check_params()

    def check_images(self, unit: Tensor) -> None:
        _check_generator(self, unit)

    def attack_for(self, width: float) -> Attack:
        return mrt.GeneratorAttack(self.generator, mrt.Linf(self.eps / width), self.samples)


class PGN(_Learned):
    """
    What a generator of PGN makes, projected on a ball. Untargeted; fit it to the model first, `mrt.fit_generator`.

    | Paper: Adversarial training with perturbation generator networks, anonymous submission to ICLR 2020
    """

    def __init__(
        self,
        estimator: PyTorchClassifier,
        generator: Generator,
        norm: Any = 2,
        eps: float | None = None,
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.PGN` instance.

        :param estimator: A trained PyTorch classifier.
        :param generator: A trained `mrt.generators.PGNGenerator`, which works on images in [0, 1].
        :param norm: "inf", `np.inf`, 2 or 1.
        :param eps: Radius, by default 8/255, 0.5 or 12 times the range of the pixels.
        :param batch_size: Images attacked at once.
        :param verbose: Show progress bars.
        """
        super().__init__(estimator, generator=generator, norm=norm, eps=eps, batch_size=batch_size, verbose=verbose)

    def _check_params(self) -> None:
        if not isinstance(self.generator, PGNGenerator):
            raise ValueError(f"generator must be a PGNGenerator; got {type(self.generator).__name__}")
        self.eps = read_radius(self.eps, self.norm, Bridge(self.estimator).width)
        super()._check_params()

    def check_images(self, unit: Tensor) -> None:
        _check_generator(self, unit)

    def attack_for(self, width: float) -> Attack:
        return mrt.GeneratorAttack(self.generator, BALLS[read_norm(self.norm)](self.eps / width))


def _check_generator(attack: Any, unit: Tensor) -> None:
    """Raise a ValueError unless the attack's generator was made for images of this shape, (N, C, H, W)."""
    threat = attack.attack_for(Bridge(attack.estimator).width).threat
    if len(unit):
        # The labels are not known here; class 0 is one of any number of classes.
        attack.generator.check(unit, torch.zeros(len(unit), dtype=torch.int64, device=unit.device), threat)
