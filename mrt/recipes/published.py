"""Published tables, in percent, to set beside reports, each at its radii. Figures on other test subsets or from other
attacks do not compare; `min` is the lowest of the paper's attacks, learned ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrt import checks
from mrt.evaluation.battery import radii
from mrt.evaluation.report import Report
from mrt.evaluation.tables import Line
from mrt.protocols import Threat
from mrt.threats import L1, L2, Linf, RotationTranslation


@dataclass(frozen=True)
class Table:
    """One published table. Missing figures are None; `recalled` rows are not printed in the text that we have."""

    source: str
    battery: str
    threats: tuple[Threat, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    recalled: tuple[str, ...] = ()

    def lines(self) -> list[Line]:
        """A row to set beside reports for each of the table's."""
        sizes = {t.name: tuple(radii(t)) for t in self.threats}
        found = []
        for name, values in self.rows:
            title = f"{self.source}: {name}" + (" (recalled)" if name in self.recalled else "")
            pairs = zip(self.columns, values, strict=True)
            found.append(Line(title, {column: value for column, value in pairs if value is not None}, sizes))
        return found


LP = ("clean", "linf", "l1", "l2", "union", "average")
MSD_COLUMNS = ("clean", "linf", "l2", "l1", "union")
RT = ("clean", "linf", "rt", "union", "average")
MNIST, CIFAR = (Linf(0.3), L1(10.0), L2(2.0)), (Linf(0.03), L2(0.5), L1(12.0))
SMALL, MNG = (Linf(4 / 255), L1(2000 / 255)), (Linf(8 / 255), L1(2000 / 255), L2(128 / 255))
MOVED = RotationTranslation(30.0, 3.0)
FIVE = ("Adv linf", "Adv l1", "Adv l2", "Adv avg", "Adv max")

