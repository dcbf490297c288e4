"""A model whose answers are random, as attacks should see it: expectation over transformation (Athalye et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import PassCount
from mrt.protocols import Model


class EOT(nn.Module):
    """The mean of the model's logits over `samples` fresh draws of its noise, with the exact gradient of that mean.

    Give it to an attack in place of a model whose answers are random; an `Entry(..., draws=20)` does so in `evaluate`,
    and `quick` where it finds the answers random. Each draw is a pass of its own, so that what a model draws once for
    a whole batch is drawn anew, too; with gradients the memory is that of `samples` passes. `passes` counts the images
    that went through the model, and the gradients that came back.
    """

    def __init__(self, model: Model, samples: int = 20) -> None:
        super().__init__()
        if not callable(model):
            raise ValueError(f"model must be a callable from images to logits; got {type(model).__name__}")
        self.model, self.samples = model, checks.count("samples", samples)
        self.passes = PassCount()
        self.training = getattr(model, "training", False)  # nothing of its own depends on the mode

    def forward(self, x: Tensor) -> Tensor:
        f = self.passes.around(self.model)
        return torch.stack([f(x) for _ in range(self.samples)]).mean(0)
