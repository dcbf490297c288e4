"""mrt/threats/, each file of it: the laws that `mrt.protocols.Threat` states, for every threat that is exported."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mrt
import mrt.threats
from mrt import L0, L1, L2, Affine, AnyOf, Linf, RotationTranslation  # noqa: F401 - eval(repr(v)) needs them
from mrt.protocols import Ball, Threat
from mrt.threats.projections import _search_level
from tests.support import BALLS, THREATS, Case, cases, factors, images, points_that_return, project_float64

every_threat = pytest.mark.parametrize("threat", THREATS, ids=repr)
every_ball = pytest.mark.parametrize("ball", BALLS, ids=repr)


def own_delta(threat: Threat, case: Case) -> Tensor:
    """The case's perturbation in the threat's own space."""
    like = threat.sample(case.x, torch.arange(len(case.x)))
    if like.shape == case.x.shape:
        return case.delta
    scale = float(case.delta.abs().max()) + 1.0
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)) * scale


def test_every_export_is_tested() -> None:
    assert {type(t).__name__ for t in THREATS} == set(mrt.threats.__all__)


@every_threat
@settings(max_examples=12)
@given(case=cases(), factor=factors, seed=st.integers(0, 2**40))
def test_sample_is_feasible_and_project_leaves_it(threat: Threat, case: Case, factor: float, seed: int) -> None:
    threat = threat.scaled(min(factor, 1.0) if threat.name in ("rt", "affine") else factor)
    delta = threat.sample(case.x, seed + torch.arange(len(case.x)))
    torch.testing.assert_close(threat.project(delta, case.x), delta, atol=2e-6, rtol=2e-6)
    assert threat.contains(case.x, threat.apply(case.x, delta), delta).all()


@every_threat
@settings(max_examples=15)
@given(case=cases(), factor=factors)
def test_project_is_feasible_idempotent_and_the_identity_inside(threat: Threat, case: Case, factor: float) -> None:
    threat = threat.scaled(min(factor, 1.0) if threat.name in ("rt", "affine") else factor)
    projected = threat.project(own_delta(threat, case), case.x)
    x_adv = threat.apply(case.x, projected)
    assert threat.contains(case.x, x_adv, projected).all()
    assert (x_adv >= 0).all() and (x_adv <= 1).all()
    torch.testing.assert_close(threat.project(projected, case.x), projected, atol=2e-6, rtol=2e-6)
    inside = projected * 0.9  # every set is star-shaped about zero
    torch.testing.assert_close(threat.project(inside, case.x), inside, atol=1e-7, rtol=1e-6)


@every_threat
@settings(max_examples=8)
@given(case=cases())
def test_no_perturbation_gives_x(threat: Threat, case: Case) -> None:
    zero = torch.zeros_like(threat.sample(case.x))
    assert torch.equal(threat.apply(case.x, zero), case.x)
    assert threat.contains(case.x, case.x, zero).all()


@every_threat
@settings(max_examples=12)
@given(case=cases(), seed=st.integers(0, 10**6), spread=st.booleans())
def test_an_example_is_projected_alike_in_any_batch(threat: Threat, case: Case, seed: int, spread: bool) -> None:
    delta = own_delta(threat, case)
    if spread:  # rows and entries of very different size finish a search at different times
        delta = delta * 10 ** (torch.rand(delta.shape, generator=torch.Generator().manual_seed(seed)) * 6 - 3)
    together = threat.project(delta, case.x)
    for i in range(len(case.x)):
        assert torch.equal(threat.project(delta[i : i + 1], case.x[i : i + 1]), together[i : i + 1])


@every_threat
@settings(max_examples=8)
@given(case=cases(), seed=st.integers(0, 10**6))
def test_per_example_radii_are_those_of_each_alone(threat: Threat, case: Case, seed: int) -> None:
    share = torch.rand(len(case.x), generator=torch.Generator().manual_seed(seed))
    view, delta, seeds = threat.scaled(share), own_delta(threat, case), torch.arange(len(case.x))
    rows = torch.arange(len(case.x) - 1, -1, -1)
    torch.testing.assert_close(
        view.at(rows).project(delta[rows], case.x[rows]), view.project(delta, case.x)[rows], atol=1e-6, rtol=1e-6
    )
    samples = view.sample(case.x, seeds)
    for i in range(0, len(case.x), 7):
        alone = threat.scaled(float(share[i]))
        one = slice(i, i + 1)
        torch.testing.assert_close(
            view.project(delta, case.x)[one], alone.project(delta[one], case.x[one]), atol=2e-6, rtol=1e-5
        )
        torch.testing.assert_close(samples[one], alone.sample(case.x[one], seeds[one]), atol=2e-6, rtol=1e-5)


@every_threat
def test_threats_are_values(threat: Threat) -> None:
    assert eval(repr(threat)) == threat
    assert hash(eval(repr(threat))) == hash(threat)
    assert threat != threat.scaled(0.5)
    assert threat.at(torch.tensor([0])) == threat
    view = threat.scaled(torch.tensor([0.5, 1.0]))
    assert view == view and view != threat.scaled(torch.tensor([0.5, 1.0])) and view != threat


@every_ball
@settings(max_examples=15)
@given(case=cases())
def test_contains_ends_at_the_radius_and_at_the_box(ball: Ball, case: Case) -> None:
    moved = ball.apply(case.x, case.delta)
    distance = ball.distance(case.x, moved)
    rows = distance > 1e-2
    outside = ball.scaled(distance.float() / ball.eps * 0.999)
    inside = ball.scaled(distance.float() / ball.eps * 1.001)
    assert not outside.contains(case.x, moved)[rows].any()
    assert inside.contains(case.x, moved)[rows].all()
    for bad in (-1e-6, 1 + 1e-6, float("nan")):
        broken = case.x.clone()
        broken[:, 0, 0, 0] = bad
        assert not ball.scaled(1e6).contains(case.x, broken).any()


@every_ball
@settings(max_examples=20)
@given(case=cases(), keep=st.integers(1, 70))
def test_steepest_is_a_unit_step_that_the_box_does_not_stop(ball: Ball, case: Case, keep: int) -> None:
    delta = ball.project(case.delta, case.x)
    many = torch.full((len(case.x),), keep)
    direction = ball.steepest(case.grad, delta, case.x, many)
    at = ball.apply(case.x, delta)
    movable = (case.grad != 0) & ~((at >= 1) & (case.grad > 0)) & ~((at <= 0) & (case.grad < 0))
    some = movable.flatten(1).any(1)
    p = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[ball.name]
    length = torch.linalg.vector_norm(direction.flatten(1).double(), p, dim=1).float()
    if ball.name != "linf":
        assert not direction[~movable].any()
        torch.testing.assert_close(length, some.float(), atol=1e-5, rtol=1e-5)
    else:
        torch.testing.assert_close(length, (case.grad != 0).flatten(1).any(1).float())
    assert (direction * case.grad >= 0).all()
    for scale in (1e-25, 1e20):
        torch.testing.assert_close(
            ball.steepest(case.grad * scale, delta, case.x, many), direction, atol=1e-6, rtol=1e-5
        )
    if ball.name == "l1":
        size = (case.grad.abs() * movable).flatten(1)
        wanted = torch.minimum(movable.flatten(1).sum(1), many)
        kth = size.sort(1, descending=True).values.gather(1, many.clamp(max=size.shape[1])[:, None] - 1)
        ties = ((size == kth) & (size > 0)).sum(1)
        moved = (direction != 0).flatten(1).sum(1)
        assert (moved >= wanted).all() and (moved <= wanted + ties.clamp(min=1) - 1).all()
        kept = torch.where(direction.flatten(1) != 0, size, torch.inf).amin(1)
        left = torch.where(direction.flatten(1) == 0, size, 0.0).amax(1)
        assert (kept >= left)[some].all()


@every_ball
@settings(max_examples=15)
@given(case=cases(), size=st.sampled_from([1e-3, 0.1, 2.0]), rows=st.booleans())
def test_step_and_mover_are_the_composition(ball: Ball, case: Case, size: float, rows: bool) -> None:
    delta, many = ball.project(case.delta, case.x), torch.full((len(case.x),), 9)
    length = torch.full((len(case.x),), size) if rows else size
    plain = ball.project(delta + size * ball.steepest(case.grad, delta, case.x, many), case.x)
    torch.testing.assert_close(ball.step(delta, case.grad, case.x, length, many), plain, atol=2e-6, rtol=1e-5)
    x_adv = ball.apply(case.x, delta)
    moved = ball.mover(case.x)(x_adv, case.grad, length, many)
    torch.testing.assert_close(moved, ball.apply(case.x, plain), atol=2e-6, rtol=1e-5)
    assert ball.contains(case.x, moved).all()


def test_entries_that_end_where_they_began_stay_in_the_ball() -> None:
    """The search for the level came to rest a rounding beyond them, where three entries alone were left to shrink, and
    its last step went back by what those three said: 3e-5 outside."""
    delta, radius = points_that_return(2000, 784)
    ball = L1(1.0).scaled(radius)
    assert isinstance(ball, L1)
    projected = ball.project(delta, torch.zeros_like(delta))
    assert (projected.double().flatten(1).abs().sum(1) <= radius * (1 + 2e-6)).all()


@pytest.mark.parametrize("ball", [b for b in BALLS if getattr(b, "projection", "exact") == "exact"], ids=repr)
@settings(max_examples=25)
@given(case=cases(), factor=factors)
def test_exact_projections_are_the_nearest_points(ball: Ball, case: Case, factor: float) -> None:
    scaled = ball.scaled(factor)
    assert isinstance(scaled, Ball)
    ball = scaled
    projected = ball.project(case.delta, case.x)
    expected = project_float64(ball, case.delta, case.x)
    torch.testing.assert_close(projected.double(), expected, atol=1e-5, rtol=0)
    gap = (case.delta - projected).double().flatten(1)
    for other in (torch.zeros_like(case.x), ball.sample(case.x, torch.arange(len(case.x)))):
        slack = (gap * (other - projected).double().flatten(1)).sum(1)
        assert (slack <= 1e-5 * (1 + gap.abs().sum(1))).all()


@settings(max_examples=25)
@given(case=cases(), eps=st.sampled_from([0.0, 0.01, 1.0, 12.0, 1e4]))
def test_the_clip_projections_are_ball_then_box(case: Case, eps: float) -> None:
    far = torch.full_like(case.x, 0.5)  # a box of half-width 1e3 about its centre does not bind
    for ball in (L1(eps, projection="clip"), L2(eps, projection="clip")):
        free = project_float64(type(ball)(eps / 4e3), case.delta / 4e3, far) * 4e3
        free = free if float(case.delta.abs().max()) < 1e3 else case.delta
        expected = (case.x + free).clamp(0, 1) - case.x
        torch.testing.assert_close(ball.project(case.delta, case.x).double(), expected.double(), atol=1e-5, rtol=1e-5)


def test_a_row_inside_is_not_moved_by_a_batch_mate_outside() -> None:
    """Foolbox's SparseL1Descent and the MSD code project the whole batch once one row is outside: 0.1 becomes 10
    there."""
    x = torch.full((2, 1, 1, 10), 0.5)
    delta = torch.stack([torch.full((1, 1, 10), 0.05), torch.full((1, 1, 10), 0.45)])
    for ball in (L1(1.0), L1(1.0, projection="clip")):
        assert torch.allclose(ball.project(delta, x)[0], delta[0], atol=1e-7)
        assert ball.project(delta, x)[1].abs().sum() <= 1.0 + 1e-6


def test_the_l1_threshold_is_not_off_by_one() -> None:
    """Five entries of 3 at radius 10 stay at length 10.83 in Foolbox and in the paper's code."""
    x, delta = torch.full((1, 1, 1, 8), 0.5), torch.tensor([3.0, 3, 3, 3, 3, 0, 0, 0]).view(1, 1, 1, 8) / 30
    projected = L1(10.0 / 30, projection="clip").project(delta, x)
    torch.testing.assert_close(projected.flatten()[:5], torch.full((5,), 2.0 / 30))


