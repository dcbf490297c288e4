"""Batches as they come, from a DataLoader or any other source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mrt import checks
from mrt.data.batches import Batch


@dataclass(eq=False)
class Stream:
    """Training data for `fit` that nobody can index: `draw` gives the next batch (x float32 in [0, 1], y int64), for
    ever; `size` examples are an epoch and `batch_size` of them an update. What was drawn is gone, so a run on a stream
    cannot be resumed."""

    draw: Callable[[], tuple[Tensor, Tensor]]
    size: int
    batch_size: int
    device: torch.device = field(default=torch.device("cpu"), kw_only=True)
    _held: tuple[int, Batch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        checks.count("size", self.size)
        checks.count("batch_size", self.batch_size)

    @staticmethod
    def of(loader: Iterable[Any], size: int | None = None, batch_size: int | None = None) -> Stream:
        """Of a torch DataLoader, again and again. Of any other iterable of pairs (x, y) say its size and batch_size."""
        size = len(getattr(loader, "dataset", ())) if size is None else size
        batch_size = getattr(loader, "batch_size", None) if batch_size is None else batch_size
        if not size or batch_size is None:
            raise ValueError(f"say the size and batch_size of a {type(loader).__name__}: only a DataLoader's are known")
        held = iter(loader)

        def draw() -> tuple[Tensor, Tensor]:
            nonlocal held
            try:
                x, y = next(held)
            except StopIteration:
                held = iter(loader)
                x, y = next(held, (None, None))
            if x is None:
                raise ValueError(f"the {type(loader).__name__} gives no batch a second time; a list or DataLoader does")
            return x, y

        return Stream(draw, size, batch_size)

    def __len__(self) -> int:
        return self.size

    def to(self, device: torch.device | str) -> Stream:
        """The same stream, its batches delivered there."""
        return replace(self, device=torch.device(device))

    def batch(self, number: int) -> Batch:
        """Batch `number` of the run: drawn once, the same again until the next one is asked for."""
        if self._held is None or self._held[0] != number:
            x, y = self.draw()
            checks.images("a batch of the stream", x)
            if x.ndim != 4:
                raise ValueError(f"a batch of the stream must have shape (N, C, H, W); got {tuple(x.shape)}")
            highest = checks.labels("its labels", y.to(x.device) if isinstance(y, Tensor) else y, x)
            if len(x) > self.batch_size:
                raise ValueError(f"batches of the stream hold at most {self.batch_size} images; got {len(x)}")
            x, y = x.to(self.device), y.to(self.device)
            if y.is_cuda:
                checks.vouch(y, 0, highest)
            index = torch.arange(len(x), device=self.device) + number * self.batch_size
            self._held = number, Batch(x, y, index, x)
        return self._held[1]
