"""The best point that a search has found for each example, and restarts on what still stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor

from mrt import kernels
from mrt.crafting.losses import Goal, ce
from mrt.crafting.task import Task
from mrt.protocols import Threat
from mrt.threats.projections import no_sync

Policy = Literal["broken", "loss", "last"]
T = TypeVar("T", bound=Threat)


class Best:
    """The best point that was offered so far for each example. With the policy "broken" a point that reaches the goal
    (the model is wrong) beats one that does not, and among equals the larger loss wins; with "loss" the larger loss
    alone. Ties keep the earlier point. "last" is for a loop that judges nothing and ends with `end_at`."""

    point: Tensor  # (N, ...)
    loss: Tensor  # (N,)
    broken: Tensor  # bool (N,): does the point reach the goal?

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._owned = False  # whether `point` is a copy of our own, free to be written to

    def offer(self, point: Tensor, loss: Tensor, broken: Tensor, rows: Tensor | None = None) -> None:
        """Keep `point` where it is better; with `rows`, it speaks of those examples only."""
        # A loss that is no number is worse than any other, so that a model's NaN never hides a point that was found.
        loss = loss.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        if not hasattr(self, "point"):
            self.point, self.loss, self.broken = point, loss, broken
            return
        old_loss, old_broken = (self.loss, self.broken) if rows is None else (self.loss[rows], self.broken[rows])
        better = loss > old_loss
        if self.policy == "broken":
            better = (broken & ~old_broken) | ((broken == old_broken) & better)
        if no_sync(point):  # on a GPU all rows are written, since nobody may wait to learn which have won
            old = self.point if rows is None else self.point[rows]
            point = torch.where(better.reshape(-1, *[1] * (point.ndim - 1)), point, old)
            loss, broken = torch.where(better, loss, old_loss), torch.where(better, broken, old_broken)
            if rows is None:
                self.point, self.loss, self.broken = point, loss, broken
            else:
                self._write(rows, point, loss, broken)
            return
        won = better.nonzero().squeeze(1)  # on a CPU those rows alone, since copying images is what costs
        if len(won) == len(self.loss):
            self.point, self.loss, self.broken, self._owned = point, loss, broken, False
        elif len(won):
            self._write(won if rows is None else rows[won], point[won], loss[won], broken[won])

    def start_at(self, x: Tensor) -> Best:
        """Begin with x itself at a loss of minus infinity, which every other point beats, in memory of its own (a
        recorded step needs a place that stays where it is)."""
        loss = torch.full((len(x),), -torch.inf, dtype=torch.float32, device=x.device)
        self.state = x.clone(), loss, torch.zeros_like(loss, dtype=torch.bool)
        return self

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor]:
        """The points, their losses, and whether they have reached the goal."""
        return self.point, self.loss, self.broken

    @state.setter
    def state(self, values: tuple[Tensor, Tensor, Tensor]) -> None:
        self.point, self.loss, self.broken = values
        self._owned = True

    def pick(self, points: Tensor | list[Tensor], logits: Tensor | list[Tensor], goal: Goal) -> tuple[Tensor, Tensor]:
        """Choose among several inputs per example the one of largest loss, and offer it, too. Returns the chosen inputs
        (N, ...) and their numbers (N,)."""
        if isinstance(points, Tensor) and isinstance(logits, Tensor) and points.is_cuda and goal.loss is ce:
            aim = goal.y if goal.target is None else goal.target
            if not goal.any_wrong and self._owned and self.point.stride() == points[0].stride():
                # One kernel does all of what follows below: whoever changes the choice changes it there, too.
                rule = (goal.target is not None, self.policy == "broken")
                point, _, _, winner = kernels.pick_rows(points, logits, aim, *self.state, *rule)
                return point, winner
        chosen, losses = Best("loss"), []
        for point, answer in zip(points, logits, strict=True):
            losses.append(goal(answer).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf))
            chosen.offer(point, losses[-1], goal.reached(answer))
        self.offer(*chosen.state)
        return chosen.point, torch.stack(losses).argmax(0)

    def end_at(self, point: Tensor) -> Best:
        """End with that point, unjudged."""
        self.point = point
        return self

    def _write(self, to: Tensor, point: Tensor, loss: Tensor, broken: Tensor) -> None:
        """Replace the rows `to`. What was offered belongs to the caller, so that it is copied before it is changed."""
        if not self._owned:
            self.point, self.loss, self.broken = self.point.clone(), self.loss.clone(), self.broken.clone()
            self._owned = True
        for mine, new in ((self.point, point), (self.loss, loss), (self.broken, broken)):
            mine.index_copy_(0, to, new)

    def judge(self, x_adv: Tensor, task: Task[T]) -> None:
        """Offer an input that no gradient is needed at: one pass forward."""
        logits = task.f(x_adv)
        self.offer(x_adv, task.goal(logits), task.goal.reached(logits))


def run_with_restarts(
    task: Task[T], runs: int, policy: Policy, run: Callable[[Task[T]], Best], bn: str = "eval"
) -> Best:
    """Run the search `runs` times, each time with fresh noise, and keep the best of all. Under the policy "broken" each
    later run sees only the examples that still stand; but where BatchNorm takes its statistics from the batch, leaving
    examples out would change the model, so that the batch stays whole."""
    best = run(task.with_fresh_noise(0))
    for restart in range(1, runs):
        rows = None
        if policy == "broken":
            rows = (~best.broken).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            rows = rows if bn == "eval" else None
        more = run((task if rows is None else task.at(rows)).with_fresh_noise(restart))
        best.offer(more.point, more.loss, more.broken, rows)
    return best
