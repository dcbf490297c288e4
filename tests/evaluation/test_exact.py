"""mrt/evaluation/exact.py, judge.py: What counts is computed in float32 proper: TF32 is off while the evaluator
asks, and else as the caller had it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.evaluation.exact import JUDGED_IN, exact
from mrt.evaluation.judge import exact_logits
from mrt.protocols import Threat
from tests.support import digits, digits_net

pytestmark = pytest.mark.filterwarnings("ignore:gradient masking")
B: Any = torch.backends


def switches() -> dict[str, Any]:
    """Every switch there is, or that torch refuses to read it."""
    reads: dict[str, Callable[[], Any]] = {
        "convolutions": lambda: B.cudnn.allow_tf32,
        "products": lambda: B.cuda.matmul.allow_tf32,
        "matmul precision": torch.get_float32_matmul_precision,
    }
    reads |= {f"new {name}": partial(getattr, op, "fp32_precision") for name, op in operations().items()}
    found = {}
    for name, read in reads.items():
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = "refused"
    return found


def operations() -> dict[str, Any]:
    return {"conv": B.cudnn.conv, "rnn": B.cudnn.rnn, "products": B.cuda.matmul, "on a CPU": B.mkldnn.matmul}


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    before = switches()
    yield
    torch.set_float32_matmul_precision("highest")
    B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32 = True, False
    for name, operation in operations().items():
        operation.fp32_precision = before[f"new {name}"]
    assert switches() == before


def old(convolutions: bool, products: bool) -> None:
    B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32 = convolutions, products


def new(name: str, value: str) -> None:
    operations()[name].fp32_precision = value


CALLERS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "all on": lambda: old(True, True),
    "all off": lambda: old(False, False),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "new products": lambda: new("products", "tf32"),
    "new convolutions off": lambda: new("conv", "ieee"),
    "new products of a CPU": lambda: new("on a CPU", "bf16"),
    "both kinds": lambda: (old(False, True), new("conv", "tf32"))[0],  # type: ignore[func-returns-value]
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("caller", CALLERS)
def test_everything_is_put_back(caller: str) -> None:
    CALLERS[caller]()
    before = switches()
    for fails in (False, True):
        try:
            with exact(), exact():
                inside = switches()
                assert inside["products"] is False and inside["convolutions"] in (False, "refused")
                assert all(inside[name] in ("ieee", "none") for name in inside if name.startswith("new"))
                if fails:
                    raise KeyError
        except KeyError:
            assert fails
        assert switches() == before


class Watched(nn.Module):
    """The network, which keeps what the switches said at every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.said = digits_net(), list[tuple[Any, Any]]()

    def forward(self, x: Tensor) -> Tensor:
        self.said.append((B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32))
        z: Tensor = self.net(x)
        return z


@dataclass(frozen=True)
class Asks:
    """An attack that asks the model once, and says where that was."""

    threat: Threat

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, *, target: Any = None, rng: Any = None, start: Any = None
    ) -> Tensor:
        seen = model.model.said
        before = len(seen)
        model(x)
        assert seen[before:] == [(True, True)], "inside an attack, TF32 is the caller's business"
        del seen[before:]
        return mrt.PGD(self.threat, steps=2)(model.model.net, x, y)  # type: ignore[arg-type]


@pytest.mark.parametrize("seen", [True, False])
def test_the_judge_asks_without_tf32_and_attacks_as_the_caller_has_it(seen: bool) -> None:
    old(True, True)
    net = Watched()
    x, y = digits(20)
    if seen:
        report = mrt.evaluate(net, (x, y), (mrt.Entry("asks", Asks(mrt.Linf(0.2)), mrt.Linf(0.2)),), progress=False)
        assert report.info["judged in"] == JUDGED_IN and report.union < 1
        assert len(net.said) >= 6  # the look at the clean images, the judge, the pictures
    else:
        exact_logits(net.eval(), x)
    assert set(net.said) == {(False, False)}
    assert (B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32) == (True, True)


def test_a_callers_autocast_does_not_reach_the_judge() -> None:
    """The report would say float32 all the same."""
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), torch.rand(3, 1, 8, 8)
    expected = exact_logits(net, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(net(x), expected)
        assert torch.equal(exact_logits(net, x), expected)


def test_a_model_that_raises_leaves_the_switches_alone() -> None:
    def model(x: Tensor) -> Tensor:
        raise RuntimeError("no")

    before = switches()
    with pytest.raises(ValueError, match="fails on images"):
        mrt.evaluate(model, digits(4), "quick", threats=(mrt.Linf(0.1),), progress=False)
    assert switches() == before
