"""mrt/files.py and everything that reads a file: damage ends in one line, changes nothing unseen, and runs nothing."""

import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image
from torch import Tensor, nn

import mrt
from mrt import files, weights
from mrt.cli import train_command
from mrt.cli.main import main
from mrt.cli.repeat_run import RepeatRun
from mrt.data import class_folders
from mrt.evaluation.store import COUNTS, Outcome, Store
from tests.support import ROOT, digits

BALL = mrt.Linf(0.1)


def mutate(content: bytes, draw: random.Random) -> bytes:
    """The content with a bit turned over, its end cut off, or a stretch of it zeroed, repeated or replaced."""
    held = bytearray(content)
    at = draw.randrange(len(held))
    end = min(at + draw.randint(1, 40), len(held))
    kind = draw.choice(("bit", "bit", "bit", "cut", "zero", "repeat", "noise"))
    if kind == "bit":
        held[at] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del held[at:]
    elif kind == "zero":
        held[at:end] = bytes(end - at)
    elif kind == "repeat":
        held[at:at] = held[at:end]
    else:
        held[at:end] = draw.randbytes(end - at)
    return bytes(held)


def mutate_json(content: bytes, draw: random.Random) -> bytes:
    """Of every two, one is still JSON, and has another value at some place, or lacks it."""
    if draw.random() < 0.5:
        return mutate(content, draw)
    value = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in range(len(inner)) if isinstance(inner, list) else list(inner):
            places.append((inner, key))
            if isinstance(inner[key], (dict, list)):
                walk(inner[key])

    walk(value)
    inner, key = draw.choice(places)
    if draw.random() < 0.2:
        del inner[key]
    else:
        inner[key] = draw.choice((None, True, -1, 0, 0.5, 10**9, 1e300, "", "x", "[/x]", "../up", [], [1, "a"], {}))
    return json.dumps(value).encode()


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


