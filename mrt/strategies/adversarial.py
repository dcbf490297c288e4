"""Training on one attack (Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, adversary, check_strategy, craft


@dataclass(frozen=True)
class Adversarial:
    """min E max CE(f(x'), y), x' in one threat.

    A ready attack is taken as it is: Adversarial(PGD(L2(0.5), steps=7)), Adversarial(FGSM(Linf(0.3))),
    Adversarial(CWLinf(Linf(0.3))). For a threat `steps` and `bn` go to the attack that this library has for it. `clean`
    adds that much of CE(f(x), y), as the baselines of L2L-DA and PGN do (1).
    """

    threat: Adversary
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)
    clean: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threat")
        checks.number("clean", self.clean)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        attack = adversary(self.threat, self.steps, self.bn, step.fast)
        loss = step.loss(model(craft(attack, 0, model, x, y, step)), y)
        # Without a weight clean images get no pass at all, which would also move BatchNorm's statistics.
        return loss + self.clean * step.loss(model(x), y) if self.clean else loss
