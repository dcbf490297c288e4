"""Rows for the kernels, and the float64 twins' answers to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import mrt

BALLS: dict[str, mrt.Linf | mrt.L2 | mrt.L1] = {
    "linf": mrt.Linf(1.0),
    "l2": mrt.L2(1.0),
    "l2-exact": mrt.L2(1.0, projection="exact"),
    "l1": mrt.L1(1.0, projection="clip"),
    "l1-exact": mrt.L1(1.0),
}
RADII = {"linf": 0.2, "l2": 1.0, "l2-exact": 1.0, "l1": 6.0, "l1-exact": 6.0}


@dataclass
class Rows:
    """A batch of rows: radii and step lengths by kind and row."""

    x: Tensor
    x_adv: Tensor
    grad: Tensor
    keep: Tensor
    eps: dict[str, Tensor]
    size: dict[str, Tensor]


def rows_of(entries: int, *, seed: int, start: str, only: tuple[int, ...] = tuple(range(7))) -> Rows:
    """One row for each of seven kinds of gradient, a third of the pixels on each bound, x_adv from the ball `start`."""
    g = torch.Generator().manual_seed(seed)
    x = (torch.rand(7, entries, generator=g) * 3 - 1).clamp(0, 1)
    grad = torch.randn(7, entries, generator=g)
    grad[1] = grad[1].round()
    grad[2] = 0
    grad[3] = 0.5
    grad[4] *= torch.rand(entries, generator=g) < 0.02
    grad[5] *= 1e-30
    grad[6] *= 1e30
    keep = torch.tensor([1, entries // 2 + 1, 3, 5, 20, entries, max(1, entries // 99)])
    factor = torch.tensor([1.0, 0.3, 2.0, 0.01, 0.7, 1.3, 0.5])
    eps = {kind: radius * factor for kind, radius in RADII.items()}
    size = {kind: radius * torch.tensor([0.2, 2.0, 0.5, 3.0, 0.1, 1.0, 0.0]) for kind, radius in RADII.items()}
    ball = BALLS[start].scaled(eps[start])
    x_adv = ball.apply(x, ball.sample(x, torch.arange(7)))
    pick = list(only)
    return Rows(
        x[pick],
        x_adv[pick],
        grad[pick],
        keep.clamp(1, entries)[pick],
        {kind: values[pick] for kind, values in eps.items()},
        {kind: values[pick] for kind, values in size.items()},
    )


def twin(rows: Rows, kind: str) -> Tensor:
    """The plain step in float64."""
    ball = BALLS[kind].scaled(rows.eps[kind].double())
    x, x_adv, grad = rows.x.double(), rows.x_adv.double(), rows.grad.double()
    return ball.mover(x)(x_adv, grad, rows.size[kind].double(), rows.keep)


def compared(rows: Rows, found: Tensor) -> None:
    """Each kind's candidate is the twin's to 1e-5, moves the same entries, and lies in its ball."""
    for kind, got in zip(BALLS, found, strict=True):
        want = twin(rows, kind)
        assert float((got - want).abs().max()) <= 1e-5, kind
        moved = (want - rows.x).abs()
        assert (got != rows.x)[moved > 1e-6].all(), f"{kind}: an entry stands still"
        assert (got == rows.x)[moved == 0].all(), f"{kind}: an entry moves"
        assert BALLS[kind].scaled(rows.eps[kind]).contains(rows.x, got).all(), kind
