"""mrt/evaluation/reliability.py: Warnings: they come where a number should not be trusted, and not on plainly
trained models."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.evaluation import reliability
from tests import apart
from tests.support import UNION, digits, digits_net, small_net, torch_seed

MASKING = "gradient masking"


@pytest.fixture(scope="module", autouse=True)
def every_query() -> Iterator[None]:
    """The search as users have it, which the other tests cut short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reliability, "QUERIES", apart.ALL_QUERIES)
        yield


def warned(model: Any, data: Any, battery: Any, **how: Any) -> list[str]:
    """What an evaluation warns of; the warnings module says the same as the report."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = mrt.evaluate(model, data, battery, progress=False, **how)
    assert [str(w.message) for w in caught if w.category is UserWarning] == report.warnings
    assert all(w.filename == __file__ for w in caught if w.category is UserWarning)
    return report.warnings


class Masked(nn.Module):
    """The network behind a mask."""

    def __init__(self, net: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net(x if self.before is None else self.before(x))
        return z if self.after is None else self.after(z)


MASKS: dict[str, tuple[Any, Any]] = {
    "a step": (lambda x: (x > 0.5).float(), None),
    "a step with a gradient of zero": (lambda x: (torch.sign(x - 0.5) + 1) / 2, None),
    "a steep first layer": (lambda x: torch.sigmoid(400 * (x - 0.5)), None),
    "8-bit rounding": (lambda x: torch.round(x * 255) / 255, None),
    "8-bit rounding through integers": (lambda x: (x * 255).round().to(torch.uint8).float() / 255, None),
    "logits times 10000": (None, lambda z: 1e4 * z),
}


ROBUST = ("a steep first layer", "8-bit rounding", "logits times 10000")


@pytest.mark.parametrize(("mask", "eps"), [*((m, 0.0) for m in MASKS), *((m, 0.2) for m in ROBUST)])
def test_masking_is_noticed(mask: str, eps: float) -> None:
    net = Masked(digits_net(steps=120, eps=eps), *MASKS[mask])
    told = warned(net, digits(48), mrt.batteries.quick(UNION[:1], budget=0.1))
    assert any(MASKING in text for text in told), told


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_no_masking_on_plain_adversarial_training(seed: int) -> None:
    net = digits_net(seed=seed, steps=120, eps=0.2)
    threats = UNION if seed == 0 else UNION[:1]
    assert warned(net, digits(64), mrt.batteries.quick(threats, budget=0.05)) == []
    x, y = digits(100)
    left = (net(mrt.PGD(UNION[0], steps=20)(net, x, y)).argmax(1) == y).float().mean()
    assert left > 0.3, "not robust enough for its silence to say anything"


def test_a_gradient_free_attack_in_the_battery_is_the_control() -> None:
    """A gradient attack that cannot move beside a search without gradients that can."""
    net = digits_net()
    weak = mrt.Entry("pgd", mrt.PGD(UNION[1], steps=1, step_size=1e-6), UNION[1])
    for name, settings in (("PointwiseAttack", ()), ("BoundaryAttack", (("steps", 200),))):
        blind = mrt.Entry("blind", mrt.Foreign("foolbox", name, settings), UNION[1])
        told = warned(net, digits(60), (weak, blind), pool=digits(200, "train"))
        assert any(re.search(r"foolbox\.blind-l2 broke \d+ of \d+", text) for text in told), told
    strong = mrt.Entry("strong", mrt.PGD(UNION[1], steps=40), UNION[1])
    told = warned(net, digits(60), (strong, weak, blind), pool=digits(200, "train"), cascade=False)
    assert told == []  # one that sees is enough


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = digits_net()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net(x)
        return z + 0.5 * torch.randn_like(z)


def test_random_outputs_are_flagged() -> None:
    assert any(
        "random" in text for text in warned(Noisy().eval(), digits(30), mrt.batteries.quick(UNION[:1], budget=0.02))
    )


def test_train_mode_is_flagged() -> None:
    net, x = small_net((1, 8, 8), 10).train(), torch.rand(8, 1, 8, 8, generator=torch_seed(0))
    told = warned(net, (x, torch.zeros(8).long()), mrt.batteries.quick(UNION[:1], budget=0.02))
    assert any("train mode" in text for text in told)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_fewer_than_four_classes_are_flagged_and_evaluated(classes: int) -> None:
    net, x = small_net((1, 8, 8), classes).eval(), torch.rand(16, 1, 8, 8, generator=torch_seed(0))
    y = net(x).argmax(1)
    told = warned(net, (x, y), "quick", threats=UNION[:1])
    assert any("classes" in text for text in told) == (classes < 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = mrt.evaluate(
            net, (x[:4], y[:4]), mrt.batteries.standard(UNION[:1], classes, budget=0.01), progress=False
        )
    assert ("aa.apgd-t-linf" in report.attacks) == (classes >= 4)


def test_train_mode_out_of_reach_is_flagged() -> None:
    net, x = small_net((1, 8, 8), 10).train(), torch.rand(8, 1, 8, 8, generator=torch_seed(0))
    assert isinstance(net, nn.Sequential)
    net[3] = nn.Identity()  # no dropout: outputs depend on batch mates alone
    told = warned(lambda z: net(z), (x, torch.zeros(8).long()), mrt.batteries.quick(UNION[:1], budget=0.02))
    assert any("batch mates" in text for text in told), told


def test_a_wrapper_in_train_mode_without_anything_that_minds_is_not_flagged() -> None:
    net = nn.Sequential(digits_net(), nn.Identity()).train()
    digits_net().eval()
    assert warned(net, digits(20), mrt.batteries.quick(UNION[:1], budget=0.05)) == []


def test_a_cascade_that_begins_without_gradients_hides_no_masking() -> None:
    """What the search broke is never shown to the gradient attack; a sample of it is tried."""
    net = Masked(digits_net(steps=120, eps=0.2), lambda x: torch.round(8 * x) / 8)
    square = mrt.Entry("square", mrt.Foreign("autoattack", "square", (("queries", 400),)), mrt.L2(1.0))
    pgd = mrt.Entry("pgd", mrt.PGD(mrt.L2(1.0), steps=10), mrt.L2(1.0))
    for battery in ((square, pgd), (pgd, square)):
        told = warned(net, digits(60), battery)
        assert any("aa.square-l2 broke" in text for text in told), told


def test_a_failing_attack_is_no_control() -> None:
    """An attack that never looked cannot vouch for the others: the random search is tried all the same."""
    weak = mrt.Entry("pgd", mrt.PGD(mrt.L2(1.5), steps=1, step_size=1e-6), mrt.L2(1.5))
    failing = mrt.Entry("df", mrt.Foreign("foolbox", "BoundaryAttack", (("steps", "many"),)), mrt.L2(1.5))
    told = warned(digits_net(), digits(40), (weak, failing))
    assert any("random search" in text for text in told) and any("foolbox.df-l2 failed on" in text for text in told), (
        told
    )


def test_answers_of_a_host_that_are_none_are_counted() -> None:
    net = nn.Sequential(digits_net(), Steep()).eval()
    newton = mrt.Entry("nf", mrt.Foreign("foolbox", "NewtonFoolAttack", (("steps", 5),)), UNION[1])
    cw = mrt.Entry(
        "cw", mrt.Foreign("foolbox", "L2CarliniWagnerAttack", (("steps", 2), ("binary_search_steps", 2))), UNION[1]
    )
    told = warned(net, digits(30), (newton, cw), cascade=False)
    assert any(re.match(r"foolbox\.nf-l2 returned images that do not count: \d+ NaN", text) for text in told), told
    assert any(text.startswith("foolbox.cw-l2 found nothing on most") for text in told), told


class Steep(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return 1e4 * z


def test_inputs_just_outside_the_box_are_flagged_and_clipped() -> None:
    x, y = digits(10)
    told = warned(digits_net(), (x * 1.0004, y), mrt.batteries.quick(UNION[:1], budget=0.02))
    assert any("outside [0, 1]" in text for text in told)


def test_a_cube_that_holds_every_image_is_flagged() -> None:
    told = warned(digits_net(), digits(9), mrt.batteries.quick((mrt.Linf(8), mrt.Linf(1.0)), budget=0.02))
    wide = [text for text in told if "holds every image" in text]
    assert len(wide) == 1 and "Linf(eps=8" in wide[0] and wide[0].endswith("is Linf(8 / 255) meant?")


def test_a_model_that_only_guesses_is_flagged() -> None:
    """As one does that was trained on normalised images and is given others: it is right now and then."""
    x, y = digits(60)

    def turned(z: Tensor) -> Tensor:
        logits: Tensor = digits_net()(z)
        return torch.where((z[:, 0, 3, 3] > 0.97)[:, None], logits, logits.roll(1, 1))

    assert 0 < int((turned(x).argmax(1) == y).sum()) < 10
    battery = mrt.batteries.quick(UNION[:1], budget=0.02)
    said = "clean images, no more than by chance"
    assert any(said in text for text in warned(turned, (x, y), battery))
    assert not any(said in text for text in warned(digits_net(), (x, y), battery))
    assert not any(said in text for text in warned(turned, (x[:9], y[:9]), battery))  # too few to tell

    def two(z: Tensor) -> Tensor:
        logits: Tensor = digits_net()(z)
        return logits[:, :2]

    pair = mrt.batteries.quick(UNION[:1], classes=2, budget=0.02)
    with torch.no_grad():
        answers = two(x).argmax(1)
    for wrong in (0, 15):  # of 60: of two classes a quarter wrong is far from guessing
        y = torch.cat([1 - answers[:wrong], answers[wrong:]])
        assert not any(said in text for text in warned(two, (x, y), pair))


def test_probabilities_are_flagged() -> None:
    net = nn.Sequential(digits_net(), nn.Softmax(1)).eval()
    assert any("probabilities" in text for text in warned(net, digits(20), mrt.batteries.quick(UNION[:1], budget=0.05)))


def test_answers_that_are_no_numbers_are_flagged_and_count_as_wrong() -> None:
    x, y = digits(20)

    def model(z: Tensor) -> Tensor:
        logits: Tensor = digits_net()(z)
        return torch.where((z == x[3]).flatten(1).all(1)[:, None], torch.nan, logits)

    y[3] = 0  # NaN's argmax is 0
    right = digits_net()(x).argmax(1) == y
    battery = (mrt.Entry("pgd", mrt.PGD(mrt.Linf(0.0), steps=1), mrt.Linf(0.0)),)
    assert any("NaN on 1 clean" in text for text in warned(model, (x, y), battery))
    with pytest.warns(UserWarning, match="NaN"):
        report = mrt.evaluate(model, (x, y), battery, progress=False)
    assert not report.correct[3] and torch.equal(
        report.correct.logical_or(torch.arange(20) == 3), right | (torch.arange(20) == 3)
    )


def test_a_host_that_fails_is_named() -> None:
    x, y = digits(12)
    battery = (mrt.Entry("cw", mrt.Foreign("foolbox", "L2CarliniWagnerAttack", (("steps", "many"),)), UNION[1]),)
    told = warned(digits_net(), (x, y), battery)
    correct = int((digits_net()(x).argmax(1) == y).sum())
    assert any(f"cw-l2 failed on {correct} of {correct} examples" in t and "TypeError" in t for t in told), told
