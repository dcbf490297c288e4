"""Fast(...) changes how an attack runs and not what it finds.

There is no CUDA graph without a GPU. What stands in for one is a trace of the step in torch's operators: like
a graph it holds the addresses of the tensors that it met, and as a constant whatever else Python computed.
"""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import mrt
from mrt import kernels
from mrt.attacks import captured, reuse
from mrt.attacks import gradient as gradients
from mrt.attacks import twin as twins
from mrt.attacks.losses import LOSSES, Goal
from mrt.attacks.task import Task
from mrt.kernels import native
from tests.support import UNION, images, operations

LINF, L2, L1 = UNION
COMPILER = pytest.mark.skipif(native.library() is None, reason="there is no C++ compiler here")


class Net(nn.Module):
    """Convolutions, BatchNorm with statistics of its own, in-place and smooth activations, pooling, dropout."""

    body: Any

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(96, 5),
        )  # fmt: skip
        nn.init.normal_(self.body[1].running_mean, std=0.2)
        nn.init.uniform_(self.body[1].running_var, 0.5, 2)
        self.sharpness = 3.0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x * 2 - 1) * self.sharpness
        return out


def batch(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    return images((2, 8, 8), n, seed), torch.arange(n) % 5


ATTACKS: tuple[Any, ...] = (
    mrt.PGD(LINF, steps=5),
    mrt.PGD(L2, steps=5, best="last", loss="margin"),
    mrt.PGD(mrt.L2(0.7, projection="exact"), steps=4, best="loss", restarts=2),
    mrt.SLIDE(L1, steps=5, keep=(0.8, 0.99)),
    mrt.SLIDE(mrt.L1(2.0, projection="clip"), steps=5, restarts=2),
    mrt.MSD(UNION, steps=5),
    mrt.MSD((L2, LINF, mrt.L2(0.3)), steps=4, best="broken", loss="dlr", restarts=2),
    mrt.MSD((L1, LINF), steps=1),
    mrt.MIM(LINF, steps=4),
    mrt.APGD(L1, steps=8),
    mrt.APGD(L2, steps=8, loss="dlr"),
    mrt.AffineAttack(mrt.Affine((LINF, L1)), steps=3, restarts=1),
)
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: repr(a)[:60])


def fast(attack: Any, **how: Any) -> Any:
    """The attack with those options, where it has any."""
    return replace(attack, fast=mrt.Fast(**how))


