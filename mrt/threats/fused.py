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
    """A function that makes one fused step of each of those balls about x; None where no kernel takes them."""
    # One kernel makes the steps of any list of balls: a single step is a list of one, MSD's proposals a list of three.
    # A Ball of somebody else's has no `kernel`, and so none takes it.
    names = [getattr(ball, "kernel", None) for ball in balls]
    if any(name not in kernels.KINDS for name in names) or not kernels.takes(x, compiled):
        return None
    if names == ["linf"] and not no_sync(x):
        return None  # torch's three passes are as fast as a call
    kinds = [kernels.KINDS[str(name)] for name in names]
    # Two, since each keeps what it has sent for as long as the steps may read it.
    radii, sizes = _Rows(x), _Rows(x)
    ones = torch.ones(len(x), dtype=torch.int64, device=x.device)

    def propose(x_adv: Tensor, grad: Tensor, size: Sequence[float | Tensor], keep: Tensor | None) -> Tensor:
        counts = ones if keep is None else keep
        out: Tensor = kernels.step_rows(x_adv, grad, x, radii([b.eps for b in balls]), sizes(size), counts, kinds)
        return out

    return propose


def mover(ball: Any, x: Tensor, compiled: bool = False) -> Mover:
    """`ball.mover(x)`, fused where there is a kernel for it; up to rounding it is the same step."""
    propose = proposer((ball,), x, compiled)
    if propose is None:
        plain: Mover = ball.mover(x)
        return plain
    return lambda x_adv, grad, size, keep: propose(x_adv, grad, (size,), keep)[0]  # of a list of one ball


def project(ball: Any, delta: Tensor, x: Tensor) -> Tensor | None:
    """`ball.project(delta, x)` as a step of length 0 from x + delta; None where no kernel takes the images, and on a
    CPU. The search for the level that the ball asks for is some 1,800 launches in torch's own operators."""
    propose = proposer((ball,), x) if no_sync(x) else None
    return None if propose is None else propose(x + delta, torch.zeros_like(x), (0.0,), None)[0].sub_(x)


class _Rows:
    """Called with C numbers or (N,) tensors, it gives them as one float32 (C, N) on the device of x."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        # A recorded step (a CUDA graph) reads its numbers where they lay at the recording: that memory stays theirs.
        self.sent = torch.empty(0)

    def __call__(self, values: Sequence[float | Tensor]) -> Tensor:
        rows, device = len(self.x), self.x.device
        if any(isinstance(v, Tensor) for v in values):
            columns = [torch.as_tensor(v, dtype=torch.float32, device=device).expand(rows) for v in values]
            return torch.stack(columns)
        self.sent = _columns(tuple(float(v) for v in values), rows, device)
        return self.sent


@functools.lru_cache(maxsize=256)
def _columns(values: tuple[float, ...], rows: int, device: torch.device) -> Tensor:
    """float32 (C, rows) with one of these numbers in each row."""
    # Cached, since sending numbers to a GPU waits for all that is under way there.
    return torch.tensor(values)[:, None].expand(-1, rows).contiguous().to(device)
