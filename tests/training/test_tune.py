"""mrt/training/tune.py: The choice of MSD's ratio: on held-out training images, by their union."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import mrt
from mrt.training import ratios, tune
from mrt.training.tune import split_off
from tests.support import UNION, RowWise
from tests.training.support import toy

LINF, L2, L1 = UNION


def test_ratios_vary_the_l1_step() -> None:
    base = mrt.MSDTraining(UNION, ratio=(1, 2, 3))
    assert [s.ratio for s in ratios(base, (0.5, 2))] == [(1, 2, 1.5), (1, 2, 6)]
    assert [s.ratio for s in ratios(mrt.MSDTraining((L1, LINF, mrt.RotationTranslation())), (2,))] == [(2, 1)]
    assert [s.ratio for s in ratios(mrt.MSDTraining((LINF, L2)), (2,))] == [(1, 2)]
    with pytest.raises(ValueError, match="only MSDTraining.*SAT"):
        ratios(mrt.SAT(UNION))  # type: ignore[arg-type]


def test_the_split_is_of_the_training_data_and_complete() -> None:
    data = toy(40)
    kept, held = split_off(data, 0.25, seed=1)
    assert (len(kept), len(held)) == (30, 10)
    both = torch.cat([kept.x, held.x]).flatten(1)
    assert torch.equal(both.sum(1).sort().values, data.x.flatten(1).sum(1).sort().values)
    assert not torch.equal(split_off(data, 0.25, seed=2)[1].x, held.x)
    for share in (0, 1, 0.001):
        with pytest.raises(ValueError, match="held-out share"):
            split_off(data, share, seed=0)


def test_the_best_union_wins_and_a_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate trains on nothing but noise; each model is fresh; the second search trains nothing."""
    made: list[Any] = []

    def make() -> RowWise:
        model = RowWise((1, 8, 8))
        made.append(model)
        return model

    far = mrt.Adversarial(mrt.Linf(0.9), steps=1)
    near = mrt.Adversarial(mrt.Linf(0.001), steps=1)
    how: dict[str, Any] = {"epochs": 6, "batch_size": 8, "progress": False, "steps": 3, "out": tmp_path}
    found = tune(make, [far, near], toy(80), held=0.4, **how)
    assert len(made) == 2
    unions = {s: row["union"] for s, row in found.scores}
    assert found.strategy == max(unions, key=unions.__getitem__)
    table = json.loads((tmp_path / "tune.json").read_text())
    assert [row["best"] for row in table] == [s == found.strategy for s in (far, near)]
    assert [row["union"] for row in table] == [row["union"] for _, row in found.scores]
    assert "*" in str(found) and "union" in str(found)
    steps = [json.loads(line)["step"] for line in (tmp_path / "0" / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 6 * (48 // 8)  # on the rest of the data alone
    before = (tmp_path / "0" / "checkpoint.pt").stat().st_mtime_ns
    again = tune(make, [far, near], toy(80), held=0.4, **how)
    assert again == found and (tmp_path / "0" / "checkpoint.pt").stat().st_mtime_ns == before
    other = tune(make, [near], toy(80), held=toy(16), threats=[mrt.L2(0.1)], **{**how, "out": None})
    assert list(other.scores[0][1]) == ["clean", "l2", "union"]
    with pytest.raises(ValueError, match="strategies.*non-empty"):
        tune(make, [], toy())


def test_the_union_decides_and_not_the_clean_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    far, near = mrt.Adversarial(mrt.Linf(0.9), steps=1), mrt.Adversarial(mrt.Linf(0.001), steps=1)
    rows = {far: {"clean": 0.6, "linf": 0.5, "union": 0.4}, near: {"clean": 0.9, "linf": 0.7, "union": 0.3}}

    def fit(model: Any, strategy: Any, data: Any, **settings: Any) -> Any:
        return SimpleNamespace(metrics=[rows[strategy]])

    monkeypatch.setattr(sys.modules["mrt.training.tune"], "fit", fit)  # mrt.training.tune is the function
    found = tune(lambda: RowWise((1, 8, 8)), [near, far], toy(20), threats=[mrt.Linf(0.1)], progress=False)
    assert found.strategy == far and [score for _, score in found.scores] == [rows[near], rows[far]]
