"""Attacks made of attacks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mrt.crafting.best import Best
from mrt.crafting.losses import ce
from mrt.crafting.task import open_task
from mrt.crafting.undefined import warn_once
from mrt.protocols import Attack, Model, Rng, Threat
from mrt.threats import AnyOf, noise


@dataclass(frozen=True)
class WorstOf:
    """Every attack on every example; each keeps the result that fools the model, then that of largest cross-entropy
    (MAX training's adversary)."""

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        _need_attacks(self)

    @property
    def threat(self) -> Threat:
        return _threat_of(self.attacks)

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        with warn_once(), open_task(self.threat, ce, (model, x, y, target, rng, start)) as task:
            best = Best("broken")
            for j, attack in enumerate(self.attacks):
                seeds = noise.fold(task.seeds, j)  # noise of its own for each attack
                best.judge(attack(model, x, y, target=target, rng=seeds, start=start), task)
            return best.point


@dataclass(frozen=True)
class OneAtRandom:
    """One of the attacks for each example, drawn uniformly with the example's own seed (SAT draws once for the
    batch)."""

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        _need_attacks(self)

    @property
    def threat(self) -> Threat:
        return _threat_of(self.attacks)

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        with open_task(self.threat, ce, (model, x, y, target, rng, start)) as task:
            x_adv = task.x.clone()
            # (N,): a function of each example's own seed, so that no batch mate has a part in it.
            drawn = noise.integers(noise.fold(task.seeds, 0), 0, len(self.attacks) - 1)
            for j, attack in enumerate(self.attacks):
                rows = (drawn == j).nonzero().squeeze(1)
                if len(rows):
                    part = task.at(rows)
                    x_adv[rows] = attack(
                        model,
                        part.x,
                        part.goal.y,
                        target=part.goal.target,
                        rng=noise.fold(part.seeds, 1),
                        start=part.start,
                    )
            return x_adv


def _threat_of(attacks: tuple[Attack, ...]) -> Threat:
    """The threat that all attacks search, or the union of theirs, each once."""
    threats = (a.threat for a in attacks)
    members = tuple(dict.fromkeys(m for t in threats for m in (t.threats if isinstance(t, AnyOf) else (t,))))
    return members[0] if len(members) == 1 else AnyOf(members)


def _need_attacks(combined: WorstOf | OneAtRandom) -> None:
    """ValueError unless `attacks` is a non-empty tuple or list of attacks; it is kept as a tuple."""
    attacks = tuple(combined.attacks) if isinstance(combined.attacks, (tuple, list)) else ()
    if not attacks or not all(isinstance(a, Attack) for a in attacks):
        raise ValueError(f"{type(combined).__name__} needs one or more attacks; got {combined.attacks!r}")
    object.__setattr__(combined, "attacks", attacks)
