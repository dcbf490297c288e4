"""Reports as tables for a terminal, and the rows that a page shows as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mrt.evaluation.report.optimal import optimal
from mrt.evaluation.report.results import Results
from mrt.protocols import Fast

if TYPE_CHECKING:
    from rich.table import Table


PLAIN = repr(Fast())
LAST = ("union", "average", "min", "n")  # columns behind those of the threats


@dataclass(frozen=True)
class Line:
    """One row to compare: percentages by column, and the size of each threat, so that sizes are not mixed up. `more`:
    figures that get a column only where another row lists them among its values: attacks, mean distances."""

    title: str
    values: Mapping[str, float]
    radii: Mapping[str, tuple[float, ...]]
    more: Mapping[str, float] = field(default_factory=dict)


def report_table(report: Results) -> Table:
    """One report: each attack, each threat, the union."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    attacks, sure = report.attacks, report.intervals
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for name in ("left", "95% interval", "broken", "passes each"):
        table.add_column(name, justify="right")
    table.add_row("clean", *_share(report.clean, sure["clean"]), end_section=True)
    for column, accuracy in report.threats.items():
        for label in (a for a, c in report.columns.items() if c == column):
            work = report.info["attacks"][label]
            seen = max(int(report.ran[label].sum()), 1)
            cost = f"{work['forward'] / seen:,.0f}+{work['backward'] / seen:,.0f}"
            row = (*_share(attacks[label], sure[label]), broken_text(report, label), cost)
            table.add_row(Text(f"  {label}"), *row, style="dim")
        name = f"{column} {radii_text(report.info['radii'][column])}"
        table.add_row(name, *_share(accuracy, sure[column]), end_section=True)
    table.add_row("union", *_share(report.union, sure["union"]), style="bold")
    table.add_row("average", *_share(report.average, sure["average"]))
    return table


def headline(report: Results) -> str:
    """How many examples, who saw them, and how attacks of ours ran the model if not as it is."""
    cascade = "each attack saw what the earlier ones on its threat left"
    seen = cascade if report.info["cascade"] else "every attack saw every correct example"
    plain = report.info.get("fast", PLAIN) == PLAIN
    return f"{report.n} examples; {seen}" + ("" if plain else f"; attacks of ours with {report.info['fast']}")


def broken_text(report: Results, label: str) -> str:
    """What the attack broke of what it was given, and on how much it failed."""
    count, seen = int((report.ran[label] & ~report.masks[label]).sum()), int(report.ran[label].sum())
    failed = int(report.info["attacks"][label]["failed"])
    return f"{count} of {seen}" + (f", failed on {failed}" if failed else "")


def rho_lines(report: Results) -> list[str]:
    """A line for each search for the closest point."""
    lines = []
    for label, rho in report.rhos.items():
        sure = f" ({rho.low:.4g} to {rho.high:.4g})" if rho.n > 1 else ""
        found = f"mean distance {rho.mean:.4g}{sure}, median {rho.median:.4g}, n {rho.n}"
        lines.append(f"{label}: {found}, none found on {100 * rho.failed:.1f}%")
    return lines


def radii_text(radii: Sequence[float]) -> str:
    """A threat's radii: 0.3; 30,3."""
    return ",".join(f"{r:.4g}" for r in radii)


def comparison_table(lines: Sequence[Line]) -> Table:
    """Several rows side by side."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    table.add_column("", overflow="fold", min_width=16)
    names = columns(lines)
    for name in names:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(Text(line.title), *cells(line, names))
    return table


def table_lines(reports: Sequence[tuple[str, Results]]) -> list[Line]:
    """A row for each report, and one of the best per threat where several share examples and threats."""
    lines = []
    for name, report in reports:
        held = {"clean": report.clean, **report.threats, "union": report.union, "average": report.average}
        held |= {} if report.info["cascade"] else {"min": report.minimum}
        radii = {column: tuple(r) for column, r in report.info["radii"].items()}
        more = {} if report.info["cascade"] else {a: 100 * share for a, share in report.attacks.items()}
        for label, rho in report.rhos.items():
            plain = label.removeprefix("foolbox.")
            more |= {f"mean {plain}": rho.mean, f"median {plain}": rho.median}
        lines.append(Line(name, {k: 100 * v for k, v in held.items()} | {"n": report.n}, radii, more))
    if len(reports) > 1 and all(r.info[k] == reports[0][1].info[k] for _, r in reports for k in ("data", "threats")):
        best = optimal([report for _, report in reports])
        held = {**best.threats, "union": best.union, "average": best.average}
        lines.append(Line("best per threat", {k: 100 * v for k, v in held.items()} | {"n": best.n}, lines[0].radii))
    return lines


def columns(lines: Sequence[Line]) -> list[str]:
    """clean, each threat with its size ("l1 10"), what one row lists and another has as well, then union, average, min,
    n: those that any row has."""
    threats = [with_radius(line, name) for line in lines for name in line.values if name in line.radii]
    shared = {with_radius(line, name) for line in lines for name in line.more}
    others = [with_radius(line, name) for line in lines for name in line.values if with_radius(line, name) in shared]
    last = [name for name in LAST if any(name in line.values for line in lines)]
    return ["clean", *dict.fromkeys(threats), *dict.fromkeys(others), *last]


def with_radius(line: Line, name: str) -> str:
    """A column's name with the radius of its threat: "l1 10", "fgsm-linf 0.3"."""
    radius = line.radii.get(name.rpartition("-")[2])
    return name if radius is None else f"{name} {radii_text(radius)}"


def cells(line: Line, names: Sequence[str]) -> list[str]:
    """The row's entries in those columns."""
    named = {with_radius(line, name): value for name, value in {**line.more, **line.values}.items()}
    digits = {n: 0 if n == "n" else 3 if n.startswith(("mean ", "median ")) else 1 for n in names}
    return ["" if n not in named else f"{named[n]:.{digits[n]}f}" for n in names]


def _share(share: float, interval: tuple[float, float]) -> tuple[str, str]:
    low, high = interval
    return f"{100 * share:.1f}%", f"{100 * low:.1f} to {100 * high:.1f}"
