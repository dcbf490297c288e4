"""`mrt.fit` watched from inside, through the strategy that it calls once an update."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from mrt.crafting.recorded_steps import recordings_of
from mrt.fast import Fast
from mrt.protocols import Step


class Watched:
    """A strategy; before update `index` it calls `before[index]`, or `before[None]` where there is none."""

    def __init__(self, strategy: Any, before: Mapping[int | None, Callable[[nn.Module, Step], None]]) -> None:
        self.strategy, self.before = strategy, before

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Any:
        call = self.before.get(step.index, self.before.get(None))
        if call is not None:
            call(model, step)
        return self.strategy(model, x, y, step)


def clock(device: torch.device) -> float:
    """Seconds so far, once the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def noise_set(shape: tuple[int, int, int], batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of noise with labels, four batches of them."""
    return torch.rand(4 * batch, *shape, device=device), torch.arange(4 * batch, device=device) % 10


def pace(
    model: nn.Module, strategy: Any, data: Any, fast: Fast, updates: tuple[int, int], **how: Any
) -> tuple[float, bool]:
    """Seconds of one of `updates[1]` updates of `mrt.fit`, in the same fit after `updates[0]` others; and whether any
    step was recorded by then."""
    first, count = updates
    device, times = next(model.parameters()).device, dict[int, float]()
    recorded = [False]

    def stamp(model: nn.Module, step: Step) -> None:
        times[step.index] = clock(device)
        recorded[0] = recordings_of(model) > 0

    watched = Watched(strategy, {first: stamp, first + count: stamp})
    mrt.fit(model, watched, data, iterations=first + count + 1, fast=fast, device=str(device), progress=False, **how)
    return (times[first + count] - times[first]) / count, recorded[0]
