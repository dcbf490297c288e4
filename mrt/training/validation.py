"""How a model in training is judged on held-out images: by short attacks of ours, one for each threat."""

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
BATCH = 256  # images attacked at once; no result depends on it


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
        """Return the attack that judges under this threat."""
        return APGD(threat, steps=self.steps) if isinstance(threat, Ball) else adversary(threat, self.steps)

    def attacks(self, strategy: object) -> dict[str, Attack]:
        """Return the attacks that judge, by name: linf, l2, or linf@0.1, linf@0.3 where a kind occurs twice."""
        return {name: self.attack(t) for name, t in name_threats(self.threats or threats_of(strategy)).items()}


def threats_of(strategy: object) -> list[Threat]:
    """Return the threats that a strategy trains on, each once, with the members of a union in its place.

    A strategy that does not say what it trains on, such as a function, has none.
    """
    adversaries: Any = getattr(strategy, "threats", None) or [getattr(strategy, "threat", None)]
    threats: list[Threat] = []
    for entry in adversaries if isinstance(adversaries, (tuple, list)) else [adversaries]:
        threat = entry.threat if isinstance(entry, Attack) else entry
        members = threat.threats if isinstance(threat, AnyOf) else [threat]
        threats += [t for t in members if isinstance(t, Threat) and t not in threats]
    return threats


def name_threats(threats: Sequence[Threat]) -> dict[str, Threat]:
    """Return the threats by name, with their radii where two have one name: linf@0.1 and linf@0.3."""
    names = [t.name for t in threats]

    def name(threat: Threat) -> str:
        if names.count(threat.name) == 1:
            return threat.name
        return f"{threat.name}@{','.join(f'{radius:g}' for radius in radii_of(threat))}"

    return {name(threat): threat for threat in threats}


def judge_held_out(
    model: nn.Module, data: Images, attacks: dict[str, Attack], seed: int, team: Processes
) -> dict[str, float]:
    """Return the accuracies: clean, under each attack, and under all of them (union). The processes share the
    examples."""
    names = ["clean", *attacks, "union"]
    right = torch.zeros(len(names), dtype=torch.float64)  # counts
    with crafting(model) as f, torch.no_grad():
        for index in torch.arange(len(data))[team.rank :: team.count].split(BATCH):
            if not len(index):  # fewer images than processes
                continue
            x, y = data.float(index), data.y[index.to(data.device)]
            # The same noise for an example every time, so that epochs differ by the weights alone.
            seeds = noise.seeds_of_index(index, seed, 0, VALIDATION).to(x.device)
            correct = f(x).argmax(1) == y
            stands = [correct]
            for j, attack in enumerate(attacks.values()):
                x_adv = attack(model, x, y, rng=noise.fold(seeds, j))
                stands.append(correct & (f(x_adv).argmax(1) == y))  # an image that is wrong already cannot be robust
            stands.append(torch.stack(stands).all(0))
            right += torch.stack(stands).double().sum(1).cpu()
    total = torch.stack(team.gather(right)).sum(0) / len(data)
    return dict(zip(names, total.tolist(), strict=True))


def held_out_images(data: Data, like: Images | Stream) -> Images:
    """Return the held-out images, without augmentation, on the device of the training images `like`."""
    images, _ = open_data(data)
    shape = (like.x if isinstance(like, Images) else like.batch(0).x).shape[1:]
    if images.x.shape[1:] != shape:
        raise ValueError(
            f"validation needs images of shape {tuple(shape)}, as the training ones; got {tuple(images.x.shape)}"
        )
    return images.to(like.device)
