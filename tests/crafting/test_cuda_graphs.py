"""mrt/crafting/cuda_graphs.py: A graph that cannot be recorded, or is dropped, harms no other. On a pretended CUDA
device."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mrt.crafting import cuda_graphs
from tests.pretend import Gpu, pretending

CUDA = torch.device("cuda:0")


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    with pretending() as device:
        yield device


def adding(number: Tensor) -> Callable[[], None]:
    def body() -> None:
        number.add_(1).mul_(1).sub_(0)

    return body


class Breaking:
    """A body that is harmless until it is recorded, and then waits for the device."""

    def __init__(self, gpu: Gpu, number: Tensor) -> None:
        self.gpu, self.number = gpu, number

    def __call__(self) -> None:
        self.number.add_(1)
        if self.gpu.tape is not None:
            torch.cuda.current_stream().synchronize()


def test_a_replay_does_what_the_body_did(gpu: Gpu) -> None:
    number = torch.zeros(2, device="cuda")
    replay = cuda_graphs.capture(adding(number), CUDA)
    warm = float(number[0])
    assert warm == cuda_graphs.WARM_UPS + 1, "a pretended recording computes, too"
    replay()
    assert float(number[0]) == warm + 1 and gpu.counts.recorded == 1


def test_the_warm_up_runs_on_the_graphs_own_stream(gpu: Gpu) -> None:
    """So that a stream's workspaces are born outside the graph's memory; afterwards the caller's stream is back."""
    before, seen = gpu.stream, list[Any]()

    def body() -> None:
        seen.append(gpu.stream)
        torch.zeros(1, device="cuda").add_(1)

    cuda_graphs.capture(body, CUDA)
    assert len(seen) == cuda_graphs.WARM_UPS + 1 and len(set(seen)) == 1 and seen[0] is not before
    assert gpu.stream is before


def test_the_streams_wait_for_each_other(gpu: Gpu) -> None:
    """The warm-up begins when what was asked for before it has ended, and what comes after it waits for it; also where
    it fails, since its memory is free from then on."""
    number, before = torch.zeros(1, device="cuda"), gpu.stream

    def body() -> None:
        gpu.log.append(("body", gpu.stream, None))
        number.add_(1)

    def failing() -> None:
        body()
        raise ValueError("half way")

    replay: Any = cuda_graphs.capture(body, CUDA)
    own = replay.__self__.recorded_on
    ran = ("body", own, None)
    assert gpu.log == [("stream", own, before), *[ran] * cuda_graphs.WARM_UPS, ("stream", before, own), ran]
    gpu.log.clear()
    with pytest.raises(ValueError, match="half way"):
        cuda_graphs.capture(failing, CUDA)
    (_, other, _), *_ = gpu.log
    assert gpu.log == [("stream", other, before), ("body", other, None), ("stream", before, other)]


def test_each_graph_has_a_pool_of_its_own_and_leaves_other_threads_alone(gpu: Gpu) -> None:
    number = torch.zeros(1, device="cuda")
    made: list[Any] = [cuda_graphs.capture(adding(number), CUDA) for _ in range(3)]
    assert len({replay.__self__.pool for replay in made}) == 3
    assert {replay.__self__.how["capture_error_mode"] for replay in made} == {"thread_local"}
    assert not gpu.open_pools and not gpu.released


def test_a_stream_is_used_again(gpu: Gpu) -> None:
    """It has workspaces, which torch 2.11 never frees."""
    number, used = torch.zeros(1, device="cuda"), set[int]()
    for _ in range(5):
        replay: Any = cuda_graphs.capture(adding(number), CUDA)
        used.add(replay.__self__.recorded_on.cuda_stream)
        del replay
    assert len(used) == 1