def test_a_step_from_every_pixel_on_the_bound_goes_inwards_only() -> None:
    x = images((1, 8, 8), 4, 0).round()
    grad = torch.ones_like(x)
    for ball in (L1(3.0), L2(1.0)):
        direction = ball.steepest(grad, torch.zeros_like(x), x, torch.full((4,), 64))
        assert (direction[x == 1] == 0).all() and (direction[x == 0] > 0).all()


def test_channels_last_gives_the_same() -> None:
    x, delta = images((3, 12, 20), 4, 1), torch.randn(4, 3, 12, 20)
    for ball in BALLS:
        last = ball.project(delta.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, ball.project(delta, x), atol=2e-6, rtol=1e-5)
        stepped = ball.step(delta, delta, x.to(memory_format=torch.channels_last), 0.1, torch.full((4,), 7))
        torch.testing.assert_close(stepped, ball.step(delta, delta, x, 0.1, torch.full((4,), 7)), atol=2e-6, rtol=1e-5)


def test_geometry_takes_tensors_that_want_a_gradient() -> None:
    x, delta = images((1, 8, 8), 3, 0).requires_grad_(), torch.randn(3, 1, 8, 8, requires_grad=True)
    for ball in BALLS:
        assert torch.equal(ball.project(delta, x), ball.project(delta.detach(), x.detach()))
        assert torch.equal(ball.step(delta, delta, x, 0.1), ball.step(delta.detach(), delta.detach(), x.detach(), 0.1))


