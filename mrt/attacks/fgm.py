"""The fast gradient method in any ball, and the fast gradient sign method, which is that in the linf ball (Goodfellow
et al. 2015): a single step of PGD."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mrt.attacks import sparsity
from mrt.attacks.iterative import need_ball
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import Chosen, loss_named
from mrt.crafting.task import open_task
from mrt.protocols import Ball, Model, Rng
from mrt.threats.balls import Linf


@dataclass(frozen=True)
class FGM:
    """One steepest step of length eps from x, projected: the fast gradient method in any ball, l2 in the papers. The
    result is that point, whether or not it fools the model."""

    threat: Ball
    loss: Chosen = field(default="ce", kw_only=True)

    def __post_init__(self) -> None:
        need_ball(self, self.threat)
        loss_named(self.loss)

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
        with open_task(self.threat, loss_named(self.loss), (model, x, y, target, rng, start)) as task:
            x_adv = task.first_point(random_start=False)
            grad, _, _ = input_grad(task.f, x_adv, task.goal)
            entries = sparsity.entries_to_spend_on(task.threat, task.x)
            return task.mover(self.threat)(x_adv, grad, self.threat.eps, entries)


@dataclass(frozen=True)
class FGSM(FGM):
    """x + eps sign(grad), clipped: the fast gradient sign method (Goodfellow et al. 2015), which is FGM in the linf
    ball."""

    threat: Linf

    def __post_init__(self) -> None:
        need_ball(self, self.threat, Linf)
        loss_named(self.loss)
