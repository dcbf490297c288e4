"""mrt/training/ (loop.py, fit.py, visits.py, validation.py, schedules.py, optimizers.py): The loop against plain
loops written here."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.data import CropFlip, Images, balanced_order, gather, order
from mrt.processes import Processes
from mrt.protocols import Step
from mrt.threats import noise
from mrt.training.loop import Loop
from mrt.training.settings import check_settings
from mrt.training.validation import name_threats, threats_of
from tests.support import UNION, RowWise, small_net
from tests.training.support import fit, toy, weights

LINF, L2, L1 = UNION


def test_a_plain_loop_gives_the_same_weights() -> None:
    """Order, augmentation, noise, momentum, decay, clipping, averaging and the rate of every single update."""
    data, seed = toy(augment="crop-flip"), 4
    crop = CropFlip(2, mode="zero")
    model = RowWise((1, 8, 8))
    twin, shape = copy.deepcopy(model), mrt.Triangular(0.4)
    attack = mrt.PGD(LINF, steps=2)
    how: dict[str, Any] = {"optimizer": mrt.SGD(0.1), "schedule": shape, "ema": 0.5, "clip": 0.3, "crop": crop}
    run = fit(model, mrt.Adversarial(attack), data, epochs=3, seed=seed, **how)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    mean, index, losses = copy.deepcopy(twin), 0, []
    for epoch in range(3):
        for rows in order(40, seed=seed, epoch=epoch).split(8):
            batch = gather(data, rows, seed=seed, epoch=epoch, crop=crop)
            seeds = noise.fold(noise.seeds_of_index(rows, seed, epoch, 4), 0)
            x_adv = attack(twin, batch.x, batch.y, rng=seeds)
            optimizer.param_groups[0]["lr"] = 0.1 * shape((index + 0.5) / 15)
            optimizer.zero_grad()
            loss = cross_entropy(twin(x_adv), batch.y)
            loss.backward()
            nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
            optimizer.step()
            with torch.no_grad():
                decay = min(0.5, (1 + index) / (10 + index))
                for old, new in zip(mean.parameters(), twin.parameters(), strict=True):
                    old.copy_(decay * old + (1 - decay) * new)
            losses.append(loss.item())
            index += 1
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(twin), strict=True))
    assert run.ema is not None
    for a, b in zip(weights(run.ema), weights(mean), strict=True):
        torch.testing.assert_close(a, b)
    for epoch, row in enumerate(run.metrics):
        assert row["loss"] == pytest.approx(sum(losses[5 * epoch : 5 * epoch + 5]) / 5, rel=1e-6)
    assert [row["step"] for row in run.metrics] == [5, 10, 15] and run.metrics[-1]["lr"] == 0.1 * shape(14.5 / 15) > 0


class Spy:
    """Standard training that keeps every Step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.batches: list[Tensor] = []

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        assert model.training
        self.steps.append(step)
        self.batches.append(x)
        return cross_entropy(model(x), y)


