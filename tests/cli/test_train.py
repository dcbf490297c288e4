"""mrt/cli/train_command.py, train_options.py, choices.py, parsing.py: `mrt train` as a person types it: runs, what
it prints, what may be repeated, and errors of one line."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mrt
import mrt.strategies
from mrt import cli
from mrt.cli import parsing
from mrt.cli.choices import STRATEGIES
from mrt.cli.train_command import Command, find_strategy, make_strategy
from mrt.cli.train_options import parse_command
from tests import apart
from tests.support import ROOT, UNION
from tests.training.support import toy

LINF, L2, L1 = UNION
QUICK = ["--images", "96", "--batch-size", "32", "--model-settings", "width=2", "--steps", "2", "--no-progress"]
THREE = ["--threats", "linf=0.2", "l2=0.7", "l1=2.0"]


def train(*words: Any) -> int:
    return cli.main(["train", *map(str, words)])


def weights(path: Path) -> dict[str, Any]:
    held: dict[str, Any] = torch.load(path, weights_only=True)["weights"]
    return held


def test_a_run_of_its_own_trains_and_is_then_found_finished(tmp_path: Path) -> None:
    """As a module, in processes of their own: trained, then found finished."""
    command = "train sat --data digits --model digits-cnn --threats linf=0.2 l2=0.7 l1=2.0 --epochs 1 --out runs/sat"
    command += " --images 192"
    for state in ("finished: epoch 1", "had finished before: epoch 1"):
        program = apart.Program(apart.module("mrt.cli"), *command.split(), cwd=tmp_path)
        assert program.wait() == 0, program.errors
        assert state in program.output and "runs/sat/model.pt" in program.output
    assert isinstance(mrt.load_model(str(tmp_path / "runs/sat/model.pt")), mrt.models.DigitsCNN)


def test_the_lines_of_the_library(tmp_path: Path) -> None:
    data, union = mrt.data.digits("train").take(128), UNION
    x_train, y_train = data.x, data.y
    model = mrt.models.DigitsCNN(width=2)
    how: dict[str, Any] = {"progress": False}
    mrt.fit(model, mrt.MSDTraining(union, steps=10), (x_train, y_train), epochs=1, out=tmp_path / "runs/msd", **how)
    mrt.fit(model, mrt.SAT(union, steps=10), (x_train, y_train), epochs=1, **how)
    mrt.fit(model, mrt.Adversarial(mrt.PGD(mrt.L2(0.7), steps=7)), (x_train, y_train), epochs=1, **how)


def test_every_strategy_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind in STRATEGIES.items():
        fields = kind.__dataclass_fields__
        one = ["--threat", "linf=0.2" if name == "l2l-da" else "l2=0.7"] if "threat" in fields else []
        threats = THREE if "threats" in fields else one
        quick = QUICK if "steps" in fields else [w for w in QUICK if w not in ("--steps", "2")]
        quick = [*quick, "--width", "4"] if "width" in fields else quick
        assert train(name, *threats, *quick, "--iterations", 2, "--out", tmp_path / name) == 0, name
        held = json.loads((tmp_path / name / "config.json").read_text())
        assert held["strategy"]["type"] == kind.__name__
        assert (tmp_path / name / "generator.pt").is_file() == ("width" in fields)
    assert find_strategy("max") is mrt.Worst and find_strategy("avg") is mrt.Average
    assert {kind.__name__ for kind in STRATEGIES.values()} == set(mrt.strategies.__all__)


def test_options_of_learned_strategies(tmp_path: Path) -> None:
    words = "mng-ac --threats linf=0.2 rt=20,2 --noise-ball l1=3 --noise plain --no-conditional --look-ahead 26"
    found = parse_command([*words.split(), "--generator-optimizer", "adam"])
    assert isinstance(found, Command)
    rt = mrt.RotationTranslation(20, 2)
    how: dict[str, Any] = {"noise": "plain", "conditional": False, "look_ahead": 26.0, "generator_optimizer": "adam"}
    made = make_strategy("mng-ac", found.settings, found.attack)
    assert made == mrt.MNGAC((mrt.Linf(0.2), rt), noise_ball=mrt.L1(3.0), **how)
    words = "pgn --penalty 3 --inputs gradient image --grad-norm none --space tanh"
    found = parse_command(words.split())
    assert isinstance(found, Command)
    expected = mrt.PGN(3.0, inputs=("gradient", "image"), grad_norm="none", space="tanh")
    assert make_strategy("pgn", found.settings, found.attack) == expected
    data = toy(24)
    path = tmp_path / "half.npz"
    pseudo = np.arange(24) % 2 == 0
    np.savez(path, x=(data.x * 255).to(torch.uint8).numpy(), y=data.y.numpy(), pseudo=pseudo)
    words = f"standard --data {path} --model-settings width=2 --batch-size 8 --labelled 0.75 --iterations 2 --out"
    assert train(*words.split(), tmp_path / "rst", "--no-progress") == 0
    assert json.loads((tmp_path / "rst" / "config.json").read_text())["labelled"] == 0.75


def test_options_reach_the_run(tmp_path: Path) -> None:
    words = (
        "msd --threats linf=8/255 rt=30,3 l1=2.0 --ratio 1 1.4 --keep 0.9,0.99 --bn batch --epochs 2 --optimizer adam"
    )
    words += " --lr 0.003 --weight-decay 0.01 --schedule drops=0.5:0.1,0.75:0.01 --ema 0.9 --clip 2 --holdout 0.25"
    words += " --validate-every 2 --validate-threats linf=0.1 --augment crop-flip --seed 3 --checkpoint-every 2"
    words += " --channels-last --pad 1 --mode zero --decoupled --betas 0.5 0.99 --validate-steps 3"
    assert train(*words.split(), *QUICK, "--out", tmp_path) == 0
    held = json.loads((tmp_path / "config.json").read_text())
    strategy = {"type": "MSDTraining", "steps": 2, "ratio": [1.0, 1.4], "keep": [0.9, 0.99], "bn": "batch"}
    assert {k: v for k, v in held["strategy"].items() if k != "threats"} == strategy
    assert [t["type"] for t in held["strategy"]["threats"]] == ["Linf", "RotationTranslation", "L1"]
    adam = {"type": "Adam", "lr": 0.003, "weight_decay": 0.01, "decoupled": True, "betas": [0.5, 0.99]}
    assert held["optimizer"] == adam and held["channels_last"]
    low = parse_command(["sat", "--threats", "linf=0.2", "--precision", "bfloat16"])
    assert isinstance(low, Command) and low.fit_arguments()["fast"] == mrt.Fast("bfloat16")
    assert held["schedule"] == {"type": "Drops", "drops": [[0.5, 0.1], [0.75, 0.01]]} or held["schedule"] == {
        "type": "Drops"
    }
    assert (held["ema"], held["clip"], held["seed"], held["checkpoint_every"]) == (0.9, 2.0, 3, 2)
    assert held["crop"] == {"type": "CropFlip", "pad": 1, "mode": "zero"}
    assert held["data"]["n"] == 72 and held["data"]["augment"] == "crop-flip"
    assert list(held["validation"]["attacks"]) == ["linf"] and held["validation"]["every"] == 2
    assert held["validation"]["attacks"]["linf"]["steps"] == 3
    best, kept = torch.load(tmp_path / "best.pt", weights_only=True), weights(tmp_path / "model.pt")
    assert all(torch.equal(v, kept[k]) for k, v in best.items())


def test_a_run_is_repeated_from_its_configuration_alone(tmp_path: Path) -> None:
    assert (
        train("trades", "--threat", "l1=2", "--beta", 2, "--keep", 4, "--epochs", 2, *QUICK, "--out", tmp_path / "a")
        == 0
    )
    assert train("--config", tmp_path / "a/config.json", "--out", tmp_path / "b", "--no-progress") == 0
    one, two = (weights(tmp_path / name / "model.pt") for name in "ab")
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    rows = [json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1]) for name in "ab"]
    assert rows[0]["loss"] == rows[1]["loss"]
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in "ab"]
    assert configs[0] == configs[1]


def test_an_attack_and_its_options(tmp_path: Path) -> None:
    words = "adversarial --threat linf=0.2 --attack mim --attack.decay 0.5 --attack.step-size 0.1 --iterations 2"
    words += " --attack.loss margin"
    assert train(*words.split(), *QUICK, "--out", tmp_path / "a") == 0
    held = json.loads((tmp_path / "a/config.json").read_text())["strategy"]
    assert held["threat"] == {
        "type": "MIM",
        "threat": {"type": "Linf", "eps": 0.2},
        "steps": 2,
        "step_size": 0.1,
        "loss": "margin",
        "decay": 0.5,
    }
    mixed = {"threats": ["l1=2", "rt=30,3"], "steps": 4, "bn": "batch"}
    found = make_strategy("sat", mixed, {"name": "slide", "keep": "1,6", "restarts": 2})
    slide = mrt.SLIDE(mrt.L1(2), steps=4, keep=(1, 6), restarts=2, bn="batch")
    assert found == mrt.SAT((slide, mrt.RotationTranslation()), steps=4, bn="batch")
    assert make_strategy("adversarial", {"threat": "linf=0.2", "steps": 4}, {"name": "fgsm"}).threat == mrt.FGSM(
        mrt.Linf(0.2)
    )


def test_tuning_chooses_the_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("msd", *THREE, "--keep", "1,6", "--tune", "--epochs", 1, *QUICK, "--out", tmp_path) == 0
    said = capsys.readouterr().out
    table = json.loads((tmp_path / "tune/tune.json").read_text())
    assert [row["strategy"]["ratio"] for row in table] == [[1.0, 1.0, f] for f in (0.7, 1.0, 1.4, 2.0, 2.8)]
    (best,) = [row for row in table if row["best"]]
    assert best["union"] == max(row["union"] for row in table)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["strategy"]["ratio"] == best["strategy"]["ratio"] and config["data"]["n"] == 96
    assert json.loads((tmp_path / "tune/0/config.json").read_text())["data"]["n"] == 77
    assert "chosen on held-out training images: ratio" in said
    before = (tmp_path / "tune/2/checkpoint.pt").stat().st_mtime_ns
    assert train("msd", *THREE, "--keep", "1,6", "--tune", "--epochs", 1, *QUICK, "--out", tmp_path) == 0
    assert "had finished before" in capsys.readouterr().out
    assert (tmp_path / "tune/2/checkpoint.pt").stat().st_mtime_ns == before


def test_fine_tuning(tmp_path: Path) -> None:
    """From weights of either kind of file; with a rate of nearly nothing they stay."""
    assert (
        train("standard", *(w for w in QUICK if w not in ("--steps", "2")), "--epochs", 1, "--out", tmp_path / "a") == 0
    )
    start = weights(tmp_path / "a/model.pt")
    torch.save(start, tmp_path / "bare.pt")
    for number, path in enumerate((tmp_path / "a/model.pt", tmp_path / "bare.pt")):
        words = [
            "adversarial",
            "--threat",
            "l2=0.7",
            "--weights",
            path,
            "--schedule",
            "constant",
            "--iterations",
            1,
            *QUICK,
        ]
        for rate in (1e-12, 0.1):
            out = tmp_path / f"{number}-{rate}"
            assert train(*words, "--lr", rate, "--out", out) == 0
            after = weights(out / "model.pt")
            same = [torch.allclose(after[n], v) for n, v in start.items() if n.startswith(("conv", "fc"))]
            assert all(same) if rate < 0.1 else not any(same)


def test_a_strategy_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example's, from its folder, with its own fields as options; a function; and the same again by --config."""
    monkeypatch.chdir(ROOT / "examples")
    name = "04_a_strategy_of_your_own:Growing"
    with pytest.raises(SystemExit):
        train(name, "--help")
    assert "--ramp" in capsys.readouterr().out
    assert train(name, *THREE, "--ramp", 0.25, "--epochs", 1, *QUICK, "--out", tmp_path / "a") == 0
    held = json.loads((tmp_path / "a/config.json").read_text())["strategy"]
    assert held["type"] == name and held["ramp"] == 0.25 and len(held["threats"]) == 3
    again = ["--config", tmp_path / "a/config.json", "--out", tmp_path / "b", "--no-progress"]
    capsys.readouterr()
    assert train(*again) == 2
    assert "repeat it after --allow" in capsys.readouterr().err and not (tmp_path / "b").exists()
    assert train(*again, "--allow", name) == 0
    one, two = (weights(tmp_path / n / "model.pt") for n in "ab")
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    (tmp_path / "fields.py").write_text(
        "from dataclasses import dataclass, field\n\nfrom torch.nn.functional import cross_entropy\n\n\n@dataclass\n"
        "class Needs:\n    share: float\n    names: tuple[str, ...] = field(default_factory=lambda: ('a', 'b'))\n\n"
        "    def __call__(self, model, x, y, step):\n        assert self.names == ('a', 'b')\n"
        "        return self.share * cross_entropy(model(x), y)\n"
    )
    (tmp_path / "plain_loss.py").write_text(
        "from torch.nn.functional import cross_entropy\n\n\ndef smoothed(model, x, y, step):\n"
        "    return cross_entropy(model(x), y, label_smoothing=0.1)\n\n\ndef net(width):\n"
        "    from mrt.models import DigitsCNN\n    return DigitsCNN(width=width)\n"
    )
    monkeypatch.chdir(tmp_path)
    quick = [w for w in QUICK if w not in ("--steps", "2")]
    bare = ["--iterations", 1, "--images", 40, "--batch-size", 20, "--no-progress"]
    assert train("fields:Needs", "--share", 0.5, *bare) == 0
    with pytest.raises(SystemExit):
        train("fields:Needs", *bare)
    assert "--share" in capsys.readouterr().err
    words = ["plain_loss:smoothed", "--model", "plain_loss:net", "--iterations", 2, *quick, "--out", "c"]
    assert train(*words) == 0
    assert "--factory plain_loss:net" in capsys.readouterr().out
    assert json.loads(Path("c/config.json").read_text())["strategy"] == {"live": "plain_loss:smoothed"}
    assert "conv1.weight" in torch.load("c/model.pt", weights_only=True)


