"""What every search shares: one checked batch, the best point so far, and restarts on what still stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from mrt import checks, kernels
from mrt.attacks.checked import Checked
from mrt.attacks.gradient import BatchNormMode, Seen, crafting
from mrt.attacks.losses import Goal, Loss, ce
from mrt.protocols import Ball, Fast, Model, Mover, Rng, Threat
from mrt.threats import fused, noise
from mrt.threats.projections import blind

Policy = Literal["broken", "loss", "last"]
T = TypeVar("T", bound=Threat)


@dataclass(frozen=True, eq=False)
class Task(Generic[T]):
    """A batch as an attack's loop sees it: examples, what to raise, and each example's own seed."""

    f: Checked
    threat: T
    x: Tensor
    goal: Goal
    seeds: Tensor
    start: Tensor | None = None
    restart: int = 0
    fast: Fast = field(default=Fast())
    seen: Seen | None = None

    def at(self, rows: Tensor) -> Task[T]:
        """Those examples only."""
        threat: T = self.threat.at(rows)  # type: ignore[assignment]
        start = None if self.start is None else self.start[rows]
        return replace(
            self, threat=threat, x=self.x[rows], goal=self.goal.at(rows), seeds=self.seeds[rows], start=start
        )

    def again(self, restart: int) -> Task[T]:
        """The same examples with fresh noise."""
        return replace(self, seeds=noise.fold(self.seeds, restart), restart=restart)

    def begin(self, random_start: bool) -> Tensor:
        """The first point: the input to start from, projected; a random one; or x. Restarts are always random."""
        if self.restart == 0 and self.start is not None:
            return self.threat.apply(self.x, self.threat.project(self.start - self.x, self.x))
        if self.restart > 0 or random_start:
            return self.threat.apply(self.x, self.threat.sample(self.x, noise.fold(self.seeds, 0)))
        return self.x

    def proposer(self, balls: Sequence[Ball]) -> Callable[..., Tensor | list[Tensor]]:
        """(x_adv, grad, sizes, keep) -> the step of each ball, together if there is a kernel."""
        together = fused.proposer(balls, self.x, bool(self.fast.compile))
        if together is not None:
            return together
        movers = [self.mover(ball) for ball in balls]

        def propose(x_adv: Tensor, grad: Tensor, sizes: Sequence[float], keep: Tensor | None) -> list[Tensor]:
            return [move(x_adv, grad, size, keep) for move, size in zip(movers, sizes, strict=True)]

        return propose

    def mover(self, ball: Ball) -> Mover:
        """The ball's projected step about x, by the fastest way there is."""
        return fused.mover(ball, self.x, bool(self.fast.compile))


