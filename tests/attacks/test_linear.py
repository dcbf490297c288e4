"""mrt/attacks/, each file of it: On a linear model the best perturbation of each set is known in closed form: every
attack reaches it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import mrt
from mrt.protocols import Attack, Ball, Threat
from tests.support import Linear, best_gain, images

SHAPES = ((1, 8, 8), (3, 12, 20))
BALLS: tuple[Ball, ...] = (mrt.Linf(0.1), mrt.L2(0.8), mrt.L1(3.0))
LINF, L2, L1 = BALLS
EXACT, TIGHT, PERCENT = 1e-6, 1e-4, 1e-2
ATTACKS: tuple[tuple[Attack, float], ...] = (
    (mrt.FGSM(mrt.Linf(0.1)), EXACT),
    (mrt.PGD(LINF), EXACT),
    (mrt.PGD(LINF, random_start=False, steps=3), EXACT),
    (mrt.MIM(LINF), EXACT),
    (mrt.APGD(LINF), EXACT),
    (mrt.CWLinf(LINF), EXACT),
    (mrt.GreedyL0(mrt.L0(7)), EXACT),
    (mrt.PGD(L2, steps=50), 5e-3),
    (mrt.PGD(mrt.L2(0.8, projection="exact"), steps=50), 5e-3),
    (mrt.MIM(L2, steps=50), 5e-3),
    (mrt.APGD(L2, steps=50), 5e-3),
    (mrt.PGD(L1, steps=50), PERCENT),
    (mrt.PGD(mrt.L1(16.0), steps=20), 0.02),  # more than 20 entries can take, one at a time
    (mrt.MIM(mrt.L1(16.0), steps=20), 0.02),
    (mrt.FGM(mrt.L1(16.0)), 0.3),  # a single step, of which the box takes back a part
    (mrt.SLIDE(L1, steps=50, keep=1), PERCENT),
    (mrt.APGD(L1, steps=100, restarts=5, best="loss"), PERCENT),
    (mrt.MSD((LINF, L2, L1), steps=50, keep=1), 0.02),  # greedy between balls, so not exact
    (mrt.MSD((L1,), steps=50, keep=1), PERCENT),
    (mrt.WorstOf((mrt.PGD(LINF), mrt.PGD(L2, steps=50))), 5e-3),
)


def gain(model: Linear, x: Tensor, x_adv: Tensor) -> Tensor:
    """How far the score moved towards the wrong class (class 1, when y is 0), in float64."""
    return ((x_adv.double() - x.double()) * model.weight.double()).flatten(1).sum(1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("attack", "tolerance"), ATTACKS, ids=lambda v: repr(v)[:60])
def test_attacks_reach_the_closed_form_optimum(attack: Attack, tolerance: float, shape: tuple[int, ...]) -> None:
    model, x = Linear(shape), images(shape, 6, 1)
    with torch.no_grad():
        model.weight.mul_(0.05)  # so that the loss is nowhere saturated
    y = torch.zeros(6, dtype=torch.int64)
    x_adv = attack(model, x, y, rng=torch.arange(6))
    best = best_gain(attack.threat, x, model.weight.detach())
    found = gain(model, x, x_adv)
    assert (found >= (1 - tolerance) * best - 1e-6).all(), (found / best).tolist()
    assert (found <= best * (1 + 1e-5) + 1e-5).all()


@pytest.mark.parametrize("make", [mrt.FGM, mrt.PGD, mrt.MIM, mrt.APGD], ids=lambda m: m.__name__)
def test_l2_is_tight_where_the_box_does_not_bind(make: Callable[[Threat], Attack]) -> None:
    shape = (1, 8, 8)
    model, x = Linear(shape), torch.full((4, *shape), 0.5)
    ball = mrt.L2(0.3)
    x_adv = make(ball)(model, x, torch.zeros(4, dtype=torch.int64))
    best = 0.3 * model.weight.detach().double().norm()
    assert (gain(model, x, x_adv) >= (1 - TIGHT) * best).all()


@pytest.mark.parametrize(
    "attack",
    [
        mrt.PGD(LINF),
        mrt.PGD(L2),
        mrt.SLIDE(L1),
        mrt.APGD(L1),
        mrt.APGD(LINF),
        mrt.MIM(L2),
        mrt.CWLinf(LINF),
        mrt.FGSM(mrt.Linf(0.1)),
    ],
    ids=lambda a: repr(a)[:40],
)
def test_a_target_is_approached(attack: Attack) -> None:
    """Towards class 1 is the same direction as away from class 0; towards class 0 is the opposite one."""
    shape = (1, 8, 8)
    model, x = Linear(shape), images(shape, 5, 2)
    zeros, ones = torch.zeros(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64)
    towards = gain(model, x, attack(model, x, zeros, target=ones))
    away = gain(model, x, attack(model, x, ones, target=zeros))
    assert (towards > 0).all() and (away < 0).all()


def test_an_msd_step_is_at_least_every_single_norms() -> None:
    shape = (1, 8, 8)
    model, x = Linear(shape), images(shape, 8, 3)
    y = torch.zeros(8, dtype=torch.int64)
    sizes = (0.05, 0.4, 1.5)
    found = gain(model, x, mrt.MSD((LINF, L2, L1), steps=1, step_size=sizes, keep=3)(model, x, y))
    singles = [
        gain(model, x, mrt.PGD(ball, steps=1, step_size=size, random_start=False)(model, x, y))
        for ball, size in zip(BALLS, sizes, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(singles).amax(0))
    assert len(set(torch.stack(singles).argmax(0).tolist())) > 1  # the winner differs between examples
