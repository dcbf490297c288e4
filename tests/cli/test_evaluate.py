"""mrt/cli/evaluate.py, main.py, parsing.py: The command line, as a person types it: results, and errors of one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mrt
from mrt import cli
from mrt.cli import parsing
from tests.support import ROOT, UNION, digits, digits_net

pytestmark = pytest.mark.filterwarnings("ignore:gradient masking")


@pytest.fixture
def weights(tmp_path: Path) -> str:
    mrt.save_model(digits_net(), tmp_path / "net.pt", width=8)
    return str(tmp_path / "net.pt")


THREE = ("--threats", "linf=0.2", "l2=0.7", "l1=2.0", "--images", "24", "--budget", "0.05", "--no-progress")


def test_evaluate_then_report(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("a", "b"):
        assert cli.main(["evaluate", weights, *THREE, "--seed", str(len(out)), "--out", str(tmp_path / out)]) == 0
    said = capsys.readouterr().out
    assert "apgd-ce-l1" in said and "union" in said and "index.html" in said
    held = json.loads((tmp_path / "a" / "report.json").read_text())
    report = mrt.evaluate(digits_net(), digits(24), mrt.batteries.quick(UNION, budget=0.05), seed=1, progress=False)
    assert held["accuracy"]["union"] == report.union and held["attacks"] == report.attacks
    page = tmp_path / "both.html"
    assert (
        cli.main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--published", "msd-mnist", "--out", str(page)])
        == 0
    )
    said = capsys.readouterr().out
    assert "no one model" in said and "MSD" in said and "58.4" in said and "Side by side" in page.read_text()


def test_a_module_of_the_users_is_evaluated_in_a_process_of_its_own(tmp_path: Path) -> None:
    """As a module, in a process that has imported nothing before, on a package of the user's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "nets.py").write_text(
        "import pyautoattack\nfrom tests.apart import in_few_steps\nfrom tests.support import digits_net\n\n"
        "pyautoattack.AutoAttack.__init__ = in_few_steps(pyautoattack.AutoAttack.__init__)\n\n"
        "def factory():\n    return digits_net()\n"
    )
    command = "evaluate mine.nets:factory --data digits --threats linf=0.2 --battery standard --out out"
    command += " --budget 0.01 --images 6"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "adapters"), str(tmp_path)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "mrt.cli", *command.split()]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "aa.square-linf" in done.stdout and (tmp_path / "out" / "index.html").is_file()
    assert "aa.apgd-ce-linf" in done.stderr and "% left" in done.stderr  # progress


def test_a_battery_from_a_file_and_data_from_files(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    battery = (mrt.Entry("mine", mrt.PGD(mrt.Linf(0.2), steps=3), mrt.Linf(0.2)),)
    mrt.write_battery(battery, tmp_path / "battery.json")
    x, y = digits(12)
    np.savez(tmp_path / "set.npz", x=x.numpy(), y=y.numpy())
    how = ["--battery", str(tmp_path / "battery.json"), "--data", str(tmp_path / "set.npz"), "--no-progress"]
    assert cli.main(["evaluate", weights, *how]) == 0
    assert "mine-linf" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf=0.2", mrt.Linf(0.2)),
        ("linf=8/255", mrt.Linf(8 / 255)),
        ("l2=1", mrt.L2(1.0)),
        ("l1=2e0", mrt.L1(2.0)),
        ("l0=12", mrt.L0(12)),
        ("rt=30,3", mrt.RotationTranslation(30.0, 3.0)),
    ],
)
def test_threats_as_they_are_typed(text: str, threat: Any) -> None:
    assert parsing.parse_threat(text) == threat


