"""All published tables, to set beside reports. A table's figures compare with a report of the same battery in full, on
the same data set and at the same radii; beside any other report their titles say what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mrt import checks
from mrt.evaluation.report import Report
from mrt.evaluation.report.tables import Line
from mrt.recipes import l2l_da, mng_ac, msd, pgn, tramer_boneh
from mrt.recipes.table import SHAPES, Table
from mrt.threats.radii import same_radii

# By the names that `mrt report --published` takes.
PUBLISHED: dict[str, Table] = {
    **tramer_boneh.TABLES,
    **msd.TABLES,
    **mng_ac.TABLES,
    **l2l_da.TABLES,
    **pgn.TABLES,
}


def lines(names: Sequence[str], reports: Sequence[Report]) -> list[Line]:
    """The rows of those tables, or of all tables of a paper named as its battery, whose titles say in what the nearest
    report differs; without names, of the main tables that compare with a report."""
    # A table's name or a battery's: the first names one table, the second all of its paper. Each once, in order.
    known = (*PUBLISHED, *dict.fromkeys(table.battery for table in PUBLISHED.values()))
    for name in names:
        checks.choice("published", name, known)
    chosen = [t for name, t in PUBLISHED.items() if name in names or t.battery in names]
    if not names:
        comparable = [t for t in PUBLISHED.values() if any(not differences(t, report) for report in reports)]
        chosen = [table for table in comparable if table.unasked]
    rows = []
    for table in chosen:
        other = min((differences(table, report) for report in reports), key=len, default=[])
        remark = f" (not comparable: other {', '.join(other)})" if other else ""
        rows += [replace(line, title=line.title + remark) for line in table.lines()]
    return rows


def differences(table: Table, report: Report) -> list[str]:
    """In what the report's figures differ from the table's: data, battery, budget, radii; none where they compare."""
    published, info = table.lines()[0].radii, report.info
    found = []
    if info.get("data name") != f"{table.data} test" or info.get("shape") != list(SHAPES[table.data]):
        found.append("data")
    if info["name"] != table.battery:
        found.append("attacks")
    elif info.get("budget", 1) != 1:
        found.append(f"budget ({info['budget']:g})")
    alike = set(info["radii"]) == set(published) and all(
        same_radii(info["radii"][name], wanted) for name, wanted in published.items()
    )
    return found if alike else [*found, "radii"]
