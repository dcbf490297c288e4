"""Small helpers of the loop: random states, averaged weights, counted passes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
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
    value = int(noise.seeds_of_index(torch.tensor([update]), seed, rank, GLOBAL)) % 2**63
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


@contextmanager
def restore_generators() -> Iterator[None]:
    """Afterwards those generators are what they were."""
    python, arrays = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


class LateNumbers:
    """Numbers by update, read once they have arrived from the GPU: to ask for one at once would wait for all that is
    under way there, and leave it idle while the next update is prepared. Python's own numbers are there at once."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, list[float | Tensor], torch.cuda.Event | None]] = deque()

    def put(self, update: int, values: Sequence[float | Tensor]) -> None:
        """The values of that update, which begin to travel."""
        sent, event = list[float | Tensor](), None
        for value in values:
            if isinstance(value, Tensor):
                host = torch.empty((), dtype=torch.float32, pin_memory=True)
                sent.append(host.copy_(value.detach(), non_blocking=True))
                event = torch.cuda.current_stream(value.device).record_event()
            else:
                sent.append(value)
        self.waiting.append((update, sent, event))

    def arrived(self) -> list[tuple[int, list[float]]]:
        """(update, values) of those that nothing is left to wait for: on a GPU all but the latest."""
        return self._first(len(self.waiting) - (self.waiting[-1][2] is not None)) if self.waiting else []

    def all(self) -> list[tuple[int, list[float]]]:
        """The others, too, for which this waits."""
        return self._first(len(self.waiting))

    def _first(self, count: int) -> list[tuple[int, list[float]]]:
        found = []
        for _ in range(count):
            update, values, event = self.waiting.popleft()
            if event is not None:
                event.synchronize()
            found.append((update, [float(value) for value in values]))
        return found


def update_average(mean: nn.Module, model: nn.Module, decay: float) -> None:
    """mean <- decay mean + (1 - decay) model; what is no parameter is taken over."""
    with torch.no_grad():
        for weight, new in zip(mean.parameters(), model.parameters(), strict=True):
            weight.lerp_(new, 1 - decay)
        for buffer, held in zip(mean.buffers(), model.buffers(), strict=True):
            buffer.copy_(held)


@contextmanager
def count_passes(model: nn.Module, sums: dict[str, Any]) -> Iterator[None]:
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
