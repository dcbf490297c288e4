"""All published tables, to set beside reports, each at its radii. Figures on other test subsets or from other attacks
do not compare."""

from __future__ import annotations

from collections.abc import Sequence

from mrt import checks
from mrt.evaluation.report import Report
from mrt.evaluation.report.tables import Line
from mrt.recipes import l2l_da, mng_ac, msd, pgn, tramer_boneh
from mrt.recipes.table import Table

# By the names that `mrt report --published` takes.
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
    # A table's name or a battery's: the first names one table, the second all of its paper. Each once, in order.
    known = (*PUBLISHED, *dict.fromkeys(table.battery for table in PUBLISHED.values()))
    for name in names:
        checks.choice("published", name, known)
    chosen = [t for name, t in PUBLISHED.items() if name in names or t.battery in names]
    if not names:
        chosen = [t for t in PUBLISHED.values() if t.unasked and any(_fits(t, report) for report in reports)]
    return [line for table in chosen for line in table.lines()]


def _fits(table: Table, report: Report) -> bool:
    """Whether the report is of the table's battery, and of its threats at its radii, to three digits."""
    published = table.lines()[0].radii
    judged = report.info["radii"]
    if report.info["name"] != table.battery or set(judged) != set(published):
        return False
    # To three digits, so that 0.0157 passes for 4/255.
    return all(
        abs(radius - wanted) <= 1e-3 * wanted
        for name in published
        for radius, wanted in zip(judged[name], published[name], strict=True)
    )
