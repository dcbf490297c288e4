"""A published table as data: what the papers' files hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mrt.evaluation.report.tables import Line
from mrt.protocols import Threat
from mrt.threats.radii import radii_of

SHAPES = {
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
    "svhn": (3, 32, 32),
    "tiny-imagenet": (3, 64, 64),
}
"""The papers' test sets, and the shapes of their images."""


@dataclass(frozen=True)
class Table:
    """Published figures, a row for each defence, means where a paper averages over runs. Accuracies are in percent;
    `columns` are called as in our reports, or by names of their own for what those do not hold. Missing figures are
    None. `recalled`: by row, the columns whose figures are not printed in the text that we have. `spreads`: by row, the
    standard deviations over runs where the paper gives them, for the first columns. `data` is the test set, a key of
    SHAPES. `unasked`: they stand beside reports that compare without being asked for, as a paper's main tables do, and
    not those with more training data or another way to count.
    """

    source: str
    data: str
    battery: str
    threats: tuple[Threat, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    recalled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spreads: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    unasked: bool = True

    def lines(self) -> list[Line]:
        """The table's rows, as reports print them beside their own."""
        # With the radii, since figures at other radii do not compare.
        sizes = {t.name: tuple(radii_of(t)) for t in self.threats}
        lines = []
        for name, values in self.rows:
            recalled = f" (recalled: {', '.join(self.recalled[name])})" if name in self.recalled else ""
            pairs = zip(self.columns, values, strict=True)
            figures = {column: value for column, value in pairs if value is not None}
            sd = dict(zip(self.columns, self.spreads.get(name, ()), strict=False))  # hours have none
            lines.append(Line(f"{self.source}: {name}{recalled}", figures, sizes, sd=sd))
        return lines