def test_every_update_begins_in_train_mode() -> None:
    def careless(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        assert model.training
        return cross_entropy(model.eval()(x), y)

    fit(RowWise((1, 8, 8)), careless, toy(), epochs=1)


def test_what_a_strategy_is_told() -> None:
    spy, data = Spy(), toy(44, "crop-flip")
    fit(RowWise((1, 8, 8)), spy, data, epochs=2, schedule=mrt.Drops(((0.5, 0.1),)), seed=9)
    assert [s.index for s in spy.steps] == list(range(10)) and {s.total for s in spy.steps} == {10}
    assert [s.epoch for s in spy.steps] == [i / 5 for i in range(10)]
    assert [s.lr for s in spy.steps] == [0.05] * 5 + [0.05 * 0.1] * 5
    assert len({s.shared_seed for s in spy.steps}) == 10
    assert len({int(v) for s in spy.steps for v in s.seeds}) == 80
    assert any(not torch.equal(s.x_raw, x) for s, x in zip(spy.steps, spy.batches, strict=True))
    pixels = data.x.flatten(1)
    seen = [int((pixels == x).all(1).nonzero()) for s in spy.steps[:5] for x in s.x_raw.flatten(1)]
    assert len(set(seen)) == 40  # each once, the four that fill no batch wait
    t = torch.ones(3)
    assert spy.steps[0].mean(t) is t


def half_labelled(true: int = 6, n: int = 44, augment: Any = "none") -> Images:
    """So many truly labelled examples, here and there, among others that a model labelled."""
    pseudo = torch.ones(n, dtype=torch.bool)
    pseudo[:: n // true][:true] = False
    return replace(toy(n, augment), pseudo=pseudo)


def places(data: Images, x: Tensor) -> list[int]:
    """Which examples these are."""
    return [int((data.x.flatten(1) == row).all(1).nonzero()) for row in x.flatten(1)]


def test_balanced_batches() -> None:
    """Every batch holds the share asked for; an epoch is as long as ever, and a plain loop over `balanced_order`, in
    which each update draws for itself, gives the same inputs and seeds."""
    spy, data, seed = Spy(), half_labelled(augment="crop-flip"), 5
    assert data.pseudo is not None
    run = fit(RowWise((1, 8, 8)), spy, data, epochs=3, seed=seed, labelled=0.25)
    assert [row["step"] for row in run.metrics] == [5, 10, 15] and [s.epoch for s in spy.steps][5:7] == [1.0, 1.2]
    assert all(int((~data.pseudo)[places(data, s.x_raw)].sum()) == 2 for s in spy.steps)
    rows = torch.cat([balanced_order(data.pseudo, 8, 0.25, seed=seed, epoch=epoch) for epoch in range(3)]).view(15, 8)
    for update, (step, x) in enumerate(zip(spy.steps, spy.batches, strict=True)):
        batch = gather(data, rows[update], seed=seed, epoch=update)
        assert torch.equal(x, batch.x) and torch.equal(step.x_raw, batch.x_raw)
        assert torch.equal(step.seeds, noise.seeds_of_index(rows[update], seed, update, 4))
    plain = Spy()
    fit(RowWise((1, 8, 8)), plain, data, epochs=1, seed=seed)
    assert {int((~data.pseudo)[places(data, s.x_raw)].sum()) for s in plain.steps} != {2}


def test_an_example_that_comes_again_in_an_epoch_is_seen_anew() -> None:
    """Three truly labelled examples come twice each: with a crop and noise of their own each time."""
    spy, data = Spy(), half_labelled(3, 48, "crop-flip")
    fit(RowWise((1, 8, 8)), spy, data, epochs=1, labelled=1 / 8)
    assert data.pseudo is not None and len(spy.steps) == 6
    seen = [
        (place, tuple(x.flatten().tolist()), int(seed))
        for step, batch in zip(spy.steps, spy.batches, strict=True)
        for place, x, seed in zip(places(data, step.x_raw), batch, step.seeds, strict=True)
        if not data.pseudo[place]
    ]
    assert sorted(place for place, _, _ in seen) == [0, 0, 16, 16, 32, 32]
    assert len({x for _, x, _ in seen}) == len({seed for _, _, seed in seen}) == 6


def test_processes_share_a_balanced_batch() -> None:
    """Their parts are the batch of one process, cut up."""
    data, found = half_labelled(20), dict[int, list[Tensor]]()
    how: dict[str, Any] = {"batch_size": 8, "optimizer": mrt.SGD(), "schedule": None, "ema": None, "clip": None}
    how |= {"labelled": 0.5, "validation": None, "checkpoint_every": 1, "crop": CropFlip(), "seed": 3}
    how |= {"fast": mrt.Fast(), "channels_last": False}
    for count in (1, 2, 4):
        settings = check_settings(RowWise((1, 8, 8)), mrt.Standard(), data, 2, None, count, **how)
        loop = Loop(RowWise((1, 8, 8)), data, settings, Processes(), None)
        for loop.index in range(settings.total):
            parts = []
            for rank in range(count):
                loop.feed.team = Processes(rank, count)
                parts.append(loop.feed.batch(loop.index).index)
            found.setdefault(loop.index, []).append(torch.cat(parts).sort().values)
    for batch in found.values():
        assert len(batch) == 3 and all(torch.equal(batch[0], other) for other in batch)


def test_an_interrupted_run_goes_on_with_the_same_balanced_batches(tmp_path: Path) -> None:
    """In the middle of an epoch, and of a walk through the truly labelled examples."""
    data = half_labelled(augment="crop-flip")

    class Stopped(Spy):
        stop = 7

        def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
            if step.index == self.stop:
                raise KeyboardInterrupt
            return super().__call__(model, x, y, step)

    whole, first, second = Spy(), Stopped(), Stopped()
    second.stop = -1
    how: dict[str, Any] = {"epochs": 3, "labelled": 0.5, "checkpoint_every": 1}
    undisturbed = fit(RowWise((1, 8, 8)), whole, data, **how)
    with pytest.raises(KeyboardInterrupt):
        fit(RowWise((1, 8, 8)), first, data, out=tmp_path, **how)
    resumed = fit(RowWise((1, 8, 8)), second, data, out=tmp_path, **how)
    assert [s.index for s in (*first.steps, *second.steps)] == list(range(15)) and len(first.steps) == 7
    assert all(torch.equal(a, b) for a, b in zip(whole.batches, first.batches + second.batches, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(undisturbed.model), weights(resumed.model), strict=True))
    assert json.loads((tmp_path / "config.json").read_text())["labelled"] == 0.5
    assert data.pseudo is not None
    with pytest.raises(ValueError, match="labelled was 0.5, is 0.25"):
        fit(RowWise((1, 8, 8)), second, data, out=tmp_path, **{**how, "labelled": 0.25})
    with pytest.raises(ValueError, match="data.hash"):  # other examples count as truly labelled
        fit(RowWise((1, 8, 8)), second, replace(data, pseudo=data.pseudo.roll(1)), out=tmp_path, **how)


@pytest.mark.parametrize(
    ("labelled", "pseudo", "named"),
    [
        (0.5, None, "pseudo mask"),
        (0.5, torch.zeros(44, dtype=torch.bool), "both kinds"),
        (0.5, torch.ones(44, dtype=torch.bool), "both kinds"),
        (1.0, torch.arange(44) < 20, "labelled must be"),
        (0, torch.arange(44) < 20, "labelled must be"),
        (-0.5, torch.arange(44) < 20, "labelled must be"),
        (True, torch.arange(44) < 20, "labelled must be"),
        (0.06, torch.arange(44) < 20, "is 0 truly labelled and 8"),
        (0.94, torch.arange(44) < 20, "is 8 truly labelled and 0"),
    ],
)
def test_batches_that_cannot_be_balanced(labelled: Any, pseudo: Tensor | None, named: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=named):
        fit(RowWise((1, 8, 8)), mrt.Standard(), replace(toy(44), pseudo=pseudo), epochs=1, labelled=labelled, out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (mrt.Constant(), [1, 1, 1, 1, 1]),
        (mrt.Triangular(0.4), [0.25, 0.75, 0.5 / 0.6, 0.5, 0.1 / 0.6]),
        (mrt.Piecewise(((0, 0), (0.4, 1), (0.8, 0.05), (1, 0))), [0.25, 0.75, 0.7625, 0.2875, 0.025]),
        (mrt.Cosine(), [(1 + np.cos(np.pi * s)) / 2 for s in (0.1, 0.3, 0.5, 0.7, 0.9)]),
        (mrt.Cosine(0.4), [0.25, 0.75, *((1 + np.cos(np.pi * s / 0.6)) / 2 for s in (0.1, 0.3, 0.5))]),
        (mrt.Drops(), [1, 1, 1, 0.1, 0.01]),
        (None, [0.25, 0.75, 0.5 / 0.6, 0.5, 0.1 / 0.6]),
        (lambda share: share, [0.1, 0.3, 0.5, 0.7, 0.9]),
    ],
)
def test_rates(schedule: Any, factors: list[float]) -> None:
    """Each update stands in the middle of its stretch: neither end, where a rate may be zero, is anybody's."""
    spy = Spy()
    fit(RowWise((1, 8, 8)), spy, toy(), iterations=5, schedule=schedule)
    assert [s.lr / 0.05 for s in spy.steps] == pytest.approx(factors, abs=1e-12)


def two_groups(model: RowWise) -> list[dict[str, Any]]:
    return [{"params": [model.weight]}, {"params": [model.bend], "lr": 0.5}]


def test_torch_optimizers_and_schedulers() -> None:
    """By epoch, OneCycleLR by update; a live optimizer without one keeps its rate."""
    model = RowWise((1, 8, 8))

    def rates(make: Any, epochs: int = 3) -> list[float]:
        spy = Spy()
        optimizer = torch.optim.SGD(two_groups(model), lr=1.0)
        fit(model, spy, toy(), epochs=epochs, optimizer=optimizer, schedule=make(optimizer))
        return [s.lr for s in spy.steps]

    assert rates(lambda o: None) == [1.0] * 15
    halving = rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5))
    assert halving == [1.0] * 5 + [0.5] * 5 + [0.25] * 5
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    run = fit(model, mrt.Standard(), toy(), epochs=2, optimizer=optimizer, schedule=step)
    assert [row["lr"] for row in run.metrics] == [1.0, 0.5]  # of the epoch's own last update
    cycle = rates(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=15))
    assert len(set(cycle)) == 15
    spy = Spy()
    groups = torch.optim.SGD(two_groups(model), lr=1.0)
    fit(model, spy, toy(), iterations=1, optimizer=groups, schedule=mrt.Triangular(0.5))
    assert [g["lr"] for g in groups.param_groups] == [1.0, 0.5]
    fit(model, spy, toy(), iterations=1, optimizer=groups, schedule=lambda share: 2.0)
    assert [g["lr"] for g in groups.param_groups] == [2.0, 1.0]  # factors of what the rates are now


