"""mrt/attacks/smallest.py: the smallest radius of each image, beside closed forms and the attack that searches it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import mrt
from mrt.attacks.smallest import HALVINGS, with_radii
from mrt.crafting.gradient import PassCount
from mrt.protocols import Attack, Threat
from mrt.threats.gauge import gauge
from tests.support import UNION, Linear, best_gain, digits, digits_net, images, torch_seed

LINF, L2, L1 = UNION


def exact_factor(threat: Threat, x: Tensor, weight: Tensor, margin: float) -> float:
    """How many times its radii a threat must have until its best gain is the margin: in float64, by bisection."""
    low, high = 0.0, 8.0
    for _ in range(30):
        middle = (low + high) / 2
        enough = float(best_gain(threat.scaled(middle), x, weight)) >= margin
        low, high = (low, middle) if enough else (middle, high)
    return high


@pytest.mark.parametrize(
    "attack",
    [
        mrt.PGD(LINF, steps=10),
        mrt.PGD(L2, steps=30),
        mrt.MSD((L1,), steps=50, keep=1),
        mrt.MSD((LINF, L2), steps=20),
        mrt.WorstOf((mrt.PGD(LINF, steps=10), mrt.PGD(L2, steps=30), mrt.MSD((L1,), steps=50, keep=1))),
    ],
    ids=lambda a: repr(a)[:40],
)
def test_a_linear_models_distances_are_the_closed_form(attack: Attack) -> None:
    """Within half a percent; never below it."""
    model, x = Linear((1, 8, 8)), images((1, 8, 8), 6, 1)
    score = model(x).detach()[:, 1]
    y = (score > 0).long()
    weights = [(1 - 2 * int(label)) * model.weight.detach() for label in y]  # what lowers the true class's share
    exact = [exact_factor(attack.threat, x[i : i + 1], weights[i], abs(float(score[i]))) for i in range(len(x))]
    found = mrt.Smallest(attack).closest(model, x, y, rng=torch.arange(6))
    assert (model(found).argmax(1) != y).all()
    ratio = gauge(attack.threat, x, found) / torch.tensor(exact, dtype=torch.float64)
    assert (ratio > 1 - 1e-5).all() and (ratio < 1.005).all(), ratio.tolist()


@pytest.mark.parametrize(
    "attack",
    [mrt.APGD(mrt.Linf(0.12), steps=10), mrt.APGD(L1, steps=20), mrt.MSD((mrt.Linf(0.1), mrt.L2(0.5), L1), steps=10)],
    ids=lambda a: type(a).__name__,
)
def test_it_breaks_what_the_attack_breaks(attack: Any) -> None:
    """The first radius is the threat's own, with the attack's own noise; and a call's result lies in the threat."""
    net, (x, y) = digits_net(eps=0.1), digits(60)
    seeds = torch.arange(60)
    alone, smallest = attack(net, x, y, rng=seeds), mrt.Smallest(attack, probes=4)
    inside, closest = smallest(net, x, y, rng=seeds), smallest.closest(net, x, y, rng=seeds)
    assert attack.threat.contains(x, inside).all()
    broken = net(alone).argmax(1) != y
    assert 5 < int(broken.sum()) < 55
    assert (net(inside).argmax(1) != y)[broken].all()
    size = gauge(attack.threat, x, closest)
    fooled = net(closest).argmax(1) != y
    assert torch.equal(closest[~fooled], x[~fooled]) and (size[broken] <= 1 + 1e-6).all()
    assert (size[fooled & ~broken] <= smallest.reach).all() and int((fooled & ~broken).sum()) > 5
    beyond = ~attack.threat.contains(x, closest)
    assert beyond.any() and torch.equal(inside[beyond], alone[beyond]), "else the attack's own result"
    wrong = net(x).argmax(1) != y
    assert torch.equal(closest[wrong], x[wrong])  # which needs no change at all
    assert float(size[broken & ~wrong].median()) < 0.9  # far inside, not where the attack alone stopped


@pytest.mark.parametrize("gap", [1e-3, 1e-4, 1e-6])
@pytest.mark.parametrize("ball", [mrt.Linf(8 / 255), mrt.L2(0.5), mrt.L1(3.0)], ids=lambda b: b.name)
def test_images_next_to_the_boundary(ball: Any, gap: float) -> None:
    """Their radius is of the size of float32's rounding of a pixel, which every threat forgives."""
    x = torch.rand(8, 3, 12, 20, generator=torch_seed(0))
    weight = Linear((3, 12, 20)).weight.detach() * 0.05

    def model(z: Tensor) -> Tensor:  # next to the boundary wherever z is next to the first image
        score = ((z - x[:1]) * weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score + gap], 1)

    for attack in (mrt.PGD(ball, steps=5), mrt.APGD(ball, steps=10)):
        found = mrt.Smallest(attack).closest(model, x[:1], torch.ones(1, dtype=torch.int64), rng=torch.arange(1))
        assert 0 < float(ball.distance(x[:1], found)) < ball.eps / 10


