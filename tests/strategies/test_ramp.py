"""mrt/strategies/ramp.py: The loss beside a plain twin, and the epoch's projection worked out by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.strategies.adversaries import craft
from mrt.strategies.e_at import apgd_of
from mrt.strategies.ramp import PairedTraining
from tests.strategies.support import a_step, batch
from tests.support import UNION, small_net

LINF, L2, L1 = UNION
WIDE = (mrt.L2(0.05), mrt.Linf(0.3), mrt.L1(6.0))  # of which the second and third are the hardest


def started(strategy: mrt.RAMP, model: nn.Module) -> PairedTraining:
    x, y = batch()
    return strategy.start(model, x, y)


@given(st.integers(0, 1000), st.sampled_from([0.0, 1.5]), st.sampled_from([WIDE, WIDE[::-1], WIDE[:2]]))
@settings(max_examples=20)
def test_the_loss_agrees_with_a_twin_that_goes_example_by_example(seed: int, pairing: float, threats: Any) -> None:
    net, (x, y) = small_net().eval(), batch(10, seed)
    y = net(x).argmax(1)  # right without an attack, so that some stay so under one
    strategy, step = mrt.RAMP(threats, steps=3, pairing=pairing), a_step(x)
    found = started(strategy, net).loss(net, x, y, step)
    with torch.no_grad():
        points = [craft(attack, j, net, x, y, step) for j, attack in enumerate(apgd_of(strategy, step))]
        answers = [net(x_adv).double().softmax(1).tolist() for x_adv in points]
    losses = [[-math.log(row[int(c)]) for row, c in zip(rows, y, strict=True)] for rows in answers]
    hardest = sorted(sorted(range(len(threats)), key=lambda j: -sum(losses[j]))[:2])
    q, r = (answers[j] for j in hardest)
    right = [i for i in range(10) if q[i].index(max(q[i])) == int(y[i])]
    apart = [sum(a * math.log(a / b) for a, b in zip(q[i], r[i], strict=True)) for i in right]
    wanted = sum(max(column) for column in zip(*losses, strict=True)) / 10
    wanted += pairing * sum(apart) / max(len(right), 1)
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-4)


def test_gradients_flow_through_both_answers_of_the_pair() -> None:
    """The loss moves as its own slope says, along random directions of the last layer's weights."""
    net: Any = small_net().eval().double()
    x = batch(10)[0].double()
    y, step = net(x).argmax(1), a_step(x)
    fixed = [x + 0.2, x - 0.1, (x * 0.5)]

    class Given:
        def __init__(self, point: Tensor) -> None:
            self.threat, self.point = LINF, point

        def __call__(self, *args: Any, **how: Any) -> Tensor:
            return self.point

    state = started(mrt.RAMP(tuple(Given(p) for p in fixed), pairing=3.0), net)
    weight = net[-1].weight
    (slope,) = torch.autograd.grad(state.loss(net, x, y, step), weight)
    for seed in range(4):
        way = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)).double()
        ends = []
        for sign in (1, -1):
            moved = copy.deepcopy(net)
            with torch.no_grad():
                moved[-1].weight += sign * 1e-6 * way
            ends.append(float(state.loss(moved, x, y, step).detach()))
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((slope * way).sum()), rel=1e-4, abs=1e-7)


def test_the_pairing_is_divided_by_the_count_over_all_processes() -> None:
    net, (x, _) = small_net().eval(), batch(10)
    y = net(x).argmax(1)
    bare, paired = (started(mrt.RAMP((LINF, L1), steps=2, pairing=p), net) for p in (0.0, 1.0))
    alone = paired.loss(net, x, y, a_step(x)) - bare.loss(net, x, y, a_step(x))
    doubled = a_step(x, mean=lambda t: 2 * t)  # another process has three times as many that are right
    halved = paired.loss(net, x, y, doubled) - bare.loss(net, x, y, doubled)
    assert float(halved.detach()) == pytest.approx(float(alone.detach()) / 2, rel=1e-4)
    wrong = (y + 1) % 5  # nothing is right: nothing is paired
    assert torch.equal(paired.loss(net, x, wrong, a_step(x)), bare.loss(net, x, wrong, a_step(x)))


