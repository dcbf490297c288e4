"""What torch raises inside somebody's model, in our words."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.protocols import Model

FAILURES = (RuntimeError, NotImplementedError, TypeError, IndexError, AssertionError)
"""What torch and Python raise where an operation does not fit its operands. These very types alone: a lack of memory,
an error of the device and whatever the user has made a type for pass as they are."""


def ask(model: Model, x: Tensor) -> Tensor:
    """The model's answer to x; `ModelFailed` where something inside it does not fit what it was given."""
    try:
        return model(x)
    except FAILURES as error:
        if type(error) not in FAILURES:
            raise
        text = f"the model fails on images of shape {tuple(x.shape[1:])}, {len(x)} of them: {checks.first_line(error)}"
        raise checks.ModelFailed(text + hint_at_dtype(model, str(error))) from error


def differentiate(loss: Tensor, point: Tensor, weights: Tensor | None = None) -> Tensor | None:
    """The gradient of the loss (a number, or with `weights` one for each example) in the point; None where there is no
    way from one to the other, `ModelFailed` where the model has operations that cannot be walked back so."""
    try:
        return torch.autograd.grad(loss, point, weights, allow_unused=True)[0]
    except FAILURES as error:
        if type(error) not in FAILURES:
            raise
        raise checks.ModelFailed(f"the model's gradient cannot be computed: {checks.first_line(error)}") from error


def hint_at_dtype(model: Model, text: str) -> str:
    """What to do about weights of another type than the images', if that is what torch complains of."""
    owner = getattr(model, "bare", model)
    owner = getattr(owner, "__self__", owner)  # the module whose method it is
    if not isinstance(owner, nn.Module) or not re.search(r"dtype|type \(|scalar type", text):
        return ""
    kinds = sorted({str(p.dtype) for p in owner.parameters() if p.is_floating_point()} - {"torch.float32"})
    return f" (images are torch.float32 and its weights {', '.join(kinds)}: call model.float())" if kinds else ""
