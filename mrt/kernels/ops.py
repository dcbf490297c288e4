"""The kernels as operators of torch (torch.ops.mrt.*), so that torch.compile, FakeTensor and CUDA graphs see them."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrt.kernels import cpu
from mrt.kernels.sizes import CHUNK, ON_CHIP, layout


@functools.cache
def has_triton() -> bool:
    """Is Triton here?"""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _works() -> bool:
    """Does it reach the GPU? It compiles its driver first, which needs a C compiler."""
    if not has_triton():
        return False
    from triton.runtime import driver

    try:
        driver.active.get_current_target()
    except Exception as error:
        said = "attack steps on the GPU run without kernels, since Triton does not work here"
        warnings.warn(f"{said}: {error}", RuntimeWarning, stacklevel=2)
        return False
    return True


def takes(x: Tensor, compiled: bool) -> bool:
    """Is there a kernel for such images: on a GPU with Triton, and on a CPU where the compiled path is wanted and can
    be had (a warning says if not)?"""
    if x.dtype != torch.float32:
        return False
    return _works() if x.is_cuda else compiled and x.device.type == "cpu" and cpu.library() is not None


@torch.library.custom_op("mrt::step_rows", mutates_args=())
def step_rows(
    x_adv: Tensor, grad: Tensor, x: Tensor, eps: Tensor, size: Tensor, keep: Tensor, kinds: Sequence[int]
) -> Tensor:
    """(C, N, ...): from x_adv (N, ...) the projected steepest step of each of C balls about x, in the layout of x.
    float32 all.

    `kinds` are numbers of `sizes.KINDS`; eps and size are float32 (C, N), keep is int64 (N,): the entries that an l1
    step moves.
    """
    out = _empty(x, len(kinds))
    if out.numel():
        layout = memory_format(x)
        grad, x_adv, x = (t.expand_as(x).float().contiguous(memory_format=layout) for t in (grad, x_adv, x))
        eps, size = (t.expand(len(kinds), len(x)).float().contiguous() for t in (eps, size))
        launch = launch_step if x.is_cuda else cpu.step_rows
        launch(grad, x_adv, x, out, eps, size, keep.expand(len(x)).long().contiguous(), list(kinds))
    together: Tensor = out.unflatten(0, (len(kinds), len(x)))
    return together


@step_rows.register_fake
def _(x_adv: Tensor, grad: Tensor, x: Tensor, eps: Tensor, size: Tensor, keep: Tensor, kinds: Sequence[int]) -> Tensor:
    together: Tensor = _empty(x, len(kinds)).unflatten(0, (len(kinds), len(x)))
    return together


def launch_step(
    grad: Tensor, x_adv: Tensor, x: Tensor, out: Tensor, eps: Tensor, size: Tensor, keep: Tensor, kinds: list[int]
) -> None:
    """The Triton kernel for rows of that length, on dense tensors of one layout."""
    from mrt.kernels import long_rows, rows

    n, d = len(x), x.numel() // len(x)
    how: dict[str, Any] = {"KINDS": tuple(kinds), "COUNT": len(kinds)}
    with torch.cuda.device_of(x):
        if d > ON_CHIP:
            long_rows.step_long_rows[(n,)](grad, x_adv, x, out, eps, size, keep, n, d, **how, CHUNK=CHUNK, num_warps=8)
        else:
            parts, each, warps = layout(d)
            rows.step_rows[(n,)](
                grad, x_adv, x, out, eps, size, keep, n, d, **how, PARTS=parts, EACH=each, num_warps=warps
            )


@torch.library.custom_op("mrt::pick_rows", mutates_args=("best", "best_loss", "best_reached"), device_types="cuda")
def pick_rows(
    points: Tensor, logits: Tensor, aim: Tensor, best: Tensor, best_loss: Tensor, best_reached: Tensor,
    targeted: bool, reached_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Of points (C, N, ...) with logits (C, N, K) each example's one of largest cross-entropy: (point, loss, reached,
    number). Where it is better it also replaces `best`, in place."""
    return launch_pick(points, logits, aim, best, best_loss, best_reached, targeted, reached_first)


@pick_rows.register_fake
def _(
    points: Tensor, logits: Tensor, aim: Tensor, best: Tensor, best_loss: Tensor, best_reached: Tensor,
    targeted: bool, reached_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    n = aim.new_empty(len(aim))
    return torch.empty_like(points[0]), torch.empty_like(best_loss), torch.empty_like(best_reached), n


def launch_pick(
    points: Tensor, logits: Tensor, aim: Tensor, best: Tensor, best_loss: Tensor, best_reached: Tensor,
    targeted: bool, reached_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The Triton kernel; `best` lies in memory as the points do."""
    from mrt.kernels import winners

    count, n, classes = logits.shape
    d = best.numel() // n
    out = torch.empty_like(points[0])
    loss, reached = torch.empty_like(best_loss), torch.empty_like(best_reached)
    winner = torch.empty_like(aim)
    with torch.cuda.device_of(points):
        winners.pick_rows[(n,)](
            points, logits.contiguous(), aim, out, loss, reached, winner, best, best_loss, best_reached, n, d, classes,
            COUNT=count, TARGETED=targeted, REACHED_FIRST=reached_first,
            CLASSES=1 << (classes - 1).bit_length(), CHUNK=1024,
        )  # fmt: skip
    return out, loss, reached, winner


@torch.library.custom_op("mrt::gather_rows", mutates_args=(), device_types="cuda")
def gather_rows(parts: Sequence[Tensor], winner: Tensor) -> Tensor:
    """(N, ...): row n of parts[winner[n]], for up to three parts of one shape and type."""
    return launch_gather(parts, winner)


@gather_rows.register_fake
def _(parts: Sequence[Tensor], winner: Tensor) -> Tensor:
    return _empty(parts[0], 1)


def launch_gather(parts: Sequence[Tensor], winner: Tensor) -> Tensor:
    """The Triton kernel."""
    from mrt.kernels import winners

    layout = memory_format(parts[0])
    last = parts[-1]
    a, b, c = (t.contiguous(memory_format=layout) for t in [*parts, last, last][:3])
    out = _empty(a, 1)
    if not a.numel():
        return out
    d = a.numel() // len(a)
    chunk = 1024
    with torch.cuda.device_of(a):
        winners.gather_rows[(len(a), -(-d // chunk))](a, b, c, winner, out, d, CHUNK=chunk)
    return out


def memory_format(x: Tensor) -> torch.memory_format:
    """How a kernel reads x: as it lies, if that is row by row."""
    last = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _empty(x: Tensor, times: int) -> Tensor:
    """Room for so many batches like x, one after the other."""
    shape = (times * x.shape[0], *x.shape[1:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
