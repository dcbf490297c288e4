"""One backward pass through each example's own winner among several forward passes, none of which is repeated.

MSD shows the model one batch for each ball and then needs the gradient at the winners. Asking again would cost one
forward pass more. Instead the graph of the first batch is walked back, and wherever it asks for a tensor that was saved
on the way forward it is handed one whose rows are those of each example's winner. That is exact if no example sees
another.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from mrt import checks, kernels
from mrt.crafting.gradient import climbing, finite_or_zero, input_grad
from mrt.crafting.model_failure import differentiate
from mrt.crafting.task import Task
from mrt.protocols import Model
from mrt.threats.projections import no_sync

CHECKED_EVERY = 100  # calls of a model with one shape, of which one is compared with the plain gradient


class ForwardPasses:
    """Forward passes of several batches of one size (N, C, H, W), each recorded for a backward pass. `grad(winner)`
    then goes back through the graph of the first one, on what the winners saved."""

    def __init__(self, f: Model, points: Tensor | list[Tensor], objective: Callable[[Tensor], Tensor]) -> None:
        # It must hold no way to the graphs, which hold it: they would never be freed, with all their activations.
        self.saved = _SavedTensors(len(points))
        with torch.enable_grad(), climbing():
            self.inputs = [point.detach().requires_grad_() for point in points]
            self.losses, logits = [], []
            for number, point in enumerate(self.inputs):
                with self.saved.record(number):
                    answer = f(point)
                    self.losses.append(objective(answer))
                    logits.append(answer.detach())
        self.logits = torch.stack(logits)

    def grad(self, winner: Tensor) -> Tensor:
        """Row n is the gradient of the objective at points[winner[n], n]."""
        first = self.losses[0]
        self.saved.choose(winner)
        grad = differentiate(first, self.inputs[0], torch.ones_like(first)) if first.requires_grad else None
        if grad is None:
            raise checks.NoGradient("the model's output does not depend differentiably on its input")
        return finite_or_zero(grad)


class _SavedTensors:
    """The tensors that each pass saved, in the order of the forward pass, and what of them belongs to the winners. All
    passes run the same operations, so that equal places hold the same thing for different batches."""

    def __init__(self, passes: int) -> None:
        self.tensors: list[list[Tensor]] = [[] for _ in range(passes)]
        self.winner = torch.empty(0)
        self.gathered: dict[Any, Tensor] = {}
        self.rows: list[Tensor] = []

    def record(self, number: int) -> AbstractContextManager[None]:
        """A context in which graphs save their tensors to pass `number`."""
        saved = self.tensors[number]

        def pack(tensor: Tensor) -> int:
            saved.append(tensor.detach())
            return len(saved) - 1

        return torch.autograd.graph.saved_tensors_hooks(pack, self.winners)

    def choose(self, winner: Tensor) -> None:
        """From now on take each example's rows from the pass that `winner` (N,) names."""
        self.winner = winner
        if not no_sync(winner):
            self.rows = [(winner == number).nonzero().squeeze(1) for number in range(len(self.tensors))]

    def winners(self, place: int) -> Tensor:
        """What the winners saved in that place; called by autograd as it walks back."""
        parts = [saved[place] for saved in self.tensors]
        first = parts[0]
        shared = all(part.data_ptr() == first.data_ptr() for part in parts[1:])
        if shared or first.ndim == 0 or len(first) != len(self.winner):
            return first  # a weight, a statistic, a constant; `check_examples_apart` finds out if it was more
        key = (first.data_ptr(), first.shape, first.stride(), first.dtype)  # saved by two operations, gathered once
        if key not in self.gathered:
            self.gathered[key] = self._gather(parts)
        return self.gathered[key]

    def _gather(self, parts: list[Tensor]) -> Tensor:
        """Put each example's row from its winner's part together to one tensor."""
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
    """ValueError unless the gradient through such passes is the plain one, example by example. No rule about saved
    tensors can tell a model that mixes examples from one that does not, so the two are compared: in one call out of
    CHECKED_EVERY for a model and a shape, in each call for a callable that is no module.
    """
    copy, count, n = task.attacked.model_copy if task.attacked is not None else None, len(points), len(task.x)
    form = (points[0].shape, count)
    calls = 0 if copy is None else copy.checked_calls.get(form, 0)
    if copy is not None and calls % CHECKED_EVERY:
        copy.checked_calls[form] = calls + 1
        return
    rows = torch.arange(n, device=task.x.device)
    winner = (rows + 1) % count  # never the first for an example alone
    mixed = torch.stack(list(points))[winner, rows]
    plain = input_grad(task.f, mixed, task.goal)[0].flatten(1)
    reused = ForwardPasses(task.f, points, task.goal).grad(winner).flatten(1)
    gap = float(((reused - plain).norm(dim=1) / plain.norm(dim=1).clamp(min=1e-30)).amax())
    allowed = 1e-3 if task.fast.precision == "float32" else 1e-2
    if not gap <= allowed:
        raise ValueError(
            "Fast(reuse=True) needs a model that keeps examples apart, in what its layers save for the backward pass, "
            "too (InstanceNorm and LSTM do not): its gradient for a batch of winners is off by "
            f"{gap:.1e} of its length, more than {allowed:g}"
        )
    if copy is not None and bool((plain != 0).any(1).all()):  # a gradient of zero proves nothing
        copy.checked_calls[form] = calls + 1
