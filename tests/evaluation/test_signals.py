"""mrt/evaluation/loop.py, evaluate.py, store.py, mrt/cli/main.py: A signal costs an evaluation no batch that was done;
a folder is one process's at a time; what a late kill leaves is swept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mrt
from mrt.locks import lock_folder
from mrt.processes import Processes
from mrt.protocols import Model
from mrt.stopping import SIGNALS, Stopped
from tests import apart
from tests.support import digits, digits_net

BALL = mrt.Linf(0.06)


@dataclass(frozen=True)
class Watched:
    """FGSM, which first calls `during` with the number of its batch."""

    threat: mrt.Linf = BALL
    during: Callable[[int], object] = field(default=lambda batch: None, repr=False, compare=False)
    seen: list[int] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, model: Model, x: Tensor, y: Tensor, **how: Any) -> Tensor:
        self.during(len(self.seen))
        self.seen.append(len(x))
        return mrt.FGSM(BALL)(model, x, y, **how)


def evaluated(out: Path | None, attack: Watched, batch_size: int = 4) -> mrt.Report:
    battery = (mrt.Entry("watched", attack, BALL), mrt.Entry("fgsm", mrt.FGSM(BALL), BALL))
    how: dict[str, Any] = {"batch_size": batch_size, "progress": False, "cascade": False}
    return mrt.evaluate(digits_net(), digits(24), battery, out=out, **how)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_loses_no_batch(number: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = evaluated(None, Watched())
    broken = Watched(during=lambda batch: signal.raise_signal(number) if batch == 2 else None)
    with pytest.raises(Stopped) as stopped:
        evaluated(tmp_path, broken)
    assert stopped.value.code == 128 + number and len(broken.seen) == 3
    says = f"stopped by {signal.Signals(number).name}; {tmp_path} keeps 3 attacked batches: the same command goes on"
    assert says in capfd.readouterr().err
    rest = Watched()
    report = evaluated(tmp_path, rest)
    assert len(rest.seen) == len(broken.seen) == 3
    assert all(torch.equal(report.masks[name], whole.masks[name]) for name in whole.masks)
    assert torch.equal(report.worst, whole.worst)


@pytest.mark.slow
def test_twenty_signals_lose_nothing(tmp_path: Path) -> None:
    whole = evaluated(None, Watched(), 1)
    for number in range(20):
        watched = Watched(during=lambda batch: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            evaluated(tmp_path, watched, 1)
        assert watched.seen == [1] and len(list((tmp_path / "parts").iterdir())) == number + 1
    report = evaluated(tmp_path, Watched(), 1)
    assert all(torch.equal(report.masks[name], whole.masks[name]) for name in whole.masks)


def test_a_signal_in_the_last_batch_of_an_attack_does_not_wait_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may take an hour to come to where they are waited for."""
    gather = Processes.gather

    def wait(team: Processes, value: Any) -> Any:
        assert not isinstance(value, list), "it waits"
        return gather(team, value)

    last = Watched(during=lambda batch: signal.raise_signal(signal.SIGTERM) if batch == 5 else None)
    monkeypatch.setattr(Processes, "gather", wait)
    with pytest.raises(Stopped):
        evaluated(tmp_path, last)
    assert len(list((tmp_path / "parts").iterdir())) == len(last.seen) == 6


def test_signals_are_as_before_without_a_folder_and_afterwards(tmp_path: Path) -> None:
    seen = list[Any]()
    evaluated(None, Watched(during=lambda batch: seen.append(signal.getsignal(signal.SIGTERM))))
    evaluated(tmp_path, Watched())
    assert {*seen, signal.getsignal(signal.SIGTERM)} == {signal.SIG_DFL}


def test_an_interrupt_says_what_was_kept(tmp_path: Path) -> None:
    def interrupt(batch: int) -> None:
        if batch == 1:
            raise KeyboardInterrupt

    for out, says in ((None, "nothing was kept: give --out"), (tmp_path, f"{tmp_path} keeps 1 attacked batches: ")):
        with pytest.raises(KeyboardInterrupt, match=says):
            evaluated(out, Watched(during=interrupt))


def test_the_command_line(tmp_path: Path) -> None:
    """In a process of its own, at any moment after the first batch."""
    mrt.save_model(digits_net(), tmp_path / "net.pt", width=8)
    words = ("evaluate", tmp_path / "net.pt", "--threats", "linf=0.2", "l2=0.7", "--pool", 0)
    code = "import sys; from mrt.cli import main; sys.exit(main())"
    program = apart.Program(
        code, *words, "--images", 400, "--batch-size", 4, "--no-progress", "--out", tmp_path / "out"
    )
    while not list((tmp_path / "out").glob("parts/*.npz")):
        assert program.poll() is None, program.errors
        time.sleep(0.01)
    os.kill(program.pid, signal.SIGTERM)
    assert program.wait() == 143, program.errors
    kept = len(list((tmp_path / "out").glob("parts/*.npz")))
    says = f"stopped by SIGTERM; {tmp_path / 'out'} keeps {kept} attacked batches: the same command goes on from there"
    assert program.errors.splitlines()[-1] == says


def test_a_folder_in_use(tmp_path: Path) -> None:
    """By a process that lives. A finished one may be read by all."""
    with lock_folder(tmp_path):
        with pytest.raises(ValueError, match=f"{tmp_path} is in use by process {os.getpid()}, which is alive"):
            evaluated(tmp_path, Watched())
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    report = evaluated(tmp_path, Watched())
    with lock_folder(tmp_path):
        assert str(evaluated(tmp_path, Watched())) == str(report)


def test_an_evaluation_holds_its_folder(tmp_path: Path) -> None:
    def look(batch: int) -> None:
        with pytest.raises(ValueError, match="is in use by process"), lock_folder(tmp_path):
            pass
        came.append(batch)

    came = list[int]()
    evaluated(tmp_path, Watched(during=look))
    assert len(came) == 6


def test_what_a_kill_after_the_report_left_is_swept(tmp_path: Path) -> None:
    report = evaluated(tmp_path, Watched())
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "000-00000.npz").write_bytes(b"left")
    again = Watched()
    assert str(evaluated(tmp_path, again)) == str(report) and again.seen == []
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("asked", [True, False])
def test_others_that_have_gone_are_no_error_where_all_were_asked_to_stop(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process stops after its own batch, so that one may be waiting when another leaves."""
    gather = Processes.gather

    def leave(team: Processes, value: Any) -> Any:
        if not isinstance(value, list):
            return gather(team, value)
        if asked:
            signal.raise_signal(signal.SIGTERM)
        raise ConnectionError("gone")

    monkeypatch.setattr(Processes, "gather", leave)
    with pytest.raises(Stopped if asked else ConnectionError):
        evaluated(tmp_path, Watched())
