"""Reports as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mrt.evaluation.report import Report


def of(report: Report) -> Table:
    """One report: each attack, each threat, the union."""
    from rich.table import Table

    cascade = "each attack sees what stands" if report.info["cascade"] else "every attack sees every example"
    attacks, threats, sure = report.attacks, report.threats, report.intervals
    table = Table(title=f"{report.n} examples, {cascade}", title_justify="left")
    table.add_column("")
    for name in ("still correct", "95% interval", "broken by it", "passes/example", "seconds"):
        table.add_column(name, justify="right")
    table.add_row("clean", *_share(report.clean, sure["clean"]), end_section=True)
    for column, accuracy in threats.items():
        for label in (a for a, c in report.columns.items() if c == column):
            work = report.info["attacks"][label]
            seen = max(int(report.ran[label].sum()), 1)
            broken = int((report.ran[label] & ~report.masks[label]).sum())
            cost = f"{work['forward'] / seen:,.0f}+{work['backward'] / seen:,.0f}"
            row = (f"{100 * attacks[label]:.1f}%", "", str(broken), cost, f"{work['seconds']:.1f}")
            table.add_row(f"  {label}", *row, style="dim")
        table.add_row(column, *_share(accuracy, sure[column]), end_section=True)
    table.add_row("union", *_share(report.union, sure["union"]), style="bold")
    table.add_row("average", *_share(report.average, sure["average"]))
    return table


def beside(reports: Sequence[tuple[str, Report]], published: Sequence[tuple[str, dict[str, float]]] = ()) -> Table:
    """Several reports as rows, published rows (percent) below them."""
    from rich.table import Table

    table = Table()
    table.add_column("")
    for name in columns(reports, published):
        table.add_column(name, justify="right")
    for title, values in rows(reports, published):
        table.add_row(title, *values)
    return table


def columns(reports: Sequence[tuple[str, Report]], published: Sequence[tuple[str, dict[str, float]]]) -> list[str]:
    """clean, the threats of any report, then union and average."""
    threats = [name for _, report in reports for name in report.threats]
    threats += [name for _, row in published for name in row if name not in ("clean", "union", "average")]
    return ["clean", *dict.fromkeys(threats), "union", "average", "n"]


def rows(
    reports: Sequence[tuple[str, Report]], published: Sequence[tuple[str, dict[str, float]]] = ()
) -> list[tuple[str, list[str]]]:
    """(title, cells) of the reports, of the best per threat where there are several, and of published rows."""
    from mrt.evaluation.metrics import optimal

    names, lines = columns(reports, published), []
    for title, report in reports:
        held = {"clean": report.clean, **report.threats, "union": report.union, "average": report.average}
        lines.append((title, {name: 100 * share for name, share in held.items()} | {"n": report.n}))
    if len(reports) > 1 and set.intersection(*(set(r.threats) for _, r in reports)):
        best = optimal([report for _, report in reports])
        held = {**best.threats, "union": best.union, "average": best.average}
        lines.append(("best per threat", {name: 100 * share for name, share in held.items()}))
    lines += published
    return [(title, [_cell(name, values) for name in names]) for title, values in lines]


def _cell(name: str, values: dict[str, float]) -> str:
    if name not in values:
        return ""
    return str(values[name]) if name == "n" else f"{values[name]:.1f}"


def _share(share: float, interval: tuple[float, float]) -> tuple[str, str]:
    low, high = interval
    return f"{100 * share:.1f}%", f"{100 * low:.1f} to {100 * high:.1f}"
