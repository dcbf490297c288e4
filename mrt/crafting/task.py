"""What every search is given: a batch whose arguments were checked, and a model that is safe to attack."""

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
from mrt.fast import Fast
from mrt.protocols import Ball, Model, Mover, Rng, Threat
from mrt.threats import fused, noise

T = TypeVar("T", bound=Threat)


@dataclass(frozen=True, eq=False)
class Task(Generic[T]):
    """A batch as an attack's loop sees it."""

    f: CheckedModel
    """The model, images to logits."""
    threat: T
    x: Tensor
    """(N, C, H, W), the clean images."""
    goal: Goal
    """The loss to raise, and when an example counts as broken."""
    seeds: Tensor
    """int64 (N,): all noise of an example follows from its own seed, so that no batch mate can change it."""
    start: Tensor | None = None
    """An input to begin from, if the caller gave one."""
    restart: int = 0
    fast: Fast = field(default=Fast())
    attacked: AttackedModel | None = None

    def at(self, rows: Tensor) -> Task[T]:
        """The task for the examples `rows` only."""
        threat: T = self.threat.at(rows)  # type: ignore[assignment]
        start = None if self.start is None else self.start[rows]
        return replace(
            self, threat=threat, x=self.x[rows], goal=self.goal.at(rows), seeds=self.seeds[rows], start=start
        )

    def with_fresh_noise(self, restart: int) -> Task[T]:
        """The same task with fresh noise, for run number `restart`."""
        return replace(self, seeds=noise.fold(self.seeds, restart), restart=restart)

    def first_point(self, random_start: bool) -> Tensor:
        """Where to begin: at the caller's input, projected; at a random point; or at x. Later runs always begin at
        random, since a search that begins where the first one did would only repeat it."""
        if self.restart == 0 and self.start is not None:
            return self.threat.apply(self.x, self.threat.project(self.start - self.x, self.x))
        if self.restart > 0 or random_start:
            return self.threat.apply(self.x, self.threat.sample(self.x, noise.fold(self.seeds, 0)))
        return self.x

    def proposer(self, balls: Sequence[Ball]) -> Callable[..., Tensor | list[Tensor]]:
        """A function (x_adv, grad, sizes, keep) -> each ball's projected steepest step: one tensor (C, N, ...) where
        a kernel makes them together, else a list."""
        together = fused.proposer(balls, self.x, bool(self.fast.compile))
        if together is not None:
            return together
        movers = [self.mover(ball) for ball in balls]

        def propose(x_adv: Tensor, grad: Tensor, sizes: Sequence[float], keep: Tensor | None) -> list[Tensor]:
            return [move(x_adv, grad, size, keep) for move, size in zip(movers, sizes, strict=True)]

        return propose

    def mover(self, ball: Ball) -> Mover:
        """The ball's projected step about x, by a kernel where there is one and else in plain torch."""
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
    """Check the arguments (model, x, y, target, rng, start) of an attack's call, and freeze the model while the block
    runs: the Task in it is all that an attack's loop needs."""
    model, x, y, target, rng, start = call
    if not callable(model):
        raise ValueError(f"model must be a callable from images to logits; got {type(model).__name__}")
    # Whoever vouches for the values of a batch (the training loop) looks for NaN, so that nothing here must wait.
    watched = isinstance(x, Tensor) and x.is_cuda and checks.vouched(x)
    checks.images("x", x)
    highest = checks.labels("y", y, x)
    if target is not None:
        highest = max(highest, checks.labels("target", target, x))
    if start is not None:
        checks.images("start", start)
        checks.same_shape("start", start, x)
    own = torch.autocast(x.device.type, enabled=False)  # a caller's would reach into the backward passes
    # Copies, made outside inference mode: autograd may keep them, and nothing of the caller's is ever written to.
    with torch.inference_mode(False), torch.no_grad(), own, crafting(model, bn=bn, fast=fast) as attacked:
        x, y = x.detach().contiguous(memory_format=kernels.memory_format(x)).clone(), y.clone()
        target, start = (None if t is None else t.detach().clone() for t in (target, start))
        seeds, goal = noise.seeds(rng, x).clone(), Goal(loss, y, target)
        # Training, which vouches, is not made to wait for a GPU: there nobody looks.
        undefined = None if watched else attacked.look_at_gradients()
        f = CheckedModel(attacked, x, highest)
        yield Task(f, threat, x, goal, seeds, start, fast=fast, attacked=attacked)
        if not watched:
            f.raise_if_no_numbers(undefined)
        if undefined is not None:
            undefined.warn()
