"""float32 that is float32: what counts is computed without the shortcuts that a GPU takes by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

JUDGED_IN = "float32, TF32 off"  # what a report says of its numbers
FULL = ("ieee", "none")  # what an operation's fp32_precision says where nothing rounds its operands


@contextmanager
def exact() -> Iterator[None]:
    """Products and convolutions of float32 tensors keep all 24 bits of their operands: no TF32 on a GPU, no bfloat16 on
    a CPU. Afterwards torch is set as it was, however the block ended.

    torch has two sets of switches, and refuses to read the old one, `allow_tf32`, where the two disagree. A model's own
    code and torch.compile read it, so both are set, the old one first, since it overwrites the new one.
    """
    holders: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    old = [(holder, _read_old_switch(holder)) for holder in holders]
    new = [(operation, operation.fp32_precision) for operation in _operations_with_new_switch()]
    products = _matmul_precision()
    try:
        for holder, allowed in old:
            if allowed:
                holder.allow_tf32 = False
        # Setting the old switch has set some of the new ones, so each is read again.
        for operation, _ in new:
            if operation.fp32_precision not in FULL:
                operation.fp32_precision = "ieee"
        yield
    finally:
        # From the coarse to the fine: each switch overwrites finer ones, which therefore come after it.
        for holder, allowed in old:
            if allowed:
                holder.allow_tf32 = True
        if products is not None and products != _matmul_precision():  # "medium" is more than a switch can say
            torch.set_float32_matmul_precision(products)
        for operation, precision in new:
            if operation.fp32_precision != precision:
                operation.fp32_precision = precision


def _read_old_switch(holder: Any) -> bool | None:
    """What the old switch says; None where torch refuses to read it, since the caller set the new ones alone."""
    try:
        return bool(holder.allow_tf32)
    except RuntimeError:
        return None


def _matmul_precision() -> str | None:
    """What torch.set_float32_matmul_precision was told; None where other switches contradict it."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _operations_with_new_switch() -> list[Any]:
    """The kinds of operations that have a switch of their own."""
    backends: Any = torch.backends  # whose types leave some of these out
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    return [cudnn.conv, cudnn.rnn, backends.cuda.matmul, mkldnn.conv, mkldnn.rnn, mkldnn.matmul]
