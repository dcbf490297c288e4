"""From what a strategy is given, threats or ready attacks, to the attacks it trains with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mrt import checks
from mrt.attacks import MSD, PGD, SLIDE, AffineAttack, GreedyL0, RTWorstOf, WorstOf
from mrt.crafting.gradient import BatchNormMode, crafting
from mrt.protocols import Attack, Ball, Fast, Step, Threat
from mrt.threats import L0, L1, Affine, AnyOf, RotationTranslation, noise

Adversary = Threat | Attack
"""A threat, searched by the attack that `adversary` has for it, or an attack, taken as it is."""


def adversary(given: Adversary, steps: int, bn: BatchNormMode = "eval", fast: Fast = Fast()) -> Attack:  # noqa: B008
    """The attack to train with: linf, l2: PGD; l1: SLIDE, all three to the end of their path, as the papers do; rt: the
    worst of 10 motions; affine: AffineAttack; l0: GreedyL0; a union of balls: MSD, any other the worst of its members.
    `bn` and `fast` are those of `crafting`; GreedyL0 runs without them."""
    how: dict[str, Any] = {"bn": bn, "fast": fast}
    if isinstance(given, Attack):
        return given
    if isinstance(given, L1):
        return SLIDE(given, steps=steps, best="last", **how)
    if isinstance(given, Ball):
        return PGD(given, steps=steps, best="last", **how)
    if isinstance(given, RotationTranslation):
        return RTWorstOf(given, k=10, **how)
    if isinstance(given, Affine):
        return AffineAttack(given, steps=steps, restarts=1, **how)
    if isinstance(given, L0):
        return GreedyL0(given)
    if isinstance(given, AnyOf) and all(isinstance(t, Ball) for t in given.threats):
        return MSD(given.threats, steps=steps, **how)  # type: ignore[arg-type]
    if isinstance(given, AnyOf):
        return WorstOf(tuple(adversary(t, steps, bn, fast) for t in given.threats))
    raise ValueError(f"there is no attack to train with for {given!r}; give the attack itself")


def check_strategy(strategy: Any, name: str) -> None:
    """`strategy.<name>` (one threat or attack, or a tuple of them), `steps` and `bn` are what they should be."""
    given = getattr(strategy, name)
    if name == "threats":
        given = given.threats if isinstance(given, AnyOf) else given
        given = checks.several(name, given, "threats such as Linf(0.3), or attacks")
        object.__setattr__(strategy, name, given)
    checks.count("steps", strategy.steps)
    checks.choice("bn", strategy.bn, ("eval", "batch"))
    for one in given if name == "threats" else (given,):
        if isinstance(one, type) or not isinstance(one, (Threat, Attack)):
            raise ValueError(f"{name} must be threats such as Linf(0.3), or attacks; got {one!r}")
        adversary(one, strategy.steps, strategy.bn)


def attacks_of(strategy: Any, step: Step) -> list[Attack]:
    """One for each of `strategy.threats`."""
    return [adversary(given, strategy.steps, strategy.bn, step.fast) for given in strategy.threats]


def craft(attack: Attack, number: int, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
    """The attack's examples, with noise of their own for each `number`."""
    return attack(model, x, y, rng=noise.fold(step.seeds, number))


def craft_all(strategy: Any, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> list[Tensor]:
    """A batch for each of `strategy.threats`, all against the same model."""
    return [craft(attack, j, model, x, y, step) for j, attack in enumerate(attacks_of(strategy, step))]


def worst_of(batches: list[Tensor], model: nn.Module, y: Tensor, strategy: Any, step: Step) -> Tensor:
    """Per example the one of largest cross-entropy, in the mode that the attacks saw the model in."""
    with torch.no_grad(), crafting(model, bn=strategy.bn, fast=step.fast) as f:
        losses = torch.stack([cross_entropy(f(x_adv).float(), y, reduction="none") for x_adv in batches])
    rows = torch.arange(len(y), device=y.device)
    return torch.stack(batches)[losses.argmax(0), rows]
