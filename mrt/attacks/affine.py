"""Attacks with several perturbations that share one budget (Tramer and Boneh 2019, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrt import checks
from mrt.attacks.iterative import check_run, default_step_size
from mrt.attacks.spatial import apply_motion
from mrt.crafting.best import Best, run_with_restarts
from mrt.crafting.gradient import BatchNormMode, input_grad
from mrt.crafting.losses import loss_named
from mrt.crafting.task import Task, open_task
from mrt.fast import Fast
from mrt.protocols import Ball, Model, Rng
from mrt.threats import noise
from mrt.threats.affine import Affine
from mrt.threats.radii import perturb


@dataclass(frozen=True)
class AffineAttack:
    """max loss over an affine set, with the budget's shares drawn uniformly per example and restart, or fixed by
    `weights`.

    Balls alone take turns, `steps` each, on one common sum of perturbations. With a RotationTranslation first, `k`
    motions are drawn from its share and the balls search through each. Every step is 2.5 (share eps) / steps. `search`
    returns the delta that shows how the budget was spent.
    """

    threat: Affine
    k: int = field(default=10, kw_only=True)
    steps: int = field(default=20, kw_only=True)
    restarts: int = field(default=10, kw_only=True)
    loss: str = field(default="ce", kw_only=True)
    weights: tuple[float, ...] | None = field(default=None, kw_only=True)
    random_start: bool = field(default=True, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    fast: Fast = field(default=Fast(), kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Affine):
            raise ValueError(f"AffineAttack needs a threat of type Affine; got {self.threat!r}")
        for name in ("k", "steps", "restarts"):
            checks.count(name, getattr(self, name))
        loss_named(self.loss)
        checks.flag("random_start", self.random_start)
        check_run(self)
        if self.weights is not None:
            shares = checks.several("weights", self.weights, "shares of the budget")
            weights = tuple(checks.number("weights", w, high=1) for w in shares)
            if len(weights) != len(self.threat.threats) or sum(weights) > 1 + 1e-6:
                raise ValueError(
                    f"weights needs {len(self.threat.threats)} shares that sum to at most 1; got {self.weights!r}"
                )
            object.__setattr__(self, "weights", weights)

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
        delta = self._search(model, x, y, target, rng, start)
        return apply_motion(self.threat, x, delta)

    def search(self, model: Model, x: Tensor, y: Tensor, *, rng: Rng = None) -> Tensor:
        """Find the worst delta (N, P): weights and perturbations, as `Affine` packs them."""
        return self._search(model, x, y, None, rng, None)

    def _search(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor | None, rng: Rng, start: Tensor | None
    ) -> Tensor:
        if start is not None:
            raise ValueError("an affine attack has no single point to begin from; call it without start=")
        call = (model, x, y, target, rng, None)
        # Shares are drawn anew for every motion, so that restarts times k runs all see only what still stands.
        runs = self.restarts * (self.k if self.threat.moves else 1)
        with open_task(self.threat, loss_named(self.loss), call, bn=self.bn, fast=self.fast) as task:
            return run_with_restarts(task, runs, "broken", self._run, self.bn).point

    def _run(self, task: Task[Affine]) -> Best:
        """Search once: draw the shares and, where the image moves, the motion; then the balls take turns."""
        # 1. The shares of the budget w (N, n), and each member at its share.
        x, goal, seeds = task.x, task.goal, task.seeds
        weights = noise.simplex(noise.fold(seeds, 0), len(task.threat.threats))
        if self.weights is not None:
            weights = torch.tensor(self.weights, device=x.device).expand_as(weights)
        members = task.threat.members(weights)
        # 2. Each member's own perturbation r_j to begin with; a motion stays as it is drawn.
        parts = [
            t.sample(x, noise.fold(seeds, 1 + j))
            if self.random_start or not isinstance(t, Ball)
            else torch.zeros_like(x)
            for j, t in enumerate(members)
        ]
        balls = [(j, t) for j, t in enumerate(members) if isinstance(t, Ball)]
        best = Best("broken")
        # 3. Turn i moves ball i mod n along the gradient at the sum of all, with room for what the others have changed.
        for turn in range(self.steps * len(balls) + 1):
            delta = task.threat.pack(weights, parts)
            grads, logits, loss = self._grad(task, parts)
            best.offer(delta, loss, goal.reached(logits))
            j, ball = balls[turn % len(balls)]
            others = perturb(x, add_up([parts[i] for i, _ in balls if i != j], x))
            parts[j] = ball.step(parts[j], grads, others, default_step_size(None, ball.eps, self.steps))
        return best

    def _grad(self, task: Task[Affine], parts: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Differentiate the loss in the pixels before any motion, at the sum of the balls' perturbations."""
        motion = task.threat.threats[0] if task.threat.moves else None
        pixels = perturb(task.x, add_up(parts[1:] if motion else parts, task.x))

        def moved_model(z: Tensor) -> Tensor:
            return task.f(z if motion is None else motion.apply(z, parts[0]))

        return input_grad(moved_model, pixels, task.goal)


def add_up(parts: list[Tensor], x: Tensor) -> Tensor:
    """Add the perturbations up; zeros in the shape of x where there are none."""
    return torch.stack(parts).sum(0) if parts else torch.zeros_like(x)
