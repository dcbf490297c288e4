"""Projected gradient ascent (Madry et al. 2018), and its one-step ancestors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mrt.attacks.iterative import Iterative, default_step_size, need_ball
from mrt.crafting.best import Best, Policy
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import ce
from mrt.crafting.recorded_steps import State, Step, repeat_step
from mrt.crafting.task import Task, open_task
from mrt.protocols import Ball, Model, Rng
from mrt.threats.balls import Linf


def ascend(
    task: Task[Ball],
    x_adv: Tensor,
    steps: int,
    size: float | Tensor,
    policy: Policy,
    keep: Sequence[Tensor | None] | None = None,
) -> Best:
    """x_adv <- a projected steepest step of length `size`, `steps` times; the best of the steps + 1 points, or the
    last."""

    def make(task: Task[Ball]) -> Step:
        move, goal = task.mover(task.threat), task.goal

        def step(state: State, best: Best, many: Tensor | None) -> State:
            (x_adv,) = state
            grad, logits, loss = input_grad(task.f, x_adv, goal)
            if policy != "last":
                best.offer(x_adv, loss, goal.reached(logits))
            return (move(x_adv, grad, size, many),)

        return step

    best = Best(policy).start_at(x_adv)
    (x_adv,) = repeat_step(make, ("ascend", size), task, (x_adv,), best, keep or [None] * steps)
    if policy == "last":
        return best.end_at(x_adv)
    best.judge(x_adv, task)
    return best


@dataclass(frozen=True)
class PGD(Iterative):
    """max loss over the ball, by steepest ascent with projection.

    best="last" returns the end of the path unjudged, as training does in the papers, and saves a pass of the model.
    random_start None is True in the linf ball and False in the others. There a random start is noise of length eps that
    the steps must first remove: on a linear model it costs 1% of the attainable loss in l2, up to 40% in l1.
    """

    POLICIES = ("broken", "loss", "last")

    steps: int = field(default=40, kw_only=True)
    random_start: bool | None = field(default=None, kw_only=True)  # type: ignore[assignment]

    def run(self, task: Task[Ball]) -> Best:
        random = isinstance(task.threat, Linf) if self.random_start is None else self.random_start
        size = default_step_size(self.step_size, task.threat.eps, self.steps)
        return ascend(task, task.first_point(random), self.steps, size, self.best)


@dataclass(frozen=True)
class FGM:
    """One steepest step of length eps from x, projected: the fast gradient method in any ball, l2 in the papers. The
    result is that point, whether or not it fools the model."""

    threat: Ball

    def __post_init__(self) -> None:
        need_ball(self, self.threat)

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
        with open_task(self.threat, ce, (model, x, y, target, rng, start)) as task:
            x_adv = task.first_point(random_start=False)
            grad, _, _ = input_grad(task.f, x_adv, task.goal)
            return task.mover(self.threat)(x_adv, grad, self.threat.eps, None)


@dataclass(frozen=True)
class FGSM(FGM):
    """x + eps sign(grad), clipped: the fast gradient sign method (Goodfellow et al. 2015), which is FGM in the linf
    ball."""

    threat: Linf

    def __post_init__(self) -> None:
        need_ball(self, self.threat, Linf)
