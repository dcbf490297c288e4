"""What every search shares: one checked batch, the best point so far, and restarts on what still stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from mrt import checks, kernels
from mrt.crafting.checked_model import CheckedModel
from mrt.crafting.gradient import AttackedModel, BatchNormMode, crafting
from mrt.crafting.losses import Goal, Loss
from mrt.protocols import Ball, Fast, Model, Mover, Rng, Threat
from mrt.threats import fused, noise

T = TypeVar("T", bound=Threat)


@dataclass(frozen=True, eq=False)
class Task(Generic[T]):
    """A batch as an attack's loop sees it: examples, what to raise, and each example's own seed."""

    f: CheckedModel
    threat: T
    x: Tensor
    goal: Goal
    seeds: Tensor
    start: Tensor | None = None
    restart: int = 0
    fast: Fast = field(default=Fast())
    attacked: AttackedModel | None = None

    def at(self, rows: Tensor) -> Task[T]:
        """Those examples only."""
        threat: T = self.threat.at(rows)  # type: ignore[assignment]
        start = None if self.start is None else self.start[rows]
        return replace(
            self, threat=threat, x=self.x[rows], goal=self.goal.at(rows), seeds=self.seeds[rows], start=start
        )

    def with_fresh_noise(self, restart: int) -> Task[T]:
        """The same examples with fresh noise."""
        return replace(self, seeds=noise.fold(self.seeds, restart), restart=restart)

    def first_point(self, random_start: bool) -> Tensor:
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
    with torch.inference_mode(False), torch.no_grad(), own, crafting(model, bn=bn, fast=fast) as attacked:
        x, y = x.detach().contiguous(memory_format=kernels.memory_format(x)).clone(), y.clone()
        target, start = (None if t is None else t.detach().clone() for t in (target, start))
        seeds, goal = noise.seeds(rng, x).clone(), Goal(loss, y, target)
        f = CheckedModel(attacked, x, highest)
        yield Task(f, threat, x, goal, seeds, start, fast=fast, attacked=attacked)
        if not watched:
            f.raise_if_no_numbers()
