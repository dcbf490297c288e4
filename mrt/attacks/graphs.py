"""CUDA graphs, made in such a way that one that fails, or is dropped, harms no other.

What can go wrong, and what is done about it:

1. A graph's memory pool dies with the last graph that uses it: every graph has a pool of its own.
2. Dropping a graph frees the workspaces of the stream that it was recorded on (torch 2.14): no two live graphs share a
   stream. The warm-up runs on that very stream, so that these workspaces are born outside the graph's pool.
3. The garbage collector may drop a graph, which is not allowed while another is being recorded: it runs before, and
   not during, a recording.
4. A synchronisation breaks a recording off: the last warm-up runs where each is an error, so that such a model is
   refused before a recording has begun.
5. A recording that breaks off all the same leaves the process on its stream and the random generator waiting for its
   end: the stream is put back, and a recording of nothing much that succeeds releases the generator.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import torch

WARM_UPS = 3
STREAMS = 32  # that torch hands out in turn before it begins again

_recorded_on: WeakValueDictionary[int, torch.cuda.CUDAGraph] = WeakValueDictionary()


def capture(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The replay of a CUDA graph of `body`, recorded after it ran WARM_UPS times, which compile what is to be compiled.
    A RuntimeError where it cannot be recorded, which changes nothing for those that can."""
    with torch.cuda.device(device):
        before, stream, graph = torch.cuda.current_stream(), _free_stream(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(before), _without_collections():
                _warm_up(body, before, stream)
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    body()
        except Exception:
            del graph
            _release_generator()
            raise
    _recorded_on[stream.cuda_stream] = graph
    replay: Callable[[], None] = graph.replay
    return replay


def _warm_up(body: Callable[[], None], before: torch.cuda.Stream, stream: torch.cuda.Stream) -> None:
    """Run it on that stream; the last time without a synchronisation, or a RuntimeError."""
    stream.wait_stream(before)
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS - 1):
            body()
        with _synchronisations_refused():
            body()
    before.wait_stream(stream)


def _release_generator() -> None:
    """Record something that cannot fail: after a recording that broke off, random numbers on the GPU are refused until
    another has ended well."""
    number, graph = torch.zeros(1, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
        number.add_(1)


def _free_stream() -> torch.cuda.Stream:
    """A stream that no live graph was recorded on."""
    for _ in range(STREAMS):
        stream = torch.cuda.Stream()
        if stream.cuda_stream not in _recorded_on:
            return stream
    raise RuntimeError(f"{STREAMS} CUDA graphs are alive, as many as there are streams to record on")


@contextmanager
def _without_collections() -> Iterator[None]:
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
def _synchronisations_refused() -> Iterator[None]:
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
    """Streams that work on the same tensors, one after the other. On a CPU there is nothing to order."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.last: torch.cuda.Event | None = None

    @contextmanager
    def next(self) -> Iterator[None]:
        """The block's work on the current stream begins when that of the block before it has ended, whatever the
        stream that it was given to."""
        if self.device.type != "cuda":
            yield
            return
        stream = torch.cuda.current_stream(self.device)
        if self.last is not None:
            stream.wait_event(self.last)
        try:
            yield
        finally:
            self.last = stream.record_event(self.last)
