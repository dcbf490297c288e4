"""mrt/evaluation/evaluate.py, batteries.py, loop.py, reliability.py: models whose answers are random."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

import mrt
from mrt.evaluation.judge import CountedModel
from tests.support import Noisy, digits, digits_net, torch_seed

NOISE, BALL = 0.4, mrt.Linf(0.15)


@pytest.fixture(scope="module")
def model() -> Noisy:
    """A network that was trained behind the noise it is used behind."""
    data, net = mrt.data.digits("train"), mrt.models.DigitsCNN(width=8)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(200):
        rows = torch.randperm(len(data.x), generator=torch_seed(step))[:256]
        optimizer.zero_grad()
        cross_entropy(Noisy(net, NOISE)(data.x[rows]), data.y[rows]).backward()
        optimizer.step()
    return Noisy(net.eval(), NOISE).eval()


def judge(model: Noisy, battery: str | tuple[mrt.Entry, ...], **options: object) -> mrt.Report:
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mrt.evaluate(model, digits(80), battery, progress=False, **options)  # type: ignore[arg-type]


def test_the_mean_over_draws_breaks_what_autoattacks_rand_breaks(model: Noisy) -> None:
    """`quick` finds the answers random by itself, and leaves no more than AutoAttack's version for random models."""
    averaged = judge(model, "quick", threats=(BALL,), budget=0.2)
    theirs = judge(model, "standard", threats=(BALL,), budget=0.2)
    single = judge(model, tuple(replace(e, draws=1) for e in mrt.batteries.quick((BALL,), budget=0.2, draws=20)))
    assert set(averaged.attacks) == {"apgd-ce-linf", "apgd-dlr-linf"}
    assert set(theirs.attacks) == {"aa.apgd-ce-linf", "aa.apgd-dlr-linf"}
    assert averaged.union <= theirs.union + 0.02
    assert any("see the mean over 20 draws" in text for text in averaged.warnings)
    assert any("see the mean over 20 draws" in text for text in theirs.warnings)
    assert any("2 of 2 attacks see one draw" in text and "draws=20" in text for text in single.warnings)


def test_single_draws_lead_less_far(model: Noisy) -> None:
    """The accuracy left, as the mean over 40 draws of each result."""
    (x, y), attack, left = digits(120), mrt.APGD(BALL, steps=20), {}
    for name, seen in (("mean", mrt.EOT(model, 20)), ("single", model)):
        torch.manual_seed(2)
        x_adv = attack(seen, x, y, rng=torch.arange(120))
        left[name] = float(torch.stack([model(x_adv).argmax(1) == y for _ in range(40)]).double().mean())
    assert left["mean"] < left["single"] - 0.05, left


def test_every_draw_is_counted(model: Noisy) -> None:
    entry = mrt.Entry("pgd", mrt.PGD(BALL, steps=3), BALL, draws=7)
    work = judge(model, (entry,)).info["attacks"]["pgd-linf"]
    once = judge(model, (replace(entry, draws=1),)).info["attacks"]["pgd-linf"]
    examples = once["forward"] // 4
    assert abs(work["forward"] - 7 * once["forward"]) <= 7 * 4 * 10 and work["forward"] % 28 == 0
    assert work["backward"] * 4 == work["forward"] * 3 and examples > 40
    counted = CountedModel(mrt.EOT(model, 7))
    counted.count(2, 1)  # passes that a replay made unseen
    assert (counted.forwards, counted.backwards) == (14, 7)


def test_a_random_search_vouches_for_nothing_here(model: Noisy) -> None:
    """Many queries find a draw that fools by luck: that would look like a masked gradient, and is not looked for."""
    report = judge(model, (mrt.Entry("pgd", mrt.PGD(BALL, steps=2), BALL),))
    assert not any("masking" in text for text in report.warnings)


def test_what_is_said_of_draws(model: Noisy) -> None:
    """The numbers that the entries have; that closest points mean little; nothing where the model is a mean itself."""
    pgd = mrt.Entry("pgd", mrt.PGD(BALL, steps=2), BALL, draws=5)
    (said,) = [text for text in judge(model, (pgd, replace(pgd, name="again", draws=3))).warnings if "random" in text]
    assert "the mean over 3 or 5 draws" in said
    search = mrt.Entry("smallest", mrt.Smallest(mrt.PGD(BALL, steps=2), probes=2), BALL, distances=True)
    (said,) = [text for text in judge(model, (search,)).warnings if "random" in text]
    assert "a distance is to where one draw was fooled" in said and "the attack sees one draw" in said
    mean = mrt.EOT(model, 2)
    report = mrt.evaluate(mean, digits(12), "quick", threats=(BALL,), budget=0.02, progress=False)
    assert not any("random" in text for text in report.warnings) and "apgd-t-linf" in report.attacks


def test_steady_models_are_judged_as_before() -> None:
    report = mrt.evaluate(digits_net(), digits(20), "quick", threats=(BALL,), budget=0.05, progress=False)
    assert set(report.attacks) == {"apgd-ce-linf", "apgd-t-linf"}
    assert not any("random" in text for text in report.warnings)


def test_bad_draws() -> None:
    for draws in (0, 1.5):
        with pytest.raises(ValueError, match="draws"):
            mrt.Entry("pgd", mrt.PGD(BALL), BALL, draws=draws)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="draws"):
            mrt.batteries.quick((BALL,), draws=draws)  # type: ignore[arg-type]