class Traces:
    """How often a step was recorded and replayed."""

    made = 0
    replayed = 0


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """A CPU that takes itself for a GPU: it looks at no values, and records steps."""
    if native.library() is None:
        pytest.skip("there is no C++ compiler here")
    traces = Traces()

    def capture(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
        for _ in range(3):
            body()
        traces.made += 1
        trace = make_fx(lambda: body())()

        def replay() -> None:
            traces.replayed += 1
            trace()

        return replay

    monkeypatch.setattr(captured, "capture", capture)
    monkeypatch.setattr(captured, "ready", lambda x: kernels.takes(x, True))
    for module in ("threats.projections", "threats.balls", "attacks.task", "attacks.gradient", "attacks.reuse"):
        monkeypatch.setattr(f"mrt.{module}.blind", lambda tensor: True)
    return traces


def same(found: Tensor, expected: Tensor, x: Tensor, share: float = 0.99) -> None:
    """Equal but for a rounding that turned a step elsewhere."""
    assert ((found - expected).abs() < 1e-5).float().mean() >= share
    assert ((found - x).abs() > 1e-6).any()


@COMPILER
@every_attack
def test_compiled_steps_find_the_same(attack: Any) -> None:
    x, y = batch(9)
    same(fast(attack, compile=True)(Net(), x, y, rng=torch.arange(9)), attack(Net(), x, y, rng=torch.arange(9)), x)


@every_attack
def test_without_a_gpu_a_graph_is_no_other_path(attack: Any) -> None:
    x, y = batch()
    seeds = torch.arange(6)
    assert torch.equal(fast(attack, graph=True)(Net(), x, y, rng=seeds), attack(Net(), x, y, rng=seeds))


@pytest.mark.parametrize("how", [{}, {"reuse": True}], ids=str)
@every_attack
def test_replayed_steps_find_the_same(attack: Any, how: dict[str, bool], graphs: Traces) -> None:
    """Over batches one after another, targets, and weights that change in between."""
    net = Net()
    for turn in range(3):
        x, y = batch(6, seed=turn)
        target = (y + 1) % 5 if turn == 2 else None
        expected = attack(copy.deepcopy(net), x, y, rng=torch.arange(6) + turn, target=target)
        found = fast(attack, compile=True, graph=True, **how)(net, x, y, rng=torch.arange(6) + turn, target=target)
        same(found, expected, x, 0.97)
        with torch.no_grad():
            for weight in net.parameters():
                weight.mul_(1.2)
    recorded = isinstance(attack, (mrt.PGD, mrt.SLIDE, mrt.MSD)) and attack.steps > 1
    assert (graphs.made > 0) == recorded
    assert graphs.made <= 2 * attack.restarts if recorded else graphs.replayed == 0
    if recorded and attack.restarts == 1:
        per_call = attack.steps - isinstance(attack, mrt.MSD)  # whose last step needs no gradient
        assert graphs.made == 2 and graphs.replayed == 3 * per_call, "the two kinds of goal, each recorded once"


def test_smaller_batches_fill_a_recording_up(graphs: Traces) -> None:
    attack, net = mrt.PGD(LINF, steps=3), Net()
    quick = fast(attack, graph=True, compile=True)
    for n, made in ((8, 1), (5, 1), (4, 1), (3, 1), (9, 2), (8, 2)):  # 3 are too few, 9 too many
        x, y = batch(n, seed=n)
        replayed = graphs.replayed
        same(quick(net, x, y, rng=torch.arange(n)), attack(net, x, y, rng=torch.arange(n)), x)
        assert graphs.made == made and (graphs.replayed > replayed) == (n != 3)


def test_only_the_latest_recordings_are_kept(graphs: Traces) -> None:
    net, (x, y) = Net(), batch()
    for step in range(captured.KEPT + 3):
        fast(mrt.PGD(LINF, steps=2, step_size=0.01 * (1 + step)), graph=True)(net, x, y)
    held = twins.twin_of(net, "eval", mrt.Fast(graph=True)).captured
    assert len(held) == captured.KEPT and graphs.made == captured.KEPT + 3
    fast(mrt.PGD(LINF, steps=2, step_size=0.01 * graphs.made), graph=True)(net, x, y)
    assert graphs.made == captured.KEPT + 3


def test_what_cannot_be_recorded_runs_as_it_is(graphs: Traces) -> None:
    """Radii by example; a model that is no module; a loss of the caller's own (TRADES)."""
    x, y = batch()
    net = Net().eval()
    factors, seeds = torch.linspace(0.5, 1.5, 6), torch.arange(6)
    view: Any = LINF.scaled(factors)
    same(fast(mrt.PGD(view), graph=True)(net, x, y, rng=seeds), mrt.PGD(view)(net, x, y, rng=seeds), x)
    assert torch.equal(
        fast(mrt.PGD(LINF), graph=True)(lambda z: net(z), x, y, rng=seeds), mrt.PGD(LINF)(net, x, y, rng=seeds)
    )
    with gradients.crafting(net, fast=mrt.Fast(graph=True)) as seen:
        task = Task(seen, LINF, x, Goal(LOSSES["ce"], y), seeds, fast=mrt.Fast(graph=True), seen=seen)
        assert captured._capturable(task)
        assert not captured._capturable(replace(task, goal=Goal(lambda z, *_: z[:, 0], y)))
    assert graphs.made == 0


def test_a_twin_is_the_model_of_this_moment() -> None:
    """Weights, buffers, plain attributes, hooks and parts may change between calls."""
    net, (x, y) = Net(), batch()
    attack = mrt.PGD(L2, steps=3)
    quick = fast(attack, graph=True)

    def check() -> Tensor:
        expected = attack(copy.deepcopy(net), x, y)
        assert torch.equal(quick(net, x, y), expected)
        return expected

    seen = [check()]
    with torch.no_grad():
        net.body[0].weight.neg_()
    seen.append(check())
    net.body[1].running_mean += 1.0
    seen.append(check())
    net.sharpness = -1.0
    seen.append(check())
    net.body[8] = nn.Linear(96, 5)
    seen.append(check())
    net.body[8].weight.data = net.body[8].weight.data.neg()
    seen.append(check())
    handle = net.register_forward_hook(lambda module, inputs, out: -out)
    seen.append(check())
    handle.remove()
    seen.append(check())
    assert not any(torch.equal(a, b) for a, b in zip(seen, seen[1:], strict=False))


def test_a_twin_is_made_once_and_goes_with_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = twins.Twin.__init__

    def counted(self: Any, *given: Any) -> None:
        made.append(weakref.ref(self))
        plain(self, *given)

    monkeypatch.setattr(twins.Twin, "__init__", counted)
    net, (x, y) = Net(), batch()
    for _ in range(3):
        fast(mrt.PGD(L2, steps=2), graph=True)(net, x, y)
        net.train()
    assert len(made) == 1 and net.training
    fast(mrt.PGD(L2, steps=2, bn="batch"), graph=True)(net, x, y)
    assert len(made) == 2
    del net
    gc.collect()
    assert [r() for r in made] == [None, None]


def test_bfloat16_weights_are_a_copy_of_this_moment() -> None:
    """All heavy layers but the first, taken anew at every call; nothing else is copied, and the model keeps its own."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 5))
    how = mrt.Fast("bfloat16")
    module: Any = twins.twin_of(net, "eval", how).call
    kinds = [p.dtype for p in module.parameters()]
    low, full = torch.bfloat16, torch.float32
    assert kinds == [full, full, full, full, low, low, low, low]
    shared = [a.data_ptr() == b.data_ptr() for a, b in zip(net.parameters(), module.parameters(), strict=True)]
    assert shared == [True] * 4 + [False] * 4
    with torch.no_grad():
        weights = [p for p in net.parameters() if p.ndim == 2]
        weights[2].data.fill_(0.5)  # which leaves no trace in the version
        weights[0].fill_(0.25)
    again: Any = twins.twin_of(net, "eval", how).call
    assert again is module and (module[5].weight == 0.5).all() and (module[1].weight == 0.25).all()
    assert all(p.dtype == full for p in net.parameters())
    assert not any(p.requires_grad for p in module.parameters()) and not module.training


def test_batchnorm_in_a_twin_is_as_asked() -> None:
    x, y = batch(8)
    modes: tuple[Any, ...] = ("eval", "batch")
    for bn in modes:
        attack = mrt.PGD(L2, steps=3, bn=bn)
        net = Net()
        before = copy.deepcopy(net.state_dict())
        assert torch.equal(fast(attack, graph=True)(net, x, y), attack(net, x, y))
        assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))


@pytest.mark.parametrize("candidates", [2, 3, 4])
def test_reuse_is_exact(candidates: int) -> None:
    """The gradient of each winner is the plain one, to the bit."""
    x, y = batch(11)
    points = torch.rand(candidates, *x.shape)
    net = Net().eval().requires_grad_(False)
    goal = Goal(LOSSES["ce"], y)
    winner = torch.arange(11) * 3 % candidates
    passes = reuse.Passes(net, points, goal)
    mixed = points[winner, torch.arange(11)]
    plain, logits, _ = gradients.input_grad(net, mixed, goal)
    assert torch.equal(passes.grad(winner), plain)
    torch.testing.assert_close(passes.logits[winner, torch.arange(11)], logits)


def test_reuse_saves_a_pass_of_every_step() -> None:
    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))
    x, y = batch(4)
    attack = fast(mrt.MSD(UNION, steps=5), reuse=True)
    attack(net, x, y)  # compares itself with the plain gradient once

    assert operations(lambda: attack(net, x, y)) == 21 * operations(lambda: net(x))  # F + B, 5 x 3F, 4 x B


def test_reuse_refuses_models_whose_examples_see_each_other() -> None:
    x, y = batch()

    class Mixing(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * x.mean(0, keepdim=True))

    class Flat(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(2 * len(x), 1, 8, 8).sigmoid().reshape(x.shape))

    for net in (Mixing(), Flat()):
        with pytest.raises(ValueError, match=r"reuse=True.*keeps examples apart"):
            fast(mrt.MSD(UNION, steps=2), reuse=True)(net, x, y)
    with pytest.raises(ValueError, match="bn='batch'"):
        mrt.MSD(UNION, bn="batch", fast=mrt.Fast(reuse=True))


def test_a_copy_that_cannot_be_made_is_explained() -> None:
    class Locked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.lock: Any = (i for i in range(3))

    x, y = batch()
    with pytest.raises(ValueError, match=r"Fast\(.*copy of the model"):
        fast(mrt.PGD(LINF, steps=2), graph=True)(Locked(), x, y)


def test_training_may_be_fast() -> None:
    """A run with every option on a CPU is the plain one up to rounding."""
    runs = []
    for how in (mrt.Fast(), mrt.Fast(compile=True, graph=True, reuse=True)):
        net, (x, y) = Net(), batch(32)
        strategy = mrt.MSDTraining(UNION, steps=3)
        mrt.fit(net, strategy, (x, y), iterations=4, batch_size=8, optimizer=mrt.SGD(0.01), fast=how, progress=False)
        runs.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert float((runs[0] - runs[1]).norm() / runs[0].norm()) < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("how", [{}, {"reuse": True}], ids=str)
@every_attack
def test_a_gpus_graphs_find_the_same(attack: Any, how: dict[str, bool]) -> None:
    net = Net().cuda()
    for turn in range(3):
        x, y = (t.cuda() for t in batch(8 - turn, seed=turn))
        seeds = torch.arange(8 - turn, device="cuda")
        expected = attack(copy.deepcopy(net), x, y, rng=seeds)
        same(fast(attack, graph=True, **how)(net, x, y, rng=seeds), expected, x, 0.97)
        with torch.no_grad():
            for weight in net.parameters():
                weight.mul_(1.2)
