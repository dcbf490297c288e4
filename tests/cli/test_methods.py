"""mrt/cli/methods.py, evaluate.py: `mrt report` of several runs of one method, found by their configuration or name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import mrt
from mrt import cli
from mrt.cli.methods import find_methods, identify_method
from tests.evaluation.report.support import made_report

SHORT = ["--images", "96", "--batch-size", "32", "--model-settings", "width=2", "--epochs", "1", "--no-progress"]
HELD = ["--holdout", "0.25", "--validate-threats", "linf=0.2", "--validate-steps", "1"]


def save(folder: Path, seed: int, **info: Any) -> str:
    made_report(seed, **info).save(folder)
    return str(folder)


def write_config(folder: Path, **settings: Any) -> None:
    config: dict[str, Any] = {"seed": 0, "strategy": {"type": "SAT"}, "data": {"hash": "0"}, "info": {}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | settings))


def report(*words: str) -> int:
    return cli.main(["report", *words])


def means(said: str) -> list[tuple[str, str]]:
    return re.findall(r"(\S+(?: \(.*\))?), mean ± sd of (\d+) runs", said)


def test_trainings_that_differ_in_their_seed_are_one_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `mrt train` writes them: the seed decides on the images held out as well. Another rate is another method."""
    folders = []
    for seed in range(3):
        run = tmp_path / f"plain-{seed}"
        rate = "0.1" if seed < 2 else "0.2"
        command = ["train", "standard", "--lr", rate, *SHORT, *HELD, "--seed", str(seed), "--out", str(run)]
        assert cli.main(command) == 0
        folders.append(save(run / "judged", seed))
    capsys.readouterr()
    assert report(*folders, "--out", str(tmp_path / "page.html")) == 0
    said = capsys.readouterr().out
    assert means(said) == [("plain", "2")] and "spread over trainings" in said and "no mean" not in said
    assert "plain, mean ± sd of 2 runs" in (tmp_path / "page.html").read_text()
    configs = [json.loads((tmp_path / f"plain-{seed}" / "config.json").read_text()) for seed in range(3)]
    assert configs[0]["data"] != configs[1]["data"]  # other images were held out
    assert report(*folders[1:]) == 0
    said = capsys.readouterr().out
    assert "±" not in said and "no mean" not in said


def test_trainings_of_the_library(tmp_path: Path) -> None:
    """A function is known by its name, which does not tell two of them apart."""
    data, model = mrt.data.digits("train").take(64), mrt.models.DigitsCNN(width=2)

    def config(strategy: Any, seed: int = 0, **settings: Any) -> str | None:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        mrt.fit(model, strategy, data, iterations=1, batch_size=32, seed=seed, out=out, progress=False, **settings)
        return identify_method(json.loads((out / "config.json").read_text()))

    def own(model: Any, x: Any, y: Any, step: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), y)

    first = config(mrt.Standard())
    assert first is not None and first == config(mrt.Standard(), seed=7)
    assert first != config(mrt.Standard(), optimizer=mrt.Adam(1e-3)) and first != config(mrt.Standard(), ema=0.9)
    assert first != config(mrt.TRADES(mrt.Linf(0.1), steps=1))
    assert config(own) is None


def test_where_no_configuration_is_the_folders_name_the_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["msd-0", "msd_seed1", "msd/2", "msd-3/judged", "msdx-4", "sat-0", "sat-1/judged", "msd"]
    folders = [save(tmp_path / name, seed) for seed, name in enumerate(names)]
    assert report(*folders) == 0
    assert means(capsys.readouterr().out) == []  # nobody has said that they belong together
    assert report(*folders, "--methods", "msd", "sat") == 0
    assert means(capsys.readouterr().out) == [("msd", "4"), ("sat", "2")]
    assert report(*folders, "--methods", "trades") == 2
    assert "trades has 0" in capsys.readouterr().err


def test_other_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_config(tmp_path / f"sat-{seed}", seed=seed)
    folders = [save(tmp_path / f"sat-{seed}" / "judged", seed, data=f"set {seed}") for seed in range(2)]
    assert report(*folders) == 0  # found, not asked for: the table stands, and a line says why there is no mean
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("no mean")]
    assert f"no mean of sat over {folders[0]} and {folders[1]}" in line and "differ in their examples" in line
    assert means(said) == []
    assert report(*folders, "--methods", "sat") == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: no mean of sat over") and "differ in their examples" in said and "\n" not in said


def test_one_training_is_one_run(tmp_path: Path) -> None:
    """Judged twice it has no spread, nor have two copies of one seed."""
    write_config(tmp_path / "a")
    write_config(tmp_path / "b")
    paths = [tmp_path / name for name in ("a/judged", "a/again", "b/judged")]
    reports = [(str(path), made_report(seed)) for seed, path in enumerate(paths)]
    assert find_methods(paths[:2], reports[:2], ()) == ([], [])
    found, remarks = find_methods(paths[1:], reports[1:], ())
    assert found == []
    assert remarks == [f"no mean of SAT over {paths[1]}, {paths[2]}: two of these were trained with one seed"]


def test_methods_have_names_of_their_own(tmp_path: Path) -> None:
    """Runs without a name in common are called by their strategy; where a name is taken, a run is named as well."""
    paths = [tmp_path / name for name in ("a", "b", "one/msd-0", "one/msd-1", "two/msd-0", "two/msd-1")]
    for place, path in enumerate(paths):
        write_config(path, seed=place, updates=place // 2)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text("[]")
    paths.append(tmp_path / "none")
    reports = [(f"row {seed}", made_report(seed)) for seed in range(7)]
    methods, remarks = find_methods(paths, reports, ())
    assert [method.name for method in methods] == ["SAT", "msd", "msd (row 4 and others)"] and remarks == []
    assert [[title for title, _ in method.runs] for method in methods] == [
        ["row 0", "row 1"],
        ["row 2", "row 3"],
        ["row 4", "row 5"],
    ]


def test_one_training_that_was_judged_twice_is_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [save(tmp_path / "msd-0" / name, 0) for name in ("judged", "again")]
    assert report(*folders, "--methods", "msd") == 2
    assert "no mean of msd: 2 reports are of 1 trainings" in capsys.readouterr().err
