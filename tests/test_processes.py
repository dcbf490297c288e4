"""mrt/processes.py: What the others do when one of several processes has been killed or stopped."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import mrt
from mrt.processes import longest_wait, naming_lost_processes
from tests import apart
from tests.support import digits_net

KILLED = """if True:
    import os, signal, sys, mrt.evaluation.loop, mrt.training.loop
    from mrt.cli import main
    def dying(done):
        def do(self, *given):
            calls.append(None)
            if rank == dies and len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return done(self, *given)
        return do
    calls, dies = [], int(sys.argv.pop())
    mrt.training.loop.Loop.update = dying(mrt.training.loop.Loop.update)
    mrt.evaluation.loop.Evaluation._attack_batch = dying(mrt.evaluation.loop.Evaluation._attack_batch)
    sys.exit(main())"""
TRAIN = ("train", "standard", "--epochs", 3, "--images", 40, "--batch-size", 8, "--no-progress")
EVALUATE = ("--threats", "linf=0.2", "--images", 40, "--batch-size", 4, "--pool", 0, "--budget", 0.1, "--no-progress")


@pytest.mark.parametrize("dies", [0, 1])
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_one_of_two_is_killed(command: str, dies: int, tmp_path: Path) -> None:
    """The other one says so in one line, at once."""
    mrt.save_model(digits_net(), tmp_path / "net.pt", width=8)
    words = TRAIN if command == "train" else ("evaluate", tmp_path / "net.pt", *EVALUATE)
    programs = apart.team(KILLED, tmp_path, *words, "--out", tmp_path / "out", dies)
    assert programs[dies].wait() == -9
    assert programs[1 - dies].wait() == 2
    (line,) = programs[1 - dies].errors.splitlines()
    assert line.startswith("error: another process of this run has ended"), line


STOPPED = """if True:
    import signal
    from datetime import timedelta
    from mrt.processes import Processes
    team = Processes(rank, 2, dist.new_group(backend="gloo", timeout=timedelta(seconds=1)))
    if rank == 1:
        signal.raise_signal(signal.SIGSTOP)
    try:
        team.gather(rank)
    except ConnectionError as error:
        print(error)"""


def test_one_of_two_is_stopped(tmp_path: Path) -> None:
    one, other = apart.team(STOPPED, tmp_path)
    assert one.wait() == 0, one.errors
    other.kill()
    assert one.output.startswith("another process of this run has not answered for 1 h: it is stopped or hangs")
    assert "MRT_WAIT_HOURS=24" in one.output and one.output.count("\n") == 1


def test_how_long_a_process_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRT_WAIT_HOURS", raising=False)
    assert longest_wait() == timedelta(hours=1)
    monkeypatch.setenv("MRT_WAIT_HOURS", "0.5")
    assert longest_wait() == timedelta(minutes=30)
    for wrong in ("0", "-1", "nan", "inf", "a day", ""):
        monkeypatch.setenv("MRT_WAIT_HOURS", wrong)
        with pytest.raises(ValueError, match=f"MRT_WAIT_HOURS must be a number of hours.*got '{wrong}'"):
            longest_wait()


def test_errors_of_another_kind_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), naming_lost_processes():
        raise RuntimeError("the shapes differ")
