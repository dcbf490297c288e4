"""Reports as tables for a terminal, and the rows that a page shows as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from mrt.evaluation.report import metrics
from mrt.evaluation.report.methods import Method, Runs, group
from mrt.evaluation.report.optimal import optimal
from mrt.evaluation.report.results import Results
from mrt.fast import Fast

if TYPE_CHECKING:
    from rich.table import Table


PLAIN = repr(Fast())  # what a report says of attacks that ran the model as it is
BEST = "no one model: each column's best"
FEW = 6  # reports of which every two are tested; of more, the runs of a method share a line
LAST = ("union", "average", "min", "n")  # columns behind those of the threats


@dataclass(frozen=True)
class Line:
    """One row to compare: percentages by column, and the size of each threat, so that sizes are not mixed up. `more`:
    figures that get a column only where another row lists them among its values: attacks, mean distances. `interval`:
    the ends of a 95% interval over the images. `sd`: the standard deviation over the runs that a figure is the mean
    of."""

    title: str
    values: Mapping[str, float]
    radii: Mapping[str, tuple[float, ...]]
    more: Mapping[str, float] = field(default_factory=dict)
    interval: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sd: Mapping[str, float] = field(default_factory=dict)


def report_table(report: Results) -> Table:
    """One report as a table: each attack, each threat, the union."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    attacks, intervals = report.attacks, report.intervals
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for name in ("left", "95% interval", "broken", "passes each"):
        table.add_column(name, justify="right")
    table.add_row("clean", *_percent_cells(report.clean, intervals["clean"]), end_section=True)
    for column, accuracy in report.threats.items():
        for label in (a for a, c in report.columns.items() if c == column):
            work = report.info["attacks"][label]
            examples = max(int(report.ran[label].sum()), 1)  # late in a cascade there may be none
            passes = f"{work['forward'] / examples:,.0f}+{work['backward'] / examples:,.0f}"
            row = (*_percent_cells(attacks[label], intervals[label]), broken_text(report, label), passes)
            # As Text, since in a plain string rich takes what stands in brackets for markup.
            table.add_row(Text(f"  {label}"), *row, style="dim")
        name = f"{column} {radii_text(report.info['radii'][column])}"
        table.add_row(name, *_percent_cells(accuracy, intervals[column]), end_section=True)
    table.add_row("union", *_percent_cells(report.union, intervals["union"]), style="bold")
    table.add_row("average", *_percent_cells(report.average, intervals["average"]))
    return table


def headline(report: Results) -> str:
    """How many examples, who saw them, and how attacks of ours ran the model if not as it is."""
    attacked = "every attack saw every correct example"
    if report.info["cascade"]:
        attacked = "each attack saw what the earlier ones on its threat left"
        if any(work.get("distances") for work in report.info["attacks"].values()):
            attacked += ", or every correct example where it measures distances"
    # Reports of older versions do not say which data, what budget, nor how attacks ran.
    name, budget, fast = (report.info.get(key) for key in ("data name", "budget", "fast"))
    text = f"{report.n} examples{f' of {name}' if name else ''}; {attacked}"
    if budget not in (None, 1):
        text += f"; budget {budget:g}" + (", a first look, not comparable" if budget < 1 else "")
    return text if fast in (None, PLAIN) else f"{text}; attacks of ours with {fast}"


def broken_text(report: Results, label: str) -> str:
    """What the attack broke of what it was given, and on how much it failed."""
    broken, examples = int((report.ran[label] & ~report.masks[label]).sum()), int(report.ran[label].sum())
    failed = int(report.info["attacks"][label]["failed"])
    return f"{broken} of {examples}" + (f", failed on {failed}" if failed else "")


def rho_lines(report: Results) -> list[str]:
    """A line for each search for the closest point: its mean distance with an interval, its median, its failures."""
    lines = []
    for label, rho in report.rhos.items():
        interval = f" ({rho.low:.4g} to {rho.high:.4g})" if rho.n > 1 else ""
        unit = " in radii of the nearest ball" if report.in_radii(report.columns[label]) else ""
        distances = f"mean distance{unit} {rho.mean:.4g}{interval}, median {rho.median:.4g}, n {rho.n}"
        lines.append(f"{label}: {distances}, none found on {100 * rho.failed:.1f}%")
    return lines


def radii_text(radii: Sequence[float]) -> str:
    """A threat's radii, separated by commas: 0.3; 30,3."""
    return ",".join(f"{r:.4g}" for r in radii)


