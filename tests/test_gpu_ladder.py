"""benchmarks/gpu_ladder.py, gpu_pack.py and benchmarks/ladder/: `make gpu-ladder`, whole, on a CPU; and what a rung
costs that is killed or hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_pack
from benchmarks.ladder import pack
from mrt.kernels import cpu
from tests import apart
from tests.support import ROOT

FILES = 8  # that a GPU machine gives back
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"}
BROKEN = """
import sys
from tests.ladder_support import climb_broken
climb_broken(sys.argv[1])
"""


def figures(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.skipif(cpu.library() is None, reason="there is no C++ compiler here")
def test_the_whole_ladder_on_a_cpu(tmp_path: Path) -> None:
    words = ("--device", "cpu", "--tiny", "--out", tmp_path, "--pack", tmp_path / "none")
    done = apart.Program(apart.module("benchmarks.gpu_ladder"), *words)
    done.wait()
    said = done.output.splitlines()
    assert f"rungs: passed {' '.join(map(str, range(11)))}; failed -; killed -; skipped -" in said, done.output
    found, files = figures(tmp_path), list(tmp_path.rglob("*"))
    failed = [figure["what"] for figure in found if figure.get("passed") is False and "goal" not in figure]
    assert not failed, (tmp_path / "log.txt").read_text()[-4000:]
    assert {figure["rung"] for figure in found} >= {0, 1, *range(3, 11)}
    assert not any(figure.get("recorded") for figure in found)  # there are no graphs here, and no row says so
    assert len(files) <= FILES
    assert {"mnist-msd.pt", "cifar-msd.pt", "log.txt", "results.jsonl"} <= {file.name for file in files}
    table = said[said.index(next(line for line in said if line.startswith(" 0 card"))) :]
    assert len(table) <= 31


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--only 99", "invalid choice: 99"),
        ("--from 8 --to 2", "no rung is from 8 and to 2"),
        ("--device cpu --budget -5", "--budget must be a number of seconds above 0; got -5"),
    ],
)
def test_a_climb_of_no_rung_is_refused(arguments: str, said: str) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_ladder", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert done.returncode != 0 and said in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_climbed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_ladder", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1 and "there is no GPU here" in done.stderr and not (tmp_path / "out").exists()


def test_packed_kernels_are_found_where_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's lists of files hold absolute paths, which are another machine's."""
    made, group = tmp_path / "made" / "KEY", "__grp__step.json"
    made.mkdir(parents=True)
    (made / "step.cubin").write_bytes(b"binary")
    (made / group).write_text(json.dumps({"child_paths": {"step.cubin": str(made / "step.cubin")}}))
    gpu_pack.packed(made.parent, tmp_path / pack.CACHE)
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    assert pack.software(tmp_path, tmp_path / "here") == [pack.CACHE]
    here = Path(os.environ["TRITON_CACHE_DIR"]) / "KEY"
    assert json.loads((here / group).read_text()) == {"child_paths": {"step.cubin": str(here / "step.cubin")}}
    assert (here / "step.cubin").read_bytes() == b"binary"


def test_a_pack_without_data_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="must hold MNIST/raw"):
        gpu_pack.data_files(tmp_path)


def test_a_rung_that_dies_or_hangs_costs_only_itself(tmp_path: Path) -> None:
    done = apart.Program(BROKEN, tmp_path)
    done.wait()
    statuses = json.loads(done.output.splitlines()[-1])
    expected = ["passed", "failed", "killed", "failed", "failed", "passed", "skipped", "passed", "passed"]
    assert statuses == expected, done.output
    found = figures(tmp_path)
    assert [f["rung"] for f in found if f["what"].startswith("figure")] == [10, 11, 12, 13, 15, 17]
    assert "card" in {f["what"] for f in found}
    named = {f["what"]: f["error"] for f in found if f.get("passed") is False}
    assert "a part that fails" in named["half of it"] and "the rest" in named["rung 13"]
    ended = "rungs: passed 10 15 17 0; failed 11 13 14; killed 12; skipped 16"
    for said in ("died of SIGKILL", "at its limit of 30 s", ended, "half of it"):
        assert said in done.output
    assert len(list(tmp_path.iterdir())) <= FILES
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 77.25" not in left  # what a rung has started ends with it
