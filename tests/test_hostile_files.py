"""mrt/weights.py, records.py, locks.py, training/folder.py, training/restoring.py, evaluation/store.py, cli/parsing.py:
Files that somebody has made with care, checksums and digests included. They end in one line, quickly, and nothing
outside the folder is written to."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt import weights
from mrt.checks import printable
from mrt.cli.main import main
from mrt.cli.parsing import parse_threat
from mrt.evaluation.report.report import _digest
from mrt.evaluation.store import Store
from mrt.records import write_file
from mrt.weights import read_tensors
from tests.support import digits, small_net

UNWRITTEN = b"\x80\x02ctorch\nTensor\nM\x00\x40\x85R."  # torch.Tensor(16384): memory that nobody has written to
BALL = mrt.Linf(0.1)


def archive_of(content: Any) -> dict[str, bytes]:
    """The records of what torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def written(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    return file.getvalue()


def refused(read: Callable[[], Any], says: str) -> None:
    """In one line, and soon."""
    began = time.process_time()
    with pytest.raises((ValueError, OSError), match=says) as error:
        read()
    assert "\n" not in str(error.value) and time.process_time() - began < 60


def test_a_record_that_torch_finds_under_another_name(tmp_path: Path) -> None:
    """torch does not tell upper from lower case in names, and takes the last."""
    members = archive_of({"w": torch.zeros(3)})
    (pickle,) = (name for name in members if name.endswith("data.pkl"))
    path = tmp_path / "w.pt"
    path.write_bytes(written({**members, pickle.replace("data.pkl", "DATA.PKL"): UNWRITTEN}))
    refused(lambda: read_tensors(path), "two of its records have one name")


def test_torch_sees_the_records_that_were_checked(tmp_path: Path) -> None:
    """An archive behind another one: its directory says where it lies from its own beginning, which Python corrects and
    torch does not."""
    plain = archive_of({"w": torch.arange(3.0)})
    (pickle,) = (name for name in plain if name.endswith("data.pkl"))
    behind, path = written(plain), tmp_path / "w.pt"
    path.write_bytes(written({**plain, pickle: UNWRITTEN}) + behind)
    content = read_tensors(path)
    assert torch.equal(content["w"], torch.arange(3.0))


def nested(depth: int) -> Any:
    value: Any = (1,)
    for _ in range(depth):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"w": nested(40)}, "stands for more than"),
        ({"w": torch.zeros(1, dtype=torch.float64).expand(1 << 28)}, "show tensors of .* bytes and more"),
        ({"w": [torch.zeros(1).expand(1 << 22)] * 40}, "show tensors of"),
    ],
)
def test_a_few_bytes_do_not_stand_for_many(tmp_path: Path, content: Any, says: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    refused(lambda: read_tensors(tmp_path / "w.pt"), says)


def test_a_pickle_has_not_too_many_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = archive_of({"w": torch.zeros(3)})
    (pickle,) = (name for name in members if name.endswith("data.pkl"))
    (tmp_path / "w.pt").write_bytes(written({**members, pickle: b"\x80\x02" + b"N0" * 5000 + b"N."}))
    monkeypatch.setattr(weights, "OPERATIONS", 9000)
    refused(lambda: read_tensors(tmp_path / "w.pt"), "more than 9,000 operations")
    monkeypatch.setattr(weights, "PICKLE", 9000)
    refused(lambda: read_tensors(tmp_path / "w.pt"), "its pickle has 10004 bytes")


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl"])
def test_links_in_a_run_folder_lead_nowhere(tmp_path: Path, name: str) -> None:
    out, outside = tmp_path / "run", tmp_path / "outside"
    out.mkdir()
    outside.write_bytes(b"")
    (out / name).symlink_to(outside)
    with pytest.raises(
        (OSError, ValueError), match="Too many levels of symbolic links|holds metrics.jsonl of something"
    ):
        train(out)
    if name == "metrics.jsonl":
        (out / name).unlink()
        train(out, epochs=1)
        (out / name).rename(tmp_path / "elsewhere")
        before = (tmp_path / "elsewhere").read_bytes()
        (out / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="Too many levels"):
            mrt.training.folder.RunFolder(out, first=True).append({"epoch": 1.0})
        assert (tmp_path / "elsewhere").read_bytes() == before
    assert outside.read_bytes() == b""


def test_links_in_an_evaluations_folder_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "parts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="parts is a link"):
        Store(tmp_path).open({}, True)


def test_a_file_is_whole_whoever_else_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once; and where a link has the name under which it is written first."""
    path, second = tmp_path / "page.html", threading.Event()

    def write_first(file: Any) -> None:
        file.write(b"A" * 1000)
        file.flush()
        thread.start()
        second.wait()
        file.write(b"A" * 1000)

    def write_second(file: Any) -> None:
        file.write(b"B" * 1000)
        second.set()
        file.write(b"B" * 1000)

    thread = threading.Thread(target=write_file, args=(path, write_second))
    write_file(path, write_first)
    thread.join()
    assert path.read_bytes() in (b"A" * 2000, b"B" * 2000)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    monkeypatch.setattr(threading, "get_ident", lambda: 5)
    monkeypatch.setattr(platform, "node", lambda: "here")
    outside = tmp_path / "outside"
    (tmp_path / f".page.html.here.{os.getpid()}-5.part").symlink_to(outside)
    with pytest.raises(OSError, match="File exists"):
        write_file(path, write_second)
    assert not outside.exists()


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from mrt.records import write_file
        write_file(Path({str(tmp_path)!r}) / "held", lambda file: os.kill(os.getpid(), signal.SIGKILL))"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    others = tmp_path / f".held.{platform.node()[:12]}.{os.getppid()}-1.part"  # of one who is alive
    others.write_bytes(b"")
    assert len(list(tmp_path.iterdir())) == 2
    write_file(tmp_path / "held", lambda file: file.write(b"whole"))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["held", others.name])


def train(out: Path, epochs: int = 2) -> mrt.Run:
    torch.manual_seed(0)
    how: dict[str, Any] = {"epochs": epochs, "batch_size": 8, "progress": False, "out": out, "optimizer": mrt.SGD(0.1)}
    return mrt.fit(small_net(), mrt.Standard(), (digits(16)[0], torch.arange(16) % 5), checkpoint_every=3, **how)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was cut off after three of four updates."""
    out = tmp_path_factory.mktemp("begun") / "run"

    def stop(row: dict[str, float]) -> None:
        raise KeyboardInterrupt

    torch.manual_seed(0)
    how: dict[str, Any] = {"epochs": 2, "batch_size": 8, "progress": False, "out": out, "optimizer": mrt.SGD(0.1)}
    with pytest.raises(KeyboardInterrupt):
        mrt.fit(
            small_net(), mrt.Standard(), (digits(16)[0], torch.arange(16) % 5), on_epoch=stop, checkpoint_every=3, **how
        )
    return out


def moved(change: Callable[[Any], None]) -> Callable[[dict[str, Any]], None]:
    """Of the optimizer's state of the first weight."""
    return lambda held: change(held["optimizer"]["state"][0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held: held.update(mrt_run=torch.zeros(2)), "no checkpoint of a run"),
        (lambda held: held.update(rates=["a"]), "counts what cannot be counted"),
        (lambda held: held.update(rates=[]), "of other updates or rates"),
        (lambda held: held.update(sums={"loss": "x"}), "counts what cannot be counted"),
        (lambda held: held["sums"].update(updates=-2), "counts what cannot be counted"),
        (lambda held: held.update(step=-3), "counts what cannot be counted"),
        (lambda held: held.update(step=100), "of other updates or rates"),
        (lambda held: held["optimizer"]["param_groups"][0].update(momentum="x"), "its momentum is no number"),
        (moved(lambda state: state.update(momentum_buffer=torch.zeros(2, 2))), "a momentum_buffer is of another shape"),
        (moved(lambda state: state.update(x=nested(40))), "stands for more than"),
    ],
)
def test_a_checkpoint_with_other_numbers_is_one_line(begun: Path, tmp_path: Path, change: Any, says: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(begun, out)
    held = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 0 < held["step"] < 4
    change(held)
    torch.save(held, out / "checkpoint.pt")
    refused(lambda: train(out), says)


def test_a_checkpoint_as_it_was_goes_on(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    assert train(tmp_path / "run").metrics[-1]["step"] == 4


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, (x, y) = tmp_path_factory.mktemp("judged") / "report", digits(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mrt.evaluate(small_net().eval(), (x, y % 5), (mrt.Entry("fgm", mrt.FGM(BALL), BALL),), out=out, progress=False)
    return out


@pytest.mark.parametrize(
    "change",
    [
        lambda summary, arrays: summary["info"].pop("cascade"),
        lambda summary, arrays: summary["info"].update(attacks={}),
        lambda summary, arrays: summary.update(info=[]),
        lambda summary, arrays: summary.update(warnings=5),
        lambda summary, arrays: summary.update(warnings=[5]),
        lambda summary, arrays: arrays.update({k: v[:3] for k, v in arrays.items() if k.startswith("mask/")}),
        lambda summary, arrays: arrays.update({k: v[:3] for k, v in arrays.items() if k.startswith("ran/")}),
        lambda summary, arrays: arrays.update({k: v[:0] for k, v in arrays.items() if "sample" not in k}),
        lambda summary, arrays: arrays.update(correct=arrays["correct"].astype("float32")),
        lambda summary, arrays: arrays.update(correct=np.array(True)),
        lambda summary, arrays: arrays.update(worst=arrays["worst"][:2]),
    ],
)
def test_a_report_with_a_digest_of_its_own_is_one_line(judged: Path, tmp_path: Path, change: Any) -> None:
    out = tmp_path / "report"
    shutil.copytree(judged, out)
    summary = json.loads((out / "report.json").read_text())
    del summary["digest"]
    arrays = dict(np.load(out / "arrays.npz"))
    change(summary, arrays)
    np.savez(out / "arrays.npz", **arrays)
    summary["digest"] = _digest(summary, {name: torch.from_numpy(array) for name, array in arrays.items()})
    (out / "report.json").write_text(json.dumps(summary))
    refused(lambda: mrt.Report.load(out), "holds a damaged report")


@pytest.mark.parametrize("notes", ['[{"forward": "x"}, ""]', '[{"seconds": null}, ""]', "3", "[" * 20000])
def test_a_part_with_other_notes_counts_as_not_done(tmp_path: Path, notes: str) -> None:
    from mrt.evaluation.store import COUNTS, Outcome

    outcome = Outcome(
        torch.arange(3), torch.ones(3).bool(), torch.ones(3).double(), torch.arange(2), torch.rand(2, 1, 8, 8),
        torch.rand(2), dict.fromkeys(COUNTS, 3.0), "nothing",
    )  # fmt: skip
    store = Store(tmp_path)
    store.save("part", outcome)
    assert store.load("part", torch.arange(3), (1, 8, 8)) is not None
    arrays = dict(np.load(tmp_path / "parts/part.npz"))
    if notes.startswith("[{"):
        counts, why = json.loads(notes)
        notes = json.dumps([{**outcome.counts, **counts}, why])
    arrays["notes"] = np.array(notes)
    np.savez(tmp_path / "parts/part.npz", **arrays)
    assert store.load("part", torch.arange(3), (1, 8, 8)) is None


def test_what_is_kept_is_said_of_ones_own_folder_alone(judged: Path) -> None:
    """An interruption before the folder is known to be of this evaluation."""

    class Interrupted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    x, y = digits(6)
    with pytest.raises(KeyboardInterrupt, match="nothing was kept yet"):
        mrt.evaluate(Interrupted(), (x, y % 5), (mrt.Entry("fgm", mrt.FGM(BALL), BALL),), out=judged, progress=False)


@pytest.mark.parametrize(
    ("host", "name", "settings"),
    [
        ("foolbox", "LinfPGD", (("pool", 1),)),
        ("foolbox", "LinfPGD", (("threat", 1),)),
        ("autoattack", "apgd-ce", (("zz", 1),)),
    ],
)
def test_settings_that_a_hosts_attack_cannot_take(host: Any, name: str, settings: Any) -> None:
    entry = mrt.Entry("it", mrt.Foreign(host, name, settings), BALL)
    refused(lambda: entry.build(None), f"'it': {name} of {host} cannot be made|{settings[0][0]}")


@pytest.mark.parametrize(
    "text", ["l2=1e999999999", "linf=1e-999999999", "l1=0x10", "l2=nan", "l2=1/0", "l0=1.5", "l2="]
)
def test_a_radius_is_a_number_that_is_written_out(text: str) -> None:
    refused(lambda: parse_threat(text), "a threat is written linf=0.2|count must be a whole number|L0")


@pytest.mark.parametrize(("text", "threat"), [("linf=8/255", mrt.Linf(8 / 255)), ("l2=.5", mrt.L2(0.5)),
                                              ("l1=1e1", mrt.L1(10.0)), ("l0=3", mrt.L0(3))])  # fmt: skip
def test_radii_are_read_as_before(text: str, threat: Any) -> None:
    assert parse_threat(text) == threat


def test_a_generator_of_any_size_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "train mng-ac --threats linf=0.1 --iterations 1 --images 20 --batch-size 4 --no-progress --width 100000"
    assert main([*command.split(), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "the settings ask for more" in said


def test_what_a_file_says_is_no_command_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\nc é∞") == "a\\x1b[2Jb\\nc é∞"
    net = mrt.models.DigitsCNN()
    held = {**net.state_dict(), "\x1b]0;title\x07": torch.zeros(1)}
    torch.save({"mrt": 1, "model": "DigitsCNN", "settings": {}, "weights": held}, tmp_path / "w.pt")
    assert main(["evaluate", str(tmp_path / "w.pt"), "--threats", "linf=0.1", "--images", "4"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    torch.save({"mrt": torch.zeros(2)}, tmp_path / "w.pt")
    assert main(["evaluate", str(tmp_path / "w.pt"), "--threats", "linf=0.1", "--images", "4"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_who_reads_the_first_lines_alone_ends_it_in_silence(judged: Path) -> None:
    code = "import sys; from mrt.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "report", str(judged)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == b"" and program.wait() in (0, 1, 128 + signal.SIGPIPE)  # 1 where rich notices
