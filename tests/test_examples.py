"""Every example runs as it stands, in a process of its own, and stays short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.matrix_smoke import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs(path: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    quick = ["--updates", "10"] if "learned" in path.stem else []
    command = [sys.executable, str(path), "--images", "12", "--out", str(tmp_path / "out"), *quick]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "union" in done.stdout and (tmp_path / "out" / "index.html").is_file()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 80


def test_there_is_one_for_each_user() -> None:
    assert len(EXAMPLES) >= 3
