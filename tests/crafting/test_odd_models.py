"""mrt/crafting/ (model_failure.py, checked_model.py, gradient.py): Models that write into their input work, and what
else does not fit ends in our words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mrt
from mrt.evaluation import reliability
from tests.crafting.support import ROWS
from tests.support import images, small_net
from tests.training.support import STRATEGIES, fit, smooth_net, toy

X = images((1, 4, 4), 6, 0)
Y = ROWS(X).argmax(1)
BALL = mrt.Linf(0.1)


def clamp(x: Tensor) -> Tensor:
    return x.clamp_(0.2, 0.8)


def shift_unseen(x: Tensor) -> Tensor:
    with torch.no_grad():
        x -= 0.5
    return x


def shift_data(x: Tensor) -> Tensor:
    x.data -= 0.5  # which no counter of versions shows
    return x


WRITERS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "clamp_": (clamp, lambda x: x.clamp(0.2, 0.8)),
    "sub_": (lambda x: x.sub_(0.5), lambda x: x - 0.5),
    "without a gradient": (shift_unseen, lambda x: x - 0.5),
    "through data": (shift_data, lambda x: x - 0.5),
    "ReLU(inplace=True)": (nn.ReLU(inplace=True), nn.ReLU()),
}


class Behind(nn.Module):
    """The network behind a function of its input."""

    def __init__(self, net: nn.Module, first: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.first = net, first
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(self.first(x))
        return logits


def own_searches() -> list[Any]:
    hosted = mrt.Entry("pgd", mrt.Foreign("foolbox", "LinfPGD", (("steps", 2),)), BALL).build(None)
    balls = (BALL, mrt.L2(0.3))
    made = [mrt.PGD(BALL, steps=3), mrt.MSD(balls, steps=3), mrt.MSD(balls, steps=3, fast=mrt.Fast(reuse=True))]
    return [*made, mrt.FGSM(BALL), mrt.GreedyL0(mrt.L0(2)), hosted]


@pytest.mark.parametrize("name", WRITERS)
def test_a_model_that_writes_into_its_input_is_attacked_as_its_twin(name: str) -> None:
    writer, twin = (Behind(ROWS, first) for first in WRITERS[name])
    y, seeds = twin(X).argmax(1), torch.arange(len(X))
    for attack in own_searches():
        before = X.clone()
        found = attack(writer, X, y, rng=seeds)
        assert torch.equal(X, before) and attack.threat.contains(X, found).all()
        assert torch.equal(found, attack(twin, X, y, rng=seeds)), attack
        mean = mrt.EOT(writer, 2)
        assert attack.threat.contains(X, attack(mean, X, y, rng=seeds)).all()


@pytest.mark.parametrize("name", WRITERS)
def test_and_judged_as_its_twin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "_find_masking", lambda *_: [])
    battery = tuple(mrt.Entry(f"a{i}", attack, attack.threat) for i, attack in enumerate(own_searches()[:-1]))
    y = Behind(ROWS, WRITERS[name][1])(X).argmax(1)
    reports = [mrt.evaluate(Behind(ROWS, f), (X, y), battery, progress=False) for f in WRITERS[name]]
    assert reports[0].clean == 1 and reports[0].attacks == reports[1].attacks
    assert torch.equal(reports[0].worst, reports[1].worst)


@pytest.mark.parametrize("strategy", ["trades", "mng-ac", "sequential"])
def test_and_trained_as_its_twin(strategy: str) -> None:
    trained = []
    for first in WRITERS["sub_"]:
        net = Behind(smooth_net(), first)
        fit(net, STRATEGIES[strategy], toy(16), epochs=1)
        trained.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(*trained)


def linear(dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5).to(dtype))


def of_six(x: Tensor) -> Tensor:
    logits: Tensor = ROWS(x.view(6, 1, 4, 4))
    return logits


def of_six_it_says(x: Tensor) -> Tensor:
    if len(x) != 6:
        raise ValueError("six, please")
    return of_six(x)


class Shrinking(nn.Module):
    """It answers with one class less from the third call on."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = ROWS(x)
        return logits if self.calls < 3 else logits[:, :4]


