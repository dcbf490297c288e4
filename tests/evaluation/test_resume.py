"""mrt/evaluation/store.py, mrt/records.py, mrt/processes.py: Killed at any moment, an evaluation goes on where it
stopped and ends with the same files; two processes with the same as one; a full disk costs nothing that was there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mrt
from mrt import records
from mrt.processes import Processes
from tests import apart
from tests.support import ROOT, UNION, digits, digits_net

pytestmark = pytest.mark.filterwarnings("ignore:gradient masking")
SCRIPT = """if True:
    import sys, warnings, torch, mrt, mrt.evaluation.reliability
    from tests.support import UNION, digits
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mrt.evaluation.reliability.QUERIES = 20
    net = mrt.load_model(sys.argv[1])
    battery = (*mrt.batteries.quick(UNION, budget=0.05),
        mrt.Entry("square", mrt.Foreign("autoattack", "square", (("queries", 60),)), UNION[1]),
        mrt.Entry("fgm", mrt.FGM(UNION[1]), UNION[1], distances=True),
        mrt.Entry("l0", mrt.GreedyL0(mrt.L0(3)), mrt.L0(3), column=UNION[2]),
        mrt.Entry("noise", mrt.PGD(UNION[0], steps=2), UNION[0], 3, distances=True))
    print("ready", flush=True)
    mrt.evaluate(net, digits(38), battery, batch_size=6, out=sys.argv[2], progress=False)
    print("done", flush=True)"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.pt"
    mrt.save_model(digits_net(), path, width=8)
    return path


def finished(weights: Path, out: Path) -> None:
    program = apart.Program(SCRIPT, weights, out)
    assert program.wait() == 0 and "done" in program.output, program.errors


