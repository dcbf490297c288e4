"""mrt/training/folder.py, settings.py: Killed at any moment, a run goes on to the bit; what is wrong with a folder
is said, and nothing in it is lost."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.protocols import Step
from mrt.training import folder
from tests.support import UNION, RowWise, small_net
from tests.training.support import fit, toy, weights

LINF, L2, L1 = UNION
WORLD = mp.get_context("forkserver")  # every child is a fresh process that has imported torch, and run nothing
WORLD.set_forkserver_preload([__name__])


class Counting(nn.Module):
    """A state with an optimizer of its own, as a learned attack has."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=0.1)

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        self.optimizer.zero_grad()
        (self.scale - torch.rand(1)).square().sum().backward()
        self.optimizer.step()
        return cross_entropy(model(x) * self.scale.detach(), y)

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


class Learned:
    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
        return Counting()


STRATEGIES: dict[str, Any] = {
    "standard": mrt.Standard(),
    "adversarial": mrt.Adversarial(LINF, steps=2),
    "average": mrt.Average(UNION, steps=1, how="sequential"),
    "worst": mrt.Worst(UNION, steps=1),
    "alternate": mrt.Alternate(UNION, steps=2),
    "msd": mrt.MSDTraining(UNION, steps=2),
    "sat": mrt.SAT(UNION, steps=2),
    "eat": mrt.EAT((LINF, L1), steps=2),
    "ramp": mrt.RAMP((LINF, L1), steps=1, projection=0.5),
    "trades": mrt.TRADES(LINF, steps=2),
    "learned": Learned(),
    "mng-ac": mrt.MNGAC(UNION, steps=1, width=4, generator_optimizer="adam"),
    "l2l-da": mrt.L2LDA(LINF, steps=2, width=4),
    "pgn": mrt.PGN(2, width=4),
    "ant": mrt.ANT(L2, width=4),
}


def run(name: str, out: Path, **changes: Any) -> mrt.Run:
    """Five epochs of five updates with everything that has a state, a checkpoint after each update."""
    torch.set_num_threads(1)
    how: dict[str, Any] = {"epochs": 5, "optimizer": mrt.Adam(1e-2), "schedule": None, "ema": 0.9, "clip": 1.0}
    how |= {"checkpoint_every": 1, "validation": mrt.Validation(toy(8), [LINF], steps=2, every=2)}
    return fit(small_net(), STRATEGIES[name], toy(augment="crop-flip"), out=out, **{**how, **changes})


def child(
    said: Any, name: str, out: Path, file_limit: int | None = None, stall: int | None = None, **changes: Any
) -> None:
    """`run` in a process of its own; it says "ready", then how it ended. `stall`: the checkpoint to stop in."""
    if stall is not None:
        stop_inside(stall, said)
    if file_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    said.send("ready")
    try:
        said.send(f"finished before: {run(name, out, **changes).finished}")
    except (ValueError, OSError, FloatingPointError) as error:
        said.send(f"{type(error).__name__}: {error}")


