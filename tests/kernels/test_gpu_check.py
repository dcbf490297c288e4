"""benchmarks/gpu_check.py: `make gpu-check` finds what is broken. Here it meets the kernels of a CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check
from mrt import kernels
from mrt.kernels import cpu

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="there is no C++ compiler here")
CHECKS = (lambda: gpu_check.steps("cpu", (1, 784)), lambda: gpu_check.layouts("cpu", 60))


def test_what_is_right_passes(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for check in CHECKS for row in gpu_check.run(check)]
    assert len(rows) == 10 and all(row["passed"] for row in rows)
    assert capsys.readouterr().out.count("ok    ") == 10


@pytest.mark.parametrize("wrong", [1e-3, torch.nan])
def test_what_is_wrong_fails(wrong: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the figure is no number."""
    plain = kernels.step_rows

    def broken(*given: Any) -> torch.Tensor:
        out: torch.Tensor = plain(*given)
        out[-1, 0] += wrong
        return out

    monkeypatch.setattr(kernels, "step_rows", broken)
    rows = gpu_check.run(CHECKS[0])
    assert rows and not any(row["passed"] for row in rows)
    assert "FAILED" in capsys.readouterr().out


def test_what_raises_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def check() -> gpu_check.Check:
        yield "fine", 0.0, 1.0
        raise RuntimeError("an illegal memory access")

    rows = gpu_check.run(check)
    assert [row["passed"] for row in rows] == [True, False]
    assert "an illegal memory access" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 1 and "there is no GPU here" in done.stderr


@pytest.mark.slow
def test_a_fast_training_is_a_plain_one() -> None:
    rows = gpu_check.run(lambda: gpu_check.training("cpu", False))
    assert len(rows) == 2 and all(row["passed"] for row in rows)
