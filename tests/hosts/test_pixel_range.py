"""mrt/hosts/pixel_range.py, masked.py, mrt/threats/gauge.py: Images of any range, there and back; and attacks within
a mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mrt
from mrt.crafting.gradient import input_grad
from mrt.hosts.masked import attack_masked
from mrt.hosts.pixel_range import Range
from mrt.threats.gauge import gauge
from tests.support import BALLS, Linear, RowWise, best_gain, images, small_net, torch_seed

bounds = st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-0.4242, 2.8215), (-1e3, 7.0), (1e-3, 2e-3)])


def ranged(low: float, high: float) -> Range:
    return Range.between(torch.tensor(low), torch.tensor(high))


def test_at_a_narrower_bound_only_a_step_upwards_of_ours_gets_no_gradient() -> None:
    """Whoever goes down the loss, as hosts' attacks do, is told how to leave the bound."""
    scale = Range.between(torch.zeros(2, 1, 1), torch.tensor([1.0, 0.5])[:, None, None])
    x = torch.tensor([[0.3], [0.5]])[None, :, None]  # the second is at its bound
    for sign in (1.0, -1.0):
        x.requires_grad_()
        (grad,) = torch.autograd.grad(sign * scale.from_unit(x).sum(), x)
        assert grad.flatten().tolist() == [sign, sign]
        climbed, _, _ = input_grad(lambda z: scale.from_unit(z).flatten(1), x, lambda z, s=sign: s * z.sum(1))  # type: ignore[misc]
        assert climbed.flatten().tolist() == [sign, min(sign, 0.0)]


@given(bounds, st.integers(0, 10**6), st.sampled_from(BALLS), st.floats(0.01, 3))
@settings(max_examples=60)
def test_there_and_back(span: tuple[float, float], seed: int, ball: Any, factor: float) -> None:
    """Unit images lie in [0, 1] and are the host's up to rounding; a result comes back inside the bounds, no longer in
    any norm than it was, exact where nothing changed, and within the radius where a gauge says how far it went."""
    scale = ranged(*span)
    x = (images((1, 8, 8), 5, seed).double() * (span[1] - span[0]) + span[0]).float().clamp(*span)
    unit = scale.to_unit(x)
    assert bool(((unit >= 0) & (unit <= 1)).all())
    assert float((scale.from_unit(unit) - x).abs().max()) <= 3e-7 * max(abs(span[0]), abs(span[1]), scale.width)
    threat = ball.scaled(factor)
    made = threat.apply(unit, threat.sample(unit, torch_seed(seed)))
    made[:, :, :2] = unit[:, :, :2]
    for size in (None, gauge(threat, unit, made)):
        back = scale.carry_back(x, unit, made, size)
        assert back.dtype == torch.float32
        assert bool(((back >= span[0]) & (back <= span[1])).all())
        assert torch.equal(back[:, :, :2], x[:, :, :2])
        moved, aimed = back.double() - x.double(), (made.double() - unit.double()) * scale.width
        assert bool((moved.abs() <= aimed.abs() * (1 + 1e-12)).all())
        ulp = torch.finfo(torch.float32).eps * max(abs(span[0]), abs(span[1]))
        assert float((moved - aimed).abs().max()) <= 2 * ulp + 3e-6 * scale.width * threat.eps + 1e-5 * scale.width
    assert bool((threat.distance(x, back) <= threat.eps * scale.width * (1 + 1e-9)).all())


def test_a_gauge_above_one_divides_the_change() -> None:
    x = torch.tensor([[100.0, 20.0], [30.0, 40.0], [0.0, 254.0]])
    scale = ranged(0.0, 255.0)
    unit = scale.to_unit(x)
    made = unit + torch.tensor([[0.1, -0.02], [0.1, 0.0], [0.5, 1 / 255]])
    moved = scale.carry_back(x, unit, made, torch.tensor([2.0, 0.5, 4.0])) - x
    assert torch.allclose(moved, torch.tensor([[12.75, -2.55], [25.5, 0.0], [31.875, 0.25]]), atol=1e-4)


