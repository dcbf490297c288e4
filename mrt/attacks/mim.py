"""The momentum iterative method (Dong et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from mrt import checks
from mrt.attacks import sparsity
from mrt.attacks.iterative import Iterative, default_step_size
from mrt.crafting.best import Best
from mrt.crafting.gradient import input_grad
from mrt.crafting.task import Task
from mrt.protocols import Ball


@dataclass(frozen=True)
class MIM(Iterative):
    """PGD along a running sum of gradients, each divided by its mean absolute value: m <- decay m + g / mean |g|.

    step_size, loss, restarts, random_start, best, bn and fast are explained in `Iterative`.
    """

    decay: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("decay", self.decay)

    def run(self, task: Task[Ball]) -> Best:
        x, goal, move = task.x, task.goal, task.mover(task.threat)
        size = default_step_size(self.step_size, task.threat.eps, self.steps)
        entries = sparsity.entries_to_spend_on(task.threat, x)
        x_adv, momentum, best = task.first_point(self.random_start), torch.zeros_like(x), Best(self.best)
        for _ in range(self.steps):
            grad, logits, loss = input_grad(task.f, x_adv, goal)
            best.offer(x_adv, loss, goal.reached(logits))
            # The mean is kept above zero, so that a gradient of zero adds nothing rather than NaN.
            flat = grad.flatten(1)
            mean = flat.abs().mean(1, keepdim=True).clamp_(min=torch.finfo(flat.dtype).tiny)
            momentum = self.decay * momentum + (flat / mean).view_as(x)
            x_adv = move(x_adv, momentum, size, entries)
        best.judge(x_adv, task)
        return best
