"""mrt/evaluation/ (clean_pass.py, reliability.py, judge.py): Gradients that are NaN or infinite in places stand in the
report, whoever asked for them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.evaluation import reliability
from mrt.evaluation.loop import Evaluation
from tests.crafting.support import ROWS, Rooted, dark_batch

BALL = mrt.Linf(0.02)
BATTERY = (
    mrt.Entry("pgd", mrt.PGD(BALL, steps=3), BALL),
    mrt.Entry("hosted", mrt.Foreign("foolbox", "LinfPGD", (("steps", 2),)), BALL),
    mrt.Entry("grid", mrt.RTGrid(grid=(1, 1, 3)), mrt.RotationTranslation()),
)
FOUND = r"places, where attacks stand still \((.*)\): "


def evaluated(model: Any, data: tuple[Tensor, Tensor], battery: Any = BATTERY, **how: Any) -> mrt.Report:
    """The report, of which the warnings module has said the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = mrt.evaluate(model, data, battery, progress=False, **{"batch_size": 4, **how})
    assert [str(w.message) for w in caught if w.category is UserWarning] == report.warnings
    return report


def named(report: mrt.Report) -> list[str]:
    """The attacks that the report's warning of undefined gradients names, with their counts."""
    found = [match.group(1) for text in report.warnings if (match := re.search(FOUND, text))]
    return found[0].split(", ") if found else []


@pytest.fixture(autouse=True)
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "_find_masking", lambda *_: [])


def test_the_report_names_every_attack_that_followed_such_gradients(tmp_path: Path) -> None:
    report = evaluated(Rooted(ROWS), dark_batch(), cascade=False, out=tmp_path)
    work = report.info["attacks"]
    assert [(w["undefined"], w["backward"]) for w in work.values()] == [(18, 18), (12, 12), (0, 0)]
    assert named(report) == ["18 of 18 in pgd-linf", "12 of 12 in foolbox.hosted-linf"]
    assert any("cross-entropy is NaN or infinite in places on 4 of 4 images" in text for text in report.warnings)
    assert "18 of 18 in pgd-linf" in str(report) and "18 of 18 in pgd-linf" in (tmp_path / "index.html").read_text()
    assert named(mrt.Report.load(tmp_path)) == named(report)
    assert evaluated(ROWS, dark_batch(), cascade=False).warnings == []


def test_it_counts_what_an_attack_of_the_users_own_asks_for() -> None:
    class Own:
        threat = BALL

        def __call__(self, model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
            point = x.clone().requires_grad_()
            torch.autograd.grad(model(point).sum(), point)
            return x

    report = evaluated(Rooted(ROWS), dark_batch(), (mrt.Entry("own", Own(), BALL),))
    assert named(report) == ["6 of 6 in own-linf"]


def test_a_few_are_not_worth_a_word_and_draws_count_each() -> None:
    mine = (mrt.Entry("pgd", mrt.PGD(BALL, steps=3), BALL, draws=2),)
    report = evaluated(Rooted(ROWS), dark_batch(120, 1), mine, batch_size=120)
    assert report.info["attacks"]["pgd-linf"]["undefined"] == 6 and report.warnings == []
    assert named(evaluated(Rooted(ROWS), dark_batch(120, 2), mine, batch_size=120)) == ["12 of 720 in pgd-linf"]


def test_it_survives_a_kill_and_the_cascade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = evaluated(Rooted(ROWS), dark_batch())
    assert len(named(expected)) == 2
    attack_batch, done = Evaluation._attack_batch, list[Any]()

    def killed(run: Evaluation, *unit: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(unit)
        return attack_batch(run, *unit)

    monkeypatch.setattr(Evaluation, "_attack_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluated(Rooted(ROWS), dark_batch(), out=tmp_path)
    monkeypatch.setattr(Evaluation, "_attack_batch", attack_batch)
    assert evaluated(Rooted(ROWS), dark_batch(), out=tmp_path).warnings == expected.warnings


def test_a_gradient_that_vanishes_and_one_that_is_undefined_are_told_apart() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = ROWS(x)
            return answer.detach() + 0 * answer

    for model, said in ((Flat(), "vanishes on 4 of 4"), (Rooted(ROWS), "is NaN or infinite in places on 4 of 4")):
        remarks = [text for text in evaluated(model, dark_batch()).warnings if "of the cross-entropy" in text]
        assert len(remarks) == 1 and said in remarks[0]