def test_data_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = toy(40)
    np.savez(tmp_path / "mine.npz", x=data.x.numpy(), y=data.y.numpy())
    words = ["standard", "--data", tmp_path / "mine.npz", "--model-settings", "width=2", "classes=5", "--iterations", 2]
    assert train(*words, "--batch-size", 8, "--no-progress") == 0
    assert "finished: epoch 0.4" in (said := capsys.readouterr().out) and "nothing was kept" in said
    assert train(*words, "--batch-size", 8, "--no-progress", "--out", tmp_path / "own") == 0
    said = capsys.readouterr().out  # a file without a test part holds nothing that it may be judged on
    assert "judge it, on IMAGES that it was not trained on: mrt evaluate" in said and "--data IMAGES" in said
    np.savez(
        tmp_path / "both.npz",
        x_train=data.x.numpy(),
        y_train=data.y.numpy(),
        x_test=data.x[:8].numpy(),
        y_test=data.y[:8],
    )
    words[2] = tmp_path / "both.npz"
    assert train(*words, "--batch-size", 8, "--no-progress", "--out", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["n"] == 40
    said = capsys.readouterr().out
    assert "judge it: mrt evaluate" in said and f"--data {tmp_path / 'both.npz'}" in said
    judge = [
        "evaluate",
        tmp_path / "run/model.pt",
        "--data",
        tmp_path / "both.npz",
        "--threats",
        "l2=0.1",
        "--budget",
        0.02,
    ]
    assert cli.main([*map(str, judge), "--no-progress"]) == 0
    assert "8 examples of both.npz" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train("sat", *THREE, *QUICK, "--epochs", 3, "--tensorboard", "--out", tmp_path) == 0
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([row["loss"] for row in rows])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("satt --epochs 1", "strategy must be one of .*'sat'.*'module:Class'; got 'satt'"),
        ("no_such_module:Thing --epochs 1", "'no_such_module:Thing' cannot be imported"),
        ("sat --epochs 1", "sat needs --threats: each linf=8/255"),
        ("adversarial --epochs 1", "adversarial needs --threat: linf"),
        ("sat --threats lnf=0.2 --epochs 1", "one of 'linf', 'l2', 'l1', 'l0', 'rt'; got 'lnf'"),
        ("sat --threats linf=8 --epochs 1", "units of"),
        ("sat --threats linf --epochs 1", "a threat is written linf=0.2"),
        ("sat --threats linf=0.2", "either epochs or iterations"),
        ("sat --threats linf=0.2 --epochs 1 --model resnet-9", "model must be one of .*'DigitsCNN'.*; got 'resnet-9'"),
        ("sat --threats linf=0.2 --epochs 1 --model-settings depth=3", "takes no such settings, 'depth=3'"),
        ("sat --threats linf=0.2 --epochs 1 --model-settings width", "name=value; got 'width'"),
        ("sat --threats linf=0.2 --epochs 1 --data nowhere.npz", "data must be digits.*'nowhere.npz'"),
        ("sat --threats linf=0.2 --epochs 1 --schedule cosinus", "schedule of 'cosinus'"),
        ("sat --threats linf=0.2 --epochs 1 --schedule triangular=1,2,3", "triangular"),
        ("sat --threats linf=0.2 --epochs 1 --schedule triangular=x", "could not convert"),
        ("sat --threats linf=0.2 --epochs 1 --optimizer rmsprop", "optimizer must be one of 'sgd', 'adam'"),
        ("sat --threats linf=0.2 --epochs 1 --lr 0", "lr must be a finite number above 0"),
        ("sat --threats linf=0.2 --epochs 1 --validate-every 2", "--validate-every needs images"),
        ("trades --threat l2=0.2 --attack pgd --step-size 0.01 --epochs 1", "step_size is for a ball"),
        ("sat --threats linf=0.2 --epochs 1 --tune", "only MSDTraining has a ratio"),
        ("msd --threats linf=0.2 --epochs 1 --keep few", "keep is written 10, 0.99 or 5,20; got 'few'"),
        ("msd --threats rt=30,3 --epochs 1", "at least one ball"),
        ("adversarial --threat linf=0.2 --attack deepfool --epochs 1", "attack must be one of 'apgd'.*'deepfool'"),
        ("adversarial --threat l2=0.2 --attack fgsm --epochs 1", "FGSM needs a threat of type Linf"),
        ("sat --threats linf=0.2 --epochs 1 --holdout 1.5", "held-out share"),
        ("sat --threats linf=0.2 --epochs 1 --validate-threats l2=1", "--holdout"),
        ("sat --threats linf=0.2 --epochs 1 --weights nowhere.pt", "nowhere.pt"),
        ("sat --threats linf=0.2 --epochs 1 --device gpu", "device must be"),
        ("sat --threats linf=0.2 --epochs 1 --lr 1e30 --out OUT", "the model answers NaN at update 1 .*lr 3.75e.29"),
        ("--config nowhere.json --out OUT", "nowhere.json"),
        ("--config setup.cfg --out OUT", "setup.cfg cannot be read"),
        ("--config BROKEN --out OUT", "was not written by this version of `mrt train`.*options"),
    ],
)
def test_errors_of_one_line(words: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.json").write_text('{"info": {"command": {"strategy": "sat"}}}')
    words = words.replace("OUT", str(tmp_path / "out")).replace("BROKEN", str(tmp_path / "broken.json"))
    assert train(*words.split(), "--no-progress") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and re.search(says, error), error


def test_another_run_is_named_by_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sat", "--threats", "linf=0.2", *QUICK, "--out", tmp_path]
    assert train(*words, "--epochs", 1) == 0
    assert train(*words, "--epochs", 1, "--root", "elsewhere") == 0  # where the data lie is of one call
    capsys.readouterr()
    assert train(*words, "--epochs", 2) == 2
    assert (
        capsys.readouterr().err == f"error: {tmp_path} holds another run: updates was 3, is 6. Choose another folder\n"
    )


def test_help_that_a_person_can_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for words in (["--help"], ["train", "msd", "--help"], ["train", "sat", "--attack", "slide", "--help"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in ("demo", "evaluate", "report", "multi steepest descent", "--tune", "linf=8/255", "--attack.keep"):
        assert word in said, word
    for none in (["train"], ["train", "--help"]):
        assert cli.main(none) == 0
        said = capsys.readouterr().out
        assert all(f"\n  {name}" in said for name in STRATEGIES) and "module:Class" in said and "--config" in said


def test_texts() -> None:
    assert parsing.parse_keep("5,20") == (5, 20) and parsing.parse_keep("0.99") == 0.99 and parsing.parse_keep("7") == 7
    assert parsing.parse_schedule("piecewise=0:0,0.4:1,1:0") == mrt.Piecewise(((0, 0), (0.4, 1), (1, 0)))
    assert parsing.parse_schedule("cosine") == mrt.Cosine() and parsing.parse_schedule(
        "triangular=0.3"
    ) == mrt.Triangular(0.3)
    for name in ("madry-cnn", "MadryCNN", "preact-resnet18", "wide-resnet"):
        assert parsing.check_model(name).lower() == name.replace("-", "").lower()