BAD: list[tuple[list[str], str]] = [
    (["evaluate", "{net}", "--threats", "linf"], "written linf=0.2"),
    (["evaluate", "{net}", "--threats", "linv=0.2"], "must be one of 'linf'"),
    (["evaluate", "{net}", "--threats", "linf=-1"], "eps"),
    (["evaluate", "{net}", "--threats", "linf=1,2"], "fewer numbers"),
    (["evaluate", "{net}"], "needs --threats"),
    (["evaluate", "{net}", "--battery", "quik", "--threats", "l2=1"], "battery must be one of"),
    (["evaluate", "{net}", "--battery", "{misspelt}"], "did you mean BoundaryAttack"),
    (["evaluate", "{net}", "--battery", "{net}"], "a battery is a JSON list"),
    (["evaluate", "{missing}", "--threats", "l2=1"], "no file"),
    (["evaluate", "{broken}", "--threats", "l2=1"], "cannot be read|no checkpoint"),
    (["evaluate", "nowhere.at.all:net", "--threats", "l2=1"], "No module named"),
    (["evaluate", "{net}", "--data", "{missing}", "--threats", "l2=1"], "data must be"),
    (["evaluate", "{net}", "--data", "mnist", "--root", "{missing}", "--threats", "l2=1"], "is missing"),
    (["evaluate", "{net}", "--data", "{large}", "--threats", "l2=1"], "8x8|1, 8, 8"),
    (["evaluate", "{net}", "--split", "trian", "--threats", "l2=1"], "split"),
    (["evaluate", "{net}", "--images", "0", "--threats", "l2=1"], "images must be"),
    (["evaluate", "{net}", "--threats", "linf=51"], "units of"),
    (["evaluate", "{net}", "--threats", "l2=1/0"], "written linf=0.2"),
    (["evaluate", "{net}", "--threats", "l2=1", "--device", "gpu"], "device must be"),
    (["evaluate", "{net}", "--threats", "l2=1", "--pool", "-5"], "pool must be"),
    (["evaluate", "{net}", "--battery", "{good}", "--threats", "l2=1"], "threats="),
    (["evaluate", "{net}", "--battery", "{good}", "--budget", "0.5"], "budget="),
    (["evaluate", "{truncated}", "--threats", "l2=1"], "truncated.pt"),
    (["evaluate", "{linear}", "--factory", "mrt.models:LeNet5", "--threats", "l2=1"], "not those of"),
    (["evaluate", "{net}", "--budget", "0", "--threats", "l2=1"], "budget"),
    (
        [
            "evaluate",
            "{net}",
            "--threats",
            "l2=1",
            "--images",
            "4",
            "--budget",
            "0.02",
            "--no-progress",
            "--out",
            "{net}/x",
        ],
        "cannot write there",
    ),
    (["report", "{missing}"], "holds no finished report"),
    (["report"], "folders"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[m for _, m in BAD])
def test_errors_are_one_line(
    arguments: list[str], message: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    torch.save({"x": 1}, tmp_path / "other.pt")
    np.savez(tmp_path / "large.npz", x=np.zeros((3, 1, 9, 9), np.float32), y=np.zeros(3, np.int64))
    entry = mrt.Entry("a", mrt.Foreign("foolbox", "BoundryAttack"), mrt.L2(1.0))
    mrt.write_battery((entry,), tmp_path / "misspelt.json")
    mrt.write_battery((mrt.Entry("a", mrt.PGD(mrt.L2(1.0)), mrt.L2(1.0)),), tmp_path / "good.json")
    (tmp_path / "truncated.pt").write_bytes(Path(weights).read_bytes()[:3000])
    names: dict[str, Any] = {"truncated": tmp_path / "truncated.pt", "good": tmp_path / "good.json"}
    names |= {
        "linear": tmp_path / "other.pt",
        "net": weights,
        "missing": tmp_path / "missing",
        "broken": tmp_path / "broken.pt",
    }
    names |= {"large": tmp_path / "large.npz", "misspelt": tmp_path / "misspelt.json"}
    assert cli.main([a.format(**names) for a in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and "\n" not in said and "Traceback" not in said
    import re

    assert re.search(message, said), said


def test_help_says_what_runs_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and "RUNS ITS CODE" in said and "robustbench:" in said and "--no-cascade" in said
