"""PGN: a classifier against a perturbation generator network (anonymous ICLR 2020 submission).

In every update, for a batch x:

    1. g = d softmax(f(x))_y / d x, the image that the generator is shown      generators.pgn.PGNGenerator
    2. the generator ascends CE(f(x'), y) - penalty |x' - x|_2^2
    3. the classifier descends its loss on the x' that the generator makes after that step
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.generators import PGNGenerator
from mrt.generators.pgn import GradNorm, Input, Space
from mrt.protocols import Step
from mrt.strategies.learner import Learner, make_optimizer, shape_and_classes

FROZEN = 0.25  # the share of pixels at exactly 0 or 1 from which on the user is warned: tanh space hardly moves those


@dataclass(frozen=True)
class PGN:
    """min_theta clean CE(f(x), y) + adversarial CE(f(x'), y), max_phi CE(f(x'), y) - penalty |x' - x|_2^2, x' the
    generator's.

    No radius: a penalty c keeps perturbations near 1 / sqrt(2 c), 0.1 for 50. clean=0 is the paper's equation to the
    letter, 1 our reading of its table. The paper trains with Adam(5e-4) and Constant() for 200 epochs of batch 128,
    ema=0.998. In tanh space, where the generator works, pixels at exactly 0 and 1 are frozen.
    """

    penalty: float = 50.0
    width: int = field(default=128, kw_only=True)
    clean: float = field(default=1.0, kw_only=True)
    adversarial: float = field(default=1.0, kw_only=True)
    generator_lr: float = field(default=5e-4, kw_only=True)
    grad_norm: GradNorm = field(default="l2", kw_only=True)
    space: Space = field(default="image", kw_only=True)
    inputs: tuple[Input, ...] = field(default=("gradient", "image", "label"), kw_only=True)
    batch_norm: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        checks.count("width", self.width)
        for name in ("penalty", "clean"):
            checks.number(name, getattr(self, name))
        for name in ("adversarial", "generator_lr"):
            checks.number(name, getattr(self, name), open_low=True)
        checks.choice("grad_norm", self.grad_norm, get_args(GradNorm))
        checks.choice("space", self.space, get_args(Space))
        object.__setattr__(self, "inputs", checks.several("inputs", self.inputs, "inputs of the generator"))
        for name in self.inputs:
            checks.choice("inputs", name, get_args(Input))
        checks.flag("batch_norm", self.batch_norm)

    @staticmethod
    def reference() -> PGN:
        """The paper's settings, as far as it states them: both its tables have penalty 50, and the gradient image is
        raw."""
        return PGN(50.0, grad_norm="none")

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> Penalised:
        if self.batch_norm and len(x) < 2:
            raise ValueError("PGN's generator has BatchNorm and needs batches of 2 images at least; got 1")
        frozen = float(((x == 0) | (x == 1)).float().mean())
        if frozen > FROZEN:
            text = f"{100 * frozen:.0f}% of the pixels are exactly 0 or 1, and PGN's generator hardly moves such pixels"
            warnings.warn(f"{text}: squeeze the images, to [0.1, 0.9] say", stacklevel=2)
        settings: dict[str, Any] = {"width": self.width, "penalty": self.penalty, "grad_norm": self.grad_norm}
        settings |= {"space": self.space, "inputs": self.inputs, "batch_norm": self.batch_norm}
        generator = PGNGenerator(*shape_and_classes(model, x, y), **settings).to(x.device)
        return Penalised(self, generator, make_optimizer("adam", generator, self.generator_lr))


class Penalised(Learner):
    """PGN as it runs: a step of the generator, then one of the classifier on what the generator now makes."""

    generator: PGNGenerator

    def __init__(self, settings: PGN, generator: PGNGenerator, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(generator, optimizer)
        self.settings = settings

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        self.generator.check_batch(x, y)
        self.generator.train()
        with crafting(model, fast=step.fast) as f:
            # 1. The gradient image, which both passes of the generator share.
            grad = self.generator.gradient_image(f, x, y)
            # 2. A step of the generator.
            self.descend(self.generator.penalised(f, x, grad, y).descent, step)
            # 3. Its new x'. Batch statistics again, but without moving the running ones, which so are those of one pass
            # per update and equal on all processes.
            with torch.no_grad(), crafting(self.generator, bn="batch"):
                x_adv = self.generator.perturb_image(x, grad, y)[1]
        s = self.settings
        adversarial = s.adversarial * step.loss(model(x_adv), y)
        return adversarial + s.clean * step.loss(model(x), y) if s.clean else adversarial
