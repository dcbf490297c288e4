"""Training on clean images, without an adversary."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mrt.protocols import Step


@dataclass(frozen=True)
class Standard:
    """min E CE(f(x), y)."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        return step.loss(model(x), y)
