"""MAX training (Tramer and Boneh 2019, section 4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, check_strategy, craft_all, worst_of


@dataclass(frozen=True)
class Worst:
    """MAX: min E max_i CE(f(A_i(x)), y). Every attack on every example, and of each example's results only the one of
    largest cross-entropy is trained on."""

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        candidates = craft_all(self, model, x, y, step)
        # The winners, one for each example, are passed a second time: the pass that chose them was made without a
        # graph and in the attacks' mode.
        return step.loss(model(worst_of(candidates, model, y, self, step)), y)