def test_live_graphs_share_no_stream(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping one would free the workspaces of its stream under the others; when all are taken nothing is recorded,
    until one has gone."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # which takes a second for all of these
    number, replays = torch.zeros(1, device="cuda"), list[Any]()
    with pytest.raises(cuda_graphs.NoStream, match="as many as there are streams"):
        for _ in range(2 * cuda_graphs.STREAMS):
            replays.append(cuda_graphs.capture(adding(number), CUDA))
    streams = [replay.__self__.recorded_on.cuda_stream for replay in replays]
    assert len(set(streams)) == len(streams) >= cuda_graphs.STREAMS
    freed = replays.pop(5).__self__.recorded_on.cuda_stream
    again: Any = cuda_graphs.capture(adding(number), CUDA)
    assert again.__self__.recorded_on.cuda_stream == freed


def test_a_body_that_looks_at_a_value_is_refused_before_a_recording_begins(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, begun, plain = torch.zeros(1, device="cuda"), list[int](), torch.cuda.graph

    def graph(*given: Any, **how: Any) -> Any:
        begun.append(gpu.sync_debug)
        return plain(*given, **how)

    monkeypatch.setattr(torch.cuda, "graph", graph)

    def looking() -> None:
        number.add_(number.sum().item())

    with pytest.raises(RuntimeError):
        cuda_graphs.capture(looking, CUDA)
    assert not begun
    assert gpu.sync_debug == 0 and float(number[0]) == 0
    cuda_graphs.capture(adding(number), CUDA)()


@pytest.mark.parametrize("later", [False, True])
def test_a_recording_that_breaks_off_leaves_nothing_behind(gpu: Gpu, later: bool) -> None:
    """The stream is the caller's, the allocator records to no pool any more (which a later torch sees to itself), a
    recording that succeeds has released the generator, others go on, and a new one can be made."""
    number, before, gpu.closes_pools = torch.zeros(1, device="cuda"), gpu.stream, later
    first = cuda_graphs.capture(adding(number), CUDA)
    recorded = gpu.counts.recorded
    with pytest.raises(RuntimeError):
        cuda_graphs.capture(Breaking(gpu, number), CUDA)
    assert gpu.stream is before and gpu.tape is None and gc.isenabled()
    assert gpu.counts.recorded == recorded + 1
    assert not gpu.open_pools and len(gpu.released) == (not later)
    number.zero_()
    first()
    cuda_graphs.capture(adding(number), CUDA)()
    assert float(number[0]) == 2 + cuda_graphs.WARM_UPS + 1


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_comes_before_a_recording_and_not_during_it(gpu: Gpu, enabled: bool) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.own = self

    found: list[tuple[bool, bool]] = []
    if not enabled:
        gc.disable()
    try:
        gone, number = weakref.ref(Cycle()), torch.zeros(1, device="cuda")

        def body() -> None:
            number.add_(1)
            found.append((gone() is None, gc.isenabled()))

        cuda_graphs.capture(body, CUDA)
        assert set(found) == {(True, False)} and gc.isenabled() == enabled
    finally:
        gc.enable()


def test_streams_take_turns(gpu: Gpu) -> None:
    """Each waits for what the one before was given last, also where that failed half way; and the stream to which the
    memory belongs for all of them."""
    home, one, other = gpu.stream, *(torch.cuda.Stream() for _ in range(2))
    turns = cuda_graphs.Turns(CUDA)
    with torch.cuda.stream(one), turns.next():
        assert not gpu.log
    assert gpu.log == [("event", home, one)]
    with pytest.raises(KeyError), torch.cuda.stream(other), turns.next():
        assert gpu.log[1:] == [("event", other, one)]
        raise KeyError
    assert gpu.log[2:] == [("event", home, other)]
    with turns.next():
        assert gpu.log[3:] == [("event", home, other)]
    assert len(gpu.log) == 4 and vars(turns.last)["recorded_on"] is home


def test_on_a_cpu_there_are_no_turns_to_take() -> None:
    turns = cuda_graphs.Turns(torch.device("cpu"))
    with turns.next():
        pass
    assert turns.last is None
