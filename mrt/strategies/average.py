"""AVG training (Tramer and Boneh 2019, section 4), in its three published meanings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, attacks_of, check_strategy, craft, craft_all

How = Literal["mean", "concatenate", "sequential"]


@dataclass(frozen=True)
class Average:
    """AVG: min E mean_i CE(f(A_i(x)), y).

    "mean" takes one step on the mean of the losses (MNG-AC's baseline). "concatenate" passes all n batches through the
    model as one, which BatchNorm can tell (T&B; MSD's code on MNIST). "sequential" takes n steps, each attack made
    against what the step before it left (MSD's code on CIFAR-10).
    """

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    how: How = field(default="mean", kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")
        checks.choice("how", self.how, get_args(How))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor | Iterator[Tensor]:
        if self.how == "sequential":
            # An iterator, so that each attack is made when its loss is asked for: the training loop asks after it has
            # taken a step on the loss before.
            attacks = enumerate(attacks_of(self, step))
            return (step.loss(model(craft(attack, j, model, x, y, step)), y) for j, attack in attacks)
        batches = craft_all(self, model, x, y, step)
        if self.how == "concatenate":  # (n N, C, H, W): BatchNorm normalises by the statistics of all attacks together
            return step.loss(model(torch.cat(batches)), y.repeat(len(batches)))
        return torch.stack([step.loss(model(x_adv), y) for x_adv in batches]).mean()
