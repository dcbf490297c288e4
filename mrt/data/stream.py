"""Training data that comes in batches and cannot be indexed, from a DataLoader or any other source."""

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
    # The batch drawn last, and its number: asked for it a second time, the stream has to give it again.
    _latest: Batch | None = field(default=None, init=False, repr=False)
    _latest_number: int = field(default=-1, init=False, repr=False)

    def __post_init__(self) -> None:
        checks.count("size", self.size)
        checks.count("batch_size", self.batch_size)

    @staticmethod
    def of(loader: Iterable[Any], size: int | None = None, batch_size: int | None = None) -> Stream:
        """A stream of a torch DataLoader, again and again. Of any other iterable of pairs (x, y) say its size and
        batch_size."""
        size = len(getattr(loader, "dataset", ())) if size is None else size
        batch_size = getattr(loader, "batch_size", None) if batch_size is None else batch_size
        if not size or batch_size is None:
            raise ValueError(f"say the size and batch_size of a {type(loader).__name__}: only a DataLoader's are known")
        iterator = iter(loader)

        def draw() -> tuple[Tensor, Tensor]:
            nonlocal iterator
            try:
                x, y = next(iterator)
            except StopIteration:
                # The next round: a DataLoader begins anew, a generator that has run out has nothing more to give.
                iterator = iter(loader)
                x, y = next(iterator, (None, None))
            if x is None:
                raise ValueError(f"the {type(loader).__name__} gives no batch a second time; a list or DataLoader does")
            return x, y

        return Stream(draw, size, batch_size)

    def __len__(self) -> int:
        return self.size

    def to(self, device: torch.device | str) -> Stream:
        """The same stream, its batches delivered on that device."""
        return replace(self, device=torch.device(device))

    def batch(self, number: int) -> Batch:
        """Batch `number` of the run: drawn once, the same again until the next one is asked for."""
        if self._latest is None or self._latest_number != number:
            x, y = self.draw()
            checks.images("a batch of the stream", x)
            if x.ndim != 4:
                raise ValueError(f"a batch of the stream must have shape (N, C, H, W); got {tuple(x.shape)}")
            highest = checks.labels("its labels", y.to(x.device) if isinstance(y, Tensor) else y, x)
            if len(x) > self.batch_size:
                raise ValueError(f"batches of the stream hold at most {self.batch_size} images; got {len(x)}")
            x, y = x.to(self.device), y.to(self.device)
            # Nobody but the loop gets these labels, and they have just been looked at: on a GPU, where a look makes the
            # host wait, attacks are spared a second one.
            if y.is_cuda:
                checks.vouch(y, 0, highest)
            # Numbers that no earlier batch had, as an example's noise comes from its index.
            index = torch.arange(len(x), device=self.device) + number * self.batch_size
            self._latest, self._latest_number = Batch(x, y, index, x), number
        return self._latest
