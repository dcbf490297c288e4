"""From what a strategy is given, threats or ready attacks, to the attacks it trains with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mrt import checks
from mrt.attacks import MSD, PGD, SLIDE, AffineAttack, GreedyL0, RTWorstOf, WorstOf
from mrt.crafting.gradient import BatchNormMode, crafting
from mrt.fast import Fast
from mrt.protocols import Attack, Ball, Step, Threat
from mrt.threats import L0, L1, Affine, AnyOf, RotationTranslation, noise

Adversary = Threat | Attack
"""A threat, searched by the attack that `adversary` has for it, or an attack, taken as it is."""


def adversary(threat: Adversary, steps: int, bn: BatchNormMode = "eval", fast: Fast = Fast()) -> Attack:  # noqa: B008
    """Choose the attack to train with. linf, l2: PGD; l1: SLIDE, all three to the end of their path, as the papers do;
    rt: the worst of 10 motions; affine: AffineAttack; l0: GreedyL0; a union of balls: MSD, any other the worst of its
    members. `bn` and `fast` are those of `crafting`; GreedyL0 runs without them."""
    options: dict[str, Any] = {"bn": bn, "fast": fast}
    if isinstance(threat, Attack):
        return threat
    if isinstance(threat, L1):
        return SLIDE(threat, steps=steps, best="last", **options)
    if isinstance(threat, Ball):
        return PGD(threat, steps=steps, best="last", **options)
    if isinstance(threat, RotationTranslation):
        return RTWorstOf(threat, k=10, **options)
    if isinstance(threat, Affine):
        return AffineAttack(threat, steps=steps, restarts=1, ends=False, **options)  # a step's one run is a mixture
    if isinstance(threat, L0):
        return GreedyL0(threat)
    if isinstance(threat, AnyOf) and all(isinstance(t, Ball) for t in threat.threats):
        return MSD(threat.threats, steps=steps, **options)  # type: ignore[arg-type]
    if isinstance(threat, AnyOf):
        return WorstOf(tuple(adversary(t, steps, bn, fast) for t in threat.threats))
    raise ValueError(f"there is no attack to train with for {threat!r}; give the attack itself")


def check_strategy(strategy: Any, name: str) -> None:
    """ValueError unless `strategy.<name>` (one threat or attack, or a tuple of them), `steps` and `bn` are what they
    should be. A tuple is kept as one, and a union of threats as the tuple of its members."""
    threats = getattr(strategy, name)
    if name == "threats":
        threats = threats.threats if isinstance(threats, AnyOf) else threats
        threats = checks.several(name, threats, "threats such as Linf(0.3), or attacks")
        object.__setattr__(strategy, name, threats)
    checks.count("steps", strategy.steps)
    checks.choice("bn", strategy.bn, ("eval", "batch"))
    for one in threats if name == "threats" else (threats,):
        if isinstance(one, type) or not isinstance(one, (Threat, Attack)):
            raise ValueError(f"{name} must be threats such as Linf(0.3), or attacks; got {one!r}")
        adversary(one, strategy.steps, strategy.bn)


def attacks_of(strategy: Any, step: Step) -> list[Attack]:
    """Make the attack of each of `strategy.threats`."""
    return [adversary(threat, strategy.steps, strategy.bn, step.fast) for threat in strategy.threats]


def craft(attack: Attack, number: int, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
    """Attack the batch. `number` tells the attacks of one update apart, so that each has noise of its own."""
    return attack(model, x, y, rng=noise.fold(step.seeds, number))


def craft_all(strategy: Any, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> list[Tensor]:
    """Attack the batch with every attack of the strategy, all against the same model: an x_adv for each."""
    return [craft(attack, j, model, x, y, step) for j, attack in enumerate(attacks_of(strategy, step))]


def losses_of(batches: list[Tensor], model: nn.Module, y: Tensor, strategy: Any, step: Step) -> Tensor:
    """Return the cross-entropy of each example under each attack, (attacks, N). The model is in the mode that the
    attacks saw it in: in train mode dropout would make another one the largest."""
    with torch.no_grad(), crafting(model, bn=strategy.bn, fast=step.fast) as f:
        return torch.stack([cross_entropy(f(x_adv).float(), y, reduction="none") for x_adv in batches])


def pick(batches: list[Tensor], losses: Tensor) -> Tensor:
    """Choose among several x_adv, example by example, the one of largest loss (MAX)."""
    return torch.stack(batches)[losses.argmax(0), torch.arange(losses.shape[1], device=losses.device)]


def worst_of(batches: list[Tensor], model: nn.Module, y: Tensor, strategy: Any, step: Step) -> Tensor:
    """Choose among several x_adv, example by example, the one of largest cross-entropy (MAX)."""
    return pick(batches, losses_of(batches, model, y, strategy, step))