def test_optimizers_as_settings() -> None:
    net = small_net()
    sgd = mrt.SGD(0.2, momentum=0.8, weight_decay=1e-3, nesterov=True, decay="weights").make(net)
    decayed, free = sgd.param_groups
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in free["params"])
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-3, 0.0)
    assert {g["lr"] for g in sgd.param_groups} == {0.2} and sgd.defaults["nesterov"]
    assert sum(len(g["params"]) for g in sgd.param_groups) == len(list(net.parameters()))
    assert isinstance(mrt.Adam(decoupled=True).make(net), torch.optim.AdamW)
    (group,) = mrt.Adam(3e-4, betas=(0.5, 0.9), weight_decay=0.1).make(net).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (3e-4, (0.5, 0.9), 0.1)
    net[0].weight.requires_grad_(False)  # type: ignore[index]
    assert len(mrt.SGD().make(net).param_groups[0]["params"]) == len(list(net.parameters())) - 1


@pytest.mark.parametrize(
    ("strategy", "forward", "backward"),
    [
        (mrt.Standard(), 1, 1),
        (mrt.Adversarial(LINF, steps=4), 5, 5),
        (mrt.Adversarial(mrt.FGSM(mrt.Linf(0.2))), 2, 2),
        (mrt.SAT(UNION, steps=4), 5, 5),
        (mrt.Alternate(UNION, steps=4), 5, 5),
        (mrt.Worst(UNION, steps=4), 3 * 4 + 3 + 1, 13),
        (mrt.Average(UNION, steps=4), 3 * 5, 15),
        (mrt.Average(UNION, steps=4, how="concatenate"), 3 * 4 + 1, 13),
        (mrt.MSDTraining(UNION, steps=4), 4 * 4 + 1, 5),
        (mrt.TRADES(LINF, steps=4), 4 + 3, 4 + 2),
    ],
    ids=lambda s: repr(s)[:40],
)
def test_passes_are_those_of_the_algorithm(strategy: Any, forward: int, backward: int) -> None:
    """The counts of a loop written by hand: no pass is spent on anything else. Judging does not count."""
    for ema in (None, 0.9):
        held = mrt.Validation(toy(16), [LINF], steps=3)
        run = fit(RowWise((1, 8, 8)), strategy, toy(), epochs=2, validation=held, ema=ema)
        assert [(row["forward"], row["backward"]) for row in run.metrics] == [(forward, backward)] * 2
    assert not run.model._forward_hooks and run.ema is not None and not run.ema._forward_hooks


