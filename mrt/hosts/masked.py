"""Attacks that may change only some entries of each image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.crafting.losses import Goal, ce
from mrt.protocols import Attack, Fast, Model, Rng
from mrt.threats import noise


def attack_masked(
    attack: Attack, model: Model, x: Tensor, y: Tensor, mask: Tensor, *, target: Tensor | None = None, rng: Rng = None
) -> Tensor:
    """The attack's x_adv where only the entries of `mask` (bool, the shape of x) may differ from x.

    It searches the space of those entries alone, so that starts, steps and budget are spent on nothing else; images
    with equally many of them share a batch. For iterative attacks on balls (PGD, MIM, SLIDE, APGD, MSD).
    """
    checks.images("x", x)
    checks.same_shape("mask", mask, x)
    if not hasattr(attack, "restarts") or not hasattr(attack, "step_size"):
        raise ValueError(f"only iterative attacks on balls (PGD, MIM, SLIDE, APGD, MSD) take a mask; got {attack!r}")
    seeds, x_adv, counts = noise.seeds(rng, x), x.clone(), mask.flatten(1).sum(1)
    with crafting(model, bn=getattr(attack, "bn", "eval"), fast=getattr(attack, "fast", Fast())) as f:
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero().squeeze(1)
            if count:
                aim = None if target is None else target[rows]
                x_adv[rows] = _within(attack, f, x[rows], y[rows], mask[rows], aim, seeds[rows])
    return x_adv


def _within(
    attack: Any, model: Model, x: Tensor, y: Tensor, mask: Tensor, target: Tensor | None, seeds: Tensor
) -> Tensor:
    """As many runs as the attack has restarts, each on what still stands."""
    index = mask.flatten(1).nonzero()[:, 1].view(len(x), -1)
    x_adv, left = x.clone(), torch.arange(len(x), device=x.device)
    for run in range(attack.restarts):
        whole, places, aim = x[left], index[left], None if target is None else target[left]

        def filled(z: Tensor, whole: Tensor = whole, places: Tensor = places) -> Tensor:
            return whole.flatten(1).scatter(1, places, z).view_as(whole)

        def f(z: Tensor, filled: Any = filled) -> Tensor:
            return model(filled(z))

        one = replace(attack, restarts=1, random_start=True if run else attack.random_start)
        found = one(f, whole.flatten(1).gather(1, places), y[left], target=aim, rng=noise.fold(seeds[left], run))
        with torch.no_grad():
            broken = Goal(ce, y[left], aim).reached(checks.logits(f(found), found))
        kept = broken | (run == 0)
        x_adv[left[kept]] = filled(found)[kept]
        left = left[~broken]
        if not len(left):
            break
    return x_adv
