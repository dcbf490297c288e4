"""Trained generators of perturbations as Foolbox attacks."""

from __future__ import annotations

from typing import ClassVar

from foolbox.distances import Distance

import mrt
from mrt import checks
from mrt.generators import L2LGenerator, PGNGenerator
from mrt.generators.generator import Generator
from mrt.protocols import Attack
from mrt_foolbox.attack_base import BALLS, Native, host_distance


class L2LDA(Native):
    """What a generator of L2L-DA makes in the linf ball [#Jan19]_. Untargeted; fit it to the model first
    (`mrt.fit_generator`).

    Args:
        generator: A trained `mrt.generators.L2LGenerator` (or `L2LStar`), which works on images in [0, 1].
        samples: Latents drawn for each image, of which the worst is kept.

    References:
        .. [#Jan19] Yunseok Jang, Tianchen Zhao, Seunghoon Hong, Honglak Lee, "Adversarial Defense via Learning to
            Generate Diverse Attacks", ICCV 2019
    """

    targetable = False  # generators are trained to leave the true class, not to reach another
    kind: ClassVar[type[Generator]] = L2LGenerator

    def __init__(self, generator: Generator, *, samples: int = 1) -> None:
        if not isinstance(generator, self.kind):
            raise ValueError(f"generator must be a {self.kind.__name__}; got {type(generator).__name__}")
        self.generator, self.samples = generator, checks.count("samples", samples)

    @property
    def distance(self) -> Distance:
        return host_distance("linf")

    def attack_for(self, epsilon: float, width: float) -> Attack:
        # A restart of a generator is one more draw of its latent, so `repeat` multiplies the samples.
        return mrt.GeneratorAttack(self.generator, mrt.Linf(epsilon / width), self.samples * self.restarts)


class PGN(L2LDA):
    """What a generator of PGN makes, projected on a ball. Untargeted; fit it to the model first (`mrt.fit_generator`).

    Args:
        generator: A trained `mrt.generators.PGNGenerator`, which works on images in [0, 1].
        norm: The ball: "linf", "l2" or "l1".
    """

    kind = PGNGenerator

    def __init__(self, generator: Generator, *, norm: str = "l2") -> None:
        super().__init__(generator)
        self.norm = checks.choice("norm", norm, tuple(BALLS))

    @property
    def distance(self) -> Distance:
        return host_distance(self.norm)

    def attack_for(self, epsilon: float, width: float) -> Attack:
        return mrt.GeneratorAttack(self.generator, BALLS[self.norm](epsilon / width))

    def repeat(self, times: int) -> Native:
        """Raise a ValueError: this generator draws no noise, so that more runs would only cost time."""
        raise ValueError("repeat is not supported: PGN's generator makes the same every time")
