"""MSD, multi steepest descent (Maini, Wong and Kolter 2020, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from mrt import checks
from mrt.attacks import sparsity
from mrt.attacks.iterative import check_settings, default_step_size, need_ball
from mrt.attacks.published_code import ReferenceMSD
from mrt.attacks.sparsity import Keep
from mrt.crafting.best import Best, Policy, restarted
from mrt.crafting.gradient import BatchNormMode, input_grad
from mrt.crafting.losses import loss_named
from mrt.crafting.recorded_steps import State, Step, repeat_step
from mrt.crafting.task import Task, open_task
from mrt.crafting.winner_gradient import ForwardPasses, check_examples_apart
from mrt.protocols import Ball, Fast, Model, Rng
from mrt.threats import AnyOf
from mrt.threats.projections import no_sync


@dataclass(frozen=True)
class MSD:
    """max loss over a union of balls. From one common point every ball proposes its own projected steepest step; each
    example moves to the proposal of largest loss. Returns the best point of the whole path, as the authors' code does.

    step_size is one length for each ball, or None: 2.5 eps / steps each. The union that MSD training reaches depends
    strongly on their ratio: tune it on held-out data. `keep` is the number of entries an l1 step moves: a count, a
    quantile of |grad|, or a range of either to draw from per example and step. loss is "ce", "margin" or "dlr"; best
    is "loss" or "broken" (misclassified first); bn and fast are those of `crafting`.
    """

    threats: tuple[Ball, ...]
    steps: int = field(default=50, kw_only=True)
    step_size: tuple[float, ...] | None = field(default=None, kw_only=True)
    keep: Keep = field(default=(5, 20), kw_only=True)
    loss: str = field(default="ce", kw_only=True)
    restarts: int = field(default=1, kw_only=True)
    random_start: bool = field(default=False, kw_only=True)
    best: Policy = field(default="loss", kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    fast: Fast = field(default=Fast(), kw_only=True)

    def __post_init__(self) -> None:
        given = self.threats.threats if isinstance(self.threats, AnyOf) else self.threats
        object.__setattr__(self, "threats", checks.several("threats", given, "balls (Linf, L2, L1)"))
        for ball in self.threats:
            need_ball(self, ball)
        check_settings(self, ("broken", "loss"))
        sparsity.check_keep(self.keep)
        if self.fast.reuse and self.bn == "batch":
            raise ValueError("Fast(reuse=True) needs examples that do not see each other; got bn='batch'")
        if self.step_size is not None:
            sizes = tuple(self.step_size) if isinstance(self.step_size, (tuple, list)) else (self.step_size,)
            if len(sizes) != len(self.threats):
                raise ValueError(
                    f"step_size needs one length for each of {len(self.threats)} threats; got {self.step_size!r}"
                )
            object.__setattr__(self, "step_size", tuple(checks.number("step_size", s, open_low=True) for s in sizes))

    @property
    def threat(self) -> AnyOf:
        return AnyOf(self.threats)

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
        call = (model, x, y, target, rng, start)
        with open_task(self.threat, loss_named(self.loss), call, bn=self.bn, fast=self.fast) as task:
            return restarted(task, self.restarts, self.best, self.run, self.bn).point

    def run(self, task: Task[AnyOf]) -> Best:
        """One run from one start: a gradient at the common point, then a forward pass for each ball's proposal."""
        goal = task.goal
        balls = [b for b in task.threat.threats if isinstance(b, Ball)]
        given = self.step_size or (None,) * len(balls)
        sizes = tuple(default_step_size(s, b.eps, self.steps) for s, b in zip(given, balls, strict=True))
        reuse, apart = self.fast.reuse, self.bn == "batch"

        def make(task: Task[AnyOf], last: bool = False) -> Step:
            propose, goal = task.proposer(balls), task.goal

            def step(state: State, best: Best, many: Tensor | None) -> State:
                x_adv, grad = state
                points = propose(x_adv, grad, sizes, many)
                passes = ForwardPasses(task.f, points, goal) if reuse and not last else None
                logits = passes.logits if passes else logits_of_proposals(task.f, points, apart)
                x_adv, winner = best.pick(points, logits, goal)
                if last:
                    return x_adv, grad
                return x_adv, passes.grad(winner) if passes else input_grad(task.f, x_adv, goal)[0]

            return step

        many = sparsity.draw_counts_of_steps(self.keep, task, self.steps)
        x_adv, last = task.first_point(self.random_start), self.steps - 1
        best = Best(self.best).start_at(x_adv)
        grad, logits, loss = input_grad(task.f, x_adv, goal)
        best.offer(x_adv, loss, goal.reached(logits))
        if reuse:
            check_examples_apart(task, task.proposer(balls)(x_adv, grad, sizes, many[0]))
        state = repeat_step(make, ("msd", sizes, reuse, apart), task, (x_adv, grad), best, many[:last])
        make(task, last=True)(state, best, many[last])
        return best

    @staticmethod
    def reference(dataset: Literal["mnist", "cifar10"]) -> ReferenceMSD:
        """The published code's numbers and quirks, for comparison runs."""
        return ReferenceMSD.preset(dataset)


def logits_of_proposals(f: Model, points: Tensor | list[Tensor], apart: bool) -> Tensor | list[Tensor]:
    """The logits of several batches: in one pass where they lie together, unless each is to be a batch of its own; not
    on a CPU, whose caches hold smaller ones."""
    if apart or not isinstance(points, Tensor) or not no_sync(points):
        return [f(point) for point in points]
    together: Tensor = f(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    return together