def test_samples_fill_their_sets() -> None:
    x, seeds = torch.full((500, 1, 8, 8), 0.5), torch.arange(500)
    cube = Linf(0.2).sample(x, seeds)
    assert cube.max() > 0.198 and cube.min() < -0.198 and abs(float(cube.mean())) < 0.005
    for ball in (L2(0.4), L1(0.4)):
        delta = ball.sample(x, seeds)
        torch.testing.assert_close(ball.distance(x, x + delta), torch.full((500,), 0.4).double(), atol=1e-5, rtol=0)
        assert abs(float(delta.mean())) < 1e-3 and delta.flatten(1).std(0).min() > 0
    assert ((L1(0.4).sample(x, seeds) != 0).flatten(1).sum(1) < 20).all()  # few entries, changed a lot
    assert ((L0(5).sample(x, seeds) != 0).flatten(1).sum(1) == 5).all()
    motions = RotationTranslation(30, 3).sample(x, seeds) / torch.tensor([3.0, 3.0, 30.0])
    assert (motions.amax(0) > 0.95).all() and (motions.amin(0) < -0.95).all()
    union = AnyOf((Linf(0.2), L2(0.4), L0(5))).sample(x, seeds)
    kinds = (union != 0).flatten(1).sum(1) == 5
    assert 100 < int(kinds.sum()) < 240 and 100 < int(union.abs().flatten(1).amax(1).gt(0.19).sum()) < 450
    shares = Affine((Linf(0.2), L2(0.4))).sample(x, seeds)[:, :2]
    assert shares.min() < 0.02 and shares.max() > 0.98