def test_processes_agree_on_the_two_hardest_attacks() -> None:
    """What this process finds hardest is not what all together do."""
    net, (x, _) = small_net().eval(), batch(10)
    y, threats = net(x).argmax(1), (*WIDE[1:], WIDE[0])  # the third, and not the first, is the weakest
    flipped = a_step(x, mean=lambda t: t.flip(0) if t.ndim else t)  # the other processes find the first the weakest
    alone, together = (
        started(mrt.RAMP(threats, steps=3, pairing=2.0), net).loss(net, x, y, step) for step in (a_step(x), flipped)
    )
    bare = started(mrt.RAMP(threats, steps=3, pairing=0.0), net).loss(net, x, y, a_step(x))
    points = [craft(a, j, net, x, y, flipped) for j, a in enumerate(apgd_of(mrt.RAMP(threats, steps=3), flipped))]
    first, second = (net(point).log_softmax(1) for point in points[1:])
    right = first.argmax(1) == y
    wanted = 2 * (first.exp() * (first - second)).sum(1)[right].mean()
    torch.testing.assert_close(together - bare, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(alone, together)


def test_the_runs_own_loss_reaches_both_networks() -> None:
    """With a loss of zero the twin moves by its weight decay alone, and only the pairing is left to descend."""
    net, (x, _) = small_net().train(), batch(10)
    y = net(x).argmax(1)
    state = started(mrt.RAMP((LINF, L1), steps=1, pairing=0.0, projection=0.5), net)
    begun = copy.deepcopy(state.twin.state_dict())
    losses = state(net, x, y, a_step(x, loss=lambda z, y: 0 * cross_entropy(z, y)))
    assert isinstance(losses, Iterator) and [float(loss.detach()) for loss in losses] == [0]
    still = [torch.equal(p, begun[name]) for name, p in state.twin.named_parameters() if p.ndim <= 1]
    assert still and all(still)


class Odd(nn.Module):
    """Frozen and unused weights, a single number that learns, and a state that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.unused = small_net(), nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.tensor(1.0))
        next(self.inside.parameters()).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scale * self.inside(x)
        return out

    def get_extra_state(self) -> str:
        return "no tensor"

    def set_extra_state(self, state: str) -> None:
        assert state == "no tensor"


class Compiled(nn.Module):
    """What torch.compile makes of a network, without the compiling."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._orig_mod = network

    def forward(self, x: Tensor) -> Any:
        return self._orig_mod(x)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_odd_network_trains_beside_its_twin(compiled: bool) -> None:
    whole = Odd()
    frozen = next(whole.inside.parameters()).clone()
    model = Compiled(whole) if compiled else whole
    strategy = mrt.RAMP((LINF, L1), steps=1, projection=0.5)
    run = mrt.fit(model, strategy, batch(24), epochs=2, batch_size=8, progress=False)
    assert torch.equal(next(whole.inside.parameters()), frozen)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), run.state.twin.parameters(), strict=True))
    state: Any = started(strategy, whole)
    with torch.no_grad():
        whole.scale.add_(1.0)
        taken = float(whole.scale)
    state.project(whole)
    assert float(whole.scale.detach()) == taken  # a single number keeps what training gave it