def stop_inside(write: int, said: Any) -> None:
    """Half of that checkpoint's bytes, then silence."""
    save, sync, count, due = torch.save, os.fsync, iter(range(1, 1000)), list[bool]()

    def counted(what: Any, file: Any) -> None:
        if isinstance(what, dict) and "mrt_run" in what and next(count) == write:
            due.append(True)
        save(what, file)

    def half(file: int) -> None:  # the next file that goes to the disk is that checkpoint
        if due:
            os.truncate(file, os.fstat(file).st_size // 2)
            said.send("writing")
            time.sleep(900)
        sync(file)

    torch.save, os.fsync = counted, half  # type: ignore[assignment]


def begun(name: str, out: Path, **changes: Any) -> tuple[Any, Any]:
    here, there = WORLD.Pipe()
    process = WORLD.Process(target=child, args=(there, name, out), kwargs=changes)
    process.start()
    there.close()
    assert here.recv() == "ready"
    return process, here


def ended(name: str, out: Path, **changes: Any) -> str:
    process, said = begun(name, out, **changes)
    text: str = said.recv()
    process.join()
    return text


def state(out: Path) -> dict[str, Any]:
    held: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
    del held["sums"]
    held["best weights"] = torch.load(out / "best.pt", weights_only=True)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    held["metrics"] = [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]
    return held


def same(a: Any, b: Any, where: str = "") -> None:
    """Equal to the last bit, but for the digest of the rows of metrics, which counts their seconds in."""
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in set(a) - {"digest"}:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(a, Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.mark.parametrize("name", STRATEGIES)
def test_killed_ten_times(name: str, tmp_path: Path) -> None:
    assert ended(name, tmp_path / "whole") == "finished before: False"
    whole = state(tmp_path / "whole")
    assert len(whole["metrics"]) == 5 and whole["step"] == 25
    moments, kills, attempt = random.Random(name), 0, 0
    while kills < 10:
        out = tmp_path / f"broken-{attempt}"
        process, said = begun(name, out)
        time.sleep(moments.uniform(0.0, 0.12))
        if said.poll():  # it was quicker
            assert said.recv().startswith("finished")
            process.join()
            same(state(out), whole)
            attempt += 1
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert ended(name, out).startswith("finished before")
    same(state(out), whole)
    assert ended(name, out) == "finished before: True"
    assert sorted(p.name for p in out.iterdir() if not p.name.endswith(".part")) == [
        ".lock", "best.pt", "checkpoint.pt", "config.json", "metrics.jsonl",
    ]  # fmt: skip


def test_a_killed_run_was_really_interrupted(tmp_path: Path) -> None:
    """In the middle: rows and updates are missing, and rows behind the checkpoint are cut away."""
    process, said = begun("sat", tmp_path / "out", epochs=5000)
    while not (tmp_path / "out" / "metrics.jsonl").is_file():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    held = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert 0 < held["step"] < 25000
    path = tmp_path / "out" / "metrics.jsonl"
    known = path.read_text().splitlines(keepends=True)[: held["rows"]]
    with open(path, "a") as file:
        file.write('{"epoch": 77}\n{"ep')  # what a kill in the middle of a row leaves
    kept = folder.RunFolder(tmp_path / "out", first=True).cut(held["rows"], held["digest"])
    assert kept == [json.loads(k) for k in known]
    assert path.read_text() == "".join(known)


def test_killed_inside_a_checkpoint(tmp_path: Path) -> None:
    """With half of the new file written: the old one counts, and the run ends as if nothing had happened."""
    assert ended("eat", tmp_path / "whole").startswith("finished")
    out = tmp_path / "broken"
    for write in (1, 4, 13):
        process, said = begun("eat", out, stall=write)
        assert said.recv() == "writing"
        assert any(p.name.endswith(".part") for p in out.iterdir())
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert ended("eat", out) == "finished before: False"
    same(state(out), state(tmp_path / "whole"))


def test_live_optimizers_and_schedulers_resume(tmp_path: Path) -> None:
    def go(out: Path, stop: int | None) -> mrt.Run:
        net = RowWise((1, 8, 8))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        schedule: Any = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2], 0.3)
        if out.name.startswith("cycle"):
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=20)

        def strategy(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
            if step.index == stop:
                raise KeyboardInterrupt
            return cross_entropy(model(x), y)

        return fit(net, strategy, toy(), epochs=4, optimizer=optimizer, schedule=schedule, out=out, checkpoint_every=3)

    for kind in ("", "cycle-"):
        whole = go(tmp_path / f"{kind}whole", None)
        for stop in (7, 12, 19):
            with pytest.raises(KeyboardInterrupt):
                go(tmp_path / f"{kind}broken", stop)
        again = go(tmp_path / f"{kind}broken", None)
        assert all(torch.equal(a, b) for a, b in zip(weights(whole.model), weights(again.model), strict=True))
        assert [r["lr"] for r in again.metrics] == [r["lr"] for r in whole.metrics] and not again.finished


def test_the_same_call_finds_it_finished(tmp_path: Path) -> None:
    one = run("msd", tmp_path / "out")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir() if p.name != ".lock"}
    two = run("msd", tmp_path / "out")
    assert two.finished and not one.finished and two.metrics == one.metrics and two.path == tmp_path / "out"
    for a, b in ((one.model, two.model), (one.ema, two.ema), (one.best, two.best)):
        assert a is not None and b is not None
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir() if p.name != ".lock"}


def test_a_folder_in_use(tmp_path: Path) -> None:
    process, _ = begun("sat", tmp_path, epochs=5000)
    while not (tmp_path / "checkpoint.pt").is_file():
        time.sleep(0.01)
    with pytest.raises(ValueError, match=f"in use by process {process.pid}, which is alive"):
        run("sat", tmp_path, epochs=5000)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] > 0
    with pytest.raises(ValueError, match="holds another run: updates was 25000, is 25"):
        run("sat", tmp_path)