class Best:
    """The best point offered per example. "broken": misclassified beats correct, then the larger loss; "loss": the
    larger loss. Ties keep the earlier. "last" is for a loop that judges nothing and ends with `take`."""

    point: Tensor
    loss: Tensor
    broken: Tensor

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._owned = False  # whether `point` is a copy of our own, free to be written to

    def offer(self, point: Tensor, loss: Tensor, broken: Tensor, rows: Tensor | None = None) -> None:
        """Keep `point` where it is better; with `rows`, it speaks of those examples only."""
        loss = loss.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        if not hasattr(self, "point"):
            self.point, self.loss, self.broken = point, loss, broken
            return
        old_loss, old_broken = (self.loss, self.broken) if rows is None else (self.loss[rows], self.broken[rows])
        better = loss > old_loss
        if self.policy == "broken":
            better = (broken & ~old_broken) | ((broken == old_broken) & better)
        if blind(point):
            old = self.point if rows is None else self.point[rows]
            point = torch.where(better.reshape(-1, *[1] * (point.ndim - 1)), point, old)
            loss, broken = torch.where(better, loss, old_loss), torch.where(better, broken, old_broken)
            if rows is None:
                self.point, self.loss, self.broken = point, loss, broken
            else:
                self._write(rows, point, loss, broken)
            return
        won = better.nonzero().squeeze(1)
        if len(won) == len(self.loss):
            self.point, self.loss, self.broken, self._owned = point, loss, broken, False
        elif len(won):
            self._write(won if rows is None else rows[won], point[won], loss[won], broken[won])

    def begin(self, x: Tensor) -> Best:
        """Worse than anything: x itself, at a loss of minus infinity. In memory of its own."""
        loss = torch.full((len(x),), -torch.inf, dtype=torch.float32, device=x.device)
        self.held = x.clone(), loss, torch.zeros_like(loss, dtype=torch.bool)
        return self

    @property
    def held(self) -> tuple[Tensor, Tensor, Tensor]:
        """The point, its loss, and whether it has reached the goal."""
        return self.point, self.loss, self.broken

    @held.setter
    def held(self, values: tuple[Tensor, Tensor, Tensor]) -> None:
        self.point, self.loss, self.broken = values
        self._owned = True

    def pick(self, points: Tensor | list[Tensor], logits: Tensor | list[Tensor], goal: Goal) -> tuple[Tensor, Tensor]:
        """Of several inputs per example the one of largest loss, which is also offered, and its number (N,)."""
        if isinstance(points, Tensor) and isinstance(logits, Tensor) and points.is_cuda and goal.loss is ce:
            aim = goal.y if goal.target is None else goal.target
            if not goal.any_wrong and self._owned and self.point.stride() == points[0].stride():
                how = (goal.target is not None, self.policy == "broken")
                point, _, _, winner = kernels.pick_rows(points, logits, aim, *self.held, *how)
                return point, winner
        chosen, losses = Best("loss"), []
        for point, answer in zip(points, logits, strict=True):
            losses.append(goal(answer).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf))
            chosen.offer(point, losses[-1], goal.reached(answer))
        self.offer(*chosen.held)
        return chosen.point, torch.stack(losses).argmax(0)

    def take(self, point: Tensor) -> Best:
        """That point, unjudged."""
        self.point = point
        return self

    def _write(self, to: Tensor, point: Tensor, loss: Tensor, broken: Tensor) -> None:
        """Replace those rows, in memory that no caller holds."""
        if not self._owned:
            self.point, self.loss, self.broken = self.point.clone(), self.loss.clone(), self.broken.clone()
            self._owned = True
        for mine, new in ((self.point, point), (self.loss, loss), (self.broken, broken)):
            mine.index_copy_(0, to, new)

    def judge(self, x_adv: Tensor, task: Task[T]) -> None:
        """Offer an input that no gradient is needed at."""
        logits = task.f(x_adv)
        self.offer(x_adv, task.goal(logits), task.goal.reached(logits))


def answers(f: Model, points: Tensor | list[Tensor], apart: bool) -> Tensor | list[Tensor]:
    """The logits of several batches: in one pass where they lie together, unless each is to be a batch of its own; not
    on a CPU, whose caches hold smaller ones."""
    if apart or not isinstance(points, Tensor) or not blind(points):
        return [f(point) for point in points]
    together: Tensor = f(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    return together


def restarted(task: Task[T], runs: int, policy: Policy, run: Callable[[Task[T]], Best], bn: str = "eval") -> Best:
    """The best of `runs` runs. Under "broken" each later one sees only the examples that still stand, except where
    BatchNorm takes its statistics from the batch: there the batch stays whole."""
    best = run(task.again(0))
    for restart in range(1, runs):
        rows = None
        if policy == "broken":
            rows = (~best.broken).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            rows = rows if bn == "eval" else None
        more = run((task if rows is None else task.at(rows)).again(restart))
        best.offer(more.point, more.loss, more.broken, rows)
    return best


@contextmanager
def open_task(
    threat: T,
    loss: Loss,
    call: tuple[Model, Tensor, Tensor, Tensor | None, Rng, Tensor | None],
    *,
    bn: BatchNormMode = "eval",
    fast: Fast = Fast(),  # noqa: B008
) -> Iterator[Task[T]]:
    """Check the arguments (model, x, y, target, rng, start) of an attack's call and open the model for crafting."""
    model, x, y, target, rng, start = call
    if not callable(model):
        raise ValueError(f"model must be a callable from images to logits; got {type(model).__name__}")
    watched = isinstance(x, Tensor) and x.is_cuda and checks.vouched(x)  # then the caller looks for NaN
    checks.images("x", x)
    highest = checks.labels("y", y, x)
    if target is not None:
        highest = max(highest, checks.labels("target", target, x))
    if start is not None:
        checks.images("start", start)
        checks.same_shape("start", start, x)
    own = torch.autocast(x.device.type, enabled=False)  # a caller's would reach into the backward passes
    # Copies made outside inference mode, so that autograd may keep them.
    with torch.inference_mode(False), torch.no_grad(), own, crafting(model, bn=bn, fast=fast) as seen:
        x, y = x.detach().contiguous(memory_format=kernels.memory_format(x)).clone(), y.clone()
        target, start = (None if t is None else t.detach().clone() for t in (target, start))
        seeds, goal = noise.seeds(rng, x).clone(), Goal(loss, y, target)
        f = Checked(seen, x, highest)
        yield Task(f, threat, x, goal, seeds, start, fast=fast, seen=seen)
        if not watched:
            f.look()
