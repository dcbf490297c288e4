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
from mrt.evaluation.report.compare import Difference, mcnemar


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

    correct: Tensor  # bool (n,): classified correctly without an attack
    worst: Tensor  # (n, C, H, W)
    info: dict[str, Any]
    # Per example and never only in the mean: which examples fall to one threat and stand in another makes the union.
    masks: dict[str, Tensor] = field(default_factory=dict)  # bool (n,) each, False where the attack did not run
    ran: dict[str, Tensor] = field(default_factory=dict)  # bool (n,) each
    distances: dict[str, Tensor] = field(default_factory=dict)  # float64 (n,) each; none of motions
    columns: dict[str, str] = field(default_factory=dict)  # in the order in which the attacks ran
    samples: dict[str, Samples] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Filled attack by attack while an evaluation runs; there already in a report that is read from a file.
        self.info.setdefault("attacks", {})
        self.info.setdefault("threats", {})
        self.info.setdefault("radii", {})

    @property
    def n(self) -> int:
        """The number of examples."""
        return len(self.correct)

    @property
    def clean(self) -> float:
        """Accuracy without an attack."""
        return _mean(self.correct)

    @property
    def stands(self) -> dict[str, Tensor]:
        """Per threat, which examples withstood all its attacks. What an attack was not given does not stand after it,
        since it had fallen before."""
        # Starting from the correct ones: a clean misclassification counts as broken in every threat.
        standing = {column: self.correct.clone() for column in self.columns.values()}
        for label, column in self.columns.items():
            standing[column] &= self.masks[label]
        return standing

    @property
    def robust(self) -> Tensor:
        """Which examples withstood everything: 1 minus the mean of this is R_max of Tramèr and Boneh (2019)."""
        # The worst case example by example. The least of the threats' accuracies would only bound it from above.
        return torch.stack([self.correct, *self.stands.values()]).all(0)

    @property
    def threats(self) -> dict[str, float]:
        """Accuracy under the worst of each threat's attacks."""
        return {column: _mean(mask) for column, mask in self.stands.items()}

    @property
    def union(self) -> float:
        """Accuracy under the worst of all threats, example by example."""
        return _mean(self.robust)

    @property
    def average(self) -> float:
        """The mean of the threats' accuracies, which is 1 - R_avg of Tramèr and Boneh (2019). Each threat weighs the
        same, however many attacks it has; a union of threats is none beside others."""
        return float(self._standing_shares().mean())

    def _standing_shares(self) -> Tensor:
        """(n,): in what share of the threats each example stands."""
        stands = self.stands
        single = [mask for name, mask in stands.items() if not self.in_radii(name)]
        return torch.stack(single or list(stands.values())).double().mean(0)

    @property
    def attacks(self) -> dict[str, float]:
        """Accuracy left by each attack; in a cascade, by it and those before it on its threat."""
        standing = {column: self.correct.clone() for column in self.columns.values()}
        left = {}
        for label, column in self.columns.items():
            if self.info["cascade"]:
                # Its mask alone would not do: an attack with distances has seen what others had broken before.
                standing[column] &= self.masks[label]
                left[label] = _mean(standing[column])
            else:
                left[label] = _mean(self.masks[label])
        return left

    @property
    def minimum(self) -> float:
        """L2L-DA's Min, the lowest accuracy of any one attack; each must have seen every example. It is over columns
        and not over examples, and so is at least the union."""
        if self.info["cascade"]:
            raise ValueError("the minimum over attacks needs cascade=False: here the later ones saw only survivors")
        return min(self.attacks.values())

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95% interval (Wilson's) of clean, each threat, each attack, union and average."""
        shares = {"clean": self.clean, **self.threats, **self.attacks, "union": self.union}
        intervals = {name: metrics.interval(share, self.n) for name, share in shares.items()}
        # Of an example the average says in what share of the threats it stands, which need not be 0 or 1.
        return intervals | {"average": metrics.mean_interval(self._standing_shares())}

    def rho(self, attack: str) -> metrics.Rho:
        """Mean and median distance of that attack's successes (PGN, Eq. 6): the paper's ρ_cw for a C&W attack in l2."""
        checks.choice("attack", attack, tuple(self.distances))
        if not torch.equal(self.ran[attack], self.correct):
            raise ValueError(f"{attack} saw only survivors; use cascade=False, or Entry(..., distances=True)")
        return metrics.rho(self.distances[attack])

    @property
    def rhos(self) -> dict[str, metrics.Rho]:
        """`rho` of each search for the closest point that saw every example."""
        # An attack at a fixed radius has distances as well, but they say how far it went, not how far it had to go.
        complete = [a for a in self.distances if torch.equal(self.ran[a], self.correct)]
        return {a: self.rho(a) for a in complete if self.info["attacks"][a]["closest"]}

    def curve(self, threat: str, radii: Tensor | Sequence[float]) -> Tensor:
        """Accuracy at most, at each radius of that threat's norm: from the smallest distances that its attacks found.
        Attacks at a fixed radius say nothing beyond it."""
        checks.choice("threat", threat, tuple(self.info["threats"]))
        # Not all that count for the threat: an l0 search that counts for l1 measures in another norm.
        description = self.info["threats"][threat]
        in_its_norm = [a for a in self.distances if self.info["attacks"][a]["threat"] == description]
        if not in_its_norm:
            raise ValueError(f"no attack on {threat} has distances")
        return metrics.curve(metrics.smallest([self.distances[a] for a in in_its_norm]), torch.as_tensor(radii))

    def in_radii(self, threat: str) -> bool:
        """Whether the threat is a union, whose distances are multiples of its radii."""
        return str(self.info["threats"].get(threat, "")).startswith("AnyOf(")

    def check_comparable(self, other: Results) -> None:
        """ValueError, which says in what they differ, unless both judged the same examples under the same threats by
        the same attacks."""
        if self.n != other.n:
            raise ValueError(f"reports of {self.n} and of {other.n} examples do not compare")
        for key, what in (("data", "examples"), ("threats", "threats"), ("battery", "attacks")):
            if self.info[key] != other.info[key]:
                shown = f": {self.info[key]} and {other.info[key]}" if key == "threats" else ""
                raise ValueError(f"the reports do not compare, since they differ in their {what}{shown}")

    def compare(self, other: Results) -> dict[str, Difference]:
        """This report beside another one, say of another model: paired tests of clean, each threat and the union.
        ValueError unless they are comparable."""
        self.check_comparable(other)
        pairs = {"clean": (self.correct, other.correct)}
        pairs |= {name: (mask, other.stands[name]) for name, mask in self.stands.items()}
        pairs["union"] = (self.robust, other.robust)
        return {name: mcnemar(*masks) for name, masks in pairs.items()}

    def compare_attacks(self, first: str, second: str) -> Difference:
        """Two attacks of this report, by a paired test of what each left. Both must have seen every example."""
        for attack in (first, second):
            checks.choice("attack", attack, tuple(self.masks))
            if not torch.equal(self.ran[attack], self.correct):
                raise ValueError(f"{attack} saw only survivors; use cascade=False")
        return mcnemar(self.masks[first], self.masks[second])

    def summary(self) -> dict[str, Any]:
        """What report.json holds: every number, with n and its interval."""
        accuracies = {"clean": self.clean, **self.threats, "union": self.union, "average": self.average}
        return {
            "n": self.n,
            "accuracy": accuracies,
            "interval_95": self.intervals,
            "attacks": self.attacks,
            "minimum": None if self.info["cascade"] else self.minimum,
            "rho": {a: _without_nan(rho) for a, rho in self.rhos.items()},
            "warnings": self.warnings,
            "columns": self.columns,
            "info": self.info,
        }


def _mean(mask: Tensor) -> float:
    """The share of examples for which the mask holds."""
    return float(mask.double().mean())


def _without_nan(rho: metrics.Rho) -> dict[str, float | None]:
    """The fields of rho, None in place of NaN and infinity, which JSON does not have."""
    return {name: value if np.isfinite(value) else None for name, value in vars(rho).items()}
