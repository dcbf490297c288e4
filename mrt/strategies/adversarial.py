"""Training on one attack (Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mrt.attacks.gradient import BatchNormMode
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, adversary, check, crafted


@dataclass(frozen=True)
class Adversarial:
    """min E max CE(f(x'), y), x' in one threat.

    A ready attack is taken as it is: Adversarial(PGD(L2(0.5), steps=7)), Adversarial(FGSM(Linf(0.3))),
    Adversarial(CWLinf(Linf(0.3))). For a threat `steps` and `bn` go to the attack that this library has for it.
    """

    threat: Adversary
    steps: int = field(default=10, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check(self, "threat")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        attack = adversary(self.threat, self.steps, self.bn, step.fast)
        return cross_entropy(model(crafted(attack, 0, model, x, y, step)), y)
