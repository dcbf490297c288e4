"""The settings and the call that the iterative attacks on one ball share; each one's file holds only its own loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mrt import checks
from mrt.attacks.gradient import BatchNormMode, Fast
from mrt.attacks.losses import named
from mrt.attacks.task import Best, Policy, Task, open_task, restarted
from mrt.protocols import Ball, Model, Rng


@dataclass(frozen=True)
class Iterative(ABC):
    """step_size None is 2.5 eps / steps; restarts counts all runs, of which those after the first start at random;
    best= "broken" prefers a misclassified point to one of larger loss; bn and fast are those of `crafting`."""

    threat: Ball
    steps: int = field(default=10, kw_only=True)
    step_size: float | None = field(default=None, kw_only=True)
    loss: str = field(default="ce", kw_only=True)
    restarts: int = field(default=1, kw_only=True)
    random_start: bool = field(default=False, kw_only=True)
    best: Policy = field(default="broken", kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    fast: Fast = field(default=Fast(), kw_only=True)

    def __post_init__(self) -> None:
        need_ball(self, self.threat)
        check_settings(self)
        if self.step_size is not None:
            checks.number("step_size", self.step_size, open_low=True)

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
        with open_task(self.threat, named(self.loss), call, bn=self.bn, fast=self.fast) as task:
            return restarted(task, self.restarts, self.best, self.run).point

    @abstractmethod
    def run(self, task: Task[Ball]) -> Best:
        """One run from one start."""


def need_ball(attack: object, threat: object, kind: type | tuple[type, ...] = ()) -> None:
    """ValueError unless `threat` is a ball, or of that kind of ball."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(threat, kinds or Ball):
        allowed = " or ".join(k.__name__ for k in kinds) or "ball (Linf, L2 or L1)"
        raise ValueError(f"{type(attack).__name__} needs a threat of type {allowed}; got {threat!r}")


def check_settings(attack: Any) -> None:
    """ValueError on a setting out of range, among those that iterative attacks share."""
    checks.count("steps", attack.steps)
    checks.count("restarts", attack.restarts)
    named(attack.loss)
    checks.choice("best", attack.best, ("broken", "loss"))
    checks.choice("bn", attack.bn, ("eval", "batch"))
    if attack.random_start is not None:
        checks.flag("random_start", attack.random_start)
    if not isinstance(attack.fast, Fast):
        raise ValueError(f"fast must be a Fast(...); got {attack.fast!r}")


def default_step(step_size: float | None, eps: float | Tensor, steps: int) -> float | Tensor:
    """The step as given, or 2.5 eps / steps: enough to reach any point of the ball and to turn back."""
    return 2.5 * eps / steps if step_size is None else step_size
