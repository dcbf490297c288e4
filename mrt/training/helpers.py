"""What the training loop needs besides: random states, numbers that arrive late from a GPU, averaged weights, counted
passes."""

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
    """Set Python's, numpy's and torch's global generators, which dropout and a strategy's own draws use, to a state
    that depends on these numbers alone."""
    # No random state is in a checkpoint: with this before every update a resumed run draws what an undisturbed one
    # does, with any number of processes.
    value = int(noise.seeds_of_index(torch.tensor([update]), seed, rank, GLOBAL)) % 2**63  # torch's are signed
    random.seed(value)
    np.random.seed(value % 2**32)  # the most that numpy takes
    torch.manual_seed(value)


@contextmanager
def restore_generators() -> Iterator[None]:
    """Put Python's, numpy's and torch's global generators back as they were."""
    python, arrays = random.getstate(), np.random.get_state()
    # To ask for the states of GPUs would start CUDA, which takes memory and seconds, where nobody uses it.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def check_loss(loss: object) -> Tensor:
    """A strategy's loss as it is; ValueError if one cannot descend it."""
    if isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad:
        return loss
    kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    detached = " without a gradient" if isinstance(loss, Tensor) and not loss.requires_grad else ""
    raise ValueError(f"a strategy must return a scalar that depends on the weights; got {kind}{detached}")


class LateNumbers:
    """Numbers by update, read once they have arrived from the GPU. Python's own numbers are there at once.

    To ask for a number at once would wait for all that is under way on the GPU, and leave it idle while the next update
    is prepared.
    """

    def __init__(self) -> None:
        # (update, its numbers, what tells that they have arrived: None where there is nothing to wait for)
        self.waiting: deque[tuple[int, list[float | Tensor], torch.cuda.Event | None]] = deque()

    def put(self, update: int, values: Sequence[float | Tensor]) -> None:
        """Send the values of that update on their way."""
        sent, event = list[float | Tensor](), None
        for value in values:
            if isinstance(value, Tensor):
                host = torch.empty((), dtype=torch.float32, pin_memory=True)  # a copy to other memory would wait
                sent.append(host.copy_(value.detach(), non_blocking=True))
                event = torch.cuda.current_stream(value.device).record_event()
            else:
                sent.append(value)
        self.waiting.append((update, sent, event))

    def arrived(self) -> list[tuple[int, list[float]]]:
        """Return (update, values) of those that nothing is left to wait for: on a GPU all but the latest."""
        if not self.waiting:
            return []
        _, _, latest_event = self.waiting[-1]
        return self._take(len(self.waiting) - (latest_event is not None))

    def all(self) -> list[tuple[int, list[float]]]:
        """Return (update, values) of all, and wait for those that are still under way."""
        return self._take(len(self.waiting))

    def _take(self, count: int) -> list[tuple[int, list[float]]]:
        """Return so many of the oldest, which are waited for no longer."""
        numbers = []
        for _ in range(count):
            update, values, event = self.waiting.popleft()
            if event is not None:
                event.synchronize()
            numbers.append((update, [float(value) for value in values]))
        return numbers


def update_average(mean: nn.Module, model: nn.Module, decay: float) -> None:
    """mean <- decay mean + (1 - decay) model; what is no parameter is taken over."""
    with torch.no_grad():
        for weight, new in zip(mean.parameters(), model.parameters(), strict=True):
            weight.lerp_(new, 1 - decay)
        # BatchNorm's running statistics are averages already, and its count of batches is an integer.
        for buffer, latest in zip(mean.buffers(), model.buffers(), strict=True):
            buffer.copy_(latest)


@contextmanager
def count_passes(model: nn.Module, sums: dict[str, Any]) -> Iterator[None]:
    """Add the model's passes, forward and backward, to sums["forward"] and sums["backward"] while inside.

    Every call of the model counts as one, however many images it is given.
    """

    def backward(grad: Tensor) -> None:
        sums["backward"] += 1

    def forward(module: nn.Module, inputs: Any, output: Any) -> None:
        sums["forward"] += 1
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(backward)

    # torch.compile wraps a model, and what is inside may be called by itself: a hook there counts both.
    handle = getattr(model, "_orig_mod", model).register_forward_hook(forward)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def copy_images(model: nn.Module) -> Iterator[None]:
    """Inside, the model in train mode is given copies: it may write into them, and a strategy shows images again."""

    # In eval mode it is an attack that asks, with a copy of its own.
    def copied(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return tuple(v.clone() if isinstance(v, Tensor) else v for v in inputs) if module.training else None

    handle = getattr(model, "_orig_mod", model).register_forward_pre_hook(copied)
    try:
        yield
    finally:
        handle.remove()
