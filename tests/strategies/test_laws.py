"""mrt/strategies/, each file of it: What every strategy promises, and a plain twin for each."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

import mrt
import mrt.strategies
from mrt.config import decode, encode
from mrt.protocols import Stateful, Step
from mrt.strategies.adversaries import adversary
from mrt.strategies.e_at import apgd_of
from mrt.threats import noise
from tests.strategies.support import a_step, batch
from tests.support import UNION, RowWise, small_net

LINF, L2, L1 = UNION
RT = mrt.RotationTranslation(20, 2)
SEEN = (*UNION, RT)  # "seen" variants train on motions, too
STRATEGIES: tuple[Any, ...] = (
    mrt.Standard(),
    mrt.Adversarial(LINF, steps=3),
    mrt.Adversarial(mrt.FGSM(mrt.Linf(0.2))),
    mrt.Adversarial(mrt.CWLinf(LINF, steps=3)),
    mrt.Adversarial(RT),
    mrt.Adversarial(mrt.L0(3)),
    mrt.Adversarial(mrt.Affine((LINF, L1)), steps=2),
    mrt.Adversarial(mrt.AnyOf(UNION), steps=2),
    mrt.Average(SEEN, steps=2),
    mrt.Average(UNION, steps=2, how="concatenate"),
    mrt.Average(SEEN, steps=2, how="sequential"),
    mrt.Worst(SEEN, steps=2),
    mrt.Alternate(SEEN, steps=2),
    mrt.MSDTraining(UNION, steps=3, ratio=(1, 1, 1.4)),
    mrt.MSDTraining(SEEN, steps=2, keep=(0.8, 0.99)),
    mrt.SAT((LINF, mrt.SLIDE(L1, steps=2, keep=3)), steps=2),
    mrt.SAT(SEEN, steps=2, bn="batch"),
    mrt.EAT((LINF, L1, RT), steps=3),
    mrt.RAMP((LINF, L1), steps=3),
    mrt.RAMP(SEEN, steps=2, pairing=5.0, projection=0.5),
    mrt.TRADES(LINF, steps=3),
    mrt.TRADES(L1, steps=3, beta=1.0, keep=5),
    mrt.TRADES(mrt.AnyOf(UNION), steps=2),
    mrt.Adversarial(mrt.FGM(L2), clean=1.0),
    mrt.MNGAC(SEEN, steps=2, width=4),
    mrt.MNGAC(UNION, steps=2, noise="plain", squash=True, bn="batch"),
    mrt.L2LDA(LINF, steps=2, width=4),
    mrt.L2LDA.star(LINF, width=4),
    mrt.PGN(2, width=4),
    mrt.ANT(L2, width=4),
)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: repr(s)[:60])


def started(strategy: Any, model: nn.Module, x: Tensor, y: Tensor) -> Any:
    torch.manual_seed(0)
    return strategy.start(model, x, y) if isinstance(strategy, Stateful) else strategy


def losses_of(found: Tensor | Iterator[Tensor]) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


def test_every_export_is_tested() -> None:
    assert {type(s).__name__ for s in STRATEGIES} == set(mrt.strategies.__all__) <= set(mrt.__all__)


@every_strategy
def test_strategies_are_values(strategy: Any) -> None:
    again = eval(repr(strategy), vars(mrt))
    assert again == strategy and hash(again) == hash(strategy)
    assert decode(encode(strategy), vars(mrt)) == strategy


@every_strategy
def test_a_scalar_that_depends_on_the_weights_and_nothing_else_changed(strategy: Any) -> None:
    net, (x, y) = small_net().train(), batch()
    weights, before = copy.deepcopy(net.state_dict()), x.clone()
    run = started(strategy, net, x, y)
    for loss in losses_of(run(net, x, y, a_step(x))):
        assert loss.shape == () and loss.isfinite()
        loss.backward()
    assert all(m.training for m in net.modules())
    assert all(p.requires_grad and p.grad is not None for p in net.parameters())
    assert torch.equal(x, before)
    for name, value in net.state_dict().items():  # BatchNorm saw training batches alone
        moved = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert moved or torch.equal(value, weights[name]), name
    passes = {mrt.Average: 4, mrt.TRADES: 2, mrt.MNGAC: 3, mrt.PGN: 2, mrt.RAMP: 3}.get(type(strategy), 1)
    passes = 1 if getattr(strategy, "how", "") == "concatenate" else passes + bool(getattr(strategy, "clean", 0) == 1.0)
    passes -= isinstance(strategy, mrt.PGN)
    assert int(net.state_dict()["1.num_batches_tracked"]) - int(weights["1.num_batches_tracked"]) == passes


@every_strategy
def test_the_attack_sees_no_dropout(strategy: Any) -> None:
    """With dropout that drops nearly everything the examples are those of the network without it. (MNG-AC's generator
    looks ahead of the network as it trains, dropout and all.)"""
    if isinstance(strategy, mrt.MNGAC) and strategy.noise == "learned":
        return
    net, (x, y) = small_net().train(), batch()
    seen: list[Tensor] = []

    def record(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if module.training:
            seen.append(given[0].detach().clone())

    net.register_forward_pre_hook(record)
    found = []
    for share in (0.0, 0.9):
        net[3].p = share  # type: ignore[index]
        mine = copy.deepcopy(net)
        seen.clear()
        losses_of(started(strategy, mine, x, y)(mine, x, y, a_step(x)))
        found.append([s.clone() for s in seen])
    sequential = getattr(strategy, "how", "") == "sequential"  # BatchNorm moves between its attacks, before any dropout
    assert len(found[0]) == len(found[1]) > 0
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b) or sequential


@every_strategy
def test_noise_belongs_to_the_examples(strategy: Any) -> None:
    """Two halves of a batch make the examples that the whole makes, so that processes may share it."""
    net, (x, y) = RowWise((1, 8, 8)).train(), batch()
    whole = a_step(x)

    def crafted(rows: slice) -> list[Tensor]:
        seen: list[Tensor] = []
        handle = net.register_forward_pre_hook(lambda m, g: seen.append(g[0].detach()) if m.training else None)
        run = started(strategy, net, x[rows], y[rows])
        losses_of(run(net, x[rows], y[rows], replace(whole, seeds=whole.seeds[rows], x_raw=x[rows])))
        handle.remove()
        return seen

    stacked = getattr(strategy, "how", "") == "concatenate" or isinstance(strategy, mrt.L2LDA)
    if stacked or isinstance(strategy, mrt.PGN) or getattr(strategy, "noise", "") == "learned":
        return  # its batches are stacked, or its generator has learnt from the whole of them
    learns = hasattr(strategy, "generator_lr")  # its generator took a step on what it saw
    for all_, one, two in zip(crafted(slice(0, 12)), crafted(slice(0, 6)), crafted(slice(6, 12)), strict=True):
        close: dict[str, Any] = {"rtol": 0, "atol": 0.01} if learns else {}
        torch.testing.assert_close(all_, torch.cat([one, two]), **close)


def test_the_attacks_are_the_papers() -> None:
    bn: Any = {"bn": "batch", "fast": mrt.Fast("bfloat16")}
    assert adversary(LINF, 7, **bn) == mrt.PGD(LINF, steps=7, best="last", **bn)
    assert adversary(L2, 7, **bn) == mrt.PGD(L2, steps=7, best="last", **bn)
    assert adversary(L1, 7, **bn) == mrt.SLIDE(L1, steps=7, best="last", **bn)
    assert adversary(RT, 7, **bn) == mrt.RTWorstOf(RT, k=10, **bn)
    assert adversary(mrt.AnyOf(UNION), 7, **bn) == mrt.MSD(UNION, steps=7, **bn)
    assert adversary(mrt.L0(3), 7) == mrt.GreedyL0(mrt.L0(3))
    mixed = mrt.AnyOf((LINF, mrt.L0(3)))
    assert adversary(mixed, 7) == mrt.WorstOf((adversary(LINF, 7), adversary(mrt.L0(3), 7)))
    ready = mrt.FGM(L2)
    assert adversary(ready, 7, **bn) is ready


def crafted_by(attack: Any, number: int, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
    """The twin's way to an example: the attack with that stream of the batch's seeds."""
    found: Tensor = attack(model, x, y, rng=noise.fold(step.seeds, number))
    return found


THREE = (mrt.PGD(LINF, steps=2, best="last"), mrt.PGD(L2, steps=2, best="last"), mrt.SLIDE(L1, steps=2, best="last"))


@given(st.integers(0, 1000), st.sampled_from([0.05, 1.0, 3.0]))
@settings(max_examples=15)
def test_single_worst_and_average_agree_with_loops_over_examples(seed: int, size: float) -> None:
    model, (x, y) = RowWise((1, 8, 8), seed=seed), batch(8, seed)
    threats = tuple(t.scaled(size) for t in UNION)
    three = [adversary(t, 2) for t in threats]
    step = a_step(x)
    batches = [crafted_by(attack, j, model, x, y, step) for j, attack in enumerate(three)]
    losses = torch.stack([cross_entropy(model(b), y, reduction="none") for b in batches])
    single = mrt.Adversarial(threats[2], steps=2)(model, x, y, step)
    one = crafted_by(three[2], 0, model, x, y, step)
    torch.testing.assert_close(single, cross_entropy(model(one), y))
    per_example = [max(losses[j, i].item() for j in range(3)) for i in range(len(x))]
    worst = mrt.Worst(threats, steps=2)(model, x, y, step)
    assert abs(worst.item() - sum(per_example) / len(x)) <= 1e-5 * abs(worst.item()) + 1e-6
    mean: Any = mrt.Average(threats, steps=2)(model, x, y, step)
    torch.testing.assert_close(mean, losses.mean(), rtol=1e-5, atol=1e-6)
    stacked: Any = mrt.Average(threats, steps=2, how="concatenate")(model, x, y, step)
    torch.testing.assert_close(stacked, mean)
    assert worst >= mean - 1e-6
    (grad,) = torch.autograd.grad(worst, [model.weight])
    rows = losses.argmax(0)
    mixed = torch.stack([batches[int(j)][i] for i, j in enumerate(rows)])
    (twin,) = torch.autograd.grad(cross_entropy(model(mixed), y), [model.weight])
    torch.testing.assert_close(grad, twin)


def test_concatenation_shows_in_batchnorm() -> None:
    net, (x, y) = small_net().train(), batch()
    net[3].p = 0.0  # type: ignore[index]
    found: list[Any] = []
    for how in ("mean", "concatenate"):
        found.append(mrt.Average(UNION, steps=2, how=how)(copy.deepcopy(net), x, y, a_step(x)))
    assert abs(found[0].item() - found[1].item()) > 1e-6


def test_sequential_attacks_what_the_update_before_left() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch()
    twin, step = copy.deepcopy(model), a_step(x)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.5) for m in (model, twin)]
    found: Any = mrt.Average(THREE, how="sequential")(model, x, y, step)
    for loss in found:
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
    for j, attack in enumerate(THREE):
        optimizers[1].zero_grad()
        cross_entropy(twin(crafted_by(attack, j, twin, x, y, step)), y).backward()
        optimizers[1].step()
    assert torch.equal(model.weight, twin.weight)


def test_alternate_takes_turns() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch()
    for index in range(7):
        step = a_step(x, index)
        own = cross_entropy(model(crafted_by(THREE[index % 3], index % 3, model, x, y, step)), y)
        assert torch.equal(mrt.Alternate(THREE)(model, x, y, step), own)


class Recorder:
    """An attack that changes nothing, and remembers that it was asked."""

    def __init__(self, name: int, calls: list[int]) -> None:
        self.name, self.calls, self.threat = name, calls, LINF

    def __call__(self, model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
        self.calls.append(self.name)
        return x


def test_sat_draws_uniformly_once_for_all_processes() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch(2)
    calls: list[int] = []
    sat = mrt.SAT(tuple(Recorder(j, calls) for j in range(3)))
    for seed in range(3000):
        sat(model, x, y, a_step(x, shared_seed=seed))
    counts = Counter(calls)
    assert len(calls) == 3000
    assert sum((counts[j] - 1000) ** 2 / 1000 for j in range(3)) < 13.8  # chi-square, 2 degrees, 0.1%
    other = noise.seeds_of_index(torch.arange(2), 9)
    for seed in range(20):  # other examples, same draw
        sat(model, x.flip(0), y, a_step(x, shared_seed=seed, seeds=other))
    assert calls[3000:] == calls[:20]


def test_eat_draws_by_running_error() -> None:
    """Against a twin that counts by hand; until every attack has been seen the draw is uniform."""

    class Fixed(nn.Module):
        """Right on as many examples as the image says."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([1 - x[:, 0, 0, 0], x[:, 0, 0, 0]], 1) * 4

    class Fools(Recorder):
        def __call__(self, model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
            self.calls.append(self.name)
            out = x.clone()
            out[: (8, 2, 0)[self.name], 0, 0, 0] = 1.0
            return out

    x, y = torch.zeros(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64)
    calls: list[int] = []
    eat = mrt.EAT(tuple(Fools(j, calls) for j in range(3)))
    state = eat.start(Fixed(), x, y)
    last = nn.Linear(2, 2, bias=False)
    last.weight.data.copy_(torch.eye(2))
    model = nn.Sequential(Fixed(), last)
    seed = 0
    while len(set(calls)) < 3:
        assert torch.equal(state.weights, torch.ones(3).double())
        state(model, x, y, a_step(x, shared_seed=seed))
        seed += 1
    assert torch.allclose(state.weights, torch.tensor([1.0, 0.25, 0.0]).double())
    start = len(calls)
    for later in range(seed, seed + 2000):
        state(model, x, y, a_step(x, shared_seed=later))
    counts = Counter(calls[start:])
    assert counts[2] == 0  # never fooled anything
    assert abs(counts[0] - 1600) < 4 * (2000 * 0.8 * 0.2) ** 0.5
    assert torch.equal(state.given, torch.tensor([float(calls.count(j)) for j in range(3)]).double())
    again = eat.start(model, x, y)
    again.load_state_dict(state.state_dict())
    assert torch.equal(again.weights, state.weights)


def test_eat_counts_the_processes_together() -> None:
    x, y = batch(4)
    model, calls = RowWise((1, 8, 8)), list[int]()
    state = mrt.EAT((Recorder(0, calls),)).start(model, x, y)
    state(model, x, y, a_step(x, mean=lambda t: torch.full_like(t, 0.375)))
    assert float(state.fooled[0]) == 0.375


def test_eat_searches_balls_by_apgd_from_x() -> None:
    eat = mrt.EAT((LINF, L1, RT), steps=12, bn="batch")
    x, _ = batch(2)
    how: Any = {"steps": 12, "random_start": False, "best": "loss", "bn": "batch", "share": 0.05}
    how["radii"] = (1,)
    assert apgd_of(eat, a_step(x)) == [mrt.APGD(LINF, **how), mrt.APGD(L1, **how), mrt.RTWorstOf(RT, bn="batch")]


@given(st.integers(0, 1000), st.sampled_from([LINF, L2]), st.sampled_from([0.5, 6.0]), st.sampled_from([None, 0.03]))
@settings(max_examples=15)
def test_trades_agrees_with_its_twin(seed: int, ball: Any, beta: float, size: float | None) -> None:
    """In float64: ascent on KL from noise of 0.001, then CE + beta KL, with gradients through both of its ends. The
    model is never sure of itself: where one is, the slope next to x is rounding."""
    model, (x, y) = RowWise((1, 8, 8), seed=seed), batch(6, seed)
    model.weight.data.mul_(0.05)
    step, mine = a_step(x), mrt.TRADES(ball, steps=3, beta=beta, step_size=size)
    double = copy.deepcopy(model).double()
    wide, clean = x.double(), double(x.double()).detach()
    x_adv = (wide + 1e-3 * noise.normal(step.seeds, 1, 8, 8).double()).clamp(0, 1)
    x_adv = ball.apply(wide, ball.project(x_adv - wide, wide))
    for _ in range(3):
        x_adv = x_adv.detach().requires_grad_()
        away = kl_div(log_softmax(double(x_adv), 1), softmax(clean, 1), reduction="sum")
        (grad,) = torch.autograd.grad(away, x_adv)
        length = 2.5 * ball.eps / 3 if size is None else size
        x_adv = ball.apply(
            wide, ball.project(x_adv.detach() - wide + length * ball.steepest(grad, x_adv - wide, wide), wide)
        )
    found = mine.farthest(ball, model, x, y, step)
    close = ((found.double() - x_adv).abs() < 1e-3).flatten(1).double().mean(1)  # a kink crossed in one of the two
    assert close.sort().values[1:].mean() > 0.95 and close.mean() > 0.8
    loss = mine(model, x, y, step)
    away = kl_div(log_softmax(double(found.double()), 1), softmax(double(wide), 1), reduction="batchmean")
    twin = cross_entropy(double(wide), y) + beta * away
    torch.testing.assert_close(loss.double(), twin, rtol=1e-4, atol=1e-5)
    grads = [torch.autograd.grad(v, m.weight)[0].double() for v, m in ((loss, model), (twin, double))]
    assert float((grads[0] - grads[1]).norm() / grads[1].norm()) < 1e-3


def test_trades_without_its_term_is_standard() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch()
    step = a_step(x)
    assert torch.equal(mrt.TRADES(LINF, beta=0.0)(model, x, y, step), mrt.Standard()(model, x, y, step))
    ready = mrt.PGD(L2, steps=3)
    x_adv = crafted_by(ready, 0, model, x, y, step)
    loss = mrt.TRADES(ready, beta=2.0)(model, x, y, step)
    away = kl_div(log_softmax(model(x_adv), 1), softmax(model(x), 1), reduction="batchmean")
    torch.testing.assert_close(loss, cross_entropy(model(x), y) + 2 * away)


def test_trades_in_l1_keeps_to_its_entries() -> None:
    x, y = batch()
    near = mrt.TRADES(L1, steps=1, keep=3).farthest(L1, RowWise((1, 8, 8)), x, y, a_step(x))
    assert int(((near - x).abs() > 0.05).flatten(1).sum(1).max()) <= 3
    assert bool(L1.contains(x, near).all())


def test_msd_trains_on_the_attack_with_its_ratio() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch()
    step = a_step(x)
    sizes = tuple(r * 2.5 * b.eps / 4 for r, b in zip((1, 0.5, 1.4), UNION, strict=True))
    attack = mrt.MSD(UNION, steps=4, step_size=sizes, keep=(1, 6))
    x_adv = crafted_by(attack, 0, model, x, y, step)
    mine = mrt.MSDTraining(UNION, steps=4, ratio=(1, 0.5, 1.4), keep=(1, 6))
    assert mine.attack == attack
    assert torch.equal(mine(model, x, y, step), cross_entropy(model(x_adv), y))
    assert mrt.MSDTraining(mrt.AnyOf(UNION)) == mrt.MSDTraining(UNION)  # type: ignore[arg-type]


def test_msd_with_motions_is_the_worse_of_both() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch()
    step, motions = a_step(x), mrt.RTWorstOf(RT, k=10)
    mine = mrt.MSDTraining((LINF, L2, RT), steps=3)
    both = [crafted_by(mine.attack, 0, model, x, y, step), crafted_by(motions, 1, model, x, y, step)]
    losses = torch.stack([cross_entropy(model(b), y, reduction="none") for b in both]).amax(0)
    torch.testing.assert_close(mine(model, x, y, step), losses.mean())


OWN: tuple[Any, ...] = (  # whose attacks are all made from threats, by every kind of search
    mrt.Adversarial(L2, steps=2),
    mrt.Adversarial(mrt.AnyOf(UNION), steps=2),
    mrt.Adversarial(mrt.Affine((LINF, L1)), steps=2),
    mrt.Average(SEEN, steps=2),
    mrt.Worst(SEEN, steps=2),
    mrt.Alternate(SEEN, steps=2),
    mrt.MSDTraining(SEEN, steps=2),
    mrt.SAT(SEEN, steps=2),
    mrt.EAT(SEEN, steps=2),
    mrt.TRADES(L1, steps=2),
    mrt.TRADES(RT, steps=2),
)


@pytest.mark.parametrize("strategy", OWN, ids=lambda s: repr(s)[:60])
@pytest.mark.parametrize("bn", ["eval", "batch"])
def test_every_pass_of_an_attack_runs_as_it_was_asked_to(strategy: Any, bn: Any) -> None:
    """In the precision of `step.fast`, and with BatchNorm's statistics of the batch where `bn` says so."""
    passes: set[tuple[bool, bool, torch.dtype]] = set()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.stem, self.out = nn.BatchNorm2d(1), nn.Linear(64, 64), nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.out(self.stem(self.norm(x).flatten(1)))
            passes.add((self.training, self.norm.training, answer.dtype))
            return answer

    net, (x, y) = Net().train(), batch()
    run = started(replace(strategy, bn=bn), net, x, y)
    for index in range(4):
        losses_of(run(net, x, y, a_step(x, index, fast=mrt.Fast("bfloat16"))))
    crafting = {(batch_norm, kind) for training, batch_norm, kind in passes if not training}
    assert crafting == {(bn == "batch", torch.bfloat16)}
    assert {kind for training, _, kind in passes if training} == {torch.float32}  # autocast is the loop's


def test_bn_batch_reaches_the_attack() -> None:
    """Statistics of a shifted batch make another attack than the running ones."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5)).train()
    x, y = batch()
    seen: list[Tensor] = []
    net.register_forward_pre_hook(lambda m, g: seen.append(g[0].detach()) if m.training else None)
    for bn in ("eval", "batch"):
        mrt.Adversarial(L2, steps=3, bn=bn)(copy.deepcopy(net), x, y, a_step(x))
    assert not torch.equal(*seen)


SETTINGS: Any = mrt  # whose types these break


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SETTINGS.Adversarial(0.3), "threat.*0.3"),
        (lambda: SETTINGS.Adversarial(mrt.Linf), "threat.*Linf"),
        (lambda: SETTINGS.Adversarial(LINF, steps=0), "steps.*0"),
        (lambda: SETTINGS.Adversarial(LINF, bn="train"), "bn.*'train'"),
        (lambda: SETTINGS.Worst(LINF), "threats.*tuple.*Linf"),
        (lambda: SETTINGS.Worst(()), "threats.*non-empty"),
        (lambda: SETTINGS.SAT((LINF, "l2")), "threats.*'l2'"),
        (lambda: SETTINGS.Average(UNION, how="sum"), "how.*'sum'"),
        (lambda: SETTINGS.MSDTraining((RT,)), "at least one ball"),
        (lambda: SETTINGS.MSDTraining(UNION, ratio=(1, 2)), "ratio.*3 balls"),
        (lambda: SETTINGS.MSDTraining(UNION, ratio=(1, 2, 0)), "ratio.*above 0"),
        (lambda: SETTINGS.MSDTraining(UNION, keep=0), "keep.*0"),
        (lambda: SETTINGS.TRADES(LINF, beta=-1), "beta.*-1"),
        (lambda: SETTINGS.TRADES(LINF, step_size=0), "step_size.*0"),
        (lambda: SETTINGS.TRADES(L1, keep=1.5), "keep.*1.5"),
        (lambda: SETTINGS.TRADES(L2, keep=5), "keep is for an l1 ball"),
        (lambda: SETTINGS.TRADES(mrt.PGD(L2), step_size=0.1), "step_size is for a ball"),
    ],
)
def test_bad_settings(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
