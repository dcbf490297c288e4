"""What an evaluation found: per-example masks and distances, and every number that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrt import checks
from mrt.evaluation.report import metrics


@dataclass(frozen=True, eq=False)
class Samples:
    """Some examples that an attack broke: their positions, images before and after, labels and the model's answers."""

    index: Tensor
    x: Tensor
    x_adv: Tensor
    y: Tensor
    predicted: Tensor


@dataclass(eq=False)
class Results:
    """CPU tensors in the order of the data. masks[attack]: still correct after it; ran[attack]: it was given the
    example; distances[attack]: the smallest it found, 0 where misclassified from the start, inf where none. `worst`:
    the image that fools the model, else the one of largest loss. columns[attack]: the threat it counts for. `info`:
    settings, versions, work."""

    correct: Tensor
    worst: Tensor
    info: dict[str, Any]
    masks: dict[str, Tensor] = field(default_factory=dict)
    ran: dict[str, Tensor] = field(default_factory=dict)
    distances: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    samples: dict[str, Samples] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.info.setdefault("attacks", {})
        self.info.setdefault("threats", {})
        self.info.setdefault("radii", {})

    @property
    def n(self) -> int:
        """Examples."""
        return len(self.correct)

    @property
    def clean(self) -> float:
        """Accuracy without an attack."""
        return _share(self.correct)

    @property
    def stands(self) -> dict[str, Tensor]:
        """Per threat, which examples withstood all its attacks. What an attack was not given does not stand after it,
        since it had fallen before."""
        standing = {column: self.correct.clone() for column in self.columns.values()}
        for label, column in self.columns.items():
            standing[column] &= self.masks[label]
        return standing

    @property
    def robust(self) -> Tensor:
        """Which examples withstood everything."""
        return torch.stack([self.correct, *self.stands.values()]).all(0)

    @property
    def threats(self) -> dict[str, float]:
        """Accuracy under the worst of each threat's attacks."""
        return {column: _share(mask) for column, mask in self.stands.items()}

    @property
    def union(self) -> float:
        """Accuracy under the worst of all."""
        return _share(self.robust)

    @property
    def average(self) -> float:
        """The mean of the threats' accuracies."""
        return sum(self.threats.values()) / len(self.threats)

    @property
    def attacks(self) -> dict[str, float]:
        """Accuracy left by each attack; in a cascade, by it and those before it on its threat."""
        standing = {column: self.correct.clone() for column in self.columns.values()}
        left = {}
        for label, column in self.columns.items():
            if self.info["cascade"]:
                standing[column] &= self.masks[label]
                left[label] = _share(standing[column])
            else:
                left[label] = _share(self.masks[label])
        return left

    @property
    def minimum(self) -> float:
        """L2L-DA's Min, the lowest accuracy of any one attack; each must have seen every example."""
        if self.info["cascade"]:
            raise ValueError("the minimum over attacks needs cascade=False: here the later ones saw only survivors")
        return min(self.attacks.values())

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95% interval (Wilson's) of clean, each threat, each attack, union and average."""
        shares = {"clean": self.clean, **self.threats, **self.attacks, "union": self.union}
        found = {name: metrics.interval(share, self.n) for name, share in shares.items()}
        return found | {"average": metrics.mean_interval(torch.stack(list(self.stands.values())).double().mean(0))}

    def rho(self, attack: str) -> metrics.Rho:
        """Mean and median distance of that attack's successes. ρ_cw: of a C&W attack in l2."""
        checks.choice("attack", attack, tuple(self.distances))
        if not torch.equal(self.ran[attack], self.correct):
            raise ValueError(f"{attack} saw only survivors; use cascade=False, or Entry(..., distances=True)")
        return metrics.rho(self.distances[attack])

    @property
    def rhos(self) -> dict[str, metrics.Rho]:
        """`rho` of each search for the closest point that saw every example."""
        whole = [a for a in self.distances if torch.equal(self.ran[a], self.correct)]
        return {a: self.rho(a) for a in whole if self.info["attacks"][a]["closest"]}

    def curve(self, threat: str, radii: Tensor | Sequence[float]) -> Tensor:
        """Accuracy at most, at each radius of that threat's norm: from the smallest distances that its attacks found.
        Attacks at a fixed radius say nothing beyond it."""
        checks.choice("threat", threat, tuple(self.info["threats"]))
        kind = self.info["threats"][threat]
        same = [a for a in self.distances if self.info["attacks"][a]["threat"] == kind]
        if not same:
            raise ValueError(f"no attack on {threat} has distances")
        return metrics.curve(metrics.smallest([self.distances[a] for a in same]), torch.as_tensor(radii))

    def summary(self) -> dict[str, Any]:
        """What report.json holds: every number, with n and its interval."""
        accuracies = {"clean": self.clean, **self.threats, "union": self.union, "average": self.average}
        return {
            "n": self.n,
            "accuracy": accuracies,
            "interval_95": self.intervals,
            "attacks": self.attacks,
            "minimum": None if self.info["cascade"] else self.minimum,
            "rho": {a: _plain(rho) for a, rho in self.rhos.items()},
            "warnings": self.warnings,
            "columns": self.columns,
            "info": self.info,
        }


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())


def _plain(rho: metrics.Rho) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: value if np.isfinite(value) else None for name, value in vars(rho).items()}
