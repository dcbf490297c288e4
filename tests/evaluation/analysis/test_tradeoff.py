"""mrt/evaluation/analysis/tradeoff.py: Robustness against accuracy: straight lines between points, by hand and as
laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mrt
from mrt.evaluation import Point, below, distortion, gain, rho_at
from mrt.evaluation.analysis.tradeoff import interpolate
from tests.support import Linear, RowWise, images, small_net

POINTS = [Point(0.5, 0.60, 0.9), Point(0.1, 0.80, 0.3), Point(0.2, 0.70, 0.5)]  # in the order of no axis
NUMBERS = st.floats(0, 100)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("clean", "rho"), [(0.60, 0.9), (0.80, 0.3), (0.65, 0.7), (0.625, 0.8), (0.775, 0.35), (0.72, 0.46)]
)
def test_rho_by_hand(clean: float, rho: float) -> None:
    assert rho_at(POINTS, clean) == pytest.approx(rho)
    assert gain(POINTS, clean, 0.25) == pytest.approx(4 * rho)


@pytest.mark.parametrize("clean", [0.59, 0.81, 0.0, 1.0])
def test_nothing_is_said_beyond_the_points(clean: float) -> None:
    assert math.isnan(rho_at(POINTS, clean)) and math.isnan(gain(POINTS, clean, 0.25))


def test_equal_accuracies_count_as_their_mean() -> None:
    both = [*POINTS, Point(0.3, 0.70, 0.7)]
    assert rho_at(both, 0.70) == pytest.approx(0.6) and rho_at(both, 0.65) == pytest.approx(0.75)
    assert rho_at([Point(1, 0.5, 0.2), Point(2, 0.5, 0.4)], 0.5) == pytest.approx(0.3)


@given(PAIRS)
def test_it_passes_through_its_points(pairs: list[tuple[float, float]]) -> None:
    once = dict(pairs)
    assert all(interpolate(list(once.items()), at) == value for at, value in once.items())


@given(PAIRS, st.floats(0, 100), st.floats(0, 100))
def test_it_rises_where_its_points_do_and_stays_between_them(
    pairs: list[tuple[float, float]], one: float, two: float
) -> None:
    firsts, seconds = sorted({a for a, _ in pairs}), sorted(b for _, b in pairs)
    rising = list(zip(firsts, seconds, strict=False))
    low, high = (interpolate(rising, at) for at in sorted((one, two)))
    assert not low > high  # NaN beyond the ends
    for at, value in ((min(one, two), low), (max(one, two), high)):
        inside = rising[0][0] <= at <= rising[-1][0]
        assert inside == (not math.isnan(value))
        assert not inside or rising[0][1] <= value <= rising[-1][1]


@given(st.lists(NUMBERS, min_size=2, max_size=4), NUMBERS, st.floats(0, 1))
def test_a_level_line_is_level(firsts: list[float], value: float, share: float) -> None:
    at = min(firsts) + share * (max(firsts) - min(firsts))
    assert interpolate([(first, value) for first in firsts], min(at, max(firsts))) == value


@given(PAIRS, st.randoms(use_true_random=False), st.floats(0, 100))
def test_the_order_of_points_does_not_matter(pairs: list[tuple[float, float]], draw: Any, at: float) -> None:
    mixed = draw.sample(pairs, len(pairs))
    assert interpolate(mixed, at) == pytest.approx(interpolate(pairs, at), nan_ok=True)


@given(st.floats(0.1, 2), st.floats(0.1, 2), st.floats(0.6, 0.8))
def test_a_method_gains_nothing_on_itself_and_scales(scale: float, rho: float, clean: float) -> None:
    assert gain(POINTS, clean, rho_at(POINTS, clean)) == pytest.approx(1)
    larger = [Point(p.knob, p.clean, scale * p.rho) for p in POINTS]
    assert gain(larger, clean, rho) == pytest.approx(scale * gain(POINTS, clean, rho))


def test_below_by_hand() -> None:
    one, other = [(0.0, 0.9), (1.0, 0.1)], [(0.0, 0.9), (0.5, 0.6), (2.0, 0.0)]
    # at 0: equal. 0.25: 0.7 < 0.75. 0.5: 0.5 < 0.6. 1: 0.1 < 0.4. 1.5: only the other reaches it. 3: neither
    assert below(one, other, [0.0, 0.25, 0.5, 1.0, 1.5, 3.0]) == 3
    assert below(other, one, [0.0, 0.25, 0.5, 1.0, 1.5, 3.0]) == 0
    assert below(one, one, [0.0, 0.5, 1.0]) == 0


def test_distortion_by_hand() -> None:
    """On a linear model that a shift of 0.1 fools, and an attack that shifts one image by 0.2 and one by 0.4."""
    model, x = Linear((1, 4, 4)), torch.full((2, 1, 4, 4), 0.5)
    slope = model.weight.detach().sum()
    model.bias.data = 0.1 * slope.abs() - 0.5 * slope
    y = torch.ones(2, dtype=torch.int64)
    x_adv = x - slope.sign() * torch.tensor([0.2, 0.4]).reshape(2, 1, 1, 1)
    factors = [0.0, 0.2, 0.4, 0.6]
    pairs = distortion(model, x, y, x_adv, factors)
    assert [share for _, share in pairs] == [1.0, 1.0, 0.5, 0.0]
    assert [mean for mean, _ in pairs] == pytest.approx([4 * 0.3 * f for f in factors], rel=1e-5)
    linf = distortion(model, x, y, x_adv, factors, mrt.Linf(9.0))
    assert [mean for mean, _ in linf] == pytest.approx([0.3 * f for f in factors], rel=1e-5)
    assert [share for _, share in linf] == [1.0, 1.0, 0.5, 0.0]


def test_distortion_stays_in_the_box_and_leaves_the_model_alone() -> None:
    net, x, x_adv = small_net(), images((1, 8, 8), 50, 0), images((1, 8, 8), 50, 1)
    with torch.no_grad():
        y = net.eval()(x).argmax(1)
    net.train()
    far = distortion(net, x, y, x_adv, [0.0, 1.0, 1e6], mrt.Linf(1.0))
    assert far[0] == (0.0, 1.0) and far[1][0] <= far[2][0] <= 1 and all(m.training for m in net.modules())


X, Y = images((1, 4, 4), 3, 0), torch.zeros(3, dtype=torch.int64)
BAD: list[tuple[Any, str]] = [
    (lambda: Point(0.1, math.nan, 0.3), "clean must be a finite number"),
    (lambda: Point(0.1, 0.9, -0.3), "rho must be a finite number of|rho must be"),
    (lambda: rho_at([], 0.5), "points must be a non-empty tuple"),
    (lambda: gain(POINTS, 0.7, 0.0), "baseline_rho must be"),
    (lambda: below([], [(0, 1)], [0.5]), "points must be"),
    (lambda: below([(0, 1)], [(0, 1)], []), "at must be"),
    (lambda: below([(0, math.inf)], [(0, 1)], [0.5]), "points must be a finite number"),
    (lambda: distortion(RowWise((1, 4, 4)), X, Y, X, []), "factors must be"),
    (lambda: distortion(RowWise((1, 4, 4)), X, Y, X, [-1.0]), "factor must be"),
    (lambda: distortion(RowWise((1, 4, 4)), X, Y, X[:2], [1.0]), "x_adv must have the shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_calls_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
