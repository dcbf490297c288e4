"""The steps of an attack's loop: run one after the other, or recorded once as a CUDA graph and replayed.

A recorded step reads and writes tensors that stay where they are, so a recording is kept with the model's twin and
serves every later batch of its shape, and smaller ones, filled up.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mrt import kernels
from mrt.attacks.losses import LOSSES
from mrt.attacks.task import Best, Task
from mrt.threats import AnyOf

State = tuple[Tensor, ...]
Step = Callable[[State, Best, Tensor | None], State]
"""(where the search stands, the best so far, entries an l1 step moves) -> where it stands next."""
KEPT = 8  # recordings of one model
AT_LEAST = 0.5  # of a recording's batch must be filled

_pools: dict[torch.device, Any] = {}
_lock = threading.RLock()  # recordings share memory: one replays at a time


def walked(
    make: Callable[[Task[Any]], Step],
    settings: tuple[Any, ...],
    task: Task[Any],
    state: State,
    best: Best,
    keeps: Sequence[Tensor | None],
) -> State:
    """The state after a step of `make(task)` for each of `keeps`. `settings` is all that distinguishes this `make` from
    others: with the shapes, it tells which recording is this one's."""
    if keeps and _capturable(task):
        with _lock:
            recording = _recording(make, settings, task, state, best, keeps[0])
            if recording is not None:
                return recording.run(task, state, best, keeps)
    step = make(task)
    for keep in keeps:
        state = step(state, best, keep)
    return state


def _capturable(task: Task[Any]) -> bool:
    """Can its steps be recorded? The loss must be one that reads nothing but its arguments, and the kernels must take
    the images: what torch code computes once per batch would be recorded as a constant."""
    members = task.threat.threats if isinstance(task.threat, AnyOf) else (task.threat,)
    plain = not any(isinstance(getattr(t, "eps", None), Tensor) for t in members)
    twin = task.seen is not None and task.seen.twin is not None and not task.seen.watched  # a replay shows nobody
    return task.fast.graph and twin and plain and task.goal.loss in LOSSES.values() and ready(task.x)


def ready(x: Tensor) -> bool:
    """Are there CUDA graphs, and kernels, for it?"""
    return x.is_cuda and kernels.takes(x, False)


def _recording(
    make: Callable[[Task[Any]], Step],
    settings: tuple[Any, ...],
    task: Task[Any],
    state: State,
    best: Best,
    keep: Tensor | None,
) -> Recording | None:
    """One that fits, made if there is none; None if all that is there is too large, or the step cannot be recorded."""
    assert task.seen is not None and task.seen.twin is not None
    held, rows = task.seen.twin.captured, len(task.x)
    form = (task.x.shape[1:], task.x.stride(), task.x.device, task.goal.target is None, task.goal.any_wrong)
    key = (settings, keep is None, task.threat, task.goal.loss, best.policy, form)
    found: Recording | None = held.get(key)
    least = 1.0 if task.seen.bn == "batch" else AT_LEAST  # examples that fill up would be in the batch's statistics
    if found is None and key in held or found is not None and rows < least * found.size:
        return None
    if found is None or rows > found.size:
        try:
            found = held[key] = Recording(make, task, state, best, keep)
        except RuntimeError as error:
            held[key] = None
            warnings.warn(f"this model's attack steps cannot be recorded and run without: {error}", stacklevel=2)
            return None
    held.move_to_end(key)
    while len(held) > KEPT:
        held.popitem(last=False)
    return found


class Recording:
    """One step, with a task, a state and a best of its own at fixed addresses."""

    def __init__(
        self, make: Callable[[Task[Any]], Step], task: Task[Any], state: State, best: Best, keep: Tensor | None
    ) -> None:
        goal, self.size = task.goal, len(task.x)
        target = None if goal.target is None else goal.target.clone()
        # Nothing here leads back to the twin that holds this: both would wait for the garbage collector.
        self.task = replace(
            task, f=task.f.alone(), seen=None, x=task.x.clone(), goal=replace(goal, y=goal.y.clone(), target=target)
        )
        self.state = tuple(t.clone() for t in state)
        self.best = Best(best.policy).begin(task.x)
        self.keep = None if keep is None else keep.clone()
        step = make(self.task)

        def body() -> None:
            held = self.best.held
            state = step(self.state, self.best, self.keep)
            for old, new in zip((*self.state, *held), (*state, *self.best.held), strict=True):
                if new is not old:
                    old.copy_(new)
            self.best.held = held

        self.body = body  # and with it whatever its memory is
        self.replay = capture(body, task.x.device)

    def run(self, task: Task[Any], state: State, best: Best, keeps: Sequence[Tensor | None]) -> State:
        """The state after a replay for each of `keeps`, the best in `best`."""
        task.f.check_labels(self.task.f.classes)  # which a replay would not look at
        _load(self.task.x, task.x)
        _load(self.task.goal.y, task.goal.y)
        if self.task.goal.target is not None and task.goal.target is not None:
            _load(self.task.goal.target, task.goal.target)
        for mine, given in zip((*self.state, *self.best.held), (*state, *best.held), strict=True):
            _load(mine, given)
        for keep in keeps:
            if self.keep is not None and keep is not None:
                _load(self.keep, keep)
            self.replay()
        rows = len(task.x)
        best.held = tuple(t[:rows].clone() for t in self.best.held)  # type: ignore[assignment]
        return tuple(t[:rows].clone() for t in self.state)


def _load(to: Tensor, values: Tensor) -> None:
    """Write them there, the first again and again where they are fewer."""
    to[: len(values)].copy_(values)
    if len(values) < len(to):
        to[len(values) :].copy_(values[:1].expand_as(to[len(values) :]))


def capture(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A CUDA graph of it, after three runs on the side: these compile what is to be compiled."""
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                body()
        torch.cuda.current_stream().wait_stream(aside)
        pool = _pools.setdefault(device, torch.cuda.graph_pool_handle())  # one for all: no two replay at the same time
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            body()
    replay: Callable[[], None] = graph.replay
    return replay
