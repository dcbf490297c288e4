"""A fast attack beside the plain one: after one step from one state, and by the losses at the end."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from mrt.crafting.losses import ce


def batch_of(n: int, turn: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images of noise, labels, seeds."""
    x = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(turn)).to(device)
    return x, (torch.arange(n) % 10).to(device), torch.arange(n, device=device)


def one_step(net: nn.Module, attack: Any, fast: mrt.Fast, device: str) -> float:
    """The share of pixels further than 1e-5 from the plain attack's after its fewest steps that are recorded: one, but
    MSD's and APGD's last or first is not. A gradient that is zero but for rounding may have either sign."""
    few = 1 if isinstance(attack, mrt.PGD | mrt.SLIDE) else 2
    x, y, seeds = batch_of(32, 0, device)
    plain, quick = (replace(attack, steps=few, fast=how)(net, x, y, rng=seeds) for how in (mrt.Fast(), fast))
    return float((~((quick - plain).abs() <= 1e-5)).float().mean())


def final_losses(net: nn.Module, attack: Any, fast: mrt.Fast, device: str) -> float:
    """The largest gap of the batch's mean loss, relative to the plain attack's."""
    worst = 0.0
    for turn, n in enumerate((32, 20, 32)):
        x, y, seeds = batch_of(n, turn, device)
        reached = []
        for model, how in ((copy.deepcopy(net), mrt.Fast()), (net, fast)):
            with torch.no_grad():
                reached.append(float(ce(model(replace(attack, fast=how)(model, x, y, rng=seeds)), y).mean()))
        worst = max(worst, abs(reached[1] - reached[0]) / reached[0])
        with torch.no_grad():
            for weight in net.parameters():
                weight.mul_(1.05)
    return worst
