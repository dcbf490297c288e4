"""The settings and the call that the iterative attacks on one ball share; each one's file holds only its own loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from mrt import checks
from mrt.crafting.best import Best, Policy, run_with_restarts
from mrt.crafting.gradient import BatchNormMode
from mrt.crafting.losses import Chosen, loss_named
from mrt.crafting.task import Task, open_task
from mrt.fast import Fast
from mrt.protocols import Ball, Model, Rng


@dataclass(frozen=True)
class Share:
    """A step's length as a share of the radius, whatever the radius is: how Foolbox measures steps."""

    of_radius: float

    def __post_init__(self) -> None:
        checks.number("step_size's share of the radius", self.of_radius, open_low=True)


@dataclass(frozen=True)
class Iterative(ABC):
    """The settings that PGD, MIM, SLIDE, APGD and CWLinf share.

    `steps` is their number and `step_size` the length of one, None being 2.5 eps / steps. `loss` is "ce" for
    cross-entropy, "margin", "dlr" or a function (logits, labels) -> (N,) to raise; with a target that is given the
    target's classes, and falls. `restarts` counts all runs; those after the first start at random and see only
    what still stands. With `random_start` the first one starts at random, too. best="broken" prefers a misclassified
    point to one of larger loss, best="loss" does not. bn="batch" lets BatchNorm normalise by the batch at hand, as the
    published codes do (see `crafting.gradient.crafting`). `fast` says how the model is run (see `Fast`).
    """

    KINDS: ClassVar[tuple[type, ...]] = ()  # of balls that it can search; empty for all
    POLICIES: ClassVar[tuple[str, ...]] = ("broken", "loss")  # that its loop knows

    threat: Ball
    steps: int = field(default=10, kw_only=True)
    step_size: float | Share | None = field(default=None, kw_only=True)
    loss: Chosen = field(default="ce", kw_only=True)
    restarts: int = field(default=1, kw_only=True)
    random_start: bool = field(default=False, kw_only=True)
    best: Policy = field(default="broken", kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    fast: Fast = field(default=Fast(), kw_only=True)

    def __post_init__(self) -> None:
        need_ball(self, self.threat, *self.KINDS)
        check_settings(self, self.POLICIES)
        if self.step_size is not None:
            check_step_size(self.step_size)

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
        """Search each image's ball, and return the best x_adv of each; see `mrt.protocols.Attack`."""
        call = (model, x, y, target, rng, start)
        with open_task(self.threat, loss_named(self.loss), call, bn=self.bn, fast=self.fast) as task:
            return run_with_restarts(task, self.restarts, self.best, self.run, self.bn).point

    @abstractmethod
    def run(self, task: Task[Ball]) -> Best:
        """Search once, from one start."""


def need_ball(attack: object, threat: object, *kinds: type) -> None:
    """ValueError unless `threat` is a ball, and of one of those kinds where any are named."""
    if isinstance(threat, type) or not isinstance(threat, kinds or Ball):
        allowed = " or ".join(k.__name__ for k in kinds) or "ball (Linf, L2 or L1)"
        example = kinds[0].__name__ if kinds else "Linf"
        raise ValueError(
            f"{type(attack).__name__} needs a threat of type {allowed}: {example}(0.3), say; got {threat!r}"
        )


def check_settings(attack: Any, policies: tuple[str, ...]) -> None:
    """ValueError on a setting out of range, among those that iterative attacks share."""
    for name in ("steps", "restarts"):
        object.__setattr__(attack, name, checks.count(name, getattr(attack, name)))
    loss_named(attack.loss)
    checks.choice("best", attack.best, policies)
    if attack.best == "last" and attack.restarts > 1:
        raise ValueError(f"best='last' judges nothing, so it has one run; got restarts={attack.restarts}")
    if attack.random_start is not None:
        checks.flag("random_start", attack.random_start)
    check_run(attack)


def check_run(attack: Any) -> None:
    """ValueError unless `bn` and `fast` are what `crafting` takes."""
    checks.choice("bn", attack.bn, ("eval", "batch"))
    if not isinstance(attack.fast, Fast):
        raise ValueError(f"fast must be a Fast(...); got {attack.fast!r}")


def check_step_size(step_size: Any) -> float | Share:
    """Return the length, or a ValueError unless it is a number above zero or a Share."""
    return step_size if isinstance(step_size, Share) else checks.number("step_size", step_size, open_low=True)


def default_step_size(step_size: float | Share | None, eps: float | Tensor, steps: int) -> float | Tensor:
    """Return the step as it was asked for, or 2.5 eps / steps: enough to reach any point of the ball and to turn
    back."""
    if isinstance(step_size, Share):
        return step_size.of_radius * eps
    return 2.5 * eps / steps if step_size is None else step_size
