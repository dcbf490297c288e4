"""Training on one attack after the other (in the code of Tramer and Boneh, which calls it worse than AVG and MAX)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, attacks_of, check_strategy, craft


@dataclass(frozen=True)
class Alternate:
    """Update t trains on attack t mod n. For as many updates of each kind as a single-attack run, train n times as
    long."""

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        # By the number of the update, which a resumed run knows: there is no state to be kept.
        number = step.index % len(self.threats)
        return step.loss(model(craft(attacks_of(self, step)[number], number, model, x, y, step)), y)
