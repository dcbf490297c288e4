"""One process or several (torchrun): the same code path, on results small enough to be gathered."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
GROUPS = itertools.count()  # numbers the groups that this program makes, alike in every process
HOURS = "MRT_WAIT_HOURS"  # the environment variable
GONE = ("closed", "reset", "refused", "Broken pipe")  # what gloo and the store say of a peer that has ended
SILENT = ("timed out", "timeout")  # and of one that does not answer


def longest_wait() -> timedelta:
    """How long a process waits for the slowest one: an hour, or MRT_WAIT_HOURS."""
    # What is waited for is at most the others' batch at hand, or the first process's writing. Torch's own half an hour
    # is short for a batch of a long search; without a limit a stopped process would hold all others for ever.
    text = os.environ.get(HOURS, "1")
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= 10_000:
        raise ValueError(f"{HOURS} must be a number of hours, above 0 and at most 10000; got {text!r}")
    return timedelta(hours=hours)


@contextmanager
def naming_lost_processes() -> Iterator[None]:
    """Where torch says in many words that another process has ended or does not answer, raise a ConnectionError that
    says so in one line."""
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if any(word in said for word in GONE):
            text = "another process of this run has ended, by an error of its own or killed, and this one cannot go on"
        elif any(word in said.lower() for word in SILENT):
            waited = longest_wait() / timedelta(hours=1)
            text = f"another process of this run has not answered for {waited:g} h: it is stopped or hangs, or a batch "
            text += f"takes it longer, for which {HOURS}=24 has this one wait for a day"
        else:
            raise
        raise ConnectionError(text) from None


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
        with naming_lost_processes():
            dist.all_gather_object(values, value, group=self.group)
        return values

    def largest(self, value: int) -> int:
        """The largest of the processes' values, on all of them: one short message."""
        if self.count == 1:
            return value
        found = torch.tensor(value)
        with naming_lost_processes():
            dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.group)
        return int(found)


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes that torchrun started, joined in a group over gloo; a group that stands already is used and left
    standing. Without torchrun and without a group it is one process."""
    several, wait = int(os.environ.get("WORLD_SIZE", "1")) > 1, longest_wait()
    mine = dist.is_available() and not dist.is_initialized() and several
    if mine:
        # A second group in the same processes would wait for ever on what the first left in their common store.
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        with naming_lost_processes():
            store, rank, count = next(rendezvous("env://", timeout=wait))
            store = PrefixStore(f"mrt/{next(GROUPS)}", store)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=wait)
    try:
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            yield Processes()
        else:
            # What is gathered are objects in the host's memory, which the caller's nccl would send through a GPU.
            group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=wait)
            yield Processes(dist.get_rank(), dist.get_world_size(), group)
    finally:
        if mine:  # a caller's group is the caller's to end
            dist.destroy_process_group()
