"""Small helpers of the loop: random states, averaged weights, counted passes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mrt.threats import noise

GLOBAL = 6  # what these seeds are for


def seed_everything(seed: int, update: int, rank: int) -> None:
    """Python's, numpy's and torch's global generators (dropout, a strategy's own draws) as a function of these alone,
    so that a resumed run draws what an undisturbed one does."""
    value = int(noise.of_index(torch.tensor([update]), seed, rank, GLOBAL)) % 2**63
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


@contextmanager
def generators_restored() -> Iterator[None]:
    """Afterwards those generators are what they were."""
    python, arrays = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def average(mean: nn.Module, model: nn.Module, decay: float) -> None:
    """mean <- decay mean + (1 - decay) model; what is no parameter is taken over."""
    with torch.no_grad():
        for weight, new in zip(mean.parameters(), model.parameters(), strict=True):
            weight.lerp_(new, 1 - decay)
        for buffer, held in zip(mean.buffers(), model.buffers(), strict=True):
            buffer.copy_(held)


@contextmanager
def counted(model: nn.Module, sums: dict[str, Any]) -> Iterator[None]:
    """Adds the model's passes, whole or of a part's calls, to sums["forward"] and sums["backward"]."""

    def backward(grad: Tensor) -> None:
        sums["backward"] += 1

    def forward(module: nn.Module, inputs: Any, output: Any) -> None:
        sums["forward"] += 1
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(backward)

    handle = getattr(model, "_orig_mod", model).register_forward_hook(forward)  # of a compiled one, itself
    try:
        yield
    finally:
        handle.remove()
