"""mrt/evaluation/report/methods.py, tables.py: Several runs of one method: their mean and spread, and the tests."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from mrt.evaluation import Report
from mrt.evaluation.report import page, tables
from mrt.evaluation.report.methods import Method, group
from tests.evaluation.report.support import made_report

MSD = [(f"msd-{seed}", made_report(seed)) for seed in range(3)]
SAT = [(f"sat-{seed}", made_report(20 + seed)) for seed in range(4)]


def test_the_mean_and_its_spread_stand_below_the_runs() -> None:
    method, lone = Method("msd", MSD), ("lone", made_report(9))
    lines = tables.table_lines([MSD[0], lone, *MSD[1:]], [method])
    title = "msd, mean ± sd of 3 runs"
    assert [line.title for line in lines] == ["msd-0", "msd-1", "msd-2", title, "lone", tables.BEST]
    names = tables.columns(lines)
    rows = {line.title: dict(zip(names, tables.cells(line, names), strict=True)) for line in lines}
    figures: dict[str, list[float]] = {
        "clean": [r.clean for _, r in MSD],
        "linf 0.2": [r.threats["linf"] for _, r in MSD],
        "l2 0.7": [r.threats["l2"] for _, r in MSD],
        "union": [r.union for _, r in MSD],
        "average": [r.average for _, r in MSD],
        "min": [r.minimum for _, r in MSD],
    }
    for name, shares in figures.items():
        percent = [100 * share for share in shares]
        assert rows[title][name] == f"{statistics.mean(percent):.1f} ±{statistics.stdev(percent):.1f}", name
    assert rows[title]["n"] == "40" and set(figures) | {"n"} == set(names)
    assert all("±" not in cell for run in ("msd-0", "msd-1", "msd-2", "lone") for cell in rows[run].values())
    low, high = lone[1].intervals["union"]
    assert rows["lone"]["union"] == f"{100 * lone[1].union:.1f} ({100 * low:.1f}–{100 * high:.1f})"
    assert lines[3].more.keys() == {"pgd-linf", "pgd-l2"}
    text = page.render([MSD[0], lone, *MSD[1:]], methods=[method])
    assert f"<td>{title}</td>" in text and tables.legend(lines) in text


def test_a_first_look_is_marked_beside_others() -> None:
    lines = tables.table_lines([("a", made_report(1, budget=0.1)), ("b", made_report(2, budget=1.0)), MSD[0]])
    assert [line.title for line in lines][:3] == ["a (budget 0.1)", "b", "msd-0"]


def test_without_several_runs_there_is_no_spread() -> None:
    with pytest.raises(ValueError, match="two runs or more; msd has 1"):
        Method("msd", MSD[:1])
    lines = tables.table_lines([MSD[0], SAT[0]])
    assert not any(line.sd for line in lines) and not any("±" in line.title for line in lines)
    assert "±" not in tables.legend(lines)
    assert "spread over trainings" in tables.legend(tables.table_lines(MSD, [Method("msd", MSD)]))


def test_a_figure_that_a_run_lacks_has_no_mean() -> None:
    cascade = made_report(5, cascade=True)
    for runs in ([*MSD, ("msd-3", cascade)], [("msd-3", cascade), *MSD]):
        lines = tables.table_lines(runs, [Method("msd", runs)])
        assert lines[4].title == "msd, mean ± sd of 4 runs" and "union" in lines[4].sd
        assert not {"min", "pgd-linf"} & {*lines[4].values, *lines[4].more, *lines[4].sd}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (made_report(5, data="those"), "differ in their examples"),
        (made_report(5, threats={"linf": "Linf(eps=0.1)", "l2": "L2(eps=0.7)"}), r"in their threats: .*0\.2.*0\.1"),
        (made_report(5, battery=[["pgd", "MIM"]]), "differ in their attacks"),
        (made_report(5, n=39), "of 40 and of 39 examples"),
    ],
)
def test_what_does_not_compare_has_no_mean(other: Report, said: str) -> None:
    with pytest.raises(ValueError, match=f"^no mean of msd over msd-0 and msd-3: .*{said}") as error:
        Method("msd", [*MSD, ("msd-3", other)])
    assert "\n" not in str(error.value)


def test_few_reports_are_tested_two_by_two() -> None:
    six = [*MSD, *SAT[:3]]
    lines = tables.paired_lines(six, [Method("msd", MSD), Method("sat", SAT[:3])])
    assert len(lines) == 15 and lines == tables.paired_lines(six)
    assert lines[0] == f"union of msd-1 beside msd-0: {MSD[0][1].compare(MSD[1][1])['union']}"


def test_of_many_reports_methods_share_a_line() -> None:
    lone = ("lone", made_report(9))
    methods = [Method("msd", MSD), Method("sat", SAT)]
    lines = tables.paired_lines([*MSD, lone, *SAT], methods)
    tests: list[Any] = [a.compare(b)["union"] for _, a in MSD for _, b in SAT]
    unions = [statistics.mean(report.union for _, report in runs) for runs in (MSD, SAT)]
    assert abs(unions[1] - unions[0]) > 0.01
    p = sorted(test.p for test in tests)
    between = f"12 tests of a run of each: p from {p[0]:.2g} to {p[-1]:.2g}, n = 40"
    assert lines[1] == f"union of sat beside msd: {100 * (unions[1] - unions[0]):+.1f} points in the mean ({between})"
    assert len(lines) == 3 and lines[0].startswith("union of lone beside msd: ") and "3 tests of a run" in lines[0]
    assert len(tables.paired_lines([*MSD, *SAT])) == 21  # of no methods: all there is to test
    other = made_report(4, data="those")
    assert "differ in their examples" in tables.paired_lines([*MSD, *SAT, ("other", other)], methods)[-1]


def test_methods_stand_where_their_first_run_does() -> None:
    groups = group([SAT[0], MSD[0], ("lone", SAT[3][1]), MSD[1], SAT[1]], [Method("msd", MSD[:2])])
    assert [name for name, _ in groups] == ["sat-0", "msd", "lone", "sat-1"]
    assert [len(runs) for _, runs in groups] == [1, 2, 1, 1]