@pytest.mark.parametrize("limit", [2_500, 9_000])
def test_no_space(limit: int, tmp_path: Path) -> None:
    """The system refuses to write more: the error says so at once, and the last good checkpoint goes on."""
    assert ended("worst", tmp_path / "whole").startswith("finished")
    out = tmp_path / "full"
    process, said = begun("worst", out, stall=8)
    assert said.recv() == "writing"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = (out / "checkpoint.pt").read_bytes()
    assert len(before) > limit
    told = ended("worst", out, file_limit=limit)
    assert told.startswith("OSError") and "cannot write there" in told and str(out) in told
    assert (out / "checkpoint.pt").read_bytes() == before
    assert ended("worst", out) == "finished before: False"
    same(state(out), state(tmp_path / "whole"))


def test_no_number_is_an_error_at_once(tmp_path: Path) -> None:
    def turns(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        loss = cross_entropy(model(x), y)
        return loss * (float("nan") if step.index == 7 else 1.0)

    net = RowWise((1, 8, 8))
    with pytest.raises(FloatingPointError, match=r"loss is nan at update 7 \(epoch 1.40, lr 0.05\).*last good.*in "):
        fit(net, turns, toy(), epochs=3, out=tmp_path)
    held = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert held["step"] == 5 and all(v.isfinite().all() for v in held["weights"].values())
    assert all(bool(p.isfinite().all()) for p in net.parameters())  # not even the model was spoilt


def test_a_rate_that_diverges(tmp_path: Path) -> None:
    net = small_net()
    with pytest.raises(FloatingPointError, match="at update .*lr 1e.30.*a lower rate"):
        fit(net, mrt.Standard(), toy(), epochs=50, out=tmp_path, optimizer=mrt.SGD(1e30), checkpoint_every=1)
    path = tmp_path / "checkpoint.pt"
    if path.is_file():
        assert all(v.isfinite().all() for v in torch.load(path, weights_only=True)["weights"].values())


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path) -> None:
    """A finite loss with an infinite slope."""

    def slope(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        zero = (model(x) * 0).sum()
        return cross_entropy(model(x), y) + (zero.sqrt() if step.index == 6 else 0)

    with pytest.raises(FloatingPointError, match="weights are no finite numbers|loss is nan"):
        fit(RowWise((1, 8, 8)), slope, toy(), epochs=2, out=tmp_path, checkpoint_every=1)
    held = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert held["step"] == 6 and all(v.isfinite().all() for v in held["weights"].values())


def test_what_a_folder_may_not_hold(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("sat", out)
    kept = {p: p.read_bytes() for p in out.iterdir() if p.name != ".lock"}
    with pytest.raises(ValueError, match="strategy.type was 'SAT', is 'Worst'"):
        run("worst", out)
    with pytest.raises(ValueError, match="seed was 0, is 1"):
        run("sat", out, seed=1)
    with pytest.raises(ValueError, match="shapes was|model was"):
        fit(small_net(classes=6), STRATEGIES["sat"], toy(augment="crop-flip"), out=out, epochs=5)
    for changes, says in (
        ({"crop": mrt.data.CropFlip(2)}, "crop.pad was its default, is 2"),
        ({"clip": 2.0}, "clip was 1.0, is 2.0"),
        ({"fast": mrt.Fast("bfloat16")}, "fast.precision"),
        ({"info": {"a": 1}}, "info.a was its default, is 1"),
    ):
        with pytest.raises(ValueError, match=says):
            run("sat", out, **changes)
    assert run("sat", out, checkpoint_every=7).finished  # how often is no part of what
    with pytest.raises(ValueError, match="data.augment was"):
        fit(small_net(), STRATEGIES["sat"], toy(40, "none"), out=out, epochs=5)
    assert {p: p.read_bytes() for p in out.iterdir() if p.name != ".lock"} == kept
    other = tmp_path / "other"
    other.mkdir()
    (other / "checkpoint.pt").write_bytes(b"mine")
    with pytest.raises(ValueError, match="holds checkpoint.pt of something else"):
        run("sat", other)
    (out / "checkpoint.pt").write_bytes(kept[out / "checkpoint.pt"][:300])
    with pytest.raises(ValueError, match="checkpoint.pt cannot be read"):
        run("sat", out)
    torch.save({"step": 3}, out / "checkpoint.pt")
    with pytest.raises(ValueError, match="is no checkpoint of a run"):
        run("sat", out)


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    """The folder's settings agree, and its weights do not."""
    run("sat", tmp_path / "one", epochs=1)
    fit(small_net(classes=7), STRATEGIES["sat"], toy(), out=tmp_path / "two", epochs=1)
    (tmp_path / "one" / "checkpoint.pt").write_bytes((tmp_path / "two" / "checkpoint.pt").read_bytes())
    with pytest.raises(ValueError, match="holds a checkpoint of another (weights|ema)"):
        run("sat", tmp_path / "one", epochs=1)


class Odd:
    """A state that cannot be read back without running code."""

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
        class State(nn.Module):
            def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
                return cross_entropy(model(x), y)

            def get_extra_state(self) -> object:
                return {"when": Path("x")}

        return State()


def test_numbers_of_numpy(tmp_path: Path) -> None:
    """A schedule may return one; a checkpoint must not hold one, since nothing would read it again."""
    for _ in range(2):
        fit(
            RowWise((1, 8, 8)),
            mrt.Standard(),
            toy(),
            epochs=1,
            schedule=lambda share: np.cos(share),
            out=tmp_path / "a",
        )
    net = RowWise((1, 8, 8))
    live = torch.optim.SGD(net.parameters(), lr=0.1)
    live.param_groups[0]["momentum"] = np.float64(0.5)
    with pytest.raises(ValueError, match="momentum is a float64; a checkpoint holds"):
        fit(net, mrt.Standard(), toy(), epochs=1, optimizer=live, out=tmp_path / "b")


def test_whether_steps_are_fused_is_this_devices_matter(tmp_path: Path) -> None:
    """A run that began on a GPU, where they are, goes on where they are not."""

    def run(stop: bool) -> torch.optim.Optimizer:
        def loss(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
            if stop and step.index == 3:
                raise KeyboardInterrupt
            return cross_entropy(model(x), y)

        torch.manual_seed(0)
        net = RowWise((1, 8, 8))
        live = torch.optim.Adam(net.parameters(), lr=0.1)
        fit(net, loss, toy(), iterations=5, optimizer=live, checkpoint_every=2, out=tmp_path, batch_size=4)
        return live

    with pytest.raises(KeyboardInterrupt):
        run(stop=True)
    held = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert held["optimizer"]["param_groups"][0]["fused"] is None and held["step"] == 2
    held["optimizer"]["param_groups"][0]["fused"] = True
    torch.save(held, tmp_path / "checkpoint.pt")
    assert run(stop=False).param_groups[0]["fused"] is None


def test_a_checkpoint_holds_plain_values(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoint.strategy._extra_state.when is a .*Path; .* tensors, numbers"):
        fit(RowWise((1, 8, 8)), Odd(), toy(), epochs=1, out=tmp_path)


def test_the_configuration_tells_it_all(tmp_path: Path) -> None:
    run("eat", tmp_path)
    held = json.loads((tmp_path / "config.json").read_text())
    assert held["strategy"] == {
        "type": "EAT",
        "threats": [{"type": "Linf", "eps": 0.2}, {"type": "L1", "eps": 2.0}],
        "steps": 2,
    }
    assert held["optimizer"] == {"type": "Adam", "lr": 0.01} and held["schedule"] == {"type": "Triangular"}
    assert held["data"]["n"] == 40 and held["validation"]["every"] == 2 and held["environment"]["torch"]
    live = torch.optim.SGD(RowWise((1, 8, 8)).parameters(), lr=0.25)
    net = RowWise((1, 8, 8))
    live = torch.optim.SGD(net.parameters(), lr=0.25)
    fit(
        net,
        mrt.Standard(),
        toy(),
        epochs=1,
        optimizer=live,
        schedule=None,
        out=tmp_path / "live",
        info={"why": "because"},
    )
    held = json.loads((tmp_path / "live" / "config.json").read_text())
    assert held["optimizer"]["live"] == "SGD" and held["optimizer"]["defaults"]["lr"] == "0.25"
    assert held["info"] == {"why": "because"}

    class Hosted:
        threat = LINF

        def __call__(self, model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
            return x

        def __repr__(self) -> str:
            return "a host's"

    fit(net, mrt.Adversarial(Hosted()), toy(), epochs=1, out=tmp_path / "hosted")
    held = json.loads((tmp_path / "hosted" / "config.json").read_text())
    assert held["strategy"] == {"live": "Adversarial(threat=a host's, steps=10, bn='eval', clean=0.0)"}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (lambda m, x, y, s: cross_entropy(m(x), y, reduction="none"), r"scalar .*shape \(8,\)"),
        (lambda m, x, y, s: cross_entropy(m(x), y).detach(), "without a gradient"),
        (lambda m, x, y, s: 0.5, "float"),
        (lambda m, x, y, s: iter([]), "no loss at all"),
        (lambda m, x, y, s: iter([cross_entropy(m(x), y), "two"]), "str"),
        (lambda m, x, y, s: None, "no loss at all"),
    ],
)
def test_bad_strategies(found: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(RowWise((1, 8, 8)), found, toy(), epochs=1)


NET = RowWise((1, 8, 8))
OWNED = torch.optim.SGD(NET.parameters(), lr=0.1)
PLATEAU = torch.optim.lr_scheduler.ReduceLROnPlateau(OWNED, mode="max")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, "either epochs or iterations"),
        ({"epochs": 1, "iterations": 2}, "either epochs or iterations"),
        ({"epochs": 0}, "epochs.*0"),
        ({"iterations": 1.5}, "iterations.*1.5"),
        ({"epochs": 1, "batch_size": 0}, "batch_size.*0"),
        ({"epochs": 1, "ema": 1.0}, "ema.*1"),
        ({"epochs": 1, "fast": True}, "fast must be a Fast.*True"),
        ({"epochs": 1, "ema": -0.1}, "ema.*-0.1"),
        ({"epochs": 1, "clip": 0}, "clip.*0"),
        ({"epochs": 1, "seed": -1}, "seed.*-1"),
        ({"epochs": 1, "checkpoint_every": 0}, "checkpoint_every.*0"),
        ({"epochs": 1, "optimizer": "sgd"}, "optimizer.*'sgd'"),
        ({"epochs": 1, "schedule": "cosine"}, "schedule.*'cosine'"),
        ({"epochs": 1, "schedule": torch.optim.lr_scheduler.StepLR(OWNED, 1)}, "own torch optimizer"),
        ({"epochs": 1, "optimizer": OWNED, "schedule": PLATEAU}, "mode='min'"),
        ({"epochs": 1, "validation": torch.ones(3)}, r"data must be \(x, y\) or Images"),
        ({"epochs": 1, "validation": toy(8, shape=(1, 4, 4))}, r"validation needs images of shape \(1, 8, 8\)"),
        ({"epochs": 1, "progress": 1}, "progress"),
        ({"epochs": 1, "channels_last": "yes"}, "channels_last"),
        ({"epochs": 1, "tensorboard": True}, "needs a run folder"),
        ({"epochs": 1, "info": {"what": {1, 2}}}, "info must hold"),
        ({"epochs": 1, "device": "cuda:9"}, "device|model is on"),
    ],
)
def test_bad_input(how: dict[str, Any], says: str, tmp_path: Path) -> None:
    before = weights(NET)
    with pytest.raises(ValueError, match=says):
        mrt.fit(
            NET,
            mrt.Standard(),
            toy(),
            **{"out": None if "needs a run folder" in says else tmp_path / "out", "progress": False, **how},
        )
    assert not (tmp_path / "out" / "config.json").exists()  # before anything was written
    assert all(torch.equal(a, b) for a, b in zip(before, weights(NET), strict=True))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mrt.SGD(0), "lr.*0"),
        (lambda: mrt.SGD(momentum=1.5), "momentum.*1.5"),
        (lambda: mrt.SGD(momentum=0, nesterov=True), "momentum above 0"),
        (lambda: mrt.SGD(decay="bias"), "decay.*'bias'"),  # type: ignore[arg-type]
        (lambda: mrt.Adam(betas=(0.9, 1.0)), "betas.*1.0"),
        (lambda: mrt.Adam(betas=0.9), "betas.*0.9"),  # type: ignore[arg-type]
        (lambda: mrt.Triangular(1), "peak.*1"),
        (lambda: mrt.Cosine(1), "warmup.*1"),
        (lambda: mrt.Piecewise(((0, 1), (0.5, 0))), "knots.*0 to 1"),
        (lambda: mrt.Piecewise(((0, 1), (1,))), "knots.*pairs"),  # type: ignore[arg-type]
        (lambda: mrt.Drops(((0.5, 0.1), (0.4, 0.01))), "drops.*rising"),
        (lambda: mrt.Validation(toy(), every=0), "every.*0"),
        (lambda: mrt.Validation(toy(), threats=()), "threats.*non-empty"),
        (lambda: mrt.Validation(toy(), steps=0), "steps.*0"),
        (lambda: mrt.fit(toy, mrt.Standard(), toy(), epochs=1), "model must be an nn.Module"),  # type: ignore[arg-type]
        (lambda: mrt.fit(NET, mrt.Standard, toy(), epochs=1), "strategy must be one such as"),  # type: ignore[arg-type]
        (lambda: mrt.fit(NET, "sat", toy(), epochs=1), "strategy must be one such as.*'sat'"),  # type: ignore[arg-type]
        (lambda: mrt.fit(nn.Flatten(), mrt.Standard(), toy(), epochs=1), "no parameter"),
    ],
)
def test_bad_settings(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
