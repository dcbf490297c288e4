"""The steps of an attack's loop: run one after the other, or recorded once as a CUDA graph and replayed.

On a GPU a step of a small network is hundreds of launches, each of which costs the host more than the device. A graph
replays them all at one launch. It reads and writes tensors that stay where they are, so that a recording keeps a task,
a state and a best of its own, into which every batch is copied; it is kept with the model's copy and serves all later
batches of about its size, smaller ones filled up. An attack's loop only calls `repeat_step`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mrt import checks, kernels
from mrt.crafting import cuda_graphs
from mrt.crafting.best import Best
from mrt.crafting.gradient import PassCount
from mrt.crafting.losses import LOSSES
from mrt.crafting.model_copy import ModelCopy, copies_of
from mrt.crafting.task import Task
from mrt.threats import AnyOf

State = tuple[Tensor, ...]
Step = Callable[[State, Best, Tensor | None], State]
"""(where the search stands, the best so far, entries an l1 step moves) -> where it stands next."""
MOST_RECORDINGS = 8  # of one copy of a model; the one that was not used for longest goes first
CALLS_BEFORE_RETRY = 100  # calls that run without a recording after there was too little memory, or no stream, for one

_lock = threading.RLock()  # a recording serves one caller at a time


def repeat_step(
    step_for: Callable[[Task[Any]], Step],
    settings: tuple[Any, ...],
    task: Task[Any],
    state: State,
    best: Best,
    keeps: Sequence[Tensor | None],
) -> State:
    """Make a step of `step_for(task)` for each of `keeps`, and return the state after the last one.

    The function is given rather than the step, since a recording makes the step once more, for its own task. `settings`
    is all that distinguishes this `step_for` from others: with the shapes, it tells which recording is this one's.
    """
    if keeps and _can_record(task):
        with _lock:
            recording = _recording(step_for, settings, task, state, best, keeps[0])
            if recording is not None:
                return recording.run(task, state, best, keeps)
    step = step_for(task)
    for keep in keeps:
        state = step(state, best, keep)
    return state


def recordings_of(model: nn.Module) -> int:
    """Count the steps that are recorded of that model at this moment; one that was refused is none."""
    return sum(isinstance(r, Recording) for model_copy in copies_of(model) for r in model_copy.recordings.values())


def _can_record(task: Task[Any]) -> bool:
    """Tell whether the task's steps can be recorded. The loss must be one that reads nothing but its arguments (TRADES
    closes over tensors of its batch), radii must not differ by example, and the kernels must take the images: what
    torch code computes once per batch would be recorded as a constant."""
    members = task.threat.threats if isinstance(task.threat, AnyOf) else (task.threat,)
    plain = not any(isinstance(getattr(t, "eps", None), Tensor) for t in members)
    copied = task.attacked is not None and task.attacked.model_copy is not None and task.attacked.replayable
    return task.fast.graph and copied and plain and task.goal.loss in LOSSES.values() and can_capture(task.x)


def can_capture(x: Tensor) -> bool:
    """Tell whether there are CUDA graphs, and kernels, for images such as x."""
    return x.is_cuda and kernels.takes(x, False)


def _recording(
    step_for: Callable[[Task[Any]], Step],
    settings: tuple[Any, ...],
    task: Task[Any],
    state: State,
    best: Best,
    keep: Tensor | None,
) -> Recording | None:
    """Find the recording that fits this task, or make one; None where the step cannot be recorded."""
    assert task.attacked is not None and task.attacked.model_copy is not None
    copy, rows = task.attacked.model_copy, len(task.x)
    # Sizes up to the same power of two share a recording, so that at least half of it is filled; with BatchNorm's
    # statistics over the batch what fills it up would count, so that there every size has its own.
    size = rows if task.attacked.bn == "batch" else (rows - 1).bit_length()
    # One that counts undefined gradients is the evaluator's alone: training would pay for it at every step.
    watched = task.attacked.watcher is not None
    aim = (task.goal.target is None, task.goal.any_wrong)
    form = (size, task.x.shape[1:], task.x.stride(), task.x.device, *aim, watched)
    key = (settings, task.threat, task.goal.loss, best.policy, form)
    recording: Recording | Refused | None = copy.recordings.get(key)
    if isinstance(recording, Refused) and recording.calls_left:
        recording.calls_left -= 1
        return None
    if not isinstance(recording, Recording):
        recording = _record(step_for, task, state, best, keep, rows, copy)
    elif rows > recording.size:  # made again it is large enough for all that share it
        del copy.recordings[key], recording  # its memory is given back before the new one is made
        recording = _record(step_for, task, state, best, keep, 1 << size, copy)
    copy.recordings[key] = recording
    copy.recordings.move_to_end(key)
    while len(copy.recordings) > MOST_RECORDINGS:
        copy.recordings.popitem(last=False)
    return recording if isinstance(recording, Recording) else None


def _record(
    step_for: Callable[[Task[Any]], Step],
    task: Task[Any],
    state: State,
    best: Best,
    keep: Tensor | None,
    size: int,
    copy: ModelCopy,
) -> Recording | Refused:
    """Make a recording for `size` examples, or note that none can be had, which is said once, on the caller's line. A
    lack of memory or of a stream may pass and is tried again; every other reason is for good."""
    try:
        return Recording(step_for, task, state, best, keep, size)
    except (RuntimeError, checks.ModelFailed) as error:
        short = isinstance(error, (torch.cuda.OutOfMemoryError, cuda_graphs.NoStream))
        if not copy.warned:
            copy.warned = True
            text = "there is no room to record this model's attack steps, which run without for a while"
            text = text if short else "this model's attack steps cannot be recorded and run without"
            checks.warn(f"{text}: {(str(error).strip().splitlines() or [repr(error)])[0]}")
        return Refused(CALLS_BEFORE_RETRY if short else -1)


class Refused:
    """A step that could not be recorded. `calls_left`: how many calls will not try again; negative for all."""

    def __init__(self, calls_left: int) -> None:
        self.calls_left = calls_left


class Recording:
    """One step, with a task, a state and a best of its own at fixed addresses, for up to `size` examples."""

    def __init__(
        self,
        step_for: Callable[[Task[Any]], Step],
        task: Task[Any],
        state: State,
        best: Best,
        keep: Tensor | None,
        size: int,
    ) -> None:
        goal, self.size = task.goal, size
        target = None if goal.target is None else _fill_up(goal.target, size)
        # Nothing here leads back to the copy that holds this, nor from the step to this recording: both would wait for
        # the garbage collector, which could then destroy a graph at any moment.
        watched = task.attacked is not None and task.attacked.watcher is not None
        self.undefined = torch.zeros(size, dtype=torch.int64, device=task.x.device) if watched else None
        passes = PassCount(self.undefined)
        goal, x = replace(goal, y=_fill_up(goal.y, size), target=target), _fill_up(task.x, size)
        self.task = replace(task, f=task.f.for_recording(passes), attacked=None, x=x, goal=goal)
        self.state = tuple(_fill_up(t, size) for t in state)
        self.best = Best(best.policy).start_at(x)
        self.keep = None if keep is None else _fill_up(keep, size)
        # The step is kept with the recording, since the graph goes on using whatever memory the step holds.
        self.body = _write_in_place(step_for(self.task), self.state, self.best, self.keep)
        self.body()
        self.passes = passes.stop()  # of one step: a replay does them unseen
        self.turns = cuda_graphs.Turns(task.x.device)
        self.replay = cuda_graphs.capture(self.body, task.x.device)

    def run(self, task: Task[Any], state: State, best: Best, keeps: Sequence[Tensor | None]) -> State:
        """The state after a replay for each of `keeps`, the best in `best`."""
        task.f.check_labels(self.task.f.classes)  # which a replay would not look at
        with self.turns.next():
            _load(self.task.x, task.x)
            _load(self.task.goal.y, task.goal.y)
            if self.task.goal.target is not None and task.goal.target is not None:
                _load(self.task.goal.target, task.goal.target)
            for place, values in zip((*self.state, *self.best.state), (*state, *best.state), strict=True):
                _load(place, values)
            if self.undefined is not None:
                self.undefined.zero_()
            for keep in keeps:
                if self.keep is not None and keep is not None:
                    _load(self.keep, keep)
                self.replay()
            rows = len(task.x)
            best.state = tuple(t[:rows].clone() for t in self.best.state)  # type: ignore[assignment]
            reached = tuple(t[:rows].clone() for t in self.state)
            undefined = 0 if self.undefined is None else self.undefined[:rows].sum()
        if task.attacked is not None:
            forward, backward = (count * len(keeps) * rows // self.size for count in self.passes)
            task.attacked.count_replay(forward, backward, undefined)
        return reached


def _write_in_place(step: Step, state: State, best: Best, keep: Tensor | None) -> Callable[[], None]:
    """Turn the step into a function without arguments that reads and writes those tensors where they are."""

    def body() -> None:
        held = (*state, *best.state)
        best_held = best.state
        after = (*step(state, best, keep), *best.state)
        places = {t.data_ptr() for t in held}
        # What a step hands on from one place to another must not be overwritten before it is read there.
        pairs = [(old, new) for old, new in zip(held, after, strict=True) if new is not old]
        pairs = [(old, new.clone() if new.data_ptr() in places else new) for old, new in pairs]
        for old, new in pairs:
            old.copy_(new)
        best.state = best_held

    return body


def _fill_up(values: Tensor, size: int) -> Tensor:
    """Copy the values to memory of their own, `size` rows in the same layout; rows that are left over repeat the
    first."""
    strides = values.stride() if values.stride(0) else values.contiguous().stride()
    to = torch.empty_strided((size, *values.shape[1:]), strides, dtype=values.dtype, device=values.device)
    _load(to, values)
    return to


def _load(to: Tensor, values: Tensor) -> None:
    """Write the values to that place, the first again and again where there are fewer."""
    to[: len(values)].copy_(values)
    if len(values) < len(to):
        to[len(values) :].copy_(values[:1].expand_as(to[len(values) :]))
