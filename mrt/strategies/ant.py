"""ANT, adversarial noise training (Rusak et al. 2020), as MNG-AC's baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.attacks.iterative import need_ball
from mrt.crafting.gradient import crafting
from mrt.generators import MNGNoise
from mrt.protocols import Ball, Step
from mrt.strategies.learner import Learner, make_optimizer, shape_and_classes
from mrt.threats import L1, L2, Linf, noise


@dataclass(frozen=True)
class ANT:
    """min_theta E CE(f(x'), y), max_phi CE(f(x_aug), y): x_aug is x with the generator's noise on the ball, x' that for
    half of the images, drawn at random, and x for the others. Its settings in MNG-AC's tables are not published."""

    threat: Ball
    width: int = field(default=20, kw_only=True)
    conditional: bool = field(default=False, kw_only=True)
    generator_lr: float = field(default=1e-4, kw_only=True)

    def __post_init__(self) -> None:
        need_ball(self, self.threat, Linf, L2, L1)
        checks.count("width", self.width)
        checks.flag("conditional", self.conditional)
        checks.number("generator_lr", self.generator_lr, open_low=True)

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> Noisy:
        settings: dict[str, Any] = {"width": self.width, "conditional": self.conditional}
        generator = MNGNoise(*shape_and_classes(model, x, y), **settings).to(x.device)
        return Noisy(self, generator, make_optimizer("adam", generator, self.generator_lr))


class Noisy(Learner):
    """The state of ANT while it runs: the noise generator and its optimizer. Called, it returns the classifier's
    loss."""

    def __init__(self, settings: ANT, generator: MNGNoise, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(generator, optimizer)
        self.settings = settings

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        ball = self.settings.threat
        self.generator.check_batch(x, y)
        # In each update the generator ascends the loss first, and the classifier then sees noise of the new generator,
        # from a draw of its own: folds 0 and 1 are these draws, fold 2 decides which images are noisy.
        with crafting(model, fast=step.fast) as f:
            self.descend(self.generator.objective(f, x, y, noise.fold(step.seeds, 0), ball).descent, step)
            with torch.no_grad():
                x_aug = self.generator.craft(f, x, y, noise.fold(step.seeds, 1), ball)
        # A coin for each image and not the first half of the batch: half of the images on average.
        noisy = noise.integers(noise.fold(step.seeds, 2), 0, 1).bool()
        return step.loss(model(torch.where(noisy[:, None, None, None], x_aug, x)), y)
