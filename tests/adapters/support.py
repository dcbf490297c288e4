"""Networks, images and a wrapper of ART's for the tests of both hosts' adapters."""

from __future__ import annotations

import copy
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from tests.support import digits_net, small_net, torch_seed

BOUNDS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
SHAPES = ((1, 16, 16), (3, 12, 20))
CLASSES = 5


def generated(kind: Any, shape: tuple[int, int, int], **more: Any) -> Any:
    torch.manual_seed(0)
    made: Any = kind(shape, CLASSES, width=4, **more).eval()
    return made


def victim() -> nn.Module:
    """A digits network of the caller's own: the hosts' attacks leave gradients in it."""
    return copy.deepcopy(digits_net())


def dyadic(shape: tuple[int, ...], n: int, bounds: tuple[float, float]) -> Tensor:
    """Images whose pixels are multiples of a sixteenth of the range, many on the bounds: the same numbers in any."""
    g = torch_seed(n)
    unit = torch.randint(-4, 21, (n, *shape), generator=g).clamp(0, 16) / 16
    return unit * (bounds[1] - bounds[0]) + bounds[0]


def net(shape: tuple[int, int, int]) -> nn.Module:
    """In eval mode, its parameters' gradients known, one of them frozen."""
    made = small_net(shape, CLASSES).eval()
    for i, p in enumerate(made.parameters()):
        p.grad, p.requires_grad = torch.full_like(p, float(i)), i != 1
    return made


def state(module: nn.Module) -> list[Any]:
    kept = [t.clone() for t in module.state_dict().values()]
    grads = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    return [kept, grads, [m.training for m in module.modules()], [p.requires_grad for p in module.parameters()]]


def unchanged(before: list[Any], module: nn.Module) -> None:
    now = state(module)
    assert all(torch.equal(a, b) for a, b in zip(before[0], now[0], strict=True))
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(before[1], now[1], strict=True))
    assert before[2:] == now[2:]


def classifier(module: nn.Module, bounds: Any, shape: tuple[int, ...], classes: int = CLASSES, **how: Any) -> Any:
    how = {"loss": nn.CrossEntropyLoss(), "device_type": "cpu", **how}
    return PyTorchClassifier(module, input_shape=shape, nb_classes=classes, clip_values=bounds, **how)


class Unasked(nn.Module):
    """Fails where it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the model was called")
