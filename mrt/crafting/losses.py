"""What an attack raises: logits -> (N,), larger is worse for the model.

`y` holds the true classes; with a target the same names mean the loss whose rise leads to that class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from mrt.checks import first_line

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def ce(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Cross-entropy of y; minus that of the target."""
    if target is None:
        return functional.cross_entropy(logits, y, reduction="none")
    return -functional.cross_entropy(logits, target, reduction="none")


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """max_{j != y} z_j - z_y; z_t - max_{j != t} z_j. Positive exactly where the attack has succeeded."""
    aim = y if target is None else target
    own = logits.gather(1, aim[:, None])[:, 0]  # (N,), the logit of y, or of the target
    best_other = logits.scatter(1, aim[:, None], -torch.inf).amax(1)
    return best_other - own if target is None else own - best_other


def dlr(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020): the margin in units of the spread of the top logits, so that
    the model's scale does not matter. (max_{j != y} z_j - z_y) / (z_1st - z_3rd); (z_t - z_y) / (z_1st - (z_3rd +
    z_4th)/2)."""
    need = 3 if target is None else 4
    if logits.shape[1] < need:
        kind = "dlr" if target is None else "targeted dlr"
        raise ValueError(f"the {kind} loss needs at least {need} classes; the model has {logits.shape[1]}")
    top = logits.topk(need, dim=1).values  # (N, 3 or 4), in descending order
    if target is None:
        return margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)
    gap = logits.gather(1, target[:, None])[:, 0] - logits.gather(1, y[:, None])[:, 0]
    return gap / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


LOSSES: dict[str, Loss] = {"ce": ce, "margin": margin, "dlr": dlr}

Chosen = str | Callable[[Tensor, Tensor], Tensor]
"""A loss as users choose it: a name in LOSSES, or a function of their own, (logits, labels) -> (N,)."""


@dataclass(frozen=True)
class OwnLoss:
    """A loss of the user's, (logits, labels) -> (N,): the attack raises it. With a target the labels are the target's
    classes and the loss is to fall, as in the hosts."""

    function: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
        # Copies: what it writes into must change neither the verdict on these logits nor the batch's labels.
        try:
            value = self.function(logits.clone(), (y if target is None else target).clone())
        except (TypeError, IndexError, KeyError, AttributeError) as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            raise ValueError(f"loss(logits, labels) failed: {why}") from error
        if not isinstance(value, Tensor) or value.shape != y.shape or not value.is_floating_point():
            given = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            hint = " (reduction='none'?)" if isinstance(value, Tensor) and not value.ndim else ""
            raise ValueError(f"loss must return a float for each of {len(y)} images, ({len(y)},); got {given}{hint}")
        if logits.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise ValueError("loss must be differentiable in the logits; what it returned has no gradient")
        return value.float() if target is None else -value.float()


def loss_named(loss: Chosen, name: str = "loss") -> Loss:
    """Look up the loss of that name, or take one's own. `name` is what the setting is called where it is wrong."""
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if not callable(loss) or isinstance(loss, type):
        known = ", ".join(map(repr, LOSSES))
        raise ValueError(f"{name} must be one of {known}, or a function (logits, labels) -> (N,); got {loss!r}")
    return OwnLoss(loss)


@dataclass(frozen=True, eq=False)
class Goal:
    """What an attack on one batch raises, and when it has succeeded. With `any_wrong` the target is only a direction,
    and any wrong class will do (APGD's targeted form)."""

    loss: Loss
    y: Tensor
    target: Tensor | None = None
    any_wrong: bool = False

    def __call__(self, logits: Tensor) -> Tensor:
        return self.loss(logits, self.y, self.target)

    def reached(self, logits: Tensor) -> Tensor:
        """bool (N,): is the image classified as the target, or without one as anything but y? Logits that are NaN
        classify nothing, so that a model which breaks down is not counted as fooled."""
        predicted = logits.argmax(1)
        untargeted = self.target is None or self.any_wrong
        reached = predicted != self.y if untargeted else predicted == self.target
        return reached & ~logits.isnan().any(1)

    def at(self, rows: Tensor) -> Goal:
        """The goal for the examples `rows` only."""
        return replace(self, y=self.y[rows], target=None if self.target is None else self.target[rows])