def test_bounds_by_pixel_and_doubles() -> None:
    low = torch.tensor([0.0, 1.0, -3.0]).reshape(3, 1, 1)
    scale, x = Range.between(low, low + 2), torch.rand(2, 3, 4, 4, dtype=torch.float64) * 2 + low
    unit = scale.to_unit(x)
    assert torch.allclose(unit.double(), (x - low) / 2, atol=1e-7) and scale.description == "-3 to 3"
    back = scale.carry_back(x, unit, (unit + 0.3).clamp(0, 1))
    assert back.dtype == torch.float64 and bool(((back >= low) & (back <= low + 2)).all())
    assert scale.to_unit(x[:0]).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("low", "high", "x", "says"),
    [
        (0.0, 0.0, None, "range above zero"),
        (1.0, 0.0, None, "range above zero"),
        (torch.zeros(2), torch.tensor([1.0, -2.0]), None, "from -2 to 1"),
        (torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([[1.5, 0.0]]), r"\(0 to 2\)"),
        (0.0, 255.0, torch.tensor([[300.0, 0.0]]), r"\(0 to 255\).*got values from 0 to 300"),
        (0.0, 255.0, torch.tensor([[float("nan"), 0.0]]), "NaN"),
    ],
)
def test_bad_ranges(low: Any, high: Any, x: Tensor | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Range.between(torch.as_tensor(low), torch.as_tensor(high)).to_unit(torch.as_tensor(x))


@given(st.integers(0, 10**6), st.floats(0.1, 4))
@settings(max_examples=30)
def test_the_gauge(seed: int, factor: float) -> None:
    """distance / eps, homogeneous, the least over a union; at most 1 exactly where `contains` holds."""
    x = torch.rand(6, 1, 4, 4, generator=torch_seed(seed)) * 0.2 + 0.4
    delta = torch.randn(6, 1, 4, 4, generator=torch_seed(seed + 1)) * 0.02 * factor
    union = mrt.AnyOf((mrt.Linf(0.03), mrt.L2(0.1), mrt.L1(0.3)))
    each = [gauge(t, x, x + delta) for t in union.threats]
    for ball, size in zip(union.threats, each, strict=True):
        assert torch.allclose(size * ball.eps, ball.distance(x, x + delta))  # type: ignore[attr-defined]
        assert torch.allclose(gauge(ball, x, x + delta / 2), size / 2, rtol=1e-4)
        sure = (size - 1).abs() > 1e-3
        assert torch.equal(ball.contains(x, x + delta)[sure], (size <= 1)[sure])
    assert torch.equal(gauge(union, x, x + delta), torch.stack(each).amin(0))
    assert torch.equal(gauge(mrt.Linf(0.0), x, x), torch.zeros(6, dtype=torch.float64))
    assert bool(gauge(mrt.Linf(0.0), x, x + 0.1).isinf().all())
    with pytest.raises(ValueError, match="only balls.*RotationTranslation"):
        gauge(mrt.RotationTranslation(), x, x)


SHAPE = (1, 8, 8)
ITERATIVE = (
    mrt.PGD(mrt.Linf(0.2), steps=20),
    mrt.PGD(mrt.L2(0.7), steps=40, restarts=2),
    mrt.MIM(mrt.Linf(0.2), steps=20),
    mrt.SLIDE(mrt.L1(2.0), steps=40, keep=1),
    mrt.APGD(mrt.L1(2.0), steps=50),
    mrt.MSD((mrt.Linf(0.2), mrt.L1(2.0)), steps=30, keep=(1, 2)),
)


@pytest.mark.parametrize("attack", ITERATIVE, ids=str)
def test_a_masked_attack_finds_the_best_of_what_it_may_change(attack: Any) -> None:
    """On a linear model the optimum over the allowed entries is known: that of weights that are zero elsewhere."""
    x, model = images(SHAPE, 6, 3), Linear(SHAPE)
    mask = torch.rand(6, *SHAPE, generator=torch_seed(0)) < 0.4
    mask[0], mask[1] = False, True
    y = torch.zeros(6, dtype=torch.int64)  # whose loss rises with the score
    x_adv = attack_masked(attack, model, x, y, mask, rng=torch_seed(1))
    assert torch.equal(x_adv[~mask], x[~mask]) and bool(attack.threat.contains(x, x_adv).all())
    gain = ((x_adv - x).double() * model.weight.double()).flatten(1).sum(1)
    for row in range(6):
        best = best_gain(attack.threat, x[row : row + 1], model.weight.detach() * mask[row])
        if isinstance(attack.threat, mrt.AnyOf):
            best = torch.stack(
                [best_gain(t, x[row : row + 1], model.weight.detach() * mask[row]) for t in attack.threats]
            )
        assert gain[row] >= (0.9 if "MSD" in str(attack) else 0.95) * float(best.max()) - 1e-5


def test_masked_rows_stand_alone_and_restarts_see_what_stands() -> None:
    x, model = images(SHAPE, 8, 5), RowWise(SHAPE)
    mask = torch.rand(8, *SHAPE, generator=torch_seed(2)) < 0.5
    y, seeds = model(x).argmax(1), torch.arange(8)
    attack = mrt.PGD(mrt.L2(1.0), steps=5, restarts=3)
    whole = attack_masked(attack, model, x, y, mask, rng=seeds)
    for row in range(8):
        one = slice(row, row + 1)
        assert torch.equal(attack_masked(attack, model, x[one], y[one], mask[one], rng=seeds[one]), whole[one])
    first = attack_masked(replace(attack, restarts=1), model, x, y, mask, rng=seeds)
    won = model(first).argmax(1) != y
    assert torch.equal(whole[won], first[won])  # what has fallen is left alone
    assert bool(((model(whole).argmax(1) != y) | ~won).all())


def test_masked_restarts_break_more_and_leave_the_standing_as_the_first_run_left_them() -> None:
    x, model = images(SHAPE, 60, 5), RowWise(SHAPE)
    mask = torch.rand(60, *SHAPE, generator=torch_seed(2)) < 0.6
    mask[:30] = mask[0]
    y, seeds = model(x).argmax(1), torch.arange(60)
    attack = mrt.PGD(mrt.Linf(0.06), steps=1, random_start=True)
    first = attack_masked(attack, model, x, y, mask, rng=seeds)
    many = attack_masked(replace(attack, restarts=8), model, x, y, mask, rng=seeds)
    fallen = [model(found).argmax(1) != y for found in (first, many)]
    assert fallen[1].sum() > fallen[0].sum() > 0 and bool((fallen[1] | ~fallen[0]).all())
    assert torch.equal(many[~fallen[1]], first[~fallen[1]])


def test_later_masked_runs_start_at_random_and_the_first_result_is_kept() -> None:
    seen: list[Tensor] = []

    def stubborn(z: Tensor) -> Tensor:  # never fooled
        seen.append(z.detach().clone())
        return torch.stack([4 + 0.1 * z.flatten(1).sum(1), z.flatten(1).sum(1) * 0], 1)

    x, mask = torch.full((3, *SHAPE), 0.5), torch.ones(3, *SHAPE, dtype=torch.bool)
    mask[:, :, :4] = False
    attack = mrt.PGD(mrt.L2(0.5), steps=2, restarts=2)
    x_adv = attack_masked(attack, stubborn, x, torch.zeros(3, dtype=torch.int64), mask, rng=torch.arange(3))
    half = len(seen) // 2
    assert torch.equal(seen[0], x) and not torch.equal(seen[half], x)
    assert torch.equal(seen[half][~mask], x[~mask]) and bool((x_adv[mask] != 0.5).all())


def test_masks_and_the_model() -> None:
    """Targets; a model in train mode that stays as it was; attacks that know no mask."""
    net, x = small_net(SHAPE), images(SHAPE, 5, 1)
    before = [t.clone() for t in net.state_dict().values()]
    y = torch.arange(5)
    mask = torch.ones_like(x, dtype=torch.bool)
    attack = mrt.PGD(mrt.L2(6.0), steps=30)
    x_adv = attack_masked(attack, net, x, y, mask, target=(y + 1) % 5)
    assert net.training and all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))
    assert (net.eval()(x_adv).argmax(1) == (y + 1) % 5).sum() > (net(x).argmax(1) == (y + 1) % 5).sum()
    for other in (mrt.FGM(mrt.L2(1.0)), mrt.RTGrid()):
        with pytest.raises(ValueError, match="iterative attacks on balls"):
            attack_masked(other, net, x, y, mask)
    with pytest.raises(ValueError, match="mask must have the shape"):
        attack_masked(attack, net, x, y, mask[:, :, 1:])
