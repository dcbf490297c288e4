"""The Carlini-Wagner loss in an linf ball, as L2L-DA's evaluation uses it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from mrt.attacks.iterative import Iterative, default_step_size
from mrt.crafting.best import Best
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import Chosen
from mrt.crafting.task import Task
from mrt.protocols import Ball
from mrt.threats.balls import Linf
from mrt.threats.projections import per_example

BETAS = (0.9, 0.999)  # Adam's own defaults


@dataclass(frozen=True)
class CWLinf(Iterative):
    """min z_y - max_{j != y} z_j over the linf ball, by Adam on delta from zero, projected at every step.

    The published loss is flat once the model is fooled; this one is not, so that fooled examples go on to larger
    margins. step_size is Adam's rate; the paper's is 0.001, which at 100 steps cannot cross MNIST's ball of 0.3. None
    is 2.5 eps / steps. The loss is the margin; best, bn and fast are explained in `Iterative`.
    """

    KINDS = (Linf,)

    steps: int = field(default=100, kw_only=True)
    loss: Chosen = field(default="margin", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss != "margin":
            raise ValueError(f"CWLinf is the attack with loss='margin'; got {self.loss!r}")

    def run(self, task: Task[Ball]) -> Best:
        x, ball, goal = task.x, task.threat, task.goal
        rate = default_step_size(self.step_size, ball.eps, self.steps)
        x_adv, best = task.first_point(self.random_start), Best(self.best)
        first, second = torch.zeros_like(x), torch.zeros_like(x)
        for step in range(1, self.steps + 1):
            grad, logits, loss = input_grad(task.f, x_adv, goal)
            best.offer(x_adv, loss, goal.reached(logits))
            # Adam, upwards: running means of the gradient and its square, corrected for having begun at zero.
            first = BETAS[0] * first + (1 - BETAS[0]) * grad
            second = BETAS[1] * second + (1 - BETAS[1]) * grad.square()
            mean, spread = first / (1 - BETAS[0] ** step), (second / (1 - BETAS[1] ** step)).sqrt()
            move = per_example(rate, x) * mean / (spread + 1e-8)
            x_adv = ball.apply(x, ball.project(x_adv + move - x, x))
        best.judge(x_adv, task)
        return best