REFUSED = r"the model refuses a batch of \d after one of 6 \({}\): it must take any number of images"
ODD: dict[str, tuple[Callable[[], Any], str]] = {
    "float64": (lambda: linear(torch.float64), r"fails on images of .*weights torch\.float64: call model\.float\(\)"),
    "float16": (lambda: linear(torch.float16), r"fails on images of .*weights torch\.float16: call model\.float\(\)"),
    "another shape": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 5)), r"shape \(1, 4, 4\), 6 of them: mat1"),
    "six images": (lambda: of_six, REFUSED.format("shape.*invalid.*")),
    "six images, it says": (lambda: of_six_it_says, REFUSED.format("six, please")),
    "sparse": (lambda: lambda x: ROWS(x).to_sparse(), "dense tensor of logits.*sparse_coo on cpu"),
    "fewer classes": (Shrinking, "equally many classes; got 5 and then 4"),
    "reentrant": (
        lambda: lambda x: checkpoint(ROWS, x, use_reentrant=True),
        "gradient cannot be computed: .*use_reentrant=False",
    ),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")  # torch's, of a checkpoint
@pytest.mark.parametrize("kind", ODD)
def test_a_model_that_does_not_fit_is_refused_in_our_words(kind: str) -> None:
    make, message = ODD[kind]
    runs: list[Callable[[], object]] = [
        lambda: mrt.PGD(BALL, steps=4, restarts=9)(make(), X, Y),
        lambda: mrt.evaluate(make(), (X, Y), (mrt.Entry("pgd", mrt.PGD(BALL), BALL),), progress=False),
    ]
    if not kind.startswith("six"):  # this one asks for all of them each time
        runs.append(lambda: mrt.MSD((BALL, mrt.L2(0.1)), steps=4, fast=mrt.Fast(reuse=True))(make(), X, Y))
    if kind == "reentrant":  # that it has no gradient would be another thing
        grid = mrt.RTGrid(grid=(1, 1, 3))
        runs.append(lambda: mrt.evaluate(make(), (X, Y), (mrt.Entry("g", grid, grid.threat),), progress=False))
    for run in runs:
        with pytest.raises(ValueError, match=message) as caught:
            run()
        assert "\n" not in str(caught.value)


def test_a_lack_of_memory_and_an_error_of_the_users_own_pass_as_they_are() -> None:
    class Mine(RuntimeError):
        pass

    for error in (torch.OutOfMemoryError("no room"), Mine("mine"), KeyError("a key")):

        def fail(x: Tensor, error: Exception = error) -> Tensor:
            raise error

        with pytest.raises(type(error), match=re.escape(str(error))):
            mrt.PGD(BALL)(fail, X, Y)


def test_classes_that_go_after_the_clean_images_are_noticed_by_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fewer(mrt.PGD):
        def __call__(self, model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
            narrow.append(int(Y.max()))
            return x

    narrow: list[int] = []

    def model(x: Tensor) -> Tensor:
        logits: Tensor = ROWS(x)
        return logits[:, : narrow[0]] if narrow else logits

    with pytest.raises(ValueError, match=r"answers with \d classes, and labels go up to \d"):
        mrt.evaluate(model, (X, Y), (mrt.Entry("f", Fewer(BALL), BALL),), progress=False)


def test_a_fixed_batch_is_named_where_the_gradient_is_looked_at() -> None:
    """The first batch fits; what of it is classified correctly is fewer."""
    net = small_net((1, 8, 8), 5).eval()
    x = torch.rand(16, 1, 8, 8)
    y = net(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    with pytest.raises(ValueError, match="refuses a batch of 15 after one of 16") as error:
        mrt.evaluate(lambda z: net(z.view(16, 1, 8, 8)), (x, y), "quick", threats=(mrt.Linf(0.1),), progress=False)
    assert "\n" not in str(error.value)


def test_weights_of_another_type_are_named_in_training() -> None:
    net = small_net((1, 8, 8), 5).double()
    with pytest.raises(ValueError, match=r"the model cannot be trained: .*call model.float\(\)"):
        mrt.fit(net, mrt.Standard(), (torch.rand(8, 1, 8, 8), torch.zeros(8).long()), epochs=1, progress=False)
