"""mrt/training/loop.py, visits.py: Every strategy trained on a pretended CUDA device, and what an update costs there.

Not covered, since the device does all in the order in which it was asked: a value read before its copy has arrived,
streams that race. Nor: several processes, whose averages are NCCL's; resuming, as such tensors cannot be written to a
file; compiled models.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.data import Images
from mrt.kernels import cpu
from mrt.models import DigitsCNN, MadryCNN, PreActResNet18
from tests.pretend import Counts, per_turn, pretending

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="the kernels' twins need a C++ compiler")

LINF, L2, L1 = UNION = (mrt.Linf(0.1), mrt.L2(0.5), mrt.L1(1.5))
STRATEGIES: dict[str, Any] = {
    "standard": mrt.Standard(),
    "linf": mrt.Adversarial(LINF, steps=3),
    "l0": mrt.Adversarial(mrt.L0(3), steps=3),
    "alternate": mrt.Alternate(UNION, steps=2),
    "average": mrt.Average(UNION, steps=2),
    "average, sequential": mrt.Average((LINF, L1), steps=2, how="sequential"),
    "average, concatenated": mrt.Average((LINF, L1), steps=2, how="concatenate"),
    "sat": mrt.SAT(UNION, steps=2),
    "eat": mrt.EAT((LINF, L1), steps=2),
    "worst": mrt.Worst((LINF, L1), steps=2),
    "trades": mrt.TRADES(LINF, steps=3),
    "msd": mrt.MSDTraining(UNION, steps=3),
    "msd, batch": mrt.MSDTraining(UNION, steps=3, bn="batch"),
    "msd, motions": mrt.MSDTraining((*UNION, mrt.RotationTranslation(10, 1)), steps=2),
    "mng-ac": mrt.MNGAC((LINF, L1), steps=2),
    "pgn": mrt.PGN(width=8),
    "l2l-da": mrt.L2LDA(LINF, steps=2, width=8),
    "ant": mrt.ANT(L2),
}
VALIDATED = ("sat", "linf")

MOST_SYNCS = 0  # of an update, blocking copies included
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], Any]] = {
    "mnist": (lambda: MadryCNN(width=4), (1, 28, 28), "none"),
    "preact": (lambda: PreActResNet18(width=4), (3, 32, 32), "crop-flip"),
}
STEPS = 4
COSTED: dict[str, Any] = {"pgd": mrt.Adversarial(LINF, steps=STEPS), "msd": mrt.MSDTraining(UNION, steps=STEPS)}
# Launches of an update beside its replays, as counted when this was written.
LAUNCHES: dict[tuple[str, str], int] = {
    ("mnist", "pgd"): 145,
    ("mnist", "msd"): 207,
    ("preact", "pgd"): 316,
    ("preact", "msd"): 535,
}
ROOM = 1.15


def data(count: int, shape: tuple[int, ...] = (1, 8, 8), augment: Any = "none") -> Images:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(count, *shape, generator=g).mul(255).to(torch.uint8)
    return Images(x, torch.arange(count) % 10, tuple("0123456789"), augment=augment)


def quick(strategy: Any) -> mrt.Fast:
    """All that it may be trained with on a GPU, where nothing is compiled."""
    named = [f.name for f in fields(strategy)] if is_dataclass(strategy) else []
    return mrt.Fast("bfloat16", graph=True, reuse="bn" not in named or strategy.bn == "eval")


@pytest.mark.parametrize("how", ["plain", "fast"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_training_there_leads_where_it_leads_on_the_host(name: str, how: str) -> None:
    """Up to rounding, which may turn a step of an attack elsewhere. With bfloat16 the host computes in it, too: that is
    a change of the numbers, not of the device."""
    strategy = STRATEGIES[name]
    fast = quick(strategy) if how == "fast" else mrt.Fast()
    with_it: dict[str, Any] = {"iterations": 2, "batch_size": 10, "optimizer": mrt.SGD(0.01), "progress": False}
    if name in VALIDATED:
        with_it |= {"validation": mrt.Validation(data(10), threats=(LINF,), steps=2), "ema": 0.9}
    torch.manual_seed(0)
    start = DigitsCNN(width=4)
    net = copy.deepcopy(start)
    here = mrt.fit(net, strategy, data(20), fast=mrt.Fast(fast.precision), **with_it)
    with pretending():
        moved = copy.deepcopy(start).to("cuda")
        there = mrt.fit(moved, strategy, data(20), fast=fast, device="cuda", **with_it)
        assert all(p.is_cuda for p in moved.parameters())
        found = flat(moved).cpu()
    assert float((found - flat(net)).norm()) <= 0.05 * float((flat(net) - flat(start)).norm())
    for mine, other in zip(here.metrics, there.metrics, strict=True):
        assert sorted(mine) == sorted(other) and mine["step"] == other["step"]
        assert abs(mine["loss"] - other["loss"]) < 0.02 * abs(mine["loss"]), "every update's, the last one's too"


def test_a_loss_that_is_no_number_ends_the_run_with_the_next_update() -> None:
    """It is named by the update that it was of; nothing is written in between."""

    def exploding(model: nn.Module, x: Tensor, y: Tensor, step: mrt.protocols.Step) -> Tensor:
        return nn.functional.cross_entropy(model(x), y) * (float("nan") if step.index == 1 else 1.0)

    for updates, last in ((6, 2), (2, 1)):
        seen: list[int] = []

        def watched(model: nn.Module, x: Tensor, y: Tensor, step: mrt.protocols.Step, seen: list[int] = seen) -> Tensor:
            seen.append(step.index)
            return exploding(model, x, y, step)

        with pretending(), pytest.raises(FloatingPointError, match="the loss is nan at update 1 "):
            how: dict[str, Any] = {"iterations": updates, "batch_size": 2, "progress": False, "device": "cuda"}
            mrt.fit(DigitsCNN(width=4).to("cuda"), watched, data(20), **how)
        assert seen[-1] == last


def test_labels_of_a_stream_are_checked_there_too() -> None:
    """One too many would be an error on the device that nothing survives."""
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8) + 3  # up to 10
    how: dict[str, Any] = {"iterations": 1, "progress": False, "device": "cuda"}
    stream = mrt.data.Stream.of([(x, y)] * 2, size=8, batch_size=8)
    with pretending(), pytest.raises(ValueError, match="class numbers from 0 to 9.*got 10"):
        mrt.fit(DigitsCNN(width=4).to("cuda"), mrt.Adversarial(LINF, steps=1), stream, **how)


def test_optimizers_take_fused_steps_there() -> None:
    net = DigitsCNN(width=4)
    for optimizer in (mrt.SGD(0.1), mrt.Adam(1e-3)):
        assert optimizer.make(net).param_groups[0]["fused"] is None
        with pretending():
            assert optimizer.make(copy.deepcopy(net).to("cuda")).param_groups[0]["fused"] is True


def flat(net: nn.Module) -> Tensor:
    """All weights in a row."""
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def cost(net: str, strategy: str) -> Counts:
    """Of an update in the middle of a run, with all that makes it fast."""
    make, shape, augment = NETS[net]

    with pretending() as gpu:

        def run(updates: int) -> None:
            torch.manual_seed(0)
            how: dict[str, Any] = {"batch_size": 4, "optimizer": mrt.SGD(0.01), "progress": False, "device": "cuda"}
            model, chosen = make().to("cuda"), COSTED[strategy]
            mrt.fit(model, chosen, data(40, shape, augment), iterations=updates, fast=quick(chosen), **how)

        run(1)  # which sends constants that later runs share
        return per_turn(gpu, run, 2, 3, warm=False)[0]


@pytest.mark.parametrize("strategy", COSTED)
@pytest.mark.parametrize("net", NETS)
def test_an_update_launches_little_and_hardly_waits(net: str, strategy: str) -> None:
    found = cost(net, strategy)
    assert found.replays == STEPS - (strategy == "msd")
    assert found.launches <= ROOM * LAUNCHES[net, strategy], found.launches
    assert found.waits <= MOST_SYNCS, found.places
