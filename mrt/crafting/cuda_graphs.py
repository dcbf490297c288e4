"""CUDA graphs, made in such a way that one that fails, or is dropped, harms no other.

What can go wrong, and what is done about it:

1. A graph's memory pool dies with the last graph that uses it: every graph has a pool of its own.
2. Dropping a graph frees the workspaces of the stream that it was recorded on (torch 2.14): no two live graphs share a
   stream. The warm-up runs on that very stream, so that these workspaces are born outside the graph's pool. They stay
   (torch 2.11), so that streams are used again.
3. The garbage collector may drop a graph, which is not allowed while another is being recorded: it runs before, and
   not during, a recording.
4. A synchronisation breaks a recording off: the last warm-up runs where each is an error, so that such a model is
   refused before a recording has begun.
5. A recording that breaks off all the same leaves the process on its stream, the allocator recording to its pool (torch
   2.11) and the random generator waiting for its end: the stream is put back, the pool is closed, and a recording of
   nothing much that succeeds releases the generator.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import torch

WARM_UPS = 3
STREAMS = 32  # of a device, that torch hands out in turn before it begins again

_streams: dict[int, list[torch.cuda.Stream]] = {}  # that graphs were recorded on, by device
_recorded_on: WeakValueDictionary[tuple[int, int], torch.cuda.CUDAGraph] = WeakValueDictionary()


class NoStream(RuntimeError):
    """There are as many live graphs as streams to record on; some may go."""


def capture(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The replay of a CUDA graph of `body`, recorded after it ran WARM_UPS times, which compile what is to be compiled.
    A RuntimeError where it cannot be recorded, which changes nothing for those that can."""
    with torch.cuda.device(device):
        here, before, graph = torch.cuda.current_device(), torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        stream, pool = _free_stream(here), torch.cuda.graph_pool_handle()
        with torch.cuda.stream(before), _pause_garbage_collection():
            _warm_up(body, before, stream)
        try:
            recording = torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")
            with torch.cuda.stream(before), _pause_garbage_collection(), recording:
                body()
        except Exception:
            del graph
            _close(here, pool)
            _release_generator()
            raise
    _recorded_on[here, stream.cuda_stream] = graph
    replay: Callable[[], None] = graph.replay
    return replay


def _warm_up(body: Callable[[], None], before: torch.cuda.Stream, stream: torch.cuda.Stream) -> None:
    """Run it on that stream; the last time without a synchronisation, or a RuntimeError."""
    stream.wait_stream(before)
    try:
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS - 1):
                body()
            with _refuse_synchronisations():
                body()
    finally:
        before.wait_stream(stream)  # also what failed has work under way, in memory that is free from now on


def _close(device: int, pool: Any) -> None:
    """End the allocations to a pool, which torch 2.11 does not where a recording broke off: its allocator would never
    again give memory back. Later ones have done so by now, and refuse."""
    end, release = (getattr(torch._C, name, None) for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"))
    if end is None or release is None:
        return
    try:
        end(device, pool)
    except RuntimeError:
        return
    release(device, pool)


def _release_generator() -> None:
    """Record something that cannot fail: after a recording that broke off, random numbers on the GPU are refused until
    another has ended well."""
    number, graph = torch.zeros(1, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
        number.add_(1)


def _free_stream(device: int) -> torch.cuda.Stream:
    """A stream that no live graph was recorded on, if possible one that a graph was recorded on before."""
    made = _streams.setdefault(device, [])
    for stream in made:
        if (device, stream.cuda_stream) not in _recorded_on:
            return stream
    if len(made) == STREAMS:
        raise NoStream(f"{STREAMS} CUDA graphs are alive, as many as there are streams to record on")
    made.append(torch.cuda.Stream())
    return made[-1]


@contextmanager
def _pause_garbage_collection() -> Iterator[None]:
    """What is garbage is collected now; nothing is until the block ends."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _refuse_synchronisations() -> Iterator[None]:
    """In the block, what makes the host wait for the GPU is a RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class Turns:
    """Streams that work on the same tensors, one after the other; these belong to the stream that is current when this
    is made. On a CPU there is nothing to order."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.home = torch.cuda.current_stream(device) if device.type == "cuda" else None
        self.last: torch.cuda.Event | None = None

    @contextmanager
    def next(self) -> Iterator[None]:
        """The block's work on the current stream begins when that of the block before it has ended, whatever the
        stream that it was given to."""
        if self.home is None:
            yield
            return
        stream = torch.cuda.current_stream(self.device)
        if self.last is not None:
            stream.wait_event(self.last)
        try:
            yield
        finally:
            self.last = stream.record_event(self.last)
            if stream != self.home:  # which is given the tensors' memory when they go
                self.home.wait_event(self.last)
