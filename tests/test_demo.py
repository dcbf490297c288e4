"""`mrt demo`: what it says follows from what was measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import mrt
from mrt import cli, demo
from mrt.evaluation import Report
from tests.support import UNION


def test_the_judge_is_autoattack_and_pointwise() -> None:
    entries = demo.battery()
    assert [e.threat for e in entries] == [b for b in UNION for _ in range(3)] + [UNION[2]]
    assert [e.name for e in entries] == ["apgd-ce", "apgd-t", "square"] * 3 + ["pointwise"]
    assert {e.attack.host for e in entries if isinstance(e.attack, mrt.Foreign)} == {"autoattack", "foolbox"}


def test_every_network_is_trained_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a judge of our own, which is quicker; then the table, the gains and the page agree with the reports."""
    monkeypatch.setattr(demo, "battery", lambda: mrt.batteries.quick(UNION, budget=0.03))
    mine = demo.Demo(tmp_path / "demo", images=30, epochs=2)
    with demo.Bars(mine) as bars:
        seconds = {name: demo.one(name, mine) for name in demo.STRATEGIES}

        class Done:
            def done(self) -> bool:
                return True

        jobs: Any = dict.fromkeys(demo.STRATEGIES, Done())
        bars.look(jobs)
        assert all(task.finished for task in bars.bars.tasks)
    monkeypatch.setenv("COLUMNS", "100")
    mine.tell(seconds, 12.0)
    said = capsys.readouterr().out
    reports = {name: Report.load(mine.folder(name) / "judged") for name in demo.STRATEGIES}
    for name, report in reports.items():
        (line,) = [row for row in said.splitlines() if row.strip().startswith(name) and "." in row and ":" not in row]
        shares = [report.clean, *report.threats.values(), report.union, report.average]
        assert line.split()[-7:] == [*(f"{100 * s:.1f}" for s in shares), "30"]
    best = max(("linf only", "l2 only"), key=lambda n: reports[n].union)
    gain = 100 * (reports["MSD"].union - reports[best].union)
    assert f"({best}, {100 * reports[best].union:.1f})" in said and f"MSD {gain:+.1f}" in said
    page = (mine.out / "index.html").read_text()
    assert all(name in page for name in demo.STRATEGIES) and page.count("data:image/png") > 20
    again = demo.one("MSD", mine)  # nothing is trained twice
    assert again == pytest.approx(seconds["MSD"])


@pytest.mark.slow
def test_the_demo_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "2", "--images", "20"]) == 0
    said = capfd.readouterr().out
    assert re.search(r"MSD +\d", said) and (tmp_path / "index.html").is_file() and "2 epochs each" in said


def test_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--images", "0"], ["--epochs", "0"], ["--workers", "-1"]):
        assert cli.main(["demo", *words]) == 2
        assert words[0][2:] in capsys.readouterr().err
