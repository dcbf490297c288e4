"""mrt/training/loop.py, fit.py, folder.py, mrt/cli/main.py: A signal costs a training run nothing: it is kept up to the
update in which the signal came, in every process, and goes on to the bit."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.protocols import Step
from mrt.stopping import SIGNALS, Stopped
from tests import apart
from tests.support import UNION, small_net
from tests.training.support import fit, toy, weights

MIDDLE = 7  # of three epochs of five updates: with no checkpoint due


def run(out: Path | None, during: Callable[[int], object] = lambda index: None, epochs: int = 3) -> mrt.Run:
    """With everything that has a state; `during` is called inside every update."""

    def strategy(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        during(step.index)
        return cross_entropy(model(x + torch.rand_like(x) / 10), y)

    judge = mrt.Validation(toy(8), [UNION[0]], steps=2)
    how: dict[str, Any] = {"optimizer": mrt.Adam(1e-2), "ema": 0.9, "validation": judge, "schedule": None}
    return fit(small_net(), strategy, toy(augment="crop-flip"), epochs=epochs, out=out, **how)


def held(run: mrt.Run) -> list[Any]:
    assert run.ema is not None and run.best is not None
    return [weights(run.model), weights(run.ema), weights(run.best)]


def rows(metrics: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in metrics]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_middle_of_an_epoch_loses_nothing(
    number: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped) as stopped:
        run(tmp_path / "out", lambda index: signal.raise_signal(number) if index == MIDDLE else None)
    assert stopped.value.code == 128 + number
    checkpoint = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == MIDDLE + 1 and checkpoint["sums"]["updates"] == 3
    says = f"stopped by {signal.Signals(number).name}; {tmp_path / 'out'} is kept up to update {MIDDLE + 1}: the same"
    assert says in capfd.readouterr().err
    again = run(tmp_path / "out")
    assert not again.finished and rows(again.metrics) == rows(whole.metrics)
    for one, other in zip(held(again), held(whole), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_twenty_signals_lose_nothing(tmp_path: Path) -> None:
    """One in every update, so that each call makes one."""
    whole = run(tmp_path / "whole", epochs=4)
    for _ in range(20):
        with pytest.raises(Stopped):
            run(tmp_path / "out", lambda index: signal.raise_signal(signal.SIGTERM), epochs=4)
    again = run(tmp_path / "out", epochs=4)
    assert again.finished and rows(again.metrics) == rows(whole.metrics)
    for one, other in zip(held(again), held(whole), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_signal_in_the_last_update_ends_the_program_with_the_run_kept(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, lambda index: signal.raise_signal(signal.SIGTERM) if index == 14 else None)
    assert run(tmp_path).finished


def test_signals_are_as_before_without_a_folder_and_afterwards(tmp_path: Path) -> None:
    seen = list[Any]()
    run(None, lambda index: seen.append(signal.getsignal(signal.SIGTERM)))
    run(tmp_path)
    assert {*seen, signal.getsignal(signal.SIGTERM)} == {signal.SIG_DFL}


def test_a_users_handler_is_called_and_the_run_goes_on(tmp_path: Path) -> None:
    came = list[int]()
    signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        done = run(tmp_path, lambda index: signal.raise_signal(signal.SIGUSR1) if index == MIDDLE else None)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert came == [signal.SIGUSR1] and len(done.metrics) == 3


@pytest.mark.parametrize(
    ("number", "status", "says"), [(signal.SIGTERM, 143, "stopped by SIGTERM; "), (signal.SIGINT, 130, "interrupted; ")]
)
def test_the_command_line(number: int, status: int, says: str, tmp_path: Path) -> None:
    """In a process of its own, at any moment after the first checkpoint."""
    words = [
        "train",
        "standard",
        "--epochs",
        "100000",
        "--images",
        "40",
        "--batch-size",
        "40",
        "--no-progress",
        "--out",
    ]
    program = apart.Program("import sys; from mrt.cli import main; sys.exit(main())", *words, tmp_path / "out")
    while not (tmp_path / "out" / "checkpoint.pt").is_file():
        assert program.poll() is None, program.errors
        time.sleep(0.01)
    os.kill(program.pid, number)
    assert program.wait() == status, program.errors
    step = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"]
    lines = program.errors.splitlines()
    assert lines[-1] == f"{says}{tmp_path / 'out'} is kept up to update {step}: the same command goes on from there"


def test_an_interrupt_where_nothing_was_kept_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="nothing was kept: give --out"):
        run(None, interrupt)
    with pytest.raises(KeyboardInterrupt, match=f"nothing was kept in {tmp_path} yet"):
        run(tmp_path, interrupt)


def interrupt(index: int) -> None:
    raise KeyboardInterrupt


TEAM = """if True:
    import json, signal, sys, torch
    from pathlib import Path
    from torch.nn.functional import cross_entropy
    import mrt
    from tests.training.support import fit, smooth_net, toy
    out, stop = Path(sys.argv[1]), int(sys.argv[2])
    def strategy(model, x, y, step):
        if rank == 1 and step.index == stop:
            signal.raise_signal(signal.SIGTERM)
        return cross_entropy(model(x + torch.rand_like(x) / 10), y)
    fit(smooth_net(), strategy, toy(), epochs=3, out=out)"""


def test_a_signal_to_one_of_two_processes_stops_both_at_the_same_update(tmp_path: Path) -> None:
    """The first one, which alone writes, and which no signal came to, keeps that update."""

    def ended(name: str, stop: int) -> list[apart.Program]:
        programs = apart.team(TEAM, tmp_path, tmp_path / name, stop)
        for program in programs:
            program.wait()
        return programs

    assert [program.returncode for program in ended("whole", -1)] == [0, 0]
    first, other = ended("out", MIDDLE)
    assert (first.returncode, other.returncode) == (143, 143), first.errors + other.errors
    assert f"is kept up to update {MIDDLE + 1}: the same" in first.errors and other.errors == ""
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"] == MIDDLE + 1
    assert [program.returncode for program in ended("out", -1)] == [0, 0]
    metrics = [
        rows([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()])
        for name in ("whole", "out")
    ]
    states = [torch.load(tmp_path / n / "checkpoint.pt", weights_only=True)["weights"] for n in ("whole", "out")]
    assert metrics[0] == metrics[1] and len(metrics[0]) == 3
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