def test_only_what_is_trained_counts() -> None:
    """The gradients of a frozen-out part neither gather nor decide on the clipping."""

    def parts() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 5))

    nets = [parts(), parts()]
    nets[1][1].requires_grad_(False)
    for net in nets:
        fit(net, mrt.Standard(), toy(), epochs=3, clip=0.05, optimizer=torch.optim.SGD(net[3].parameters(), lr=0.5))
    for a, b in zip(weights(nets[0]), weights(nets[1]), strict=True):
        assert torch.equal(a, b)


def test_gradients_of_what_the_optimizer_leaves_out_do_not_pile_up() -> None:
    """A caller who goes on with the model finds those of the last update, not the sum of all."""
    left = []
    for iterations in (1, 4):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Linear(16, 5))
        still = torch.optim.SGD(net[2].parameters(), lr=0.0)
        fit(net, mrt.Standard(), toy(8), iterations=iterations, optimizer=still)  # every batch is the whole
        left.append(next(net[1].parameters()).grad)
    assert left[0] is not None and left[1] is not None and left[0].abs().max() > 0
    torch.testing.assert_close(left[0], left[1])


def test_several_losses_are_several_updates() -> None:
    def three(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Iterator[Tensor]:
        return (cross_entropy(model(x), y) for _ in range(3))

    def once(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        return cross_entropy(model(x), y)

    data = toy(8)  # every batch is the whole
    models = [RowWise((1, 8, 8)) for _ in range(2)]
    run = fit(models[0], three, data, iterations=4)
    fit(models[1], once, data, iterations=12)
    for a, b in zip(weights(models[0]), weights(models[1]), strict=True):
        torch.testing.assert_close(a, b)  # up to the order of the sums
    assert run.metrics[0]["forward"] == 3


def test_held_out_images_pick_the_best_weights() -> None:
    """By the union, under the strategy's own threats; the average where there is one."""

    def drift(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        sign = 1.0 if step.index < 10 else -1.0  # learns, then unlearns
        return sign * cross_entropy(model(x), y)

    data, held = toy(), toy(24)
    for ema in (None, 0.1):
        model = RowWise((1, 8, 8))
        judge = mrt.Validation(held, (mrt.Linf(0.01), mrt.L2(0.05)), steps=4)
        run = fit(model, drift, data, iterations=20, validation=judge, ema=ema)
        unions = [row["union"] for row in run.metrics]
        assert max(unions) > unions[-1]
        assert all(row["union"] <= min(row["linf"], row["l2"]) and row["linf"] <= row["clean"] for row in run.metrics)
        assert run.best is not None
        x_adv = [judge.attack(t)(run.best, held.x, held.y) for t in (judge.threats or ())]
        right = torch.stack([run.best(x).argmax(1) == held.y for x in (held.x, *x_adv)]).all(0)
        assert abs(right.double().mean().item() - max(unions)) <= 1 / 24 + 1e-9  # other noise
        judged = run.model if ema is None else run.ema
        assert judged is not None
        same = all(torch.equal(a, b) for a, b in zip(weights(run.best), weights(judged), strict=True))
        assert not same


def test_the_union_of_the_averaged_weights_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[nn.Module] = []
    answers = iter([{"clean": 0.5, "union": 0.4}, {"clean": 0.9, "union": 0.1}])

    def scripted(model: nn.Module, *rest: Any) -> dict[str, float]:
        judged.append(model)
        return next(answers)

    monkeypatch.setattr("mrt.training.ledger.judge_held_out", scripted)
    run = fit(RowWise((1, 8, 8)), mrt.Standard(), toy(), epochs=2, validation=toy(8), ema=0.5)
    assert run.ema is not None and run.best is not None and all(model is run.ema for model in judged)
    early = fit(RowWise((1, 8, 8)), mrt.Standard(), toy(), epochs=1, ema=0.5, schedule=mrt.Constant()).ema
    assert early is not None  # the rate is constant: the first of two epochs is the only one of one
    assert all(torch.equal(a, b) for a, b in zip(weights(run.best), weights(early), strict=True))


def test_judging_comes_as_often_as_asked() -> None:
    judge = mrt.Validation(toy(8), steps=2, every=2)
    run = fit(RowWise((1, 8, 8)), mrt.SAT((LINF, mrt.RotationTranslation())), toy(), epochs=5, validation=judge)
    assert ["union" in row for row in run.metrics] == [False, True, False, True, True]
    assert {"clean", "linf", "rt", "union"} <= set(run.metrics[-1])
    free = fit(RowWise((1, 8, 8)), mrt.Standard(), toy(), epochs=1, validation=(toy(8).x, toy(8).y))
    assert free.metrics[0]["union"] == free.metrics[0]["clean"]


def test_threats_by_name() -> None:
    assert threats_of(mrt.SAT((LINF, mrt.SLIDE(L1), mrt.AnyOf((L2, LINF))))) == [LINF, L1, L2]
    assert threats_of(mrt.Adversarial(mrt.MSD(UNION))) == list(UNION) and threats_of(lambda: 0) == []
    assert list(name_threats([mrt.Linf(0.1), mrt.Linf(0.3), L1])) == ["linf@0.1", "linf@0.3", "l1"]


def test_random_states() -> None:
    """Equal runs draw alike whatever was drawn before, unequal seeds do not, and nothing outside notices."""
    drawn: list[tuple[float, float, float]] = []

    def draws(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        drawn.append((random.random(), float(np.random.rand()), torch.rand(1).item()))
        return cross_entropy(model(x), y)

    for seed in (0, 0, 1):
        torch.manual_seed(len(drawn))
        random.seed(len(drawn))
        net = small_net()  # has dropout
        before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
        fit(net, draws, toy(), epochs=1, seed=seed)
        assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[2])
        assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]
    assert drawn[:5] == drawn[5:10] and not set(drawn[:5]) & set(drawn[10:])
    assert len(set(drawn[:5])) == 5


def test_data_as_people_have_them() -> None:
    x, y = toy().x, toy().y
    byte = (x * 255).round().to(torch.uint8)
    models = [RowWise((1, 8, 8)) for _ in range(4)]
    for model, data in zip(
        models, [(x, y), (x.numpy(), y.numpy()), (byte, y), (byte.float() / 255, y.int())], strict=True
    ):
        run = fit(model, mrt.Standard(), data, epochs=1)
        assert not model.training and run.path is None and run.ema is None and run.best is None and not run.finished
    assert torch.equal(models[0].weight, models[1].weight) and torch.equal(models[2].weight, models[3].weight)
    fit(models[0], mrt.Standard(), (x, y), epochs=2, batch_size=1000)  # a batch of everything
    run = fit(models[0], mrt.Standard(), (x, y), epochs=0.5)
    assert [r["step"] for r in run.metrics] == [2]
    run = fit(models[0], mrt.Standard(), (x, y), iterations=7)
    assert [(r["step"], r["epoch"]) for r in run.metrics] == [(5, 1.0), (7, 1.4)]


def test_bfloat16_and_channels_last() -> None:
    """The training passes run in bfloat16, an attack's too (its first layer has tests of its own); weights and losses
    stay in float32; the batch is channels last."""
    kinds: set[Any] = set()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x)
            answer: Tensor = self.out(h.mean((2, 3)))
            last = x.is_contiguous(memory_format=torch.channels_last)
            kinds.add((h.dtype, answer.dtype, last, self.training))
            return answer

    net, fast = Net(), mrt.Fast("bfloat16")
    strategy = mrt.Average((LINF, L2), steps=2, how="sequential")
    run = fit(net, strategy, toy(shape=(3, 8, 8)), epochs=2, fast=fast, channels_last=True)
    assert kinds == {(torch.bfloat16, torch.bfloat16, True, True), (torch.bfloat16, torch.bfloat16, True, False)}
    assert net.conv.weight.is_contiguous()  # as it was
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    broken = Net()
    with pytest.raises(ValueError, match="scalar"):
        fit(broken, lambda m, x, y, step: m(x), toy(shape=(3, 8, 8)), epochs=1)
    assert broken.conv.weight.is_contiguous() and not broken.training  # after an error, too
    kinds.clear()
    wide = fit(Net(), strategy, toy(shape=(3, 8, 8)), epochs=2, channels_last=False)
    full = torch.float32
    assert kinds == {(full, full, False, True), (full, full, False, False)}
    last = Net().to(memory_format=torch.channels_last)
    ema = fit(last, strategy, toy(shape=(3, 8, 8)), epochs=1, ema=0.5).ema
    assert last.conv.weight.is_contiguous(memory_format=torch.channels_last) and ema is not None
    assert next(ema.parameters()).is_contiguous(memory_format=torch.channels_last)
    assert run.metrics[-1]["loss"] == pytest.approx(wide.metrics[-1]["loss"], abs=0.2)


def test_the_ema_has_the_buffers_of_the_model() -> None:
    net = small_net()
    run = fit(net, mrt.Standard(), toy(), epochs=2, ema=0.9)
    assert run.ema is not None and not run.ema.training
    for (name, a), b in zip(net.named_buffers(), run.ema.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), run.ema.parameters(), strict=True))


