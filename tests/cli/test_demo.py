"""mrt/cli/demo.py: `mrt demo`: what it says follows from what was measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import mrt
from mrt import cli
from mrt.cli import demo
from mrt.evaluation import Report
from tests.evaluation.report.support import made_report
from tests.support import ROOT, UNION


def test_the_judge_is_autoattack_and_pointwise() -> None:
    entries = demo.battery()
    assert [e.threat for e in entries] == [b for b in UNION for _ in range(3)] + [UNION[2]]
    assert [e.name for e in entries] == ["apgd-ce", "apgd-t", "square"] * 3 + ["pointwise"]
    assert {e.attack.host for e in entries if isinstance(e.attack, mrt.Foreign)} == {"autoattack", "foolbox"}


def test_every_network_is_trained_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a quicker judge and on few images; then the table, the gains and the page agree with the reports."""
    monkeypatch.setattr(demo, "battery", lambda: mrt.batteries.quick(UNION, budget=0.02))
    monkeypatch.setattr(demo, "digits", lambda split: mrt.data.digits(split).take(128))
    monkeypatch.setattr(demo, "DigitsCNN", lambda: mrt.models.DigitsCNN(width=8))
    mine = demo.Demo(tmp_path / "demo", images=20, epochs=1)
    with demo.Bars(mine) as bars:
        for name in demo.STRATEGIES:
            demo.train_and_judge(name, mine)
        bars.look([])
        assert all(task.finished for task in bars.bars.tasks)
    monkeypatch.setenv("COLUMNS", "100")
    before = (mine.folder("MSD") / "checkpoint.pt").stat().st_mtime_ns
    mine.print_results(12.0)
    said = capsys.readouterr().out
    reports = {name: Report.load(mine.folder(name) / "judged") for name in demo.STRATEGIES}
    for name, report in reports.items():
        (line,) = [row for row in said.splitlines() if row.strip().startswith(name) and row.split()[-1] == "20"]
        shares = [report.clean, *report.threats.values(), report.union, report.average]
        low, high = (100 * end for end in report.intervals["union"])
        assert f"{100 * report.union:.1f} ({low:.1f}–{high:.1f})" in line and "±" not in line
        assert re.sub(r" \(\S+\)", "", line).split()[-7:] == [*(f"{100 * s:.1f}" for s in shares), "20"]
    best = max(("linf only", "l2 only"), key=lambda n: reports[n].union)
    gain = 100 * (reports["MSD"].union - reports[best].union)
    assert f"({best}, {100 * reports[best].union:.1f})" in said and f"MSD {gain:+.1f}" in said
    page = (mine.out / "index.html").read_text()
    assert all(name in page for name in demo.STRATEGIES) and page.count("data:image/png") > 20
    demo.train_and_judge("MSD", mine)  # nothing is trained twice
    assert before == (mine.folder("MSD") / "checkpoint.pt").stat().st_mtime_ns


def test_the_tests_words_follow_from_the_masks() -> None:
    """MAX, SAT and MNG-AC differ by chance, and MSD holds ten images more than one of them."""
    holds = {"natural": 0, "linf only": 10, "l2 only": 5, "MAX": 25, "SAT": 30, "MNG-AC": 31, "MSD": 35}
    reports = {}
    for name, count in holds.items():
        reports[name] = made_report(0)
        for label in reports[name].masks:
            reports[name].masks[label] = reports[name].correct = torch.arange(40) < count
    said = demo.describe_tests(reports)
    assert "(linf only, 25.0)" in said and "MAX +37.5 (p = 6.1e-05)" in said and "MSD +62.5 (p = 6e-08)" in said
    # Of m images that one network alone holds p is 2 / 2**m: 0.0625 for 5, 0.03 for 6, and 0.002 for 10.
    assert said.endswith("(6, each at p < 0.0083) tell apart: MSD from MAX (p = 0.002).")
    for label in reports["MSD"].masks:
        reports["MSD"].masks[label] = reports["MSD"].correct = torch.arange(40) < 30
    assert demo.describe_tests(reports).endswith("tell apart: none.")


def test_what_goes_wrong_is_told_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The slowest network's folder holds something else; the others are stopped."""
    (tmp_path / "MSD").mkdir()
    (tmp_path / "MSD" / "checkpoint.pt").write_bytes(b"mine")
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "2000", "--workers", "2", "--no-progress"]) == 2
    assert f"error: MSD: {tmp_path}/MSD holds checkpoint.pt of something else" in capfd.readouterr().err


def test_the_networks_stop_with_their_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mrt.cli", "demo", "--out", str(tmp_path), "--epochs", "5000", "--workers", "1"]
    parent = subprocess.Popen([*command, "--no-progress"], cwd=ROOT, stdout=subprocess.DEVNULL)
    lock = tmp_path / "MSD" / ".lock"
    while not (lock.is_file() and lock.read_text()):
        time.sleep(0.05)
    child = int(lock.read_text())
    os.kill(child, 0)  # alive
    parent.kill()
    parent.wait()
    end = time.monotonic() + 900
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end, "it trains on"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_demo_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "2", "--images", "20"]) == 0
    said = capfd.readouterr().out
    assert re.search(r"MSD +\d", said) and (tmp_path / "index.html").is_file() and "2 epochs each" in said


def test_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--images", "0"], ["--epochs", "0"], ["--workers", "-1"]):
        assert cli.main(["demo", *words]) == 2
        assert words[0][2:] in capsys.readouterr().err