class Room:
    """Files of every kind, as we write them, and how each is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.net = linear().eval()
        self.x, self.y = digits(6)
        self.data = (self.x, self.y % 3)
        self.battery = (mrt.Entry("pgd", mrt.PGD(BALL, steps=2), BALL), mrt.Entry("fgm", mrt.FGM(BALL), BALL))
        self.readers: dict[str, tuple[Path, Callable[[], Any], bool]] = {}  # file, how it is read, may it be edited?
        mrt.save_model(mrt.models.DigitsCNN(width=2), folder / "model.pt", width=2)
        torch.save(mrt.models.DigitsCNN().state_dict(), folder / "weights.pt")
        mrt.generators.save_generator(mrt.generators.MNGNoise((1, 8, 8), 3, width=2), folder / "generator.pt")
        np.savez(folder / "data.npz", x=(255 * self.x).byte().numpy(), y=self.y.numpy())
        mrt.write_battery(self.battery, folder / "battery.json")
        self.report, self.run = folder / "report", folder / "run"
        self.evaluate()
        self.outcome = Outcome(
            torch.arange(3), torch.ones(3).bool(), torch.ones(3).double(), torch.arange(2),
            torch.rand(2, 1, 8, 8), torch.rand(2), dict.fromkeys(COUNTS, 3.0), "nothing",
        )  # fmt: skip
        Store(folder).save("part", self.outcome)
        self.train()
        command = "train sat --threats linf=0.1 --steps 1 --epochs 1 --images 20 --batch-size 10 --model digits-cnn"
        assert main([*command.split(), "--no-progress", "--out", str(folder / "typed")]) == 0
        for name in ("a", "b"):
            (folder / "images" / name).mkdir(parents=True)
            Image.fromarray((255 * self.x[0, 0]).byte().numpy()).save(folder / "images" / name / "0.png")
        self.readers = {
            "model": (folder / "model.pt", lambda: mrt.load_model(str(folder / "model.pt")), False),
            "weights": (folder / "weights.pt", self.read_weights, False),
            "generator": (folder / "generator.pt", self.read_generator, False),
            "npz": (folder / "data.npz", lambda: mrt.data.npz(folder / "data.npz"), False),
            "battery": (folder / "battery.json", lambda: mrt.read_battery(folder / "battery.json"), True),
            "report.json": (self.report / "report.json", self.read_report, False),
            "arrays": (self.report / "arrays.npz", self.read_report, False),
            "part": (folder / "parts/part.npz", self.read_part, False),
            "checkpoint": (self.run / "checkpoint.pt", self.train, False),
            "metrics": (self.run / "metrics.jsonl", self.train, False),
            "best": (self.run / "best.pt", self.train, False),
            "run's config": (self.run / "config.json", self.train, False),
            "typed config": (folder / "typed/config.json", self.repeat, True),
            "image": (folder / "images/b/0.png", lambda: mrt.data.folder(folder / "images", gray=True), True),
        }

    def evaluate(self) -> mrt.Report:
        return mrt.evaluate(self.net, self.data, self.battery, out=self.report, progress=False)

    def read_weights(self) -> Any:
        return mrt.load_model(str(self.folder / "weights.pt"), "mrt.models:DigitsCNN")

    def read_generator(self) -> Any:
        return mrt.generators.load_generator(self.folder / "generator.pt")

    def read_part(self) -> Outcome | None:
        return Store(self.folder).load("part", torch.arange(3), (1, 8, 8))

    def read_report(self) -> list[Any]:
        report = mrt.Report.load(self.report)
        return [str(report), report.worst, *report.masks.values(), report.summary()]

    def train(self) -> list[Tensor]:
        held = mrt.Validation(self.data, (BALL,), steps=1)
        how: dict[str, Any] = {"epochs": 1, "batch_size": 3, "validation": held, "progress": False, "out": self.run}
        run = mrt.fit(linear(), mrt.Standard(), self.data, **how)
        assert run.best is not None
        return [*run.model.state_dict().values(), *run.best.state_dict().values(), torch.tensor(run.metrics[0]["loss"])]

    def repeat(self) -> None:
        shutil.rmtree(self.folder / "again", ignore_errors=True)
        RepeatRun(self.folder / "typed/config.json", self.folder / "again", progress=False).run()


def content(value: Any) -> Any:
    """What can be compared of whatever a reader returns."""
    if isinstance(value, nn.Module):
        return {"": str(value), **value.state_dict()}
    if isinstance(value, mrt.data.Images):
        return [value.x, value.y, value.classes]
    return vars(value) if isinstance(value, Outcome) else value


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(two, Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(equal(*pair) for pair in zip(one, two, strict=True))
    return bool(one == two)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # six images and a network that is right by chance
        room = Room(tmp_path_factory.mktemp("room"))
    yield room


READERS = (
    *("model", "weights", "generator", "npz", "battery", "report.json", "arrays", "part", "checkpoint", "metrics"),
    *("best", "run's config", "typed config", "image"),
)


def read_mutated(room: Room, name: str, count: int, seed: int) -> None:
    """Each of `count` mutants of the file is refused in one line, or read as if nothing had happened to it."""
    path, read, edited = room.readers[name]
    whole, draw = path.read_bytes(), random.Random(f"{name} {seed}")
    kept = {p: p.read_bytes() for p in room.run.iterdir() if p.is_file()}
    expected = content(read())
    try:
        for number in range(count):
            change = mutate_json if path.suffix == ".json" else mutate
            path.write_bytes(change(whole, draw))
            try:
                found = content(read())
            except (ValueError, OSError) as error:
                told = str(error)
                assert "\n" not in told and 0 < len(told) < 1000, (number, told)
                continue
            finally:
                for other, before in kept.items():
                    other.write_bytes(before)
            assert edited or found is None or equal(expected, found), number
            assert found is not None or name in ("part", "typed config"), number
    finally:
        path.write_bytes(whole)


def write_archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, held in members.items():
            archive.writestr(name, held)


def header(shape: tuple[int, ...]) -> bytes:
    """The head of an array of bytes of that shape, in numpy's format."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_an_archive_cannot_ask_for_more_than_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npz"
    write_archive(path, {"x.npy": header((10**12, 1, 8, 8)) + bytes(64), "y.npy": header((1,)) + bytes(1)})
    with pytest.raises(ValueError, match=r"x\.npz cannot be read.*claims to hold"):
        mrt.data.npz(path)
    write_archive(path, {"x.npy": header((4,)) + bytes(5)})
    with pytest.raises(ValueError, match="more than its"):
        files.read_arrays(path, "")
    monkeypatch.setattr(files, "SMALL", 10_000)
    write_archive(path, {"x.npy": header((10**7,)) + bytes(10**7)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="unpack to 10000128"):
        files.read_arrays(path, "")
    monkeypatch.setattr(files, "SMALL", 10**8)
    assert files.read_arrays(path, "")["x"].shape == (10**7,)
    monkeypatch.setattr(files, "MEMORY", 10**6)
    with pytest.raises(ValueError, match="unpack to 10000128"):
        files.read_arrays(path, "")


def test_numbers_that_cannot_be_meant_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 1, 8, 8), np.uint8), y=np.array([10**7]))
    with pytest.raises(ValueError, match="below 100,000"):
        mrt.data.npz(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="below 100,000"):
        mrt.data.as_images((torch.zeros(1, 1, 8, 8), torch.tensor([10**7])))
    for settings in ({"depth": 304, "widen": 1}, {"widen": 30}):
        torch.save({"mrt": 1, "model": "WideResNet", "settings": settings, "weights": {}}, tmp_path / "x.pt")
        with pytest.raises(ValueError, match="x.pt does not say how to make its WideResNet"):
            mrt.load_model(str(tmp_path / "x.pt"))