@pytest.fixture(scope="module")
def undisturbed(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finished(weights, out)
    return out


def untimed(value: Any) -> Any:
    """Without the seconds, and without the digest, which counts them in."""
    if isinstance(value, dict):
        return {key: untimed(v) for key, v in value.items() if key not in ("seconds", "digest")}
    return value


def same(one: Path, two: Path) -> None:
    reports = [untimed(json.loads((out / "report.json").read_text())) for out in (one, two)]
    assert reports[0] == reports[1]
    with np.load(one / "arrays.npz") as a, np.load(two / "arrays.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in ("curve-linf.svg", "curve-l2.svg"):
        assert (one / name).read_text() == (two / name).read_text()
    assert not (one / "parts").exists() and not (two / "parts").exists()


def test_ten_kills_change_nothing(weights: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Killed at ten random moments between the first result and the last, each time taken up by a fresh process."""
    out, draw, kills, parts = tmp_path / "out", random.Random(0), 0, []
    while kills < 10:
        program = apart.Program(SCRIPT, weights, out)
        while "ready" not in program.output:
            assert program.poll() is None, program.errors
            time.sleep(0.002)
        before = len(list(out.glob("parts/*.npz")))
        aim, end = before + draw.choice((0, 1, 2, 3, 4)), time.monotonic() + 900
        while len(list(out.glob("parts/*.npz"))) < aim and program.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        if program.poll() is not None:
            break
        program.kill()
        kills += 1
        parts.append(len(list(out.glob("parts/*.npz"))))
    assert kills == 10 and not (out / "report.json").exists(), "the evaluation is too short for ten kills"
    assert parts == sorted(parts) and parts[-1] > parts[0]
    finished(weights, out)
    same(out, undisturbed)


def test_two_processes_give_the_report_of_one(weights: Path, undisturbed: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    (tmp_path / "script.py").write_text(SCRIPT)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*run, str(tmp_path / "script.py"), str(weights), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and "done" in done.stdout, done.stderr[-3000:]
    same(tmp_path / "out", undisturbed)


def test_batches_are_put_together_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order in which processes hand them over."""
    few = (mrt.Entry("fgsm", mrt.FGSM(mrt.Linf(0.06)), mrt.Linf(0.06)),)
    call: dict[str, Any] = {"battery": few, "batch_size": 4, "progress": False}
    expected = mrt.evaluate(digits_net(), digits(40), **call)
    given = Processes.gather
    monkeypatch.setattr(
        Processes, "gather", lambda team, v: [v[::-1]] if isinstance(v, list) and len(v) > 1 else given(team, v)
    )
    report = mrt.evaluate(digits_net(), digits(40), **call)
    index = expected.samples["fgsm-linf"].index
    assert len(index) == 4 and int(index[-1]) >= 4 and torch.equal(report.samples["fgsm-linf"].index, index)


BATTERY = mrt.batteries.quick(UNION[:1], budget=0.05)


def test_a_finished_evaluation_is_only_read(tmp_path: Path) -> None:
    reports = []
    for _ in range(2):
        reports.append(mrt.evaluate(digits_net(), digits(8), BATTERY, out=tmp_path, progress=False))
        times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        reports.append(mrt.evaluate(digits_net(), digits(8), BATTERY, out=tmp_path, progress=False))
        assert times == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len({str(report) for report in reports}) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"battery": mrt.batteries.quick(UNION[:1], budget=0.1)}, "battery"),
        ({"data": digits(9)}, "data"),
        ({"seed": 1}, "seed"),
        ({"batch_size": 4}, "batch_size"),
        ({"cascade": False}, "cascade"),
        ({"model": digits_net(steps=41)}, "model"),
        ({"pool": digits(20, "train")}, "pool"),
    ],
)
def test_another_evaluation_does_not_go_on_in_the_folder(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    call: dict[str, Any] = {"model": digits_net(), "data": digits(8), "battery": BATTERY, "batch_size": 8}
    mrt.evaluate(**call, out=tmp_path, progress=False)
    held = (tmp_path / "report.json").read_bytes()
    with pytest.raises(ValueError, match=f"differs in .*{named}"):
        mrt.evaluate(**{**call, **change}, out=tmp_path, progress=False)
    assert (tmp_path / "report.json").read_bytes() == held


def test_a_folder_with_something_else_is_not_taken_for_a_finished_evaluation(tmp_path: Path) -> None:
    call: dict[str, Any] = {"battery": BATTERY, "batch_size": 8, "progress": False}
    mrt.evaluate(digits_net(), digits(8), **call).save(tmp_path / "saved")
    mrt.evaluate(digits_net(), digits(8), **call, out=tmp_path / "torn")
    (tmp_path / "torn" / "evaluation.json").unlink()
    for name in ("saved", "torn"):
        with pytest.raises(ValueError, match="of something else"):
            mrt.evaluate(digits_net(steps=41), digits(8), **call, out=tmp_path / name)


def test_random_outputs_do_not_keep_an_evaluation_from_going_on(tmp_path: Path) -> None:
    class Noisy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = digits_net()

        def forward(self, x: Any) -> Any:
            return self.net(x) + 2 * torch.randn(len(x), 10)

    for _ in range(2):
        with pytest.warns(UserWarning, match="random"):
            mrt.evaluate(Noisy().eval(), digits(8), BATTERY, out=tmp_path, progress=False)


FULL: dict[str, Any] = {"battery": mrt.batteries.quick(UNION[:2], budget=0.02), "batch_size": 8, "progress": False}


@pytest.fixture(scope="module")
def with_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("room") / "out"
    mrt.evaluate(digits_net(), digits(12), **FULL, out=out)
    return out


@pytest.mark.parametrize("at", range(0, 12, 2))
def test_a_full_disk_costs_nothing_that_was_there(
    at: int, with_room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write number `at` fails half way, as it would for want of space; the next call goes on and ends the same."""
    written, calls = records.write_file, []

    def failing(path: Path, write: Any) -> None:
        calls.append(path)
        if len(calls) == at + 1:
            with pytest.raises(OSError, match="No space"):
                written(path, lambda file: (file.write(b"half"), _full()))
            assert not path.exists()
            _full()
        written(path, write)

    for module in ("mrt.evaluation.store", "mrt.evaluation.report.report"):
        monkeypatch.setattr(f"{module}.write_file", failing)
    with pytest.raises(OSError, match="No space"):
        mrt.evaluate(digits_net(), digits(12), **FULL, out=tmp_path)
    monkeypatch.undo()
    mrt.evaluate(digits_net(), digits(12), **FULL, out=tmp_path)
    same(tmp_path, with_room)


def _full() -> Any:
    raise OSError(28, "No space left on device")
