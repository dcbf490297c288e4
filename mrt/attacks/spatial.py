"""Search of rotations and translations (Engstrom et al. 2019; Tramer and Boneh 2019, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mrt import checks
from mrt.attacks.iterative import check_run
from mrt.crafting.best import Best
from mrt.crafting.gradient import BatchNormMode
from mrt.crafting.losses import Chosen, loss_named
from mrt.crafting.task import Task, open_task
from mrt.fast import Fast
from mrt.protocols import Model, Rng, Threat
from mrt.threats import noise
from mrt.threats.spatial import RotationTranslation

REST = 16  # candidates between two looks at which examples still stand: each look makes the host wait for a GPU


@dataclass(frozen=True)
class RTGrid:
    """Every combination of `grid` = (shifts right, shifts down, angles), evenly spaced over the threat: the papers'
    775. An example that a candidate has fooled is done; each other one keeps the candidate of largest loss."""

    threat: RotationTranslation = field(default=RotationTranslation())
    grid: tuple[int, int, int] = field(default=(5, 5, 31), kw_only=True)
    loss: Chosen = field(default="ce", kw_only=True)
    # No part of what identifies it, since it changes nothing beyond rounding: reports from before it existed compare.
    fast: Fast = field(default=Fast(), kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        need_rotation_translation(self, self.threat)
        loss_named(self.loss)
        if not isinstance(self.fast, Fast):
            raise ValueError(f"fast must be a Fast(...); got {self.fast!r}")
        if not isinstance(self.grid, (tuple, list)) or len(self.grid) != 3:
            raise ValueError(f"grid must be three counts: shifts right, shifts down, angles; got {self.grid!r}")
        object.__setattr__(self, "grid", tuple(checks.count("grid", n) for n in self.grid))

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
        return apply_motion(self.threat, x, self._search(model, x, y, target, rng, start))

    def search(self, model: Model, x: Tensor, y: Tensor, *, rng: Rng = None) -> Tensor:
        """Find the worst motion of each example, (N, 3)."""
        return self._search(model, x, y, None, rng, None)

    def _search(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor | None, rng: Rng, start: Tensor | None
    ) -> Tensor:
        def motions(task: Task[RotationTranslation]) -> Iterable[Tensor]:
            return task.threat.grid(task.x, self.grid)

        refuse_start(start)
        call = (model, x, y, target, rng, None)
        return worst_motion(self, call, motions, stop=True, fast=self.fast)


@dataclass(frozen=True)
class RTWorstOf:
    """The worst of `k` motions drawn uniformly for each example: the attack of RT training."""

    threat: RotationTranslation = field(default=RotationTranslation())
    k: int = field(default=10, kw_only=True)
    loss: Chosen = field(default="ce", kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    fast: Fast = field(default=Fast(), kw_only=True)

    def __post_init__(self) -> None:
        need_rotation_translation(self, self.threat)
        checks.count("k", self.k)
        loss_named(self.loss)
        check_run(self)

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
        return apply_motion(self.threat, x, self._search(model, x, y, target, rng, start))

    def search(self, model: Model, x: Tensor, y: Tensor, *, rng: Rng = None) -> Tensor:
        """Find the worst motion of each example, (N, 3)."""
        return self._search(model, x, y, None, rng, None)

    def _search(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor | None, rng: Rng, start: Tensor | None
    ) -> Tensor:
        def draws(task: Task[RotationTranslation]) -> Iterable[Tensor]:
            return (task.threat.sample(task.x, noise.fold(task.seeds, j)) for j in range(self.k))

        refuse_start(start)
        call = (model, x, y, target, rng, None)
        return worst_motion(self, call, draws, stop=False, bn=self.bn, fast=self.fast)


def worst_motion(
    attack: RTGrid | RTWorstOf,
    call: tuple[Any, ...],
    candidates: Callable[[Task[RotationTranslation]], Iterable[Tensor]],
    stop: bool,
    **options: Any,
) -> Tensor:
    """Check the arguments of an attack's call, and search. `options` (bn, fast) are those of `crafting`."""
    with open_task(attack.threat, loss_named(attack.loss), call, **options) as task:
        return search_motions(task, candidates(task), stop).point


def search_motions(task: Task[RotationTranslation], candidates: Iterable[Tensor], stop: bool) -> Best:
    """Try the candidates (N, 3) one after the other, and keep for each example one that fools the model, else that of
    largest loss. With `stop`, examples leave the search once one has fooled the model."""
    best, part, rows = Best("broken"), task, None
    for turn, delta in enumerate(candidates):
        if stop and turn and turn % REST == 0:
            rows = (~best.broken).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            part = task.at(rows)
        motion = delta if rows is None else delta[rows]
        logits = part.f(part.threat.apply(part.x, motion))
        best.offer(motion, part.goal(logits), part.goal.reached(logits), rows)
    return best


def apply_motion(threat: Threat, x: Tensor, delta: Tensor) -> Tensor:
    """Change x by delta, outside any graph and any inference mode of the caller's."""
    with torch.inference_mode(False), torch.no_grad():
        return threat.apply(x.detach().clone(), delta)


def refuse_start(start: Tensor | None) -> None:
    """ValueError where there is one."""
    if start is not None:
        raise ValueError("a search of motions has no point to begin from; call it without start=")


def need_rotation_translation(attack: object, threat: object) -> None:
    """ValueError unless the threat is a RotationTranslation."""
    if not isinstance(threat, RotationTranslation):
        raise ValueError(f"{type(attack).__name__} needs a threat of type RotationTranslation; got {threat!r}")