def test_json_is_read_up_to_a_size_and_a_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    for text, why in (("[" * 100_000 + "]" * 100_000, "Recursion"), ("[" * 65 + "]" * 65, "nested more than 64")):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"x.json cannot be read.*{why}.*: mend it"):
            files.read_json(path, "mend it")
    path.write_text("[" * 63 + '{"a": 1}' + "]" * 63)
    assert files.read_json(path, "mend it")
    monkeypatch.setattr(files, "TEXT", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        files.read_json(path, "mend it")


def test_a_pipe_is_no_file_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (weights.read_tensors, lambda p: files.read_json(p, ""), lambda p: files.read_arrays(p, "")):
        with pytest.raises(ValueError, match="pipe cannot be read .*no regular file"):
            read(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        mrt.load_model(str(tmp_path / "pipe"), "mrt.models:DigitsCNN")
    (tmp_path / "images" / "a").mkdir(parents=True)
    os.mkfifo(tmp_path / "images" / "a" / "0.png")
    with pytest.raises(ValueError, match="no regular file"):
        mrt.data.folder(tmp_path / "images")


def test_an_image_is_decoded_by_pillow_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an EPS, whatever its name says, pillow would have Ghostscript run what is written in it."""
    (tmp_path / "a").mkdir()
    asked = list[Any]()

    def run(*given: Any) -> Any:
        asked.append(given)
        return Image.new("RGB", (4, 4)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "0.png", format="EPS")
    with pytest.raises(ValueError, match="0.png cannot be read"):
        mrt.data.folder(tmp_path)
    assert not asked
    Image.new("RGB", (40, 40)).save(tmp_path / "a" / "0.png")
    assert mrt.data.folder(tmp_path).x.shape == (1, 3, 40, 40)
    monkeypatch.setattr(class_folders, "MEMORY", 4799)
    with pytest.raises(ValueError, match="take 4,800 bytes, more than 4,799"):
        mrt.data.folder(tmp_path)


def test_a_record_of_torch_is_compared_with_its_checksum(tmp_path: Path) -> None:
    path, net = tmp_path / "x.pt", nn.Linear(3, 2)
    torch.save(net.state_dict(), path)
    held = path.read_bytes()
    at = held.index(net.weight.detach().numpy().tobytes())
    path.write_bytes(held[:at] + bytes([held[at] ^ 1]) + held[at + 1 :])
    assert torch.load(path, weights_only=True)  # which does not notice
    with pytest.raises(ValueError, match="x.pt cannot be read.*checksum"):
        weights.read_tensors(path)
    with path.open("rb") as file, pytest.raises(ValueError, match="x.pt cannot be read.*checksum"):
        weights.read_tensors(file)
    with zipfile.ZipFile(io.BytesIO(held)) as archive:
        write_archive(path, {name: archive.read(name) for name in archive.namelist()}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        weights.read_tensors(path)
    path.write_bytes(held[:at] + bytes([held[at] ^ 1]) + held[at + 1 :] + b"PK\5\6")  # which hides the list of records
    with pytest.raises(ValueError, match="x.pt cannot be read"):
        weights.read_tensors(path)
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)  # as torch 1.5 did, without checksums
    with pytest.raises(ValueError, match="no archive, as torch has written since 1.6"):
        weights.read_tensors(path)


def test_torch_is_asked_not_to_run_code_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names in the file are looked at before; this is the second lock on the same door."""
    asked, load = list[Any](), torch.load

    def asking(*given: Any, **how: Any) -> Any:
        asked.append(how.get("weights_only"))
        return load(*given, **how)

    monkeypatch.setattr(torch, "load", asking)
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "x.pt")
    weights.read_tensors(tmp_path / "x.pt")
    assert asked == [True]


class Called:
    """What pickle makes a call of."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@pytest.mark.parametrize("what", [Called(bytearray, 10**10), Called(torch.FloatTensor, 65_536), torch.Size((1,))])
def test_weights_are_made_of_nothing_else(tmp_path: Path, what: Any) -> None:
    """Neither of as much memory as a pickle asks for, nor of what happens to lie there."""
    torch.save({"weight": what}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="x.pt holds more than weights"):
        weights.read_tensors(tmp_path / "x.pt")


def test_a_tensor_that_claims_more_than_its_record_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.rand(16)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    before = members[pickled]
    for new in (b"K\x7f", b"M\xff\xff"):
        members[pickled] = before.replace(b"K\x10", new)  # sixteen numbers, as pickle writes it
        assert members[pickled] != before
        write_archive(tmp_path / "x.pt", members)
        with pytest.raises(ValueError, match="x.pt cannot be read"):
            weights.read_tensors(tmp_path / "x.pt")


def test_a_number_that_is_shown_many_times_buys_no_large_network(tmp_path: Path) -> None:
    shown = {"weight": torch.zeros(1).expand(10**7)}
    torch.save({"mrt": 1, "model": "DigitsCNN", "settings": {"width": 10**4}, "weights": shown}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="x.pt does not say how to make.*tensors or"):
        mrt.load_model(str(tmp_path / "x.pt"))


@pytest.mark.filterwarnings("ignore")
def test_content_that_is_whole_and_wrong_is_one_line(room: Room) -> None:
    """Files whose checksums and digests are right, since somebody wrote them so."""
    held = torch.load(room.run / "checkpoint.pt", weights_only=True)
    best = torch.load(room.run / "best.pt", weights_only=True)
    metrics = (room.run / "metrics.jsonl").read_bytes()
    for name in ("digest", "rows", "step", "rates", "best", "sums", "weights", "optimizer"):
        for value in (None, "x", 3.5):
            if name == "best" and value == 3.5:
                continue
            torch.save({**held, name: value}, room.run / "checkpoint.pt")
            with pytest.raises(ValueError, match=r"(is of another version|holds a checkpoint of another|other rows)"):
                room.train()
    torch.save(held, room.run / "checkpoint.pt")
    for other in ([1], {"x": torch.ones(1)}):
        torch.save(other, room.run / "best.pt")
        with pytest.raises(ValueError, match="best.pt"):
            room.train()
    torch.save(best, room.run / "best.pt")
    (room.run / "metrics.jsonl").write_bytes(metrics.replace(b"loss", b"lost"))
    with pytest.raises(ValueError, match="other rows than the checkpoint knows"):
        room.train()
    (room.run / "metrics.jsonl").write_bytes(metrics)
    room.train()
    store, outcome = Store(room.folder), vars(room.outcome)
    for name, wrong in (("index", torch.arange(1, 4)), ("kept", torch.tensor([0, 3])), ("loss", torch.ones(3))):
        store.save("other", Outcome(**{**outcome, name: wrong}))
        assert store.load("other", torch.arange(3), (1, 8, 8)) is None
    store.save("other", Outcome(**{**outcome, "counts": {"forward": 1.0}}))
    assert store.load("other", torch.arange(3), (1, 8, 8)) is None
    store.save("other", room.outcome)
    assert store.load("other", torch.arange(3), (1, 8, 9)) is None
    assert store.load("other", torch.arange(3), (1, 8, 8)) is not None


def test_a_part_that_holds_something_else_counts_as_not_done(room: Room, tmp_path: Path) -> None:
    """Damaged, without its notes, with notes that are no pair, or with an array more."""
    (tmp_path / "parts").mkdir()
    file, whole = tmp_path / "parts" / "x.npz", (room.folder / "parts" / "part.npz").read_bytes()
    arrays = dict(np.load(io.BytesIO(whole)))
    for change in ({"notes": np.array("[1]")}, {"notes": np.array("{")}, {"more": np.ones(3)}):
        np.savez(file, **{**arrays, **change})
        assert Store(tmp_path).load("x", torch.arange(3), (1, 8, 8)) is None, change
    np.savez(file, **{name: array for name, array in arrays.items() if name != "notes"})
    assert Store(tmp_path).load("x", torch.arange(3), (1, 8, 8)) is None
    file.write_bytes(whole[:-40])
    assert Store(tmp_path).load("x", torch.arange(3), (1, 8, 8)) is None
    file.write_bytes(whole)
    assert Store(tmp_path).load("x", torch.arange(3), (1, 8, 8)) is not None


def test_a_setting_that_is_missing_is_named(room: Room) -> None:
    """Two thousand mutated files found it: a strategy without its threats."""
    held = json.loads((room.folder / "typed" / "config.json").read_text())
    del held["info"]["command"]["settings"]["threats"]
    (room.folder / "lacks.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match="sat cannot be made of these settings: .*threats"):
        RepeatRun(room.folder / "lacks.json", room.folder / "lacked", progress=False).run()


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [("options", "epochs", "three"), ("options", "threats", ["linf=0.1"]), ("settings", "threats", "linf=0.1")]
    + [("optimizer", "lr", [0.1]), ("crop", "pad", "2")],
)
def test_a_setting_of_another_type_is_named(room: Room, group: str, name: str, value: Any) -> None:
    held = json.loads((room.folder / "typed" / "config.json").read_text())
    recorded = held["info"]["command"]
    if name not in recorded[group]:
        assert name != "epochs"
    recorded[group][name] = value
    (room.folder / "other.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match=rf"{group}\.{name} cannot be|a name in {group} must be"):
        RepeatRun(room.folder / "other.json", room.folder / "other", progress=False).run()
    assert not (room.folder / "other").exists()


@pytest.mark.parametrize("setting", ["width=1000000000", "depth=6000004"])
def test_settings_of_a_configuration_ask_for_a_network_that_can_be(room: Room, setting: str) -> None:
    held = json.loads((room.folder / "typed" / "config.json").read_text())
    model = "wide-resnet" if "depth" in setting else "digits-cnn"
    held["info"]["command"]["options"] |= {"model": model, "model_settings": [setting]}
    (room.folder / "asks.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match="tensors or|takes no such settings|more memory than there is"):
        RepeatRun(room.folder / "asks.json", room.folder / "asked", progress=False).run()


@contextmanager
def up_to(size: int) -> Iterator[None]:
    """Inside, no file can grow beyond that size: what a full disk does, as far as a process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_and_costs_nothing(tmp_path: Path) -> None:
    """At twenty places within the file."""
    net, path = mrt.models.DigitsCNN(width=2), tmp_path / "net.pt"
    mrt.save_model(net, path, width=2)
    before = path.read_bytes()
    for place in range(20):
        with up_to(place * len(before) // 20), pytest.raises(OSError, match="cannot write there.*net.pt"):
            mrt.save_model(net, path, width=2)
        assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["net.pt"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_disk_that_is_full_at_twenty_sizes_costs_no_run(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    """The same call goes on when there is room, and ends as if there had always been."""
    expected, page = room.train(), room.folder / "page.html"
    assert main(["report", str(room.report), "--out", str(page)]) == 0
    largest = [max(p.stat().st_size for p in folder.iterdir() if p.is_file()) for folder in (room.run, room.report)]
    before = page.read_bytes()
    for place in range(20):
        for folder in (room.run, room.report):
            shutil.rmtree(folder)
        with up_to(place * largest[0] // 20), pytest.raises(OSError, match="cannot write there"):
            room.train()
        assert equal(expected, room.train())
        with up_to(place * largest[1] // 20), pytest.raises(OSError, match="cannot write there"):
            room.evaluate()
        assert room.evaluate().union == room.evaluate().union
        capsys.readouterr()
        with up_to(place * len(before) // 20):
            assert main(["report", str(room.report), "--out", str(page)]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error:") and "page.html" in told and told.count("\n") == 1
        assert page.read_bytes() == before


def test_mnist_is_read_from_its_files_and_not_from_pickles_beside_them(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (tmp_path / "MNIST" / "processed").mkdir()
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(bytes.fromhex("00000803000000020000001c0000001c") + bytes(1568))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(bytes.fromhex("0000080100000002") + b"\1\2")
    for name in ("training", "test"):
        torch.save((torch.ones(1, 28, 28).byte(), torch.zeros(1)), tmp_path / "MNIST" / "processed" / f"{name}.pt")
    for split in ("train", "test"):
        data = mrt.data.mnist(tmp_path, split)
        assert data.y.tolist() == [1, 2] and not data.x.any()


@pytest.mark.parametrize("name", ["[/x]", "../../up", "a/b", "", ".hidden", "a\nb", "a\u2028b", "x" * 101, "å" * 51, 3])
def test_a_threat_or_an_attack_has_a_name_fit_for_tables_and_files(name: Any) -> None:
    named = type("Named", (mrt.Linf,), {"name": name})(0.1)
    with pytest.raises(ValueError, match="must be a text of 1 to 100 bytes"):
        mrt.Entry("pgd", mrt.PGD(named), named)
    with pytest.raises(ValueError, match="must be a text of 1 to 100 bytes"):
        mrt.Entry(name, mrt.PGD(BALL), BALL)


def test_a_module_beside_the_command_stands_behind_the_libraries(tmp_path: Path) -> None:
    """And is found where it is named, as package.module:factory."""
    for name in ("sklearn", "rich", "sched"):  # the last one is Python's, and nothing has imported it before
        (tmp_path / f"{name}.py").write_text(f"print('{name} ran')")
    (tmp_path / "zoo.py").write_text("import sched\nprint('zoo ran')\ndef make(): return print")
    code = "import sys; from mrt.cli.main import main; sys.path.remove(''); sys.exit(main(sys.argv[1:]))"
    for words, ran in (("report --help", ""), ("evaluate zoo:make --threats linf=0.1", "zoo ran\n")):
        command = [sys.executable, "-c", code, *words.split()]
        path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | path, timeout=900)
        assert [line for line in done.stdout.splitlines(True) if line.endswith("ran\n")] == ([ran] if ran else [])


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mrt train` stops where the training would begin, which a mutant may let go on for years."""
    monkeypatch.setattr(train_command, "fit", lambda model, *rest, **how: None)
    monkeypatch.setattr(train_command, "save_and_report", lambda *rest: None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_refused_in_one_line_or_read_as_it_was(room: Room, name: str) -> None:
    assert set(READERS) == set(room.readers)
    # A run's folder is one reader: its four files share the hundred.
    read_mutated(room, name, 100 if name not in ("checkpoint", "metrics", "best", "run's config") else 25, seed=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", READERS)
def test_two_thousand_mutated_files(room: Room, name: str) -> None:
    read_mutated(room, name, 2000, seed=1)
