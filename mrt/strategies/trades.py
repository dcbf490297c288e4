"""TRADES training (Zhang et al. 2019): clean accuracy against how far answers move under attack."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from mrt import checks
from mrt.attacks import sparsity
from mrt.attacks.iterative import default_step_size
from mrt.attacks.pgd import ascend
from mrt.attacks.sparsity import Keep
from mrt.crafting.gradient import BatchNormMode, crafting
from mrt.crafting.task import open_task
from mrt.protocols import Ball, Step
from mrt.strategies.adversaries import Adversary, adversary, check_strategy, craft
from mrt.threats import L1, noise

START = 1e-3  # scale of the Gaussian noise about x that the search begins from: at x itself the gradient is zero


@dataclass(frozen=True)
class TRADES:
    """min E CE(f(x), y) + beta max KL(f(x) || f(x')), x' in the threat.

    In a ball the search ascends the divergence itself, by `steps` of step_size (None: 2.5 eps / steps), in l1 on
    `keep` entries (None: the quantile 0.99). For any other threat, and for a ready attack, x' is what the attack finds
    against the labels.
    """

    threat: Adversary
    beta: float = field(default=6.0, kw_only=True)
    steps: int = field(default=10, kw_only=True)
    step_size: float | None = field(default=None, kw_only=True)
    keep: Keep | None = field(default=None, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threat")
        object.__setattr__(self, "beta", checks.number("beta", self.beta))
        if self.step_size is not None:
            checks.number("step_size", self.step_size, open_low=True)
            if not isinstance(self.threat, Ball):
                raise ValueError(f"step_size is for a ball; {self.threat!r} has its own steps")
        if self.keep is not None:
            sparsity.check_keep(self.keep)
            if not isinstance(self.threat, L1):
                raise ValueError(f"keep is for an l1 ball; got {self.threat!r}")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        if isinstance(self.threat, Ball):
            x_adv = self.farthest(self.threat, model, x, y, step)
        else:
            x_adv = craft(adversary(self.threat, self.steps, self.bn, step.fast), 0, model, x, y, step)
        # One clean pass serves both terms, and gradients flow through both arguments of the divergence.
        clean = model(x)
        return step.loss(clean, y) + self.beta * divergence(clean, model(x_adv)).mean()

    def farthest(self, ball: Ball, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        """Return x' in the ball, (N, C, H, W), whose answer diverges as far from that to x as the search gets it."""
        with torch.no_grad(), crafting(model, bn=self.bn, fast=step.fast) as f:
            clean = f(x).float()
        near = (x + START * noise.normal(step.seeds, *x.shape[1:])).clamp(0, 1)
        call = (model, x, y, None, step.seeds, near)  # what an attack is called with: no target, and a start
        size = default_step_size(self.step_size, ball.eps, self.steps)
        # The clean answers are constants in the search: only x' moves.
        with open_task(ball, lambda z, *_: divergence(clean, z), call, bn=self.bn, fast=step.fast) as task:
            counts = sparsity.draw_counts_of_steps(0.99 if self.keep is None else self.keep, task, self.steps)
            # "last": the end of the path, unjudged, is what the papers train on.
            return ascend(task, task.first_point(False), self.steps, size, "last", counts).point


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    """Return KL(softmax clean || softmax other) of each example, (N,)."""
    p, q = log_softmax(clean, 1), log_softmax(other, 1)
    return (p.exp() * (p - q)).sum(1)
