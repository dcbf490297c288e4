"""mrt/attacks/, each file of it: what every attack promises, as `mrt.protocols.Attack` and docs/attacks.md state it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mrt
import mrt.attacks
from mrt.protocols import Attack, Ball, Spatial
from tests.support import SHAPES, UNION, RowWise, images, small_net

LINF, L2, L1 = UNION
RT = mrt.RotationTranslation(20, 2)
FAST = mrt.Fast(compile=True, graph=True, reuse=True)
ATTACKS: tuple[Attack, ...] = (
    mrt.FGSM(mrt.Linf(0.2)),
    mrt.FGM(L2),
    mrt.PGD(LINF, steps=4, restarts=2),
    mrt.PGD(L2, steps=4, loss="margin"),
    mrt.PGD(mrt.L2(0.7, projection="exact"), steps=3),
    mrt.PGD(L1, steps=3, best="loss", restarts=2),
    mrt.PGD(L2, steps=4, best="last"),
    mrt.SLIDE(L1, steps=4, best="last"),
    mrt.MIM(LINF, steps=4),
    mrt.SLIDE(L1, steps=4),
    mrt.SLIDE(mrt.L1(2.0, projection="clip"), steps=4, keep=(1, 9)),
    mrt.SLIDE(L1, steps=3, keep=(0.8, 0.99)),
    mrt.MSD(UNION, steps=4),
    mrt.MSD(UNION, steps=3, random_start=True, best="broken", step_size=(0.05, 0.2, 0.5), restarts=2),
    mrt.APGD(LINF, steps=8, loss="dlr"),
    mrt.APGD(L2, steps=8),
    mrt.APGD(L1, steps=30),
    mrt.APGD(L2, steps=5, loss="dlr", targets=3),
    mrt.CWLinf(LINF, steps=4),
    mrt.GreedyL0(mrt.L0(4)),
    mrt.RTGrid(RT, grid=(2, 2, 5)),
    mrt.RTWorstOf(RT, k=4),
    mrt.AffineAttack(mrt.Affine((LINF, L1)), steps=3, restarts=2),
    mrt.AffineAttack(mrt.Affine((RT, L2)), steps=2, restarts=2, k=2),
    mrt.WorstOf((mrt.PGD(LINF, steps=3), mrt.RTWorstOf(RT, k=2))),
    mrt.WorstOf((mrt.PGD(LINF, steps=3), mrt.PGD(L2, steps=3))),
    mrt.Smallest(mrt.PGD(L2, steps=4), probes=3),
    mrt.Smallest(mrt.MSD(UNION, steps=3), probes=2, reach=2.0),
    mrt.OneAtRandom((mrt.PGD(LINF, steps=3), mrt.SLIDE(L1, steps=3))),
    mrt.PGD(L2, steps=4, restarts=2, fast=FAST),
    mrt.SLIDE(L1, steps=4, keep=(1, 9), fast=FAST),
    mrt.MSD(UNION, steps=4, fast=FAST),
    mrt.APGD(L1, steps=8, fast=FAST),
    mrt.MIM(LINF, steps=3, fast=FAST),
)


def keeps_its_batch(attack: Attack) -> bool:
    """Restarts, targets and grids go on with what still stands, so that the shape of their later batches varies."""
    return (
        getattr(attack, "restarts", 1) == 1
        and not getattr(attack, "targets", 0)
        and not isinstance(attack, (mrt.RTGrid, mrt.Smallest))
    )


every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: repr(a)[:70])


def batch(shape: tuple[int, ...] = (1, 8, 8), n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    return images(shape, n, seed), torch.arange(n) % 5


def test_every_export_is_tested() -> None:
    assert {type(a).__name__ for a in ATTACKS} == set(mrt.attacks.__all__)
    assert set(mrt.attacks.__all__) | set(mrt.threats.__all__) <= set(mrt.__all__)


@every_attack
def test_attacks_are_values(attack: Attack) -> None:
    again = eval(repr(attack), vars(mrt))
    assert again == attack and hash(again) == hash(attack)
    assert isinstance(attack, Attack)


@every_attack
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_are_detached_float32_members(attack: Attack, shape: tuple[int, ...]) -> None:
    x, y = batch(shape, 3)
    net = small_net(shape)
    seeds = torch.arange(3)
    x_adv = attack(net, x, y, rng=seeds)
    assert x_adv.dtype == torch.float32 and x_adv.shape == x.shape and not x_adv.requires_grad
    assert ((x_adv >= 0) & (x_adv <= 1)).all()
    if isinstance(attack, Spatial):
        delta = attack.search(net, x, y, rng=seeds)
        assert torch.equal(attack.threat.apply(x, delta), x_adv)
        assert attack.threat.contains(x, x_adv, delta).all()
    elif not (isinstance(attack, mrt.WorstOf) and RT in getattr(attack.threat, "threats", ())):
        assert attack.threat.contains(x, x_adv).all()


@settings(max_examples=25)
@given(
    attack=st.sampled_from(
        [a for a in ATTACKS if not isinstance(a, Spatial) and RT not in getattr(a.threat, "threats", ())]
    ),
    n=st.integers(1, 33),
    seed=st.integers(0, 10**6),
    logits=st.sampled_from(["constant", "huge", "step", "plain"]),
)
def test_odd_models_never_lead_outside(attack: Attack, n: int, seed: int, logits: str) -> None:
    """Constant, saturated and step-shaped models have zero, infinite or useless gradients."""
    base = RowWise((1, 8, 8), seed=seed % 7)

    def model(x: Tensor) -> Tensor:
        z = base(x)
        answers: dict[str, Tensor] = {"constant": z * 0, "huge": z * 1e8, "step": (z * 3).sign() + z * 0, "plain": z}
        return answers[logits]

    x, y = batch(n=n, seed=seed)
    x_adv = attack(model, x, y)
    assert attack.threat.contains(x, x_adv).all()


def snapshot(net: nn.Module) -> dict[str, object]:
    return {
        "state": copy.deepcopy(net.state_dict()),
        "grads": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "modes": [m.training for m in net.modules()],
        "wants": [p.requires_grad for p in net.parameters()],
        "tracks": [getattr(m, "track_running_stats", None) for m in net.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in net.modules()],
    }


def assert_untouched(net: nn.Module, before: dict[str, object]) -> None:
    after = snapshot(net)
    state, old = after.pop("state"), before["state"]
    assert isinstance(state, dict) and isinstance(old, dict)
    assert all(torch.equal(state[k], old[k]) for k in old)
    grads, old_grads = after.pop("grads"), before["grads"]
    assert isinstance(grads, list) and isinstance(old_grads, list)
    for new, was in zip(grads, old_grads, strict=True):
        assert (new is None) == (was is None) and (new is None or torch.equal(new, was))
    assert after == {k: v for k, v in before.items() if k not in ("state", "grads")}


def marked_net() -> nn.Module:
    """Some parameters frozen, some with a gradient, one module in eval mode, a hook: a state worth keeping."""
    net = small_net()
    parameters = list(net.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.full_like(parameters[1], 3.0)
    next(m for m in net.modules() if isinstance(m, nn.Dropout)).eval()
    net.register_forward_hook(lambda *args: None)
    return net


@every_attack
def test_no_attack_changes_the_model_or_its_inputs(attack: Attack) -> None:
    net, (x, y) = marked_net(), batch()
    before, x_before, y_before = snapshot(net), x.clone(), y.clone()
    attack(net, x, y)
    assert_untouched(net, before)
    assert torch.equal(x, x_before) and torch.equal(y, y_before)


@every_attack
def test_an_exception_inside_the_model_leaves_it_as_it_was(attack: Attack) -> None:
    net, (x, y) = marked_net(), batch()
    before, calls = snapshot(net), []

    def fail(*args: object) -> None:
        calls.append(1)
        if len(calls) == (1 if isinstance(attack, (mrt.FGSM, mrt.FGM)) else 2):
            raise RuntimeError("planted")

    handle = net.register_forward_hook(fail)
    with pytest.raises(ValueError, match="fails on images.*planted"):
        attack(net, x, y)
    handle.remove()
    assert_untouched(net, before)


@every_attack
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_the_callers_gradient_mode_does_not_matter(attack: Attack, mode: type[torch.no_grad]) -> None:
    net, (x, y) = small_net(), batch()
    seeds = torch.arange(len(x))
    expected = attack(net, x, y, rng=seeds)
    with mode():
        inside = x.clone()  # an inference tensor, under inference_mode
        found = attack(net, inside, y.clone(), rng=seeds)
    assert torch.equal(found, expected) and not found.is_inference()
    wants = x.clone().requires_grad_()
    assert torch.equal(attack(net, wants, y, rng=seeds), expected)
    assert wants.grad is None


@every_attack
def test_the_same_seeds_give_the_same_result(attack: Attack) -> None:
    net, (x, y) = small_net(), batch()
    seeds = torch.arange(len(x)) + 7
    first = attack(net, x, y, rng=seeds)
    torch.rand(5)  # the global generator plays no part
    assert torch.equal(attack(net, x, y, rng=seeds), first)
    generator = torch.Generator().manual_seed(3)
    drawn = attack(net, x, y, rng=generator)
    assert torch.equal(attack(net, x, y, rng=torch.Generator().manual_seed(3)), drawn)
    torch.manual_seed(5)
    drawn = attack(net, x, y)
    torch.manual_seed(5)
    assert torch.equal(attack(net, x, y), drawn)


@every_attack
def test_no_result_depends_on_batch_mates(attack: Attack) -> None:
    """Bitwise, in batches of any make-up, on a model whose arithmetic is row by row."""
    model, (x, y) = RowWise((1, 8, 8)), batch(n=7)
    y = torch.where(torch.arange(7) < 5, model(x).argmax(1), y)  # most stand at first
    seeds = torch.arange(7) * 11
    together = attack(model, x, y, rng=seeds)
    for rows in ([3], [6, 0], [5, 4, 3, 2, 1]):
        assert torch.equal(attack(model, x[rows], y[rows], rng=seeds[rows]), together[rows])


@pytest.mark.parametrize("attack", [a for a in ATTACKS if keeps_its_batch(a)], ids=lambda a: repr(a)[:70])
def test_replacing_the_other_rows_changes_nothing(attack: Attack) -> None:
    """Bitwise, on a convolutional network, at equal batch shape. (Restarts, targets and grids go on with what still
    stands, so that the shape of their later batches does depend on the others; the test above holds for those.)"""
    net, (x, y) = small_net(), batch()
    seeds = torch.arange(6)
    other, other_y = images((1, 8, 8), 6, 99), (y + 1) % 5
    other[2], other_y[2] = x[2], y[2]
    assert torch.equal(attack(net, x, y, rng=seeds)[2], attack(net, other, other_y, rng=seeds)[2])


@pytest.mark.parametrize(
    "attack",
    [a for a in ATTACKS if isinstance(a.threat, Ball) and not isinstance(a, mrt.Smallest)],  # which makes views itself
    ids=lambda a: repr(a)[:70],
)
def test_per_example_radii_reach_the_attack(attack: Attack) -> None:
    """A view with radius zero leaves that example alone; its mates move."""
    threat = attack.threat
    view = dataclasses.replace(attack)  # type: ignore[type-var]
    object.__setattr__(view, "threat", threat.scaled(torch.tensor([1.0, 0.0, 1.0])))
    x, y = batch(n=3)
    x_adv = view(RowWise((1, 8, 8)), x, y)
    assert torch.equal(x_adv[1], x[1]) and not torch.equal(x_adv[0], x[0])


def test_per_example_radii_reach_unions_and_mixtures() -> None:
    share, (x, y) = torch.tensor([1.0, 0.0, 1.0]), batch(n=3)
    for attack in (
        mrt.MSD((mrt.Linf(0.2).scaled(share), mrt.L2(0.7).scaled(share), mrt.L1(2.0).scaled(share)), steps=3),
        mrt.AffineAttack(mrt.Affine((LINF.scaled(share), L2.scaled(share))), steps=3, restarts=2),
        mrt.GreedyL0(mrt.L0(4).scaled(share)),
        mrt.RTWorstOf(RT.scaled(share)),
    ):
        x_adv = attack(RowWise((1, 8, 8)), x, y)
        assert torch.equal(x_adv[1], x[1]) and not torch.equal(x_adv[0], x[0])


def test_a_batch_that_norms_itself_stays_whole_over_restarts() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 5))
    x, _ = batch(n=8)
    y = net.eval()(x).argmax(1)
    y[1:] = (y[1:] + 1) % 5  # one may be left standing
    mrt.PGD(mrt.Linf(0.01), steps=2, restarts=4, bn="batch")(net, x, y)
    mrt.APGD(mrt.Linf(0.01), steps=2, targets=2, bn="batch")(net, x, y)


def test_best_of_more_runs_is_no_worse() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch(n=9)
    goal = nn.CrossEntropyLoss(reduction="none")
    for attack in (mrt.PGD(L1, steps=3, best="loss"), mrt.MSD(UNION, steps=3, random_start=True)):
        more = dataclasses.replace(attack, restarts=4)
        few_loss, more_loss = (goal(model(a(model, x, y, rng=torch.arange(9))), y) for a in (attack, more))
        assert (more_loss >= few_loss).all() and (more_loss > few_loss).any()


def test_the_end_of_the_path_costs_a_pass_less() -> None:
    """best="last" is the point that steps + 1 passes would have judged, whatever its loss."""
    model, (x, y) = RowWise((1, 8, 8)), batch(n=9)
    calls = []

    def counting(z: Tensor) -> Tensor:
        calls.append(len(z))
        answer: Tensor = model(z)
        return answer

    size = 3.0  # far too long, so that the loss falls on the way
    last = mrt.PGD(L2, steps=5, step_size=size, best="last")(counting, x, y)
    assert len(calls) == 5
    path = x
    for _ in range(5):
        point = path.detach().requires_grad_()
        (grad,) = torch.autograd.grad(nn.functional.cross_entropy(model(point), y, reduction="sum"), point)
        path = L2.apply(x, L2.step(path - x, grad, x, size))
    torch.testing.assert_close(last, path)
    goal = nn.CrossEntropyLoss(reduction="none")
    best = mrt.PGD(L2, steps=5, step_size=size, best="loss")(model, x, y)
    assert (goal(model(best), y) > goal(model(last), y)).any()


def test_restarts_see_only_what_still_stands() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch(n=8)
    sizes = []

    def counting(z: Tensor) -> Tensor:
        sizes.append(len(z))
        answer: Tensor = model(z)
        return answer

    y[:5] = model(x[:5]).argmin(1)  # broken before they begin
    y[5:] = model(x[5:]).argmax(1)
    mrt.PGD(mrt.Linf(1e-6), steps=2, restarts=3)(counting, x, y)
    assert sizes == [8] * 3 + [3] * 6


def test_longer_msd_is_no_worse() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch(n=8)
    sizes = (0.02, 0.07, 0.2)
    losses = [
        nn.CrossEntropyLoss(reduction="none")(
            model(mrt.MSD(UNION, steps=t, step_size=sizes)(model, x, y, rng=torch.arange(8))), y
        )
        for t in (1, 4, 16)
    ]
    assert (losses[1] >= losses[0]).all() and (losses[2] >= losses[1]).all()


def test_a_start_is_used_and_projected() -> None:
    model, (x, y) = RowWise((1, 8, 8)), batch(n=4)
    far = images((1, 8, 8), 4, 5)
    attack = mrt.PGD(mrt.Linf(0.05), steps=1, step_size=1e-9)
    x_adv = attack(model, x, y, start=far)
    torch.testing.assert_close(x_adv, mrt.Linf(0.05).apply(x, mrt.Linf(0.05).project(far - x, x)), atol=1e-6, rtol=0)
    for refuses in (mrt.RTGrid(), mrt.RTWorstOf(), mrt.GreedyL0(mrt.L0(1)), mrt.AffineAttack(mrt.Affine((LINF, L2)))):
        with pytest.raises(ValueError, match="start"):
            refuses(model, x, y, start=far)


@pytest.mark.filterwarnings("ignore:gradient masking:UserWarning")
@every_attack
def test_undefined_slopes_and_answers_never_reach_the_result(attack: Attack) -> None:
    """sqrt has an infinite slope at 0, which is NaN by the chain rule; logits may turn NaN away from x."""
    base, (x, y) = RowWise((1, 8, 8)), batch()
    x[:, :, 0, 0] = 0

    def steep(z: Tensor) -> Tensor:
        logits: Tensor = base(z) + z[:, :, 0, 0].pow(2).sum(1, keepdim=True).sqrt() * torch.arange(5)
        return logits

    def fragile(z: Tensor) -> Tensor:
        logits: Tensor = base(z)
        far = (
            (z - x[: len(z)]).abs().flatten(1).amax(1, keepdim=True) > 0.01 if len(z) == len(x) else logits[:, :1] > 1e9
        )
        return torch.where(far, torch.nan, logits)

    found = attack(steep, x, y, rng=torch.arange(6))
    assert found.isfinite().all() and not torch.equal(found, x)
    assert attack(fragile, x, y, rng=torch.arange(6)).isfinite().all()
    with pytest.raises(ValueError, match="got NaN"):
        attack(lambda z: base(z) * torch.nan, x, y)


def test_a_method_of_a_module_is_that_module() -> None:
    net, (x, y) = marked_net(), batch()
    before = snapshot(net)
    expected = mrt.PGD(LINF, steps=3)(net, x, y, rng=torch.arange(6))
    assert torch.equal(mrt.PGD(LINF, steps=3)(net.forward, x, y, rng=torch.arange(6)), expected)
    assert_untouched(net, before)


def test_help_explains_every_option() -> None:
    for make in (mrt.PGD, mrt.SLIDE, mrt.MIM, mrt.APGD, mrt.CWLinf, mrt.MSD):
        text = make.__doc__ or ""
        assert all(word in text for word in ("step_size", "loss", "best", "bn", "fast")), make


def test_numpys_numbers_are_numbers() -> None:
    single: Any = np.float32(0.5)
    whole: Any = np.int64(3)
    assert mrt.Linf(single) == mrt.Linf(0.5) and mrt.L0(whole) == mrt.L0(3)
    assert repr(mrt.PGD(LINF, steps=whole)) == repr(mrt.PGD(LINF, steps=3))
