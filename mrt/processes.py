"""One process or several (torchrun): the same code path, on results small enough to be gathered."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")
GROUPS = itertools.count()  # numbers the groups that this program makes, alike in every process
WAIT = timedelta(days=7)  # for the slowest process of one attack; torch's own limit is half an hour


@dataclass(frozen=True, eq=False)
class Processes:
    """This process's place, `rank`, among `count` of them, and torch's process group (None: the default one)."""

    rank: int = 0
    count: int = 1
    group: Any = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of their ranks, on all of them."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes that torchrun started, joined in a group over gloo; a group that stands already is used and left
    standing. Without torchrun and without a group it is one process."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    mine = dist.is_available() and not dist.is_initialized() and several
    if mine:
        # A second group in the same processes would wait for ever on what the first left in their common store.
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        store, rank, count = next(rendezvous("env://", timeout=WAIT))
        store = PrefixStore(f"mrt/{next(GROUPS)}", store)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=WAIT)
    try:
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            yield Processes()
        else:
            # What is gathered are objects in the host's memory, which the caller's nccl would send through a GPU.
            group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=WAIT)
            yield Processes(dist.get_rank(), dist.get_world_size(), group)
    finally:
        if mine:  # a caller's group is the caller's to end
            dist.destroy_process_group()
