"""Attacks that may change only some entries of each image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.crafting.losses import Goal, ce
from mrt.fast import Fast
from mrt.protocols import Attack, Model, Rng
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
    seeds, x_adv, counts = noise.seeds(rng, x), x.clone(), mask.flatten(1).sum(1)  # counts (N,): allowed entries
    with crafting(model, bn=getattr(attack, "bn", "eval"), fast=getattr(attack, "fast", Fast())) as f:
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero().squeeze(1)
            if count:  # where nothing may change, nothing does
                aim = None if target is None else target[rows]
                x_adv[rows] = _attack_allowed(attack, f, x[rows], y[rows], mask[rows], aim, seeds[rows])
    return x_adv


def _attack_allowed(
    attack: Any, model: Model, x: Tensor, y: Tensor, mask: Tensor, target: Tensor | None, seeds: Tensor
) -> Tensor:
    """The attack's x_adv for images with equally many allowed entries: as many runs as it has restarts, each on what
    still stands."""
    # (N, count), the places of the allowed entries in each flattened image. The attack sees z (N, count), those entries
    # as if they were the image: its norms are the same, since no other entry changes.
    index = mask.flatten(1).nonzero()[:, 1].view(len(x), -1)
    x_adv, left = x.clone(), torch.arange(len(x), device=x.device)
    for run in range(attack.restarts):
        whole, places, aim = x[left], index[left], None if target is None else target[left]

        # Bound as defaults: the names mean other tensors in the next run.
        def fill_in(z: Tensor, whole: Tensor = whole, places: Tensor = places) -> Tensor:
            """The images (N, C, H, W) with z in their allowed entries."""
            return whole.flatten(1).scatter(1, places, z).view_as(whole)

        def f(z: Tensor, fill_in: Any = fill_in) -> Tensor:
            return model(fill_in(z))

        # Restarts are made here and not by the attack, so that each sees only what still stands; later ones start at
        # random, as they do within an attack.
        single_run = replace(attack, restarts=1, random_start=True if run else attack.random_start)
        start = whole.flatten(1).gather(1, places)
        z_adv = single_run(f, start, y[left], target=aim, rng=noise.fold(seeds[left], run))
        with torch.no_grad():
            broken = Goal(ce, y[left], aim).reached(checks.logits(f(z_adv), z_adv))
        # Who stands to the end keeps the first run's result, which is what the attack would return without restarts.
        updated = broken | (run == 0)
        x_adv[left[updated]] = fill_in(z_adv)[updated]
        left = left[~broken]
        if not len(left):
            break
    return x_adv