def test_far_points_keep_their_radius() -> None:
    """Bisection of a scale on [0, 1] has no digits left for a delta of 1e8."""
    x, g = torch.full((2, 1, 32, 32), 0.5), torch.Generator().manual_seed(0)
    delta = torch.randn(2, 1, 32, 32, generator=g)
    for scale in (1.0, 1e4, 1e8):
        length = L2(0.7, projection="exact").project(delta * scale, x).flatten(1).norm(dim=1)
        torch.testing.assert_close(length, torch.full((2,), 0.7), atol=1e-5, rtol=0)
    far = torch.tensor([1e4, 1e4]).view(1, 1, 1, 2)
    kept = L0(1).project(far, torch.tensor([1 - 1e-4, 1 - 3e-4]).view(1, 1, 1, 2))
    assert kept[0, 0, 0, 0] == 0 and kept[0, 0, 0, 1] > 0
    assert L0(100).scaled(0.29).count == 29 == int(L0(100).scaled(torch.tensor([0.29])).count)


@settings(max_examples=30)
@given(case=cases(), eps=st.sampled_from([0.0, 0.01, 1.0, 12.0]), boxed=st.booleans())
def test_the_level_search_finds_the_same_without_looking(case: Case, eps: float, boxed: bool) -> None:
    """A GPU keeps every row to the end, since a look at the values would stall it; a CPU lets finished rows go."""
    size = case.delta.flatten(1).abs()
    room = case.x.flatten(1) if boxed else None
    radius = torch.full((len(size),), eps)
    assert torch.equal(_search_level(size, room, radius, look=False), _search_level(size, room, radius))
