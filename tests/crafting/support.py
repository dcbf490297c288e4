"""What the tests of fast attacks share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from tests.support import RowWise, images

ROWS = RowWise((1, 4, 4)).eval()


class Net(nn.Module):
    """Convolutions, BatchNorm with statistics of its own, in-place and smooth activations, pooling, dropout."""

    body: Any

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(96, 5),
        )  # fmt: skip
        nn.init.normal_(self.body[1].running_mean, std=0.2)
        nn.init.uniform_(self.body[1].running_var, 0.5, 2)
        self.sharpness = 3.0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x * 2 - 1) * self.sharpness
        return out


def batch(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    return images((2, 8, 8), n, seed), torch.arange(n) % 5


def fast(attack: Any, **how: Any) -> Any:
    """The attack with those options, where it has any."""
    return replace(attack, fast=mrt.Fast(**how))


def same(found: Tensor, expected: Tensor, x: Tensor, share: float = 0.99) -> None:
    """Equal but for a rounding that turned a step elsewhere."""
    assert ((found - expected).abs() < 1e-5).float().mean() >= share
    assert ((found - x).abs() > 1e-6).any()


class Rooted(nn.Module):
    """The network behind a square root and a square: the same answers, and at a black pixel 0 times infinity."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.sqrt() ** 2)
        return logits


def dark_batch(n: int = 6, black: int = 6) -> tuple[Tensor, Tensor]:
    """Images of which the first few have black pixels, and their labels."""
    x = 0.2 + 0.6 * images((1, 4, 4), n, 0)
    x[:black, :, 0] = 0
    return x, ROWS(x).argmax(1)
