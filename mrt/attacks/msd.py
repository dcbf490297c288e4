"""MSD, multi steepest descent (Maini, Wong and Kolter 2020, algorithm 1).

    delta_0 = 0 (or random); for t = 0 .. T - 1:
        1. g = the gradient of the loss at x + delta_t
        2. for each ball p:  delta_p = P_p(delta_t + v_p(g)),  its own projected steepest step
        3. delta_(t+1) = argmax over the delta_p of the loss at x + delta_p, example by example
    return the best delta of the whole path, as the authors' code does

`MSD._step_for` below holds 2, 3, and 1 of the next turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from mrt import checks
from mrt.attacks import sparsity
from mrt.attacks.iterative import Share, check_settings, check_step_size, default_step_size, need_ball
from mrt.attacks.published_code import ReferenceMSD
from mrt.attacks.sparsity import Keep
from mrt.crafting.best import Best, Policy, run_with_restarts
from mrt.crafting.gradient import BatchNormMode, input_grad
from mrt.crafting.losses import Chosen, loss_named
from mrt.crafting.recorded_steps import State, Step, repeat_step
from mrt.crafting.task import Task, open_task
from mrt.crafting.winner_gradient import ForwardPasses, check_examples_apart
from mrt.fast import Fast
from mrt.protocols import Ball, Model, Rng
from mrt.threats import AnyOf
from mrt.threats.projections import no_sync


@dataclass(frozen=True)
class MSD:
    """max loss over a union of balls. From one common point every ball proposes its own projected steepest step; each
    example moves to the proposal of largest loss. Returns the best point of the whole path, as the authors' code does.

    step_size is one length for each ball, or None: 2.5 eps / steps each. `keep` is the number of entries an l1 step
    moves: a count, a quantile of |grad|, or a range of either to draw from per example and step; None: from eps / 2 to
    2 eps, the published 5 to 20 at an l1 radius of 10. loss is that of `Iterative`; best is "loss" or "broken"
    (misclassified first); bn and fast are those of `crafting`.
    """

    threats: tuple[Ball, ...]
    steps: int = field(default=50, kw_only=True)
    step_size: tuple[float | Share, ...] | None = field(default=None, kw_only=True)
    keep: Keep | None = field(default=None, kw_only=True)
    loss: Chosen = field(default="ce", kw_only=True)
    restarts: int = field(default=1, kw_only=True)
    random_start: bool = field(default=False, kw_only=True)
    best: Policy = field(default="loss", kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    fast: Fast = field(default=Fast(), kw_only=True)

    def __post_init__(self) -> None:
        balls = self.threats.threats if isinstance(self.threats, AnyOf) else self.threats
        object.__setattr__(self, "threats", checks.several("threats", balls, "balls (Linf, L2, L1)"))
        for ball in self.threats:
            need_ball(self, ball)
        check_settings(self, ("broken", "loss"))
        sparsity.check_keep(1 if self.keep is None else self.keep)
        if self.fast.reuse and self.bn == "batch":
            raise ValueError("Fast(reuse=True) needs examples that do not see each other; got bn='batch'")
        if self.step_size is not None:
            sizes = tuple(self.step_size) if isinstance(self.step_size, (tuple, list)) else (self.step_size,)
            if len(sizes) != len(self.threats):
                wanted = f"one length for each of {len(self.threats)} threats"
                raise ValueError(f"step_size needs {wanted}; got {self.step_size!r}")
            object.__setattr__(self, "step_size", tuple(check_step_size(s) for s in sizes))

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
            return run_with_restarts(task, self.restarts, self.best, self.run, self.bn).point

    def run(self, task: Task[AnyOf]) -> Best:
        """Search once from one start; T = `steps` turns cost T gradients, and T passes for each ball."""
        balls = [ball for ball in task.threat.threats if isinstance(ball, Ball)]
        lengths: tuple[float | Share | None, ...] = self.step_size or (None,) * len(balls)
        sizes = tuple(default_step_size(s, b.eps, self.steps) for s, b in zip(lengths, balls, strict=True))
        # How many entries each l1 step moves, (N,) for each step.
        counts = sparsity.draw_counts_of_steps(self.keep, task, self.steps, balls)

        x_adv = task.first_point(self.random_start)
        best = Best(self.best).start_at(x_adv)
        grad, logits, loss = input_grad(task.f, x_adv, task.goal)  # 1. of the first turn
        best.offer(x_adv, loss, task.goal.reached(logits))
        if self.fast.reuse:
            check_examples_apart(task, task.proposer(balls)(x_adv, grad, sizes, counts[0]))

        step_for, recording = self._step_for(balls, sizes), ("msd", sizes, self.fast.reuse, self.bn)
        state = repeat_step(step_for, recording, task, (x_adv, grad), best, counts[:-1])
        self._step_for(balls, sizes, last=True)(task)(state, best, counts[-1])
        return best

    def _step_for(
        self, balls: list[Ball], sizes: tuple[float | Tensor, ...], last: bool = False
    ) -> Callable[[Task[AnyOf]], Step]:
        """Make one turn of the algorithm. The last one needs no gradient at its end."""
        reuse = self.fast.reuse and not last

        def step_for(task: Task[AnyOf]) -> Step:
            propose, goal = task.proposer(balls), task.goal

            def step(state: State, best: Best, entries: Tensor | None) -> State:
                x_adv, grad = state  # both (N, C, H, W)
                # 2. Each ball's own projected steepest step from the common point: as many proposals (N, C, H, W).
                points = propose(x_adv, grad, sizes, entries)
                # 3. Each example moves to its proposal of largest loss; `pick` also offers that point to `best`.
                passes = ForwardPasses(task.f, points, goal) if reuse else None
                logits = passes.logits if passes else self._logits_of(task, points)
                x_adv, winner = best.pick(points, logits, goal)
                # 1. The gradient at the new common point: by a pass of its own, or back through the winner's.
                if not last:
                    grad = passes.grad(winner) if passes else input_grad(task.f, x_adv, goal)[0]
                return x_adv, grad

            return step

        return step_for

    def _logits_of(self, task: Task[AnyOf], points: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """Show the model all proposals: in one pass on a GPU, where they lie together; one by one on a CPU, whose
        caches hold smaller batches, and where BatchNorm takes its statistics from a batch."""
        if self.bn == "batch" or not isinstance(points, Tensor) or not no_sync(points):
            return [task.f(point) for point in points]
        together: Tensor = task.f(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        return together

    @staticmethod
    def reference(dataset: Literal["mnist", "cifar10"]) -> ReferenceMSD:
        """The published code's numbers and quirks, for comparison runs."""
        return ReferenceMSD.preset(dataset)
