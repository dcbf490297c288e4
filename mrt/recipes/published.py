"""All published tables, to set beside reports, each at its radii. Figures on other test subsets or from other attacks
do not compare."""

from __future__ import annotations

from collections.abc import Sequence

from mrt import checks
from mrt.evaluation.report import Report
from mrt.evaluation.report.tables import Line
from mrt.recipes import l2l_da, mng_ac, msd, pgn, tramer_boneh
from mrt.recipes.table import Table

PUBLISHED: dict[str, Table] = {
    **tramer_boneh.TABLES,
    **msd.TABLES,
    **mng_ac.TABLES,
    **l2l_da.TABLES,
    **pgn.TABLES,
}


def lines(names: Sequence[str], reports: Sequence[Report]) -> list[Line]:
    """The rows of those tables, or of all tables of a paper named as its battery; without names, of the main tables
    that go with a report's battery and radii."""
    known = (*PUBLISHED, *dict.fromkeys(table.battery for table in PUBLISHED.values()))
    for name in names:
        checks.choice("published", name, known)
    chosen = [t for name, t in PUBLISHED.items() if name in names or t.battery in names]
    if not names:
        chosen = [t for t in PUBLISHED.values() if t.unasked and any(_fits(t, report) for report in reports)]
    return [line for table in chosen for line in table.lines()]


def _fits(table: Table, report: Report) -> bool:
    """Same battery, and the table's threats at its radii, to three digits."""
    sizes = table.lines()[0].radii
    held = report.info["radii"]
    if report.info["name"] != table.battery or set(held) != set(sizes):
        return False
    return all(abs(a - b) <= 1e-3 * b for name in sizes for a, b in zip(held[name], sizes[name], strict=True))
