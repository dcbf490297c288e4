"""SAT, stochastic adversarial training (Madaan, Shin and Hwang 2021): one attack per batch, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, attacks_of, check_strategy, craft
from mrt.threats import noise


@dataclass(frozen=True)
class SAT:
    """min E_i E CE(f(A_i(x)), y), i uniform, A_i the attack that `adversaries.adversary` has for threat i (PGD for linf
    and l2, SLIDE for l1), or a ready attack. One draw serves the whole batch, on all processes, so that the cost is
    that of training on a single attack, however many there are."""

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        # 1. Draw one of the n attacks, with equal chances, for the whole batch.
        i = draw_index(torch.ones(len(self.threats)), step)
        # 2. Attack the batch with it: x_adv = A_i(x).
        x_adv = craft(attacks_of(self, step)[i], i, model, x, y, step)
        # 3. Descend the loss on what it found.
        return step.loss(model(x_adv), y)


def draw_index(weights: Tensor, step: Step) -> int:
    """Draw an index with probability in proportion to its weight. All processes draw the same, since they share the
    update's seed."""
    cumulative = weights.detach().cpu().double().cumsum(0)
    point = noise.uniform(torch.tensor([step.shared_seed]), 1)[0, 0].double() * cumulative[-1]
    return int((cumulative <= point).sum())