PUBLISHED: dict[str, Table] = {
    "tramer-boneh-mnist": Table(
        "Tramer and Boneh 2019, MNIST", "tramer-boneh", MNIST, LP,
        (
            ("Nat", (99.4, 0.0, 12.4, 8.5, 0.0, 7.0)),
            ("Adv linf", (99.1, 91.1, 12.1, 11.3, 6.8, 38.2)),
            ("Adv l1", (98.9, 0.0, 78.5, 50.6, 0.0, 43.0)),
            ("Adv l2", (98.5, 0.4, 68.0, 71.8, 0.4, 46.7)),
            ("Adv avg", (97.3, 76.7, 53.9, 58.3, 49.9, 63.0)),
            ("Adv max", (97.2, 71.7, 62.6, 56.0, 52.4, 63.4)),
        ),
        FIVE,
    ),
    "tramer-boneh-mnist-rt": Table(
        "Tramer and Boneh 2019, MNIST", "tramer-boneh", (Linf(0.3), MOVED), RT,
        (
            ("Nat", (99.4, 0.0, 0.0, 0.0, 0.0)),
            ("Adv linf", (99.1, 91.4, 0.2, 0.2, 45.8)),
            ("Adv rt", (99.3, 0.0, 94.6, 0.0, 47.3)),
            ("Adv avg", (99.2, 88.2, 86.4, 82.9, 87.3)),
            ("Adv max", (98.9, 89.6, 85.6, 83.8, 87.6)),
        ),
        ("Adv linf", "Adv rt", "Adv avg", "Adv max"),
    ),
    "tramer-boneh-cifar10": Table(
        "Tramer and Boneh 2019, CIFAR-10", "tramer-boneh", SMALL, ("clean", "linf", "l1", "union", "average"),
        (
            ("Nat", (95.7, 0.0, 0.0, 0.0, 0.0)),
            ("Adv linf", (92.0, 71.0, 18.9, 16.4, 44.9)),
            ("Adv l1", (90.8, 53.8, 66.2, 53.1, 60.0)),
            ("Adv avg", (91.1, 64.1, 60.8, 59.4, 62.5)),
            ("Adv max", (91.2, 65.7, 62.5, 61.1, 64.1)),
        ),
        FIVE,
    ),
    "tramer-boneh-cifar10-rt": Table(
        "Tramer and Boneh 2019, CIFAR-10", "tramer-boneh", (Linf(4 / 255), MOVED), RT,
        (
            ("Nat", (95.7, 0.0, 5.9, 0.0, 3.0)),
            ("Adv linf", (92.0, 71.0, 8.9, 8.7, 40.0)),
            ("Adv rt", (94.9, 0.0, 82.5, 0.0, 41.3)),
            ("Adv avg", (93.6, 67.8, 78.2, 65.2, 73.0)),
            ("Adv max", (93.1, 69.6, 75.2, 65.7, 72.4)),
        ),
        ("Adv linf", "Adv rt", "Adv avg", "Adv max"),
    ),
    "msd-mnist": Table(
        "Maini et al. 2020, MNIST", "msd", MNIST, MSD_COLUMNS,
        (
            ("P linf", (99.1, 90.3, 13.6, 4.2, 3.7)),
            ("P l2", (99.2, 0.4, 69.2, 43.4, 0.4)),
            ("P l1", (99.3, 0.0, 38.5, 70.0, 0.0)),
            ("MAX", (98.6, 51.0, 61.9, 52.6, 42.1)),
            ("AVG", (99.1, 65.2, 60.1, 39.2, 34.9)),
            ("MSD", (98.3, 62.7, 67.9, 65.0, 58.4)),
        ),
    ),
    "msd-cifar10": Table(
        "Maini et al. 2020, CIFAR-10", "msd", CIFAR, MSD_COLUMNS,
        (
            ("P linf", (83.3, 50.7, 57.3, 16.0, 15.6)),
            ("P l2", (90.2, 28.3, 61.6, 46.6, 27.5)),
            ("P l1", (73.3, 0.2, 0.0, 7.9, 0.0)),
            ("MAX", (81.0, 44.9, 61.7, 39.4, 34.9)),
            ("AVG", (84.6, 42.5, 65.0, 54.0, 40.6)),
            ("MSD", (81.1, 48.0, 64.3, 53.0, 47.0)),
        ),
    ),
    "mng-ac-cifar10": Table(
        "Madaan et al. 2021, CIFAR-10", "mng-ac", MNG, LP,
        (
            ("Nat", (94.7, 0.0, 0.0, 0.4, 0.0, 0.0)),
            ("Adv linf", (86.8, 44.9, 26.2, 55.0, 25.6, 41.9)),
            ("Adv l1", (93.3, 0.0, 80.7, 0.0, 0.0, 26.8)),
            ("Adv l2", (89.4, 28.8, 54.2, 65.8, 28.6, 49.6)),
            ("TRADES linf", (84.7, 48.9, 32.3, 57.8, 31.5, 46.3)),
            ("AVG", (86.0, 34.1, 61.3, 65.7, 34.1, 53.7)),
            ("MAX", (84.2, 39.9, 57.9, 64.5, 39.7, 54.1)),
            ("MSD", (82.7, 43.5, 54.3, 63.1, 42.7, 53.6)),
            ("MNG-AC", (81.7, 41.4, 65.4, 65.2, 41.4, 57.2)),
        ),
    ),
    "mng-ac-svhn": Table(
        "Madaan et al. 2021, SVHN", "mng-ac", MNG, LP,
        (
            ("Nat", (96.8, 0.0, 9.4, 3.8, 0.0, 4.5)),
            ("Adv linf", (92.8, 46.2, 8.2, 30.2, 8.1, 28.3)),
            ("AVG", (91.6, 21.5, 61.2, 56.1, 20.4, 45.9)),
            ("MAX", (86.9, 28.8, 48.9, 56.3, 28.8, 44.7)),
            ("MSD", (81.8, 34.1, 43.4, 54.1, 34.1, 44.0)),
            ("MNG-AC", (92.6, 34.2, 71.3, 66.7, 34.2, 57.4)),
        ),
    ),
    "l2l-da-mnist": Table(
        "Jang et al. 2019, MNIST", "l2l-da", (Linf(0.3),), ("clean", "min"),
        (
            ("plain", (99.14, 0.0)),
            ("PGD10", (98.52, 88.92)),
            ("PGD100", (98.29, 88.93)),
            ("L2L*", (98.95, 0.02)),
            ("L2L-DA", (98.47, 94.61)),
        ),
    ),
    "l2l-da-cifar10": Table(
        "Jang et al. 2019, CIFAR-10", "l2l-da", (Linf(8 / 255),), ("clean", "min"),
        (
            ("plain", (91.73, 0.0)),
            ("PGD10", (87.43, 0.32)),
            ("PGD100", (81.11, 35.80)),
            ("L2L*", (88.96, 0.0)),
            ("L2L-DA", (78.91, 37.40)),
        ),
    ),
}  # fmt: skip


def lines(names: Sequence[str], reports: Sequence[Report]) -> list[Line]:
    """The rows of those tables, or of all tables of a paper named as its battery; without names, of the tables that go
    with a report's battery and radii."""
    known = (*PUBLISHED, *dict.fromkeys(table.battery for table in PUBLISHED.values()))
    for name in names:
        checks.choice("published", name, known)
    chosen = [t for name, t in PUBLISHED.items() if name in names or t.battery in names]
    if not names:
        chosen = [table for table in PUBLISHED.values() if any(_fits(table, report) for report in reports)]
    return [line for table in chosen for line in table.lines()]


def _fits(table: Table, report: Report) -> bool:
    """Same battery, and the table's threats at its radii, to three digits."""
    sizes = table.lines()[0].radii
    held = report.info["radii"]
    if report.info["name"] != table.battery or set(held) != set(sizes):
        return False
    return all(abs(a - b) <= 1e-3 * b for name in sizes for a, b in zip(held[name], sizes[name], strict=True))
