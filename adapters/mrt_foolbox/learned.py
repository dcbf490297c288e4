"""Trained generators of perturbations as Foolbox attacks."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from foolbox.distances import Distance
from torch import Tensor

import mrt
from mrt import checks
from mrt.fast import Fast
from mrt.generators import L2LGenerator, PGNGenerator
from mrt.generators.generator import Generator
from mrt.protocols import Attack
from mrt_foolbox.attack_base import Native
from mrt_foolbox.calls import BALLS, Call, host_distance, read_norm, warn
from mrt_foolbox.one_ball import check_fast


class L2LDA(Native):
    """What a generator of L2L-DA makes in the linf ball [#Jan19]_. Untargeted; fit it to the model first
    (`mrt.fit_generator`).

    Args:
        generator: A trained `mrt.generators.L2LGenerator` (or `L2LStar`), which works on images in [0, 1].
        samples: Latents drawn for each image, of which the worst is kept.
        fast: How the model is run, see `mrt.Fast`.

    References:
        .. [#Jan19] Yunseok Jang, Tianchen Zhao, Seunghoon Hong, Honglak Lee, "Adversarial Defense via Learning to
            Generate Diverse Attacks", ICCV 2019
    """

    _targetable = False  # generators are trained to leave the true class, not to reach another
    kind: ClassVar[type[Generator]] = L2LGenerator

    _norm = "linf"

    def __init__(self, generator: Generator, *, samples: int = 1, fast: Fast = Fast()) -> None:  # noqa: B008
        if not isinstance(generator, self.kind):
            raise ValueError(f"generator must be a {self.kind.__name__}; got {type(generator).__name__}")
        self.generator, self.samples = generator, checks.count("samples", samples)
        self.fast = check_fast(fast)

    @property
    def distance(self) -> Distance:
        return host_distance(self._norm)

    def attack_for(self, epsilon: float, width: float) -> Attack:
        # A restart of a generator is one more draw of its latent, so `repeat` multiplies the samples.
        return mrt.GeneratorAttack(self.generator, mrt.Linf(epsilon / width), self.samples * self._runs, self.fast)

    def _look_at(self, call: Call, success: list[Tensor]) -> None:
        """Warn where it has fooled nothing that was not wrong before: a generator that has learned nothing, or learned
        from another model, would else pass for a robust model."""
        before = call.judge(call.x)
        if not bool((torch.stack(success) & ~before).any()) and not bool(before.all()):
            name = type(self).__name__
            warn(
                f"{name} fooled the model on no image that it got right: has its generator been fitted to it "
                "(mrt.fit_generator)?"
            )


class PGN(L2LDA):
    """What a generator of PGN makes, projected on a ball. Untargeted; fit it to the model first (`mrt.fit_generator`).

    Args:
        generator: A trained `mrt.generators.PGNGenerator`, which works on images in [0, 1].
        norm: The ball: "linf", "l2" or "l1", in any spelling.
        fast: How the model is run, see `mrt.Fast`.
    """

    kind = PGNGenerator

    def __init__(self, generator: Generator, *, norm: Any = "l2", fast: Fast = Fast()) -> None:  # noqa: B008
        super().__init__(generator, fast=fast)
        self.norm = self._norm = read_norm(norm)

    def attack_for(self, epsilon: float, width: float) -> Attack:
        # It draws no noise, so that runs after the first would only cost time.
        return mrt.GeneratorAttack(self.generator, BALLS[self._norm](epsilon / width), fast=self.fast)
