"""APGD, PGD without parameters (Croce and Hein 2020; for l1: Croce and Hein 2021, "Mind the box").

The budget of steps is cut into periods. Within one, a step in linf and l2 is

    z_(k+1) = P(x_k + size * s(g_k))                                             size = 2 eps at first
    x_(k+1) = P(x_k + a (z_(k+1) - x_k) + (1 - a) (x_k - x_(k-1)))               a = 0.75

and at the end of a period (a checkpoint) the step halves, and the walk goes back to the point of largest loss, where
    1. the loss rose in at most 0.75 of the period's steps, or
    2. the step was not halved at the last checkpoint and the largest loss has not risen since.
In l1 a step has no momentum; what adapts, beside the size, is the number of entries that it moves. And there the walk
runs through balls that shrink: 30% of the steps in that of 3 eps, 30% in that of 2 eps, the rest in the ball itself,
each stage from the projection of the point of largest loss so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mrt import checks
from mrt.attacks.iterative import Iterative, Share, default_step_size
from mrt.crafting.best import Best, run_with_restarts
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import Goal, loss_named, margin
from mrt.crafting.recorded_steps import State, Step, repeat_step
from mrt.crafting.task import Task, open_task
from mrt.protocols import Ball, Model, Rng
from mrt.threats.balls import L1

# The papers' constants.
MOMENTUM = 0.75  # a
# Shares of all steps: the first period, by how much each is shorter than the one before, and the shortest.
FIRST_CHECK, CHECK_SHRINKS, LEAST_CHECK = 0.22, 0.03, 0.06
RISES = 0.75  # rho: a period in which at most this share of the steps raised the loss is an oscillation
L1_PERIOD = 0.04  # of all steps: how often the sparsity of the best point is looked at
L1_TIGHTER, L1_STALLED, L1_LEAST_STEP = 1.5, 0.95, 0.1
SHRINKING = (3.0, 2.0, 1.0)  # radii of the balls that a walk in l1 runs through, over eps
LEAST_STEPS = 10  # below which a walk has no time for more than one ball
WIDE_STAGES = 0.9  # the share of a stage of equal length that each but the last has: 30% of the steps where it is three


@dataclass(frozen=True)
class APGD(Iterative):
    """max loss over the ball, with steps that halve where progress stalls and then restart from the best point.

    linf and l2: steps of 2 eps at first and momentum. l1: steps of eps on `share` of the entries at first (a fifth to
    evaluate, the authors train with 0.05), then on as many as the best point suggests. `step_size` sets the first step
    instead. targets=9 with a targeted loss ("dlr" in AutoAttack) aims in turn at the nine most likely wrong classes:
    `restarts` runs for each, on what still stands. `radii` are those of the balls that one run goes through, over eps:
    None becomes (3, 2, 1) in l1 from 10 steps on; elsewhere, and from a `start` that the caller gives, there is the
    ball itself alone. The other settings (loss, restarts, best, bn, fast) are explained in `Iterative`.
    """

    steps: int = field(default=100, kw_only=True)
    random_start: bool = field(default=True, kw_only=True)
    targets: int = field(default=0, kw_only=True)
    share: float = field(default=0.2, kw_only=True)
    radii: tuple[float, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.count("targets", self.targets, low=0)
        checks.number("share", self.share, high=1, open_low=True)
        radii = self.radii
        if radii is None:
            if not isinstance(self.threat, L1):
                return
            radii = SHRINKING if self.steps >= LEAST_STEPS else (1.0,)
        radii = tuple(checks.number("radii", r, open_low=True) for r in checks.several("radii", radii, "numbers"))
        object.__setattr__(self, "radii", radii)
        falling = list(radii) == sorted(set(radii), reverse=True)
        if not falling or radii[-1] != 1 or steps_of_stages(self.steps, len(radii))[-1] < 1:
            raise ValueError(f"radii must fall to 1 and have a step each; got {radii!r} and steps={self.steps}")

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        if target is not None and self.targets:
            raise ValueError(f"APGD(targets={self.targets}) chooses its own targets; call it without target=")
        call = (model, x, y, target, rng, start)
        with open_task(self.threat, loss_named(self.loss), call, bn=self.bn, fast=self.fast) as task:
            if not self.targets:
                return run_with_restarts(task, self.restarts, self.best, self.run, self.bn).point
            return self._each_target(task).point

    def run(self, task: Task[Ball]) -> Best:
        """Search once: a stage in each of the balls, all but the last one wider than the threat."""
        x, best = task.x, None
        given = (
            task.start is not None and task.restart == 0
        )  # a point of the ball, which must not be left for a wider one
        radii = (1.0,) if given or self.radii is None else self.radii
        for radius, steps in zip(radii, steps_of_stages(self.steps, len(radii)), strict=True):
            ball: Ball = task.threat.scaled(radius)  # type: ignore[assignment]
            stage = replace(task, threat=ball)
            # 1. From where the caller says; then from the last stage's point of largest loss, projected on this ball.
            if best is None:
                x_adv = stage.first_point(self.random_start)
            else:
                x_adv = ball.apply(x, ball.project(best.point - x, x))
            # 2. The walk. What is found outside the threat is a place to go on from, and no result.
            best = Best(self.best if radius == 1 else "loss").start_at(x_adv)
            grad, loss = _evaluate_at(stage, x_adv, best)
            walk = _Walk(x_adv, grad, loss, x_adv, grad, loss)
            sparse = isinstance(ball, L1)  # where a step is as long as the radius, and not twice that
            first = Share(1 if sparse else 2) if self.step_size is None else self.step_size
            length = default_step_size(first, task.threat.eps, self.steps) * radius
            size = torch.as_tensor(length, dtype=x.dtype, device=x.device).expand(len(x))
            if sparse:
                _walk_in_l1(stage, walk, best, size, steps, self.share if radius == radii[0] else None)
            else:
                _walk_with_momentum(stage, walk, best, size, steps)
        assert best is not None  # there is at least one radius
        return best

    def _each_target(self, task: Task[Ball]) -> Best:
        """Run towards each target in turn, `restarts` times round. Losses towards different classes are not comparable,
        so the points that the runs found are compared by their margin against y."""
        logits, y = task.f(task.x), task.goal.y
        classes = logits.shape[1]
        if self.targets >= classes:
            raise ValueError(f"targets must be at most {classes - 1} for {classes} classes; got {self.targets}")
        # (N, K): the wrong classes of each image, the likeliest first; y itself stands last.
        ranked = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        best, rows = Best(self.best), torch.arange(len(y), device=y.device)
        for turn in range(self.restarts * self.targets):
            goal = Goal(task.goal.loss, y[rows], ranked[rows, turn % self.targets], any_wrong=True)
            point = self.run(replace(task.at(rows).with_fresh_noise(turn), goal=goal)).point
            logits = task.f(point)
            best.offer(point, margin(logits, y[rows]), logits.argmax(1) != y[rows], rows)
            if self.best == "broken" and self.bn == "eval":
                rows = (~best.broken).nonzero().squeeze(1)
                if len(rows) == 0:
                    break
        return best


def steps_of_stages(steps: int, stages: int) -> list[int]:
    """Divide the steps: all stages but the last have equally many, rounded up, and the last has what is left."""
    wide = math.ceil(WIDE_STAGES * steps / stages - 1e-9) if stages > 1 else 0
    return [wide] * (stages - 1) + [steps - wide * (stages - 1)]


class _Walk(NamedTuple):
    """Where one run stands: the current point and the point of largest loss so far (`top`)."""

    here: Tensor
    grad: Tensor
    loss: Tensor
    top: Tensor
    top_grad: Tensor
    top_loss: Tensor

    def back(self, rows: Tensor) -> _Walk:
        """Go back to the point of largest loss, in the examples `rows` (bool (N,))."""
        here, grad = _choose(rows, self.top, self.here), _choose(rows, self.top_grad, self.grad)
        return self._replace(here=here, grad=grad, loss=torch.where(rows, self.top_loss, self.loss))


def _evaluate_at(task: Task[Ball], x_adv: Tensor, best: Best) -> tuple[Tensor, Tensor]:
    """Ask for the gradient and the loss at x_adv, and offer the point to `best`."""
    grad, logits, loss = input_grad(task.f, x_adv, task.goal)
    best.offer(x_adv, loss, task.goal.reached(logits))
    return grad, loss


def _move_to(task: Task[Ball], walk: _Walk, x_adv: Tensor, best: Best) -> tuple[_Walk, Tensor]:
    """Move the walk to x_adv. Returns it, and where the loss has risen, bool (N,)."""
    grad, loss = _evaluate_at(task, x_adv, best)
    higher = loss > walk.top_loss
    top, top_grad = _choose(higher, x_adv, walk.top), _choose(higher, grad, walk.top_grad)
    return _Walk(x_adv, grad, loss, top, top_grad, torch.where(higher, loss, walk.top_loss)), loss > walk.loss


def _walk_with_momentum(task: Task[Ball], walk: _Walk, best: Best, size: Tensor, steps: int) -> None:
    """Walk in an linf or l2 ball: the two formulas above, and the checkpoints."""

    def step_for(task: Task[Ball], share: float = MOMENTUM) -> Step:
        x, ball, move = task.x, task.threat, task.mover(task.threat)

        def step(state: State, best: Best, entries: Tensor | None) -> State:
            walk, (previous, rises, size) = _Walk(*state[:6]), state[6:]
            here = walk.here
            ahead = move(here, walk.grad, size, None)  # z
            aim = here + share * (ahead - here) + (1 - share) * (here - previous)
            walk, rose = _move_to(task, walk, ball.apply(x, ball.project(aim - x, x)), best)
            return *walk, here, rises + rose, size

        return step

    # `halved`: where the step was halved at the last checkpoint; before the first one nothing can have stalled.
    period, done, rises = max(int(FIRST_CHECK * steps), 1), 0, torch.zeros_like(size)
    halved, top_then, previous = torch.ones_like(size, dtype=torch.bool), walk.top_loss, walk.here
    while done < steps:
        count = min(period, steps - done)
        state: State = (*walk, previous, rises, size)
        if not done:  # the first step has no momentum
            state = step_for(task, share=1.0)(state, best, None)
        state = repeat_step(step_for, ("apgd",), task, state, best, [None] * (count - (not done)))
        walk, (previous, rises, size), done = _Walk(*state[:6]), state[6:], done + count
        if count == period:  # a checkpoint; a period that the budget cuts short has none
            stalled = (rises <= RISES * period) | (~halved & (walk.top_loss <= top_then))
            size = torch.where(stalled, size / 2, size)
            walk = walk.back(stalled)
            halved, top_then, rises = stalled, walk.top_loss, torch.zeros_like(size)
            period = max(period - max(int(CHECK_SHRINKS * steps), 1), max(int(LEAST_CHECK * steps), 1))


def _walk_in_l1(task: Task[Ball], walk: _Walk, best: Best, first: Tensor, steps: int, share: float | None) -> None:
    """Walk in an l1 ball, at first by steps on `share` of the entries, or with None on as many as the checkpoints would
    say. At each checkpoint the number of entries that move follows the number that the best point
    has changed, over 1.5; where that number has just fallen the walk starts again from the best point with the first
    step, elsewhere the step shrinks by 1.5, down to a tenth."""

    def step_for(task: Task[Ball]) -> Step:
        move = task.mover(task.threat)

        def step(state: State, best: Best, entries: Tensor | None) -> State:
            walk, (size, keep) = _Walk(*state[:6]), state[6:]
            walk, _ = _move_to(task, walk, move(walk.here, walk.grad, size, keep), best)
            return *walk, size, keep

        return step

    # `support` is how many entries the best point had changed at the last look, all at first. Counts are rounded up, as
    # in the authors' code: a fifth of 3072 entries is 615.
    entries = task.x[0].numel()
    if share is None:
        support = _count_changed(walk.top, task.x)
        keep = _tighten(support)
    else:
        support = torch.full_like(task.goal.y, entries)
        keep = torch.full_like(support, math.ceil(share * entries - 1e-9))
    size = first
    period, done = max(int(L1_PERIOD * steps), 1), 0
    while done < steps:
        count = min(period, steps - done)
        state = repeat_step(step_for, ("apgd",), task, (*walk, size, keep), best, [None] * count)
        walk, done = _Walk(*state[:6]), done + count
        if count == period:
            changed = _count_changed(walk.top, task.x)
            tighter = changed < L1_STALLED * support
            size = torch.where(tighter, first, torch.maximum(size / L1_TIGHTER, L1_LEAST_STEP * first))
            keep = _tighten(changed)
            support = changed
            walk = walk.back(tighter)


def _count_changed(x_adv: Tensor, x: Tensor) -> Tensor:
    """(N,): how many entries differ."""
    return (x_adv != x).flatten(1).sum(1)


def _tighten(changed: Tensor) -> Tensor:
    """(N,): the number of entries that an l1 step moves where the best point has changed so many."""
    return (changed / L1_TIGHTER).ceil().long().clamp(min=1)


def _choose(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """torch.where with a condition (N,) for images (N, ...)."""
    return torch.where(rows.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
