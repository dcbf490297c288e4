"""E-AT (Croce and Hein 2022): one attack per batch, drawn in proportion to how often each has succeeded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mrt.attacks import APGD
from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Attack, Ball, Step
from mrt.strategies.adversaries import Adversary, attacks_of, check_strategy, craft
from mrt.strategies.sat import draw_index


@dataclass(frozen=True)
class EAT:
    """SAT with i drawn in proportion to the share of examples that A_i has fooled since training began; uniformly until
    every attack has been seen. The authors give it linf and l1 alone, and cover l2 by them.

    Balls are searched by APGD from x, to the point of largest loss, in l1 with 5% of the entries at first and in the
    ball itself from the first step on.
    """

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> RunningErrors:
        return RunningErrors(self).to(x.device)


def apgd_of(strategy: Any, step: Step) -> list[Attack]:
    """Make the attack of each of `strategy.threats`: in balls APGD with the authors' settings in training. The search
    starts at x, and in l1 with a twentieth of the entries and in no wider ball than the threat."""
    how: dict[str, Any] = {"random_start": False, "best": "loss", "share": 0.05, "radii": (1.0,)}
    how |= {"steps": strategy.steps, "bn": strategy.bn, "fast": step.fast}
    each = zip(strategy.threats, attacks_of(strategy, step), strict=True)
    return [APGD(threat, **how) if isinstance(threat, Ball) else attack for threat, attack in each]


class RunningErrors(nn.Module):
    """E-AT as it runs. For each attack it counts the batches that it was given and sums the shares of them that it
    fooled; both are buffers, so that every checkpoint holds them."""

    fooled: Tensor
    given: Tensor

    def __init__(self, settings: EAT) -> None:
        super().__init__()
        self.settings = settings
        for name in ("fooled", "given"):
            self.register_buffer(name, torch.zeros(len(settings.threats), dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """What the next draw is in proportion to: each attack's mean success."""
        if bool((self.given == 0).any()) or not bool(self.fooled.any()):
            return torch.ones_like(self.given)  # nothing to compare yet, or nothing ever fooled the model
        return self.fooled / self.given

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        # 1. Draw one attack for the whole batch, and 2. attack with it.
        i = draw_index(self.weights, step)
        logits = model(craft(apgd_of(self.settings, step)[i], i, model, x, y, step))
        # 3. Remember how often it succeeded, on all processes together.
        self.fooled[i] += step.mean((logits.argmax(1) != y).double().mean())
        self.given[i] += 1
        # 4. Descend the loss on what it found.
        return step.loss(logits, y)