def test_a_twin_that_diverges_is_told_before_it_is_kept(tmp_path: Any) -> None:
    """The classifier's steps are bounded, the twin's are not: the last checkpoint is one to go on from."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 5))  # nothing that saturates
    how: dict[str, Any] = {"optimizer": mrt.SGD(50.0), "schedule": mrt.Constant(), "clip": 1e-5, "batch_size": 8}
    how |= {"iterations": 60, "checkpoint_every": 1, "out": tmp_path, "progress": False}
    strategy = mrt.RAMP((LINF, L1), steps=1, projection=0.5)
    with pytest.raises(FloatingPointError, match="the twin that trains naturally diverges"):
        mrt.fit(net, strategy, batch(480), **how)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["strategy"]
    assert all(bool(t.isfinite().all()) for t in kept.values() if isinstance(t, Tensor))


def test_an_epoch_with_a_twin_worked_out_by_hand() -> None:
    """Two updates of SGD by hand beside the twin's two, then the projection, layer by layer."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5)).train()
    state = started(mrt.RAMP((LINF, L1), steps=1, projection=0.3), net)
    begun, natural = copy.deepcopy(net.state_dict()), copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    decaying = [{"params": [p], "weight_decay": 5e-4 if p.ndim > 1 else 0.0} for p in natural.parameters()]
    theirs = torch.optim.SGD(decaying, lr=0.1, momentum=0.9)
    for update in range(2):
        x, y = batch(12, seed=update)
        losses = state(net, x, y, a_step(x, update, lr=0.1, ends_epoch=update == 1))
        assert isinstance(losses, Iterator)
        loss = next(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        adversarial = copy.deepcopy(net.state_dict())
        assert next(losses, None) is None
        theirs.zero_grad()
        cross_entropy(natural(x), y).backward()
        theirs.step()
        if update == 0:
            assert all(torch.equal(v, adversarial[n]) for n, v in net.state_dict().items())
    same_way = []
    for name, weight in net.state_dict().items():
        if not weight.ndim:
            assert torch.equal(weight, adversarial[name])
            continue
        a, n = adversarial[name] - begun[name], natural.state_dict()[name] - begun[name]
        cosine = float((a * n).sum() / (a.norm() * n.norm()))
        same_way.append(cosine)
        wanted = begun[name] + 0.3 * max(cosine, 0) * n + 0.7 * a
        torch.testing.assert_close(weight, wanted, rtol=1e-5, atol=1e-6)
    assert min(same_way) < 0.9 and max(same_way) > 0
    # The next epoch begins there, for the twin as well.
    for started_at in (state.twin, state.begun):
        assert all(torch.equal(v, net.state_dict()[n]) for n, v in started_at.state_dict().items())


def test_a_layer_that_natural_training_moved_the_other_way_is_shortened_alone() -> None:
    net: Any = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False))
    state: Any = started(mrt.RAMP((LINF, L1), projection=0.25), net)
    begun = net[1].weight.detach().clone()
    with torch.no_grad():
        net[1].weight += 1.0
        state.twin[1].weight -= 2.0
    state.project(net)
    torch.testing.assert_close(net[1].weight.detach(), begun + 0.75)


def test_the_twins_statistics_are_those_of_all_processes_at_every_update() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Linear(6, 5)).train()
    ours, theirs = (copy.deepcopy(net) for _ in range(2))
    states = [started(mrt.RAMP((LINF, L1), steps=1, projection=0.3), m) for m in (ours, theirs)]
    x, y = batch(12)
    list(states[0](ours, x, y, a_step(x)))
    list(states[1](theirs, x, y, a_step(x, mean=lambda t: 2 * t)))
    one, other = (state.twin.state_dict() for state in states)
    torch.testing.assert_close(other["2.running_mean"], 2 * one["2.running_mean"])
    torch.testing.assert_close(other["1.bias"] - net[1].bias, 2 * (one["1.bias"] - net[1].bias))


def test_the_loop_says_where_an_epoch_ends() -> None:
    said: list[bool] = []

    def strategy(model: nn.Module, x: Tensor, y: Tensor, step: Any) -> Tensor:
        said.append(step.ends_epoch)
        return cross_entropy(model(x), y)

    mrt.fit(small_net(), strategy, batch(24), iterations=7, batch_size=8, progress=False)
    assert said == [False, False, True, False, False, True, True]


def test_what_is_refused() -> None:
    wrongs: tuple[tuple[dict[str, Any], str], ...] = (
        ({"threats": (LINF,)}, "two threats or more"),
        ({"pairing": -1}, "pairing"),
        ({"projection": 1.5}, "projection"),
        ({"natural_optimizer": "lion"}, "natural_optimizer"),
        ({"natural_optimizer": "adam"}, "without a projection"),
    )
    for wrong, says in wrongs:
        with pytest.raises(ValueError, match=says):
            mrt.RAMP(**{"threats": (LINF, L1), **wrong})
