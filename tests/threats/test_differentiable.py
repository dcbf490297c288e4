"""mrt/threats/differentiable.py: Noise on a ball: the point, and its derivative."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mrt
from mrt.protocols import Ball
from mrt.threats.differentiable import onto, sphere_scale
from tests.support import BALLS, Case, cases, images, project_float64, rooms, torch_seed

L2, L1 = mrt.L2(0.7), mrt.L1(2.0)
NEAREST = [ball for ball in BALLS if getattr(ball, "projection", "exact") == "exact" and not isinstance(ball, mrt.L2)]


@given(cases(), st.sampled_from(BALLS), st.sampled_from([1e-3, 0.3, 1.0, 7.0]), st.booleans())
@settings(max_examples=60)
def test_it_lies_in_the_ball(case: Case, ball: Ball, factor: float, rescale: bool) -> None:
    scaled: Any = ball.scaled(factor)
    assert bool(scaled.contains(case.x, onto(scaled, case.x, case.delta, rescale=rescale)).all())
    each = ball.scaled(torch.linspace(0.1, factor, len(case.x)))
    assert bool(each.contains(case.x, onto(each, case.x, case.delta, squash=True)).all())  # type: ignore[arg-type]


@given(cases())
@settings(max_examples=30)
def test_linf_and_l1_are_the_projections(case: Case) -> None:
    for ball in NEAREST:
        found = onto(ball, case.x, case.delta) - case.x
        torch.testing.assert_close(
            found.double(), project_float64(ball, case.delta, case.x), rtol=1e-5, atol=2e-5, check_dtype=False
        )
    clipped = mrt.L1(2.0, projection="clip")
    expected = clipped.apply(case.x, clipped.project(case.delta, case.x))
    torch.testing.assert_close(onto(clipped, case.x, case.delta), expected, rtol=1e-5, atol=2e-5)


@given(cases(), st.sampled_from([1e-3, 0.7, 30.0]))
@settings(max_examples=40)
def test_l2_noise_is_brought_to_the_sphere_from_both_sides(case: Case, eps: float) -> None:
    """Against bisection of the scale; where even an infinite one falls short every entry stands on its bound."""
    x, noise = case.x, case.delta
    length = mrt.L2(eps).distance(x, onto(mrt.L2(eps), x, noise))
    most = (rooms(x, noise) * (noise.flatten(1) != 0)).norm(dim=1)
    expected = most.clamp(max=eps)
    torch.testing.assert_close(length, expected, rtol=1e-5, atol=1e-6)
    inside = onto(mrt.L2(eps), x, noise, rescale=False)
    shorter = mrt.L2(eps).distance(x, (x + noise).clamp(0, 1))
    torch.testing.assert_close(mrt.L2(eps).distance(x, inside), torch.minimum(shorter, expected), rtol=1e-4, atol=1e-6)


def test_no_noise_stays_no_noise() -> None:
    x = images((1, 8, 8), 3, 0)
    for ball in BALLS:
        assert torch.equal(onto(ball, x, torch.zeros_like(x)), x)


@pytest.mark.parametrize("ball", [mrt.Linf(0.2), L2, mrt.L1(2.0), mrt.L1(2.0, projection="clip")], ids=repr)
@pytest.mark.parametrize("size", [0.02, 0.3, 3.0])
def test_its_derivative_is_the_finite_difference(ball: Any, size: float) -> None:
    """In float64, in random directions: inside the ball, outside, and with pixels on their bounds."""
    x = images((1, 4, 4), 6, 1).double()
    g = torch_seed(2)
    noise = (torch.randn(6, 1, 4, 4, generator=g).double() * size).requires_grad_()
    weight, direction = (torch.randn(6, 1, 4, 4, generator=g).double() for _ in range(2))

    def value(n: Tensor) -> Tensor:
        return (onto(ball, x, n) * weight).flatten(1).sum(1)

    (grad,) = torch.autograd.grad(value(noise).sum(), noise)
    step = 1e-6
    difference = (value(noise + step * direction) - value(noise - step * direction)) / (2 * step)
    slope = (grad * direction).flatten(1).sum(1)
    close = (difference - slope).abs() <= 1e-4 * (1 + slope.abs())
    assert int(close.sum()) >= 5, (difference, slope)  # one of six may stand on a kink


def test_the_gradient_flows_where_it_should() -> None:
    """An l2 batch tells the noise much, a saturated linf batch nothing, a squashed one something."""
    x = torch.full((4, 1, 8, 8), 0.5)
    noise = torch.randn(4, 1, 8, 8, generator=torch_seed(0)) * 5
    weight = torch.randn(4, 1, 8, 8, generator=torch_seed(1))

    def share(ball: Any, **how: Any) -> float:
        leaf = noise.clone().requires_grad_()
        (grad,) = torch.autograd.grad((onto(ball, x, leaf, **how) * weight).sum(), leaf)
        return float((grad != 0).float().mean())

    assert share(L2) == 1.0
    assert share(mrt.Linf(0.2)) < 0.1
    assert share(mrt.Linf(0.2), squash=True) > 2 * share(mrt.Linf(0.2))
    squashed = onto(mrt.Linf(0.2), x, noise * 0.05, squash=True)
    torch.testing.assert_close(squashed, x + 0.2 * torch.tanh(noise * 0.05 / 0.2))
    assert 0 < share(L1) < 0.3


def test_the_scale_is_the_formula() -> None:
    """Three entries, worked by hand: one meets the box first, then two share what is left."""
    x, noise = torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[1.0, 0.3, -0.4]])
    scale = sphere_scale(noise, x, 0.3)
    assert float(scale) == pytest.approx(((0.09 - 0.01) / 0.25) ** 0.5, rel=1e-6)
    with pytest.raises(ValueError, match="Linf, L2 or L1"):
        onto(mrt.AnyOf((L2,)), x, noise)  # type: ignore[arg-type]
