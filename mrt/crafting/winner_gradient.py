"""One backward pass through each example's own winner among several forward passes, none of which is repeated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from mrt import kernels
from mrt.crafting.gradient import finite_or_zero, input_grad
from mrt.crafting.task import Task
from mrt.protocols import Model
from mrt.threats.projections import no_sync

CHECKED_EVERY = 100  # calls


class ForwardPasses:
    """Forward passes of several batches of one size, each recorded for a backward pass.

    `grad(winner)` goes back through the graph of the first batch alone, and hands it, wherever it asks for a tensor
    that was saved, each example's rows from the pass that it won. Exact if examples do not see each other.
    """

    def __init__(self, f: Model, points: Tensor | list[Tensor], objective: Callable[[Tensor], Tensor]) -> None:
        self.saved = _SavedTensors(
            len(points)
        )  # no way from there to the graphs that hold it: else they would never be freed
        with torch.enable_grad():
            self.inputs = [point.detach().requires_grad_() for point in points]
            self.losses, logits = [], []
            for number, point in enumerate(self.inputs):
                with self.saved.record(number):
                    answer = f(point)
                    self.losses.append(objective(answer))
                    logits.append(answer.detach())
        self.logits = torch.stack(logits)

    def grad(self, winner: Tensor) -> Tensor:
        """Row n: the gradient of the objective at points[winner[n], n]."""
        first = self.losses[0]
        if not first.requires_grad:
            raise ValueError("the model's output does not depend differentiably on its input")
        self.saved.choose(winner)
        return finite_or_zero(torch.autograd.grad(first, self.inputs[0], torch.ones_like(first))[0])


class _SavedTensors:
    """What each pass saved, in order, and what of it belongs to the winners."""

    def __init__(self, passes: int) -> None:
        self.tensors: list[list[Tensor]] = [[] for _ in range(passes)]
        self.winner = torch.empty(0)
        self.gathered: dict[Any, Tensor] = {}
        self.rows: list[Tensor] = []

    def record(self, number: int) -> AbstractContextManager[None]:
        """In this context graphs save to pass `number`."""
        saved = self.tensors[number]

        def pack(tensor: Tensor) -> int:
            saved.append(tensor.detach())
            return len(saved) - 1

        return torch.autograd.graph.saved_tensors_hooks(pack, self.winners)

    def choose(self, winner: Tensor) -> None:
        """(N,): from now on each example's rows come from that pass."""
        self.winner = winner
        if not no_sync(winner):
            self.rows = [(winner == number).nonzero().squeeze(1) for number in range(len(self.tensors))]

    def winners(self, place: int) -> Tensor:
        """What the winners saved there."""
        parts = [saved[place] for saved in self.tensors]
        first = parts[0]
        shared = all(part.data_ptr() == first.data_ptr() for part in parts[1:])
        if shared or first.ndim == 0 or len(first) != len(self.winner):
            return first  # a weight, a statistic, a constant; `check_examples_apart` has found out if it was more than that
        key = (first.data_ptr(), first.shape, first.stride(), first.dtype)  # saved by two operations, gathered once
        if key not in self.gathered:
            self.gathered[key] = self._gather(parts)
        return self.gathered[key]

    def _gather(self, parts: list[Tensor]) -> Tensor:
        if not no_sync(parts[0]):
            out = torch.empty_like(parts[0])
            for part, rows in zip(parts, self.rows, strict=True):
                out.index_copy_(0, rows, part.index_select(0, rows))
            return out
        if parts[0].is_cuda and kernels.has_triton() and len(parts) <= 3:
            gathered: Tensor = kernels.gather_rows(parts, self.winner)
            return gathered
        out, shape = parts[0], (-1, *[1] * (parts[0].ndim - 1))
        for number, part in enumerate(parts[1:], 1):
            out = torch.where((self.winner == number).view(shape), part, out)
        return out


def check_examples_apart(task: Task[Any], points: Tensor | list[Tensor]) -> None:
    """ValueError unless the gradient through such passes is the plain one, example by example: looked at in one call
    out of EVERY for a model and a shape, in each for a callable that is no module."""
    twin, count, n = task.attacked.model_copy if task.attacked is not None else None, len(points), len(task.x)
    form = (points[0].shape, count)
    seen = 0 if twin is None else twin.checked_calls.get(form, 0)
    if twin is not None and seen % CHECKED_EVERY:
        twin.checked_calls[form] = seen + 1
        return
    rows = torch.arange(n, device=task.x.device)
    winner = (rows + 1) % count  # never the first for an example alone
    mixed = torch.stack(list(points))[winner, rows]
    plain = input_grad(task.f, mixed, task.goal)[0].flatten(1)
    found = ForwardPasses(task.f, points, task.goal).grad(winner).flatten(1)
    gap = float(((found - plain).norm(dim=1) / plain.norm(dim=1).clamp(min=1e-30)).amax())
    allowed = 1e-3 if task.fast.precision == "float32" else 1e-2
    if not gap <= allowed:
        raise ValueError(
            "Fast(reuse=True) needs a model that keeps examples apart, in what its layers save for the backward pass, "
            "too (InstanceNorm and LSTM do not): its gradient for a batch of winners is off by "
            f"{gap:.1e} of its length, more than {allowed:g}"
        )
    if twin is not None and bool((plain != 0).any(1).all()):  # a gradient of zero proves nothing
        twin.checked_calls[form] = seen + 1
