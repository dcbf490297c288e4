"""Greedy search of the entries that may change."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrt.crafting.best import Best
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import Chosen, loss_named
from mrt.crafting.task import open_task
from mrt.protocols import Model, Rng
from mrt.threats.l0 import L0


@dataclass(frozen=True)
class GreedyL0:
    """`count` times: the entry whose move to a bound of the box raises the linearised loss most goes all the way there,
    and is not touched again (Maini et al. 2020, code). They rank by |grad| and leave out pixels within 0.1 of the
    bound; this ranks by |grad| times the room left, which is optimal on a linear model. Returns the best of the
    points."""

    threat: L0
    loss: Chosen = field(default="ce", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.threat, L0):
            raise ValueError(f"GreedyL0 needs a threat of type L0; got {self.threat!r}")
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
        if start is not None:
            raise ValueError("GreedyL0 counts its changes from x; call it without start=")
        count = torch.as_tensor(self.threat.count, device=x.device)
        with open_task(self.threat, loss_named(self.loss), (model, x, y, target, rng, None)) as task:
            best, x_adv = Best("broken"), task.x
            untouched = torch.ones_like(x_adv)
            for step in range(int(count.max())):
                # 1. The gradient at the point so far, which is offered on the way.
                grad, logits, loss = input_grad(task.f, x_adv, task.goal)
                best.offer(x_adv, loss, task.goal.reached(logits))
                # 2. Each entry would go to the bound that its gradient points to: a gain of |gradient| times the way.
                bound = (grad > 0).to(x_adv.dtype)
                gain = (grad * (bound - x_adv) * untouched).flatten(1)
                # 3. The entry of largest gain goes, unless nothing would be gained or this example's count is used up.
                chosen = torch.zeros_like(gain).scatter_(1, gain.argmax(1, keepdim=True), 1.0)
                chosen = (chosen * (gain > 0) * (step < count.reshape(-1, 1))).view_as(x_adv)
                x_adv, untouched = torch.where(chosen > 0, bound, x_adv), untouched - chosen
            best.judge(x_adv, task)
            return best.point
