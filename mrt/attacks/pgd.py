"""Projected gradient ascent (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mrt.attacks import sparsity
from mrt.attacks.iterative import Iterative, default_step_size
from mrt.crafting.best import Best, Policy
from mrt.crafting.gradient import input_grad
from mrt.crafting.recorded_steps import State, Step, repeat_step
from mrt.crafting.task import Task
from mrt.protocols import Ball
from mrt.threats.balls import Linf


def ascend(
    task: Task[Ball],
    x_adv: Tensor,
    steps: int,
    size: float | Tensor,
    policy: Policy,
    counts: Sequence[Tensor | None] | None = None,
) -> Best:
    """The loop of PGD, and of SLIDE and TRADES, which differ in where they start and how long their steps are:

        x_(k+1) = P(x_k + size * s(g_k)),   g_k = d loss(f(x_k)) / d x_k,   k = 0 .. steps - 1

    P projects on the ball and the pixel box; s(g) is the direction of length 1 in the ball's norm along which the loss
    rises most (`Ball.steepest`). Returns the best of the steps + 1 points per example, or with policy "last" the last.
    `counts` holds a Tensor (N,) for each step: how many entries an l1 step moves in each example.
    """

    # It makes the step, since one that is recorded as a CUDA graph is made again for fixed memory (recorded_steps.py).
    def step_for(task: Task[Ball]) -> Step:
        move, goal = task.mover(task.threat), task.goal

        def step(state: State, best: Best, entries: Tensor | None) -> State:
            (x_adv,) = state  # (N, C, H, W)
            # 1. The gradient of the loss at the point at hand: one pass forward, one back.
            grad, logits, loss = input_grad(task.f, x_adv, goal)
            # 2. The pass has judged that point, too; it is kept where no earlier one is better.
            if policy != "last":
                best.offer(x_adv, loss, goal.reached(logits))
            # 3. A step of that size in the steepest direction, projected.
            return (move(x_adv, grad, size, entries),)

        return step

    best = Best(policy).start_at(x_adv)
    (x_adv,) = repeat_step(step_for, ("ascend", size), task, (x_adv,), best, counts or [None] * steps)
    if policy == "last":
        return best.end_at(x_adv)
    best.judge(x_adv, task)  # the last point has had no pass of its own yet
    return best


@dataclass(frozen=True)
class PGD(Iterative):
    """max loss over the ball, by steepest ascent with projection.

    best="last" returns the end of the path unjudged, as training does, and saves a pass of the model. A step in l1
    moves as many entries as eps could move by a whole unit. random_start None is True in linf alone: elsewhere a random
    start is noise of length eps that the steps must first remove, and on a linear model costs 1% of the attainable loss
    in l2, up to 40% in l1. For step_size, loss, restarts, bn and fast see `Iterative`.
    """

    POLICIES = ("broken", "loss", "last")

    steps: int = field(default=40, kw_only=True)
    random_start: bool | None = field(default=None, kw_only=True)  # type: ignore[assignment]

    def run(self, task: Task[Ball]) -> Best:
        random = isinstance(task.threat, Linf) if self.random_start is None else self.random_start
        size = default_step_size(self.step_size, task.threat.eps, self.steps)
        entries = sparsity.entries_to_spend_on(task.threat, task.x)
        return ascend(task, task.first_point(random), self.steps, size, self.best, [entries] * self.steps)