def test_a_point_within_a_radius_that_failed() -> None:
    """The attack fails at its own radius and succeeds at twice that, by a point within its own: the search goes on
    below."""

    class Odd(mrt.PGD):
        def __call__(self, model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
            radii.append(float(self.threat.eps[0]))  # type: ignore[index]
            return x if len(radii) == 1 else (x + min(radii[-1], 0.15)).clamp(0, 1)

    radii: list[float] = []
    x = torch.full((1, 1, 2, 2), 0.5)

    def model(z: Tensor) -> Tensor:
        return torch.stack([torch.full((len(z),), 0.6), z.flatten(1).mean(1)], 1)

    closest = mrt.Smallest(Odd(mrt.Linf(0.2)), probes=5).closest(model, x, torch.zeros(1, dtype=torch.int64))
    assert radii[:2] == pytest.approx([0.2, 0.4]) and len(radii) == 5 and max(radii[2:]) < 0.11
    assert float((closest - x).max()) == pytest.approx(0.1, abs=1e-3)


def test_a_direction_that_only_small_radii_show() -> None:
    """Above 0.1 the attack moves the first pixel, which fools from 0.15 on; below, the second, which does from 0.05."""

    class Turning(mrt.PGD):
        def __call__(self, model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
            radius = float(self.threat.eps[0])  # type: ignore[index]
            return x + radius * torch.tensor([1.0, 0.0] if radius > 0.1 else [0.0, 1.0])

    def model(z: Tensor) -> Tensor:
        first, second = (z.flatten(1) - 0.5).unbind(1)
        return torch.stack([torch.zeros_like(first), torch.maximum(first - 0.15, second - 0.05)], 1)

    x = torch.full((1, 1, 1, 2), 0.5)
    closest = mrt.Smallest(Turning(mrt.Linf(0.4))).closest(model, x, torch.zeros(1, dtype=torch.int64))
    assert (closest - x).flatten().tolist() == pytest.approx([0.0, 0.05], abs=1e-3)


def test_the_stated_passes() -> None:
    """At most `probes` times the attack's, with a line of HALVINGS passes and a look at the result after each."""
    net, (x, y) = digits_net(eps=0.1), digits(20)
    alone, passes = PassCount(), PassCount()
    attack = mrt.PGD(L2, steps=5)
    attack(alone.around(net), x, y, rng=torch.arange(20))
    mrt.Smallest(attack, probes=6)(passes.around(net), x, y, rng=torch.arange(20))
    assert passes.backward <= 6 * alone.backward and passes.backward > 4 * alone.backward
    assert passes.forward <= 6 * (alone.forward + 20 * (HALVINGS + 1)) + 20


def test_towards_a_class() -> None:
    net, (x, y) = digits_net(), digits(20)
    target = (y + 1) % 10
    found = mrt.Smallest(mrt.APGD(L2, steps=20, loss="margin"), probes=5).closest(
        net, x, y, target=target, rng=torch.arange(20)
    )
    moved = (found != x).flatten(1).any(1)
    assert int(moved.sum()) > 10 and torch.equal(net(found).argmax(1)[moved], target[moved])


def test_what_has_no_radius_to_search_is_refused() -> None:
    cases: tuple[tuple[Any, str], ...] = (
        (mrt.RTWorstOf(mrt.RotationTranslation()), "ball"),
        (mrt.APGD(mrt.Linf(0.0)), "above 0"),
        (mrt.GreedyL0(mrt.L0(3)), "ball"),
        (mrt.PGD(L2, step_size=0.1), "step_size=None"),
        (mrt.WorstOf((mrt.PGD(LINF), mrt.PGD(L2, step_size=0.1))), "step_size=None"),
        (mrt.Smallest(mrt.PGD(L2)), "attacks of ours"),
        (mrt.OneAtRandom((mrt.PGD(LINF), mrt.PGD(L2))), "but OneAtRandom's"),
        (L2, "an attack such as"),
        (mrt.PGD, "an attack such as"),
    )
    for attack, words in cases:
        with pytest.raises(ValueError, match=words):
            mrt.Smallest(attack)
    for settings in ({"probes": 0}, {"reach": 0.5}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            mrt.Smallest(mrt.PGD(L2), **settings)


def test_an_attack_that_leaves_its_radius_is_named() -> None:
    class Far(mrt.PGD):
        def __call__(self, model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
            return 1 - x

    with pytest.raises(ValueError, match="keeps to its threat's radius"):
        mrt.Smallest(Far(mrt.L2(0.1)))(digits_net(), *digits(5))


def test_views_of_attacks_scale_every_threat_in_them() -> None:
    factor = torch.tensor([0.5, 2.0])
    view = with_radii(mrt.WorstOf((mrt.MSD((LINF, L1)), mrt.PGD(L2))), factor)
    radii = [t.eps for t in (*view.attacks[0].threats, view.attacks[1].threat)]
    for radius, whole in zip(radii, (0.2, 2.0, 0.7), strict=True):
        torch.testing.assert_close(radius, whole * factor)
