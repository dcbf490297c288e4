"""The balls' steps through the kernels, where one takes the images: on a GPU always, on a CPU if asked to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mrt import kernels
from mrt.protocols import Ball, Mover
from mrt.threats.projections import no_sync

Proposer = Callable[[Tensor, Tensor, Sequence[float | Tensor], Tensor | None], Tensor]
"""(x_adv, grad, a size for each ball, keep) -> (C, N, ...): what each ball's mover returns, made together."""


def proposer(balls: Sequence[Ball], x: Tensor, compiled: bool = False) -> Proposer | None:
    """One fused step of all those balls about x; None where no kernel takes them."""
    names = [getattr(ball, "kernel", None) for ball in balls]
    if any(name not in kernels.KINDS for name in names) or not kernels.takes(x, compiled):
        return None
    if names == ["linf"] and not no_sync(x):
        return None  # torch's three passes are as fast as a call
    kinds = [kernels.KINDS[str(name)] for name in names]
    radii, one = _Rows(x), torch.ones(len(x), dtype=torch.int64, device=x.device)
    sizes = _Rows(x)

    def propose(x_adv: Tensor, grad: Tensor, size: Sequence[float | Tensor], keep: Tensor | None) -> Tensor:
        many = one if keep is None else keep
        out: Tensor = kernels.step_rows(x_adv, grad, x, radii([b.eps for b in balls]), sizes(size), many, kinds)
        return out

    return propose


def mover(ball: Any, x: Tensor, compiled: bool = False) -> Mover:
    """`ball.mover(x)`, fused where there is a kernel."""
    propose = proposer((ball,), x, compiled)
    if propose is None:
        plain: Mover = ball.mover(x)
        return plain
    return lambda x_adv, grad, size, keep: propose(x_adv, grad, (size,), keep)[0]


def project(ball: Any, delta: Tensor, x: Tensor) -> Tensor | None:
    """`ball.project(delta, x)` as a step of length 0 from x + delta; None where no kernel takes the images. The search
    for the level that the ball asks for is some 1,800 launches in torch's own operators."""
    propose = proposer((ball,), x) if no_sync(x) else None
    return None if propose is None else propose(x + delta, torch.zeros_like(x), (0.0,), None)[0].sub_(x)


class _Rows:
    """Numbers and (N,) tensors as one float32 (C, N) on the device of x."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.sent = torch.empty(0)  # what a recorded step reads has to stay where it is

    def __call__(self, values: Sequence[float | Tensor]) -> Tensor:
        rows, device = len(self.x), self.x.device
        if any(isinstance(v, Tensor) for v in values):
            columns = [torch.as_tensor(v, dtype=torch.float32, device=device).expand(rows) for v in values]
            return torch.stack(columns)
        self.sent = _columns(tuple(float(v) for v in values), rows, device)
        return self.sent


@functools.lru_cache(maxsize=256)
def _columns(values: tuple[float, ...], rows: int, device: torch.device) -> Tensor:
    """(C, rows) of these numbers. Kept, since sending them to a GPU waits for all that is under way there."""
    return torch.tensor(values)[:, None].expand(-1, rows).contiguous().to(device)
