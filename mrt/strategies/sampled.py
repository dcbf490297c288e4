"""One attack per batch, drawn at random: SAT (Madaan, Shin and Hwang 2021) and E-AT (Croce and Hein 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mrt.attacks import APGD
from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Attack, Ball, Step
from mrt.strategies.adversaries import Adversary, attacks_of, check_strategy, craft
from mrt.threats import noise


@dataclass(frozen=True)
class SAT:
    """min E_i E CE(f(A_i(x)), y), i uniform. One draw serves the whole batch, on all processes, so that the cost is
    that of training on a single attack, however many there are."""

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        number = draw_index(torch.ones(len(self.threats)), step)
        return cross_entropy(model(craft(attacks_of(self, step)[number], number, model, x, y, step)), y)


@dataclass(frozen=True)
class EAT:
    """SAT with i drawn in proportion to the share of examples that A_i has fooled since training began; uniformly until
    every attack has been seen. The authors give it linf and l1 alone, and cover l2 by them.

    Balls are searched by APGD from x, to the point of largest loss, in l1 with 5% of the entries at first.
    """

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> RunningErrors:
        return RunningErrors(self).to(x.device)

    def attacks(self, step: Step) -> list[Attack]:
        """Of each threat."""
        each = zip(self.threats, attacks_of(self, step), strict=True)
        return [self._apgd(given, step) if isinstance(given, Ball) else attack for given, attack in each]

    def _apgd(self, ball: Ball, step: Step) -> APGD:
        how: dict[str, Any] = {"random_start": False, "best": "loss", "share": 0.05}
        return APGD(ball, steps=self.steps, bn=self.bn, fast=step.fast, **how)


class RunningErrors(nn.Module):
    """E-AT as it runs: per attack, the examples it was given and those of them that it fooled."""

    fooled: Tensor
    given: Tensor

    def __init__(self, settings: EAT) -> None:
        super().__init__()
        self.settings = settings
        for name in ("fooled", "given"):
            self.register_buffer(name, torch.zeros(len(settings.threats), dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """What the next draw is in proportion to."""
        if bool((self.given == 0).any()) or not bool(self.fooled.any()):
            return torch.ones_like(self.given)
        return self.fooled / self.given

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        number = draw_index(self.weights, step)
        logits = model(craft(self.settings.attacks(step)[number], number, model, x, y, step))
        self.fooled[number] += step.mean((logits.argmax(1) != y).double().mean())
        self.given[number] += 1
        return cross_entropy(logits, y)


def draw_index(weights: Tensor, step: Step) -> int:
    """An index with probability in proportion to its weight, the same on all processes."""
    seed = torch.tensor([step.shared_seed])
    ladder = weights.detach().cpu().double().cumsum(0)
    point = noise.uniform(seed, 1)[0, 0].double() * ladder[-1]
    return int((ladder <= point).sum())
