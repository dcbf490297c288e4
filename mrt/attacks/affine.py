"""Attacks with several perturbations that share one budget (Tramer and Boneh 2019, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mrt import checks
from mrt.attacks import sparsity
from mrt.attacks.apgd import APGD
from mrt.attacks.iterative import check_run, default_step_size
from mrt.attacks.spatial import RTGrid, apply_motion, search_motions
from mrt.crafting.best import Best, run_with_restarts
from mrt.crafting.gradient import BatchNormMode, input_grad
from mrt.crafting.losses import Chosen, loss_named
from mrt.crafting.task import Task, open_task
from mrt.fast import Fast
from mrt.protocols import Ball, Model, Rng, Threat
from mrt.threats import noise
from mrt.threats.affine import Affine
from mrt.threats.balls import Linf
from mrt.threats.radii import perturb
from mrt.threats.spatial import RotationTranslation


@dataclass(frozen=True)
class AffineAttack:
    """max loss over an affine set, with the budget's shares drawn uniformly per example and restart, or fixed by
    `weights`.

    Balls alone take turns, `steps` each, on one common sum of perturbations. With a RotationTranslation first, `k`
    motions are drawn from its share and the balls search through each. Every step is 2.5 (share eps) / steps, in l1 on
    as many entries as in PGD. `ends`: before the shares are drawn, each member alone has the whole budget once, a ball
    by APGD for the steps of all balls, a motion by RTGrid; so the set leaves no more than these searches do.
    random_start None is True for an linf ball and False for the others; where `weights` fixes the shares, runs after
    the first start at random in any case. `search` returns the delta that shows how the budget was spent.
    """

    threat: Affine
    k: int = field(default=10, kw_only=True)
    steps: int = field(default=20, kw_only=True)
    restarts: int = field(default=10, kw_only=True)
    loss: Chosen = field(default="ce", kw_only=True)
    weights: tuple[float, ...] | None = field(default=None, kw_only=True)
    ends: bool = field(default=True, kw_only=True)
    random_start: bool | None = field(default=None, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    fast: Fast = field(default=Fast(), kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Affine):
            raise ValueError(f"AffineAttack needs a threat of type Affine; got {self.threat!r}")
        for name in ("k", "steps", "restarts"):
            checks.count(name, getattr(self, name))
        loss_named(self.loss)
        checks.flag("ends", self.ends)
        if self.random_start is not None:
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
        drawn = self.restarts * (self.k if self.threat.moves else 1)
        with open_task(self.threat, loss_named(self.loss), call, bn=self.bn, fast=self.fast) as task:
            return run_with_restarts(task, self._ends + drawn, "broken", self._run, self.bn).point

    @property
    def _ends(self) -> int:
        """How many runs give all to one member; none where the shares are fixed."""
        return len(self.threat.threats) if self.ends and self.weights is None else 0

    def _run(self, task: Task[Affine]) -> Best:
        """Search once: a member alone in the first runs, and in the others a mixture."""
        if task.restart < self._ends:
            return self._search_alone(task, task.restart)
        weights = noise.simplex(noise.fold(task.seeds, 0), len(task.threat.threats))
        if self.weights is not None:
            weights = torch.tensor(self.weights, device=task.x.device).expand_as(weights)
        return self._mix(task, weights)

    def _search_alone(self, task: Task[Affine], number: int) -> Best:
        """Give the whole budget to that member, and search it by the attack for it."""
        member, x = task.threat.threats[number], task.x
        alone: Task[Any] = replace(task, threat=member)  # type: ignore[arg-type]
        weights = torch.zeros(len(x), len(task.threat.threats), device=x.device)
        weights[:, number] = 1
        parts = [torch.zeros_like(x) for _ in task.threat.threats]
        if task.threat.moves:
            parts[0] = torch.zeros(len(x), 3, device=x.device)
        if isinstance(member, RotationTranslation):
            found = search_motions(alone, member.grid(x, RTGrid(member).grid), stop=self.bn == "eval")
            parts[number] = found.point
        else:
            balls = len(task.threat.threats) - task.threat.moves
            attack = APGD(member, steps=self.steps * balls, loss=self.loss, bn=self.bn, fast=self.fast)  # type: ignore[arg-type]
            found = attack.run(alone)
            parts[number] = found.point - x
        found.state = task.threat.pack(weights, parts), found.loss, found.broken
        return found

    def _mix(self, task: Task[Affine], weights: Tensor) -> Best:
        """Search with the shares w (N, n): the balls take turns."""
        x, goal, seeds = task.x, task.goal, task.seeds
        # 1. Each member at its share, and its own perturbation r_j to begin with. A motion stays as it is drawn.
        members = task.threat.members(weights)
        parts = [
            t.sample(x, noise.fold(seeds, 1 + j)) if self._starts_at_random(t, task.restart) else torch.zeros_like(x)
            for j, t in enumerate(members)
        ]
        balls = [(j, t) for j, t in enumerate(members) if isinstance(t, Ball)]
        best = Best("broken")
        for turn in range(self.steps * len(balls) + 1):
            # 2. The gradient at the sum of all perturbations, which is offered, too.
            grads, logits, loss = self._grad(task, parts)
            best.offer(task.threat.pack(weights, parts), loss, goal.reached(logits))
            # 3. Turn i moves ball i mod n along it, with room for what the others have changed.
            j, ball = balls[turn % len(balls)]
            others = perturb(x, add_up([parts[i] for i, _ in balls if i != j], x))
            size = default_step_size(None, ball.eps, self.steps)
            parts[j] = ball.step(parts[j], grads, others, size, sparsity.entries_to_spend_on(ball, x))
        return best

    def _starts_at_random(self, member: Threat, restart: int) -> bool:
        # Where the shares are fixed, nothing else would tell a later run from the first.
        if not isinstance(member, Ball) or (self.weights is not None and restart > 0):
            return True
        return isinstance(member, Linf) if self.random_start is None else self.random_start

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
