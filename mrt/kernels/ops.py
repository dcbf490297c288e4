"""The kernels as operators of torch (torch.ops.mrt.*), so that torch.compile, FakeTensor and CUDA graphs see them.

Each has an implementation, which allocates its result and launches a kernel, and a fake one (`register_fake`), which
says only what shape and layout come out. The modules with Triton in them are imported at the first launch, since a
machine without a GPU need not have it.
"""

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
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _triton_reaches_gpu() -> bool:
    """Whether Triton works on this machine's GPU; where it is installed and does not, with a warning."""
    if not has_triton():
        return False
    from triton.runtime import driver

    try:
        driver.active.get_current_target()  # compiles its driver first, which needs a C compiler
    except Exception as error:
        text = "attack steps on the GPU run without kernels, since Triton does not work here"
        warnings.warn(f"{text}: {error}", RuntimeWarning, stacklevel=2)
        return False
    return True


def takes(x: Tensor, compiled: bool) -> bool:
    """Whether there is a kernel for such images: on a GPU with Triton, and on a CPU where the compiled path is wanted
    and can be had (a warning says if not)."""
    if x.dtype != torch.float32:
        return False
    if x.is_cuda:
        return _triton_reaches_gpu()
    return compiled and x.device.type == "cpu" and cpu.library() is not None


@torch.library.custom_op("mrt::step_rows", mutates_args=())
def step_rows(
    x_adv: Tensor, grad: Tensor, x: Tensor, eps: Tensor, size: Tensor, keep: Tensor, kinds: Sequence[int]
) -> Tensor:
    """(C, N, ...): from x_adv (N, ...) the projected steepest step of each of C balls about x, in the layout of x. All
    of them are float32.

    `kinds` are numbers of `sizes.KINDS`; eps and size are float32 (C, N), keep is int64 (N,): the entries that an l1
    step moves.
    """
    out = _empty(x, len(kinds))
    if out.numel():
        # A kernel goes through a row's entries as they lie in memory, so all three have to lie as x does; a gradient,
        # for one, need not.
        order = memory_format(x)
        grad, x_adv, x = (t.expand_as(x).float().contiguous(memory_format=order) for t in (grad, x_adv, x))
        eps, size = (t.expand(len(kinds), len(x)).float().contiguous() for t in (eps, size))
        launch = launch_step if x.is_cuda else cpu.step_rows
        launch(grad, x_adv, x, out, eps, size, keep.expand(len(x)).long().contiguous(), list(kinds))
    proposals: Tensor = out.unflatten(0, (len(kinds), len(x)))
    return proposals


@step_rows.register_fake
def _(x_adv: Tensor, grad: Tensor, x: Tensor, eps: Tensor, size: Tensor, keep: Tensor, kinds: Sequence[int]) -> Tensor:
    proposals: Tensor = _empty(x, len(kinds)).unflatten(0, (len(kinds), len(x)))
    return proposals


def launch_step(
    grad: Tensor, x_adv: Tensor, x: Tensor, out: Tensor, eps: Tensor, size: Tensor, keep: Tensor, kinds: list[int]
) -> None:
    """Launch the Triton kernel for rows of that length, on dense tensors of one layout; it writes to `out`."""
    from mrt.kernels import long_rows, rows

    n, d = len(x), x.numel() // len(x)
    # What a kernel is compiled for: another list of balls is another kernel. The grid is one program for each example.
    constants: dict[str, Any] = {"KINDS": tuple(kinds), "COUNT": len(kinds)}
    tensors = (grad, x_adv, x, out, eps, size, keep)
    with torch.cuda.device_of(x):  # Triton launches on the current device, which need not be that of x
        if d > ON_CHIP:
            long_rows.step_long_rows[(n,)](*tensors, n, d, **constants, CHUNK=CHUNK, num_warps=8)
        else:
            parts, each, warps = layout(d)
            rows.step_rows[(n,)](*tensors, n, d, **constants, PARTS=parts, EACH=each, num_warps=warps)


@torch.library.custom_op("mrt::pick_rows", mutates_args=("best", "best_loss", "best_reached"), device_types="cuda")
def pick_rows(
    points: Tensor, logits: Tensor, aim: Tensor, best: Tensor, best_loss: Tensor, best_reached: Tensor,
    targeted: bool, reached_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """For each example, of points (C, N, ...) with logits (C, N, K), the one of largest cross-entropy: (point, loss,
    reached, number), where `reached` says whether it fools the model. Where it is better it also replaces `best`, in
    place. `aim` is the labels, or with `targeted` the targets; `reached_first` is the policy "broken" of `Best`."""
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
    """Allocate the results and launch the Triton kernel; `best` has to lie in memory as the points do."""
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
            CLASSES=1 << (classes - 1).bit_length(), CHUNK=1024,  # classes, rounded up to a power of two
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
    """Allocate the result and launch the Triton kernel."""
    from mrt.kernels import winners

    order = memory_format(parts[0])
    last = parts[-1]
    # The kernel takes three; where there are fewer the last one stands in, whose number nobody has won with.
    a, b, c = (t.contiguous(memory_format=order) for t in [*parts, last, last][:3])
    out = _empty(a, 1)
    if not a.numel():
        return out
    d = a.numel() // len(a)
    chunk = 1024
    with torch.cuda.device_of(a):
        winners.gather_rows[(len(a), -(-d // chunk))](a, b, c, winner, out, d, CHUNK=chunk)
    return out


def memory_format(x: Tensor) -> torch.memory_format:
    """The layout in which a kernel reads x: channels_last if it lies so, else contiguous. Either has the examples one
    after the other, and the order of a row's entries does not matter to a kernel."""
    # Images of one channel or one pixel are both at once, and count as contiguous.
    channels_last = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _empty(x: Tensor, times: int) -> Tensor:
    """An empty tensor with room for so many batches like x, one after the other, in the layout of x."""
    shape = (times * x.shape[0], *x.shape[1:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
