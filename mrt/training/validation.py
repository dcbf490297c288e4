"""How a model in training is judged on held-out images: short attacks of ours, one for each threat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mrt import checks
from mrt.attacks import APGD
from mrt.crafting.gradient import crafting
from mrt.data.images import Data, Images
from mrt.data.stream import Stream
from mrt.inputs import open_data
from mrt.processes import Processes
from mrt.protocols import Attack, Ball, Threat
from mrt.strategies.adversaries import adversary
from mrt.threats import AnyOf, noise
from mrt.threats.radii import radii_of

VALIDATION = 3  # what these seeds are for
BATCH = 256


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-out `data`, judged every `every` epochs and at the end, under each of `threats` (None: those that the
    strategy trains on) by APGD of `steps` steps in balls, by the attack to train with elsewhere."""

    data: Data
    threats: Sequence[Threat] | None = None
    every: int = field(default=1, kw_only=True)
    steps: int = field(default=20, kw_only=True)

    def __post_init__(self) -> None:
        checks.count("every", self.every)
        checks.count("steps", self.steps)
        if self.threats is not None:
            for threat in checks.several("threats", self.threats, "threats such as Linf(0.3)"):
                self.attack(threat)

    def attack(self, threat: Threat) -> Attack:
        """What judges under this threat."""
        return APGD(threat, steps=self.steps) if isinstance(threat, Ball) else adversary(threat, self.steps)

    def attacks(self, strategy: object) -> dict[str, Attack]:
        """By name: linf, l2, or linf@0.1, linf@0.3 where a kind occurs twice."""
        return {name: self.attack(t) for name, t in name_threats(self.threats or threats_of(strategy)).items()}


def threats_of(strategy: object) -> list[Threat]:
    """What a strategy trains on, unions opened; nothing where it does not say."""
    given: Any = getattr(strategy, "threats", None) or [getattr(strategy, "threat", None)]
    found: list[Threat] = []
    for one in given if isinstance(given, (tuple, list)) else [given]:
        threat = one.threat if isinstance(one, Attack) else one
        members = threat.threats if isinstance(threat, AnyOf) else [threat]
        found += [t for t in members if isinstance(t, Threat) and t not in found]
    return found


def name_threats(threats: Sequence[Threat]) -> dict[str, Threat]:
    """Each threat by its name, with its radii where two share one."""
    names = [t.name for t in threats]

    def full(t: Threat) -> str:
        return t.name if names.count(t.name) == 1 else f"{t.name}@{','.join(f'{r:g}' for r in radii_of(t))}"

    return {full(t): t for t in threats}


def judge_held_out(
    model: nn.Module, data: Images, attacks: dict[str, Attack], seed: int, team: Processes
) -> dict[str, float]:
    """Accuracy: clean, under each attack, and under all of them (union). The processes share the examples; every
    example has the same noise each time."""
    names = ["clean", *attacks, "union"]
    right = torch.zeros(len(names), dtype=torch.float64)
    with crafting(model) as f, torch.no_grad():
        for index in torch.arange(len(data))[team.rank :: team.count].split(BATCH):
            if not len(index):  # fewer images than processes
                continue
            x, y = data.float(index), data.y[index.to(data.device)]
            seeds = noise.seeds_of_index(index, seed, 0, VALIDATION).to(x.device)
            correct = f(x).argmax(1) == y
            stands = [correct]
            for j, attack in enumerate(attacks.values()):
                x_adv = attack(model, x, y, rng=noise.fold(seeds, j))
                stands.append(correct & (f(x_adv).argmax(1) == y))
            stands.append(torch.stack(stands).all(0))
            right += torch.stack(stands).double().sum(1).cpu()
    total = torch.stack(team.gather(right)).sum(0) / len(data)
    return dict(zip(names, total.tolist(), strict=True))


def held_out_images(data: Data, like: Images | Stream) -> Images:
    """The held-out images, without augmentation, where the training images are."""
    images, _ = open_data(data)
    shape = (like.x if isinstance(like, Images) else like.batch(0).x).shape[1:]
    if images.x.shape[1:] != shape:
        raise ValueError(
            f"validation needs images of shape {tuple(shape)}, as the training ones; got {tuple(images.x.shape)}"
        )
    return images.to(like.device)
