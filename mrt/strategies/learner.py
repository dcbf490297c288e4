"""What the strategies share in which a generator learns while the classifier does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.generators.generator import Generator, Shape, take_step
from mrt.protocols import Step

Optimizer = Literal["sgd", "adam"]


class Learner(nn.Module):
    """The state of a strategy with a generator: the generator and its optimizer, both in every checkpoint."""

    generator: Generator

    def __init__(self, generator: Generator, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.generator, self.optimizer = generator, optimizer

    def learn(self, grads: Sequence[Tensor | None], step: Step) -> None:
        """Take the generator's own step, along gradients that are averaged over processes."""
        take_step(self.generator, self.optimizer, grads, step.mean)

    def descend(self, loss: Tensor, step: Step) -> None:
        """Take the generator's own step down this loss."""
        # Of the generator alone: a backward pass would leave gradients of the loss at the classifier's weights, too.
        self.learn(torch.autograd.grad(loss, list(self.generator.parameters()), allow_unused=True), step)

    # torch's own hooks into state_dict: so the optimizer, which is no module, is saved and restored with the generator.
    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


def make_optimizer(kind: Optimizer, generator: Generator, lr: float, **settings: float) -> torch.optim.Optimizer:
    """Return an optimizer for the generator's parameters."""
    make: Any = torch.optim.SGD if kind == "sgd" else torch.optim.Adam
    optimizer: torch.optim.Optimizer = make(generator.parameters(), lr=lr, **settings)
    return optimizer


def shape_and_classes(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Shape, int]:
    """Return the shape (C, H, W) of the images and the number of classes that a generator must be made for."""
    # A model does not say how many classes it has: one image is asked.
    with torch.no_grad(), crafting(model) as f:
        classes = checks.logits(f(x[:1]), x[:1]).shape[1]
    if int(y.max()) >= classes:
        raise ValueError(f"labels must be class numbers below {classes}, as the model has so many; got {int(y.max())}")
    return (x.shape[1], x.shape[2], x.shape[3]), classes
