"""MSD training (Maini, Wong and Kolter 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from mrt import checks
from mrt.attacks import MSD
from mrt.attacks.sparsity import Keep, check_keep
from mrt.crafting.gradient import BatchNormMode
from mrt.protocols import Attack, Ball, Step
from mrt.strategies.adversaries import Adversary, adversary, check_strategy, craft, worst_of


@dataclass(frozen=True)
class MSDTraining:
    """min E CE(f(x'), y) with x' from multi steepest descent over the union of the balls.

    `ratio` multiplies each ball's step of 2.5 eps / steps. The union accuracy depends strongly on it: `mrt.tune` or
    `mrt train msd --tune` choose it on held-out data. `keep` is the number of entries an l1 step moves; None is that of
    `MSD`, eps / 2 to 2 eps of the l1 ball. MSD steps in balls only: for threats of another kind, and for ready attacks,
    their own result competes with MSD's, and each example keeps the one of largest loss.
    """

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    ratio: tuple[float, ...] | None = field(default=None, kw_only=True)
    keep: Keep | None = field(default=None, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")
        if not self.balls:
            raise ValueError(f"MSD needs at least one ball (Linf, L2, L1) among its threats; got {self.threats!r}")
        if self.ratio is not None:
            ratio = checks.several("ratio", self.ratio, "factors, one for each ball")
            if len(ratio) != len(self.balls):
                raise ValueError(f"ratio needs one factor for each of {len(self.balls)} balls; got {self.ratio!r}")
            object.__setattr__(self, "ratio", tuple(checks.number("ratio", r, open_low=True) for r in ratio))
        # What the attack would find wrong is found here, when the strategy is made, and not in its first update.
        check_keep(1 if self.keep is None else self.keep)
        for size in self._step_sizes():
            checks.number("step_size", size, open_low=True)  # 0 for a ball of radius 0

    @property
    def balls(self) -> tuple[Ball, ...]:
        """Those of the threats that MSD steps in."""
        return tuple(t for t in self.threats if isinstance(t, Ball))

    @property
    def attack(self) -> MSD:
        """Multi steepest descent over the balls, with the step sizes that follow from `ratio`."""
        sizes = self._step_sizes()
        return MSD(self.balls, steps=self.steps, step_size=sizes, keep=self.keep, bn=self.bn)

    def _step_sizes(self) -> tuple[float, ...]:
        """Return the length of a step in each ball."""
        # As factors of 2.5 eps / steps a ratio that was chosen for one number of steps holds for any other.
        factors = self.ratio or (1.0,) * len(self.balls)
        return tuple(r * 2.5 * b.eps / self.steps for r, b in zip(factors, self.balls, strict=True))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        others = [adversary(t, self.steps, self.bn, step.fast) for t in self.threats if not isinstance(t, Ball)]
        attacks: list[Attack] = [replace(self.attack, fast=step.fast), *others]
        batches = [craft(attack, j, model, x, y, step) for j, attack in enumerate(attacks)]
        # With balls alone there is nothing to compare, and the pass that compares is saved.
        x_adv = worst_of(batches, model, y, self, step) if others else batches[0]
        return step.loss(model(x_adv), y)