def comparison_table(lines: Sequence[Line]) -> Table:
    """Several lines as one table, the figures that they share under each other."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)  # so that the demo's fits 80 columns
    table.add_column("", overflow="fold", min_width=min(16, max(len(line.title) for line in lines)))
    names = columns(lines)
    for name in names:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(Text(line.title), *cells(line, names))
    return table


def table_lines(reports: Runs, methods: Sequence[Method] = ()) -> list[Line]:
    """A row for each report, those of a method together and their mean below them; where several share examples and
    threats, one more of the best in each column, which no one model reaches."""
    lines = []
    for name, runs in group(reports, methods):
        rows = [_report_line(*run) for run in runs]
        lines += rows if len(rows) == 1 else [*rows, _mean_line(name, rows)]
    if len(reports) > 1 and _share_examples_and_threats([report for _, report in reports]):
        best = optimal([report for _, report in reports])
        shares = {**best.threats, "union": best.union, "average": best.average}
        lines.append(Line(BEST, _percentages(shares) | {"n": best.n}, lines[0].radii))
    return lines


def _report_line(name: str, report: Results) -> Line:
    """The row of one report."""
    shares = {"clean": report.clean, **report.threats, "union": report.union, "average": report.average}
    extra: dict[str, float] = {}
    if not report.info["cascade"]:  # else a later attack's figures are those of what earlier ones left
        shares["min"] = report.minimum
        extra |= {attack: 100 * share for attack, share in report.attacks.items()}
    for label, rho in report.rhos.items():
        paper_name = label.removeprefix("foolbox.")  # as the published rows name it
        extra |= {f"mean {paper_name}": rho.mean, f"median {paper_name}": rho.median}
    radii = {column: tuple(r) for column, r in report.info["radii"].items()}
    low, high = report.intervals["union"]  # the figure that is compared; in all columns it would be too wide
    interval = {"union": (100 * low, 100 * high)}
    budget = report.info.get("budget")  # reports of older versions do not say it
    title = name if budget in (None, 1) else f"{name} (budget {budget:g})"
    return Line(title, _percentages(shares) | {"n": report.n}, radii, extra, interval)


def _mean_line(name: str, rows: Sequence[Line]) -> Line:
    """The row of a method: of each figure that all its runs have, the mean and the standard deviation."""

    def over_runs(figures: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
        shared = [key for key in figures[0] if all(key in each for each in figures)]
        return {key: metrics.mean_and_sd([each[key] for each in figures]) for key in shared}

    values, more = over_runs([row.values for row in rows]), over_runs([row.more for row in rows])
    sd = {key: spread for key, (_, spread) in {**more, **values}.items() if key != "n"}
    means, more_means = ({key: mean for key, (mean, _) in found.items()} for found in (values, more))
    return Line(f"{name}, mean ± sd of {len(rows)} runs", means, rows[0].radii, more_means, sd=sd)


def legend(lines: Sequence[Line]) -> str:
    """What stands beside the figures of these rows: over what they would vary."""
    text = "In brackets: the 95% interval of the union of one model, over the images."
    if any(line.sd for line in lines):
        text += "\n±: the sample standard deviation over the runs (seeds) of a method, the spread over trainings."
    return text


def paired_lines(reports: Runs, methods: Sequence[Method] = ()) -> list[str]:
    """For each two reports that compare, a line on how their unions differ: McNemar's exact test. Of more than FEW
    reports the runs of a method are not tested against each other, and those of two methods share a line."""
    lines = []
    for (first, a), (second, b) in combinations(group(reports, methods if len(reports) > FEW else ()), 2):
        try:
            tests = [one.compare(other)["union"] for _, one in a for _, other in b]
        except ValueError as error:
            lines.append(f"{second} beside {first}: {error}")
            continue
        found = str(tests[0])
        if len(tests) > 1:
            points = 100 * sum(test.second_only - test.first_only for test in tests) / (len(tests) * tests[0].n)
            low, high = min(test.p for test in tests), max(test.p for test in tests)
            between = f"{len(tests)} tests of a run of each: p from {low:.2g} to {high:.2g}"
            found = f"{points:+.1f} points in the mean ({between}, n = {tests[0].n})"
        lines.append(f"union of {second} beside {first}: {found}")
    return lines


def _share_examples_and_threats(reports: Sequence[Results]) -> bool:
    """Whether a best among the reports means anything."""
    return all(report.info[key] == reports[0].info[key] for report in reports for key in ("data", "threats"))


def _percentages(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * share for name, share in shares.items()}


def columns(lines: Sequence[Line]) -> list[str]:
    """clean, each threat with its size ("l1 10"), what one row lists and another has as well, then union, average, min,
    n: those that any row has."""
    # With the radius in the name, so that accuracies within different radii never stand in one column.
    threats = [with_radius(line, name) for line in lines for name in line.values if name in line.radii]
    shared = {with_radius(line, name) for line in lines for name in line.more}
    others = [with_radius(line, name) for line in lines for name in line.values if with_radius(line, name) in shared]
    last = [name for name in LAST if any(name in line.values for line in lines)]
    return ["clean", *dict.fromkeys(threats), *dict.fromkeys(others), *last]


def with_radius(line: Line, name: str) -> str:
    """A column's name with the radius of its threat: "l1 10", "fgsm-linf 0.3"."""
    radius = line.radii.get(name.rpartition("-")[2])  # an attack's name ends in its threat's
    return name if radius is None else f"{name} {radii_text(radius)}"


def cells(line: Line, names: Sequence[str]) -> list[str]:
    """The row's entries in those columns."""
    texts = {}
    for name, value in {**line.more, **line.values}.items():
        column = with_radius(line, name)
        digits = _digits(column)
        spread = f" ±{line.sd[name]:.{digits}f}" if name in line.sd else ""
        low_high = " ({:.1f}–{:.1f})".format(*line.interval[name]) if name in line.interval else ""
        texts[column] = f"{value:.{digits}f}{spread}{low_high}"
    return [texts.get(name, "") for name in names]


def _digits(column: str) -> int:
    """How many digits after the point: none for a number of examples, three for distances, one for percentages."""
    if column == "n":
        return 0
    return 3 if column.startswith(("mean ", "median ")) else 1


def _percent_cells(share: float, interval: tuple[float, float]) -> tuple[str, str]:
    """The two cells of an accuracy: in percent, and from where to where its interval reaches."""
    low, high = interval
    return f"{100 * share:.1f}%", f"{100 * low:.1f} to {100 * high:.1f}"