def test_it_learns() -> None:
    """Trained on the digits for two epochs, a network is right on most."""
    torch.manual_seed(0)
    net, data = mrt.models.DigitsCNN(width=4), mrt.data.digits("train")
    run = mrt.fit(net, mrt.Standard(), data, epochs=3, batch_size=64, optimizer=mrt.Adam(1e-2), progress=False)
    test = mrt.data.digits("test")
    assert (net(test.x).argmax(1) == test.y).double().mean() > 0.9
    assert all(a["loss"] > b["loss"] for a, b in itertools.pairwise(run.metrics))


def test_a_run_tells_losses_of_one_kind_apart(tmp_path: Path) -> None:
    """By smoothing and weights, which no repr of torch's names; one and the same loss goes on."""
    kind, data = nn.CrossEntropyLoss, toy(16)
    losses = [kind(), kind(label_smoothing=0.1), kind(weight=torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0])), cross_entropy]
    for number, loss in enumerate(losses):
        fit(small_net(), mrt.Standard(), data, iterations=1, out=tmp_path / str(number), loss=loss)
        for other_number, other in enumerate(losses):
            if other_number == number:
                fit(small_net(), mrt.Standard(), data, iterations=1, out=tmp_path / str(number), loss=other)
                continue
            with pytest.raises(ValueError, match="loss"):
                fit(small_net(), mrt.Standard(), data, iterations=1, out=tmp_path / str(number), loss=other)
