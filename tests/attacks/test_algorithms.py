"""mrt/attacks/, each file of it: Each algorithm against its box, written plainly, and against what its paper fixes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.attacks import apgd, sparsity
from mrt.attacks.published_code import project_l1_one_too_many, project_l1_whole_batch
from mrt.crafting.losses import LOSSES, Goal, Loss
from mrt.crafting.task import open_task
from mrt.protocols import Ball, Model
from mrt.threats import noise
from tests.support import UNION, Linear, RowWise, images, small_net

LINF, L2, L1 = UNION
SHAPE = (1, 8, 8)


def start(n: int = 6, seed: int = 0) -> tuple[RowWise, Tensor, Tensor, Tensor]:
    return RowWise(SHAPE, seed=seed), images(SHAPE, n, seed), torch.arange(n) % 5, torch.arange(n) * 3


def ce_grad(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    point = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(point), y, reduction="none")
    return torch.autograd.grad(loss.sum(), point)[0], loss.detach()


def best_of(path: list[Tensor], model: nn.Module, y: Tensor) -> Tensor:
    losses = torch.stack([nn.functional.cross_entropy(model(z), y, reduction="none") for z in path])
    return torch.stack(path)[losses.argmax(0), torch.arange(len(y))]


@pytest.mark.parametrize("ball", [LINF, L2, L1], ids=lambda b: b.name)
def test_pgd_is_steepest_ascent_with_projection(ball: Ball) -> None:
    model, x, y, seeds = start()
    size, delta = 2.5 * ball.eps / 6, torch.zeros_like(x)
    keep = torch.full((len(x),), 2) if ball == L1 else None  # its radius can move two entries by a whole unit
    path = [x]
    for _ in range(6):
        grad, _ = ce_grad(model, ball.apply(x, delta), y)
        delta = ball.project(delta + size * ball.steepest(grad, delta, x, keep), x)
        path.append(ball.apply(x, delta))
    found = mrt.PGD(ball, steps=6, random_start=False, best="loss")(model, x, y, rng=seeds)
    torch.testing.assert_close(found, best_of(path, model, y), atol=1e-5, rtol=0)


def test_pgd_starts_at_random_in_the_linf_ball_only() -> None:
    model, x, y, seeds = start()
    still = {b.name: mrt.PGD(b, steps=1, step_size=1e-9)(model, x, y, rng=seeds) for b in UNION}
    assert not torch.allclose(still["linf"], x, atol=1e-3)
    torch.testing.assert_close(still["l2"], x, atol=1e-6, rtol=0)
    torch.testing.assert_close(still["l1"], x, atol=1e-6, rtol=0)
    far = mrt.PGD(L2, steps=1, step_size=1e-9, random_start=True)(model, x, y, rng=seeds)
    assert not torch.allclose(far, x, atol=1e-3)


@pytest.mark.parametrize(("pixels", "entries"), [((1, 28, 28), 8), ((3, 32, 32), 31)], ids=["mnist", "cifar"])
def test_slide_moves_the_top_percent_by_the_step(pixels: tuple[int, ...], entries: int) -> None:
    """8 entries of 784 and 31 of 3072 reach the 0.99 quantile of |grad|."""
    model, x = Linear(pixels), torch.full((2, *pixels), 0.5)
    delta = mrt.SLIDE(mrt.L1(50.0), steps=1, step_size=2.0)(model, x, torch.zeros(2, dtype=torch.int64)) - x
    assert ((delta != 0).flatten(1).sum(1) == entries).all()
    torch.testing.assert_close(delta.flatten(1).abs().sum(1), torch.full((2,), 2.0))
    assert ((delta * model.weight.detach()) >= 0).all()


def test_keep_is_a_count_a_quantile_or_a_draw() -> None:
    seeds = torch.arange(500)
    assert set(sparsity.draw_counts(7, 100, seeds).tolist()) == {7}
    assert set(sparsity.draw_counts((5, 20), 100, seeds).tolist()) == set(range(5, 21))
    for d in (49, 784, 3072):
        size = torch.rand(1, d, dtype=torch.float64)
        for q in (0.5, 0.8, 0.9, 0.95, 0.99):
            wanted = int((size >= size.quantile(q, dim=1)).sum())
            assert set(sparsity.draw_counts(q, d, seeds).tolist()) == {wanted}
    drawn = sparsity.draw_counts((0.8, 0.99), 3072, seeds)
    assert 31 <= drawn.min() < 60 and 580 < drawn.max() <= 615 and len(set(drawn.tolist())) > 200


@pytest.mark.parametrize(
    ("eps", "low", "high"), [(10.0, 5, 20), (12.0, 6, 24), (2.0, 1, 4), (0.3, 1, 1), (3.0, 2, 6), (40.0, 20, 64)]
)
def test_msd_moves_as_many_entries_as_its_radius_spends(eps: float, low: int, high: int) -> None:
    """Half to twice the radius, which is the published 5 to 20 at 10; at least one, and no more than there are."""
    assert sparsity.range_for_radius(eps, 64) == (low, high)
    model, x = Linear(SHAPE), torch.full((300, *SHAPE), 0.5)
    y = torch.zeros(300, dtype=torch.int64)
    model.weight.data = torch.randn(model.weight.shape, generator=torch.Generator().manual_seed(0))
    told = mrt.MSD((mrt.L2(90.0), mrt.L1(eps)), steps=1, step_size=(1e-9, 0.1), keep=(low, high))
    moved = told(model, x, y, rng=torch.arange(300))
    assert torch.equal(dataclasses.replace(told, keep=None)(model, x, y, rng=torch.arange(300)), moved)
    counts = (moved != x).flatten(1).sum(1)
    assert set(counts.tolist()) == set(range(low, high + 1))
    # Of two l1 balls the larger counts.
    two = mrt.MSD((mrt.L1(eps / 8), mrt.L1(eps)), steps=1, step_size=(1e-9, 0.1))
    assert torch.equal(two(model, x, y, rng=torch.arange(300)), moved)


def test_msd_moves_as_many_entries_as_each_examples_own_radius_spends() -> None:
    """To the bit what an attack at that one radius does, over several steps."""
    model, x = Linear(SHAPE), torch.full((30, *SHAPE), 0.5)
    y, seeds = torch.zeros(30, dtype=torch.int64), torch.arange(30)
    model.weight.data = torch.randn(model.weight.shape, generator=torch.Generator().manual_seed(0))
    radii = torch.tensor([3.0, 10.0, 40.0]).repeat(10)
    views = cast(Any, (mrt.L2(90.0).scaled(torch.ones(30)), mrt.L1(0.5).scaled(radii), mrt.L1(1.0).scaled(radii)))
    found = mrt.MSD(views, steps=3, step_size=(1e-9, 1e-9, 0.1))(model, x, y, rng=seeds)
    for eps in (3.0, 10.0, 40.0):
        balls = (mrt.L2(90.0), mrt.L1(eps / 2), mrt.L1(eps))
        alone = mrt.MSD(balls, steps=3, step_size=(1e-9, 1e-9, 0.1))(model, x, y, rng=seeds)
        assert torch.equal(found[radii == eps], alone[radii == eps])


def test_slide_draws_anew_at_every_step_and_example() -> None:
    model, x = Linear(SHAPE), torch.full((40, *SHAPE), 0.5)
    y = torch.zeros(40, dtype=torch.int64)
    one, two = (
        mrt.SLIDE(mrt.L1(50.0), steps=t, step_size=0.1, keep=(1, 30))(model, x, y, rng=torch.arange(40)) - x
        for t in (1, 2)
    )
    first = (one != 0).flatten(1).sum(1)
    assert len(set(first.tolist())) > 10
    second = ((two - one).abs() > 1e-7).flatten(1).sum(1)
    assert (second != first).any()


def test_mim_sums_normalised_gradients() -> None:
    model, x, y, seeds = start()
    momentum, delta, path = torch.zeros_like(x), torch.zeros_like(x), [x]
    for _ in range(5):
        grad, _ = ce_grad(model, LINF.apply(x, delta), y)
        momentum = 0.9 * momentum + grad / grad.flatten(1).abs().mean(1).view(-1, 1, 1, 1)
        delta = LINF.project(delta + 0.05 * momentum.sign(), x)
        path.append(LINF.apply(x, delta))
    found = mrt.MIM(LINF, steps=5, step_size=0.05, decay=0.9, best="loss")(model, x, y, rng=seeds)
    torch.testing.assert_close(found, best_of(path, model, y), atol=1e-5, rtol=0)


def test_msd_moves_to_the_worst_proposal_per_example() -> None:
    model, x, y, seeds = start(n=9)
    sizes, delta, path, winners = (0.04, 0.12, 0.4), torch.zeros_like(x), [x], set()
    balls: tuple[Ball, ...] = UNION
    for _ in range(5):
        grad, _ = ce_grad(model, (x + delta).clamp(0, 1), y)
        proposals = [
            b.project(delta + s * b.steepest(grad, delta, x, torch.full((9,), 6)), x)
            for b, s in zip(balls, sizes, strict=True)
        ]
        losses = torch.stack(
            [nn.functional.cross_entropy(model((x + p).clamp(0, 1)), y, reduction="none") for p in proposals]
        )
        winners |= set(losses.argmax(0).tolist())
        delta = torch.stack(proposals)[losses.argmax(0), torch.arange(9)]
        path.append((x + delta).clamp(0, 1))
    assert len(winners) == 3  # every ball wins somewhere, or the test shows nothing
    found = mrt.MSD(UNION, steps=5, step_size=sizes, keep=6)(model, x, y, rng=seeds)
    torch.testing.assert_close(found, best_of(path, model, y), atol=1e-5, rtol=0)


def test_cw_is_adam_on_the_margin() -> None:
    model, x, y, seeds = start()
    free = torch.zeros_like(x).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.03)
    path = [x]
    for _ in range(6):
        optimizer.zero_grad()
        z = model(x + free)
        own = z.gather(1, y[:, None])[:, 0]
        (own - z.scatter(1, y[:, None], -torch.inf).amax(1)).sum().backward()
        optimizer.step()
        with torch.no_grad():
            free.copy_(LINF.project(free, x))
        path.append(LINF.apply(x, free.detach()))
    margins = []
    for point in path:
        z = model(point)
        margins.append(z.scatter(1, y[:, None], -torch.inf).amax(1) - z.gather(1, y[:, None])[:, 0])
    expected = torch.stack(path)[torch.stack(margins).argmax(0), torch.arange(len(y))]
    found = mrt.CWLinf(LINF, steps=6, step_size=0.03, best="loss")(model, x, y, rng=seeds)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def recorder(model: Model) -> tuple[Model, list[Tensor]]:
    """The model, and the inputs that it is given from now on."""
    seen: list[Tensor] = []

    def recording(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return model(z)

    return recording, seen


def naive_apgd(ball: Ball, model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """One example, one branch at a time: APGD for linf and l2 from x itself."""
    size, period, since, rises, halved = 2 * ball.eps, max(int(0.22 * steps), 1), 0, 0, True
    here = previous = top = x
    grad, loss = ce_grad(model, x, y)
    top_grad, top_loss, top_then, path = grad, loss, loss, [x]
    for step in range(steps):
        ahead = ball.apply(x, ball.project(here + size * ball.steepest(grad, here - x, x) - x, x))
        share = 0.75 if step else 1.0
        new = ball.apply(x, ball.project(here + share * (ahead - here) + (1 - share) * (here - previous) - x, x))
        previous, here = here, new
        grad, new_loss = ce_grad(model, here, y)
        rises, since = rises + int(new_loss > loss), since + 1
        loss = new_loss
        path.append(here)
        if loss > top_loss:
            top, top_grad, top_loss = here, grad, loss
        if since == period:
            if rises <= 0.75 * period or (not halved and top_loss <= top_then):
                size, halved, here, grad, loss = size / 2, True, top, top_grad, top_loss
            else:
                halved = False
            top_then, since, rises = top_loss, 0, 0
            period = max(period - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return best_of(path, model, y)


@pytest.mark.parametrize("ball", [LINF, L2], ids=lambda b: b.name)
def test_apgd_is_the_published_schedule(ball: Ball) -> None:
    model, x, y, seeds = start(n=8)
    found = mrt.APGD(ball, steps=60, random_start=False, best="loss")(model, x, y, rng=seeds)
    for i in range(8):
        alone = naive_apgd(ball, model, x[i : i + 1], y[i : i + 1], 60)
        torch.testing.assert_close(found[i : i + 1], alone, atol=2e-4, rtol=0)


def naive_stage(
    model: nn.Module, x: Tensor, y: Tensor, start: Tensor, radius: float, steps: int, share: Any, length: Any = None
) -> Any:
    """The part of an l1-APGD that stays in one ball, one branch at a time: its points, that of largest loss, and how
    often an example went back to it."""
    ball, period = mrt.L1(L1.eps * radius), max(int(0.04 * steps), 1)
    first = ball.eps if length is None else length * radius
    size, here = torch.full((8,), first), start
    support = (
        torch.full((8,), 64) if share else torch.tensor([int((a != b).sum()) for a, b in zip(start, x, strict=True)])
    )
    keep = torch.tensor([math.ceil(share * 64) if share else max(math.ceil(s / 1.5), 1) for s in support.tolist()])
    grad, loss = ce_grad(model, here, y)
    top, top_grad, top_loss, path, returns = here.clone(), grad.clone(), loss.clone(), [here], 0
    for step in range(steps):
        here = ball.mover(x)(here, grad, size, keep)
        grad, loss = ce_grad(model, here, y)
        path.append(here)
        for i in range(8):
            if loss[i] > top_loss[i]:
                top[i], top_grad[i], top_loss[i] = here[i], grad[i], loss[i]
        if (step + 1) % period == 0:
            here, grad = here.clone(), grad.clone()
            for i in range(8):
                now = int((top[i] != x[i]).sum())
                if now < 0.95 * support[i]:
                    size[i], here[i], grad[i], returns = first, top[i], top_grad[i], returns + 1
                else:
                    size[i] = max(float(size[i]) / 1.5, 0.1 * first)
                keep[i], support[i] = max(math.ceil(now / 1.5), 1), now
    return path, top, returns


@pytest.mark.parametrize(("share", "length"), [(0.2, None), (0.05, None), (0.2, 1.3)])
@pytest.mark.parametrize(("radii", "steps"), [((1,), (50,)), ((3, 2, 1), (15, 15, 20)), ((2, 1), (23, 27))], ids=str)
def test_apgd_l1_runs_through_its_radii(
    radii: tuple[float, ...], steps: tuple[int, ...], share: float, length: float | None
) -> None:
    """And in each ball it follows the sparsity of its best point. Only what lies in the last ball counts."""
    model, x, y, _ = start(n=8)
    here, path, all_returns = x, [], 0
    for radius, count in zip(radii, steps, strict=True):
        ball = mrt.L1(L1.eps * radius)
        first = share if radius == radii[0] else None
        here = ball.apply(x, ball.project(here - x, x))
        path, here, returns = naive_stage(model, x, y, here, radius, count, first, length)
        all_returns += returns
    assert all_returns
    found = mrt.APGD(L1, steps=50, random_start=False, best="loss", share=share, radii=radii, step_size=length)(
        model, x, y
    )
    torch.testing.assert_close(found, best_of(path, model, y), atol=2e-4, rtol=0)


def test_apgd_l1_stays_with_a_start_that_it_is_given() -> None:
    """In the ball itself: a point that fools the model already is not left for one outside that does not."""
    model, x, y, _ = start(n=24)
    seeds, y = torch.arange(24), model(x).argmax(1)
    begin = mrt.APGD(L1, steps=60, restarts=4)(model, x, y, rng=seeds)
    loss = nn.functional.cross_entropy(model(begin), y, reduction="none")
    found = mrt.APGD(L1, steps=10, best="loss")(model, x, y, rng=seeds, start=begin)
    assert (nn.functional.cross_entropy(model(found), y, reduction="none") >= loss - 1e-5).all()


def test_apgd_l1_shrinks_its_radius_unless_told_otherwise() -> None:
    """As repr and file say; and the threat bounds what comes out, also where a wide stage broke the example."""
    assert mrt.APGD(L1).radii == mrt.APGD(L1, steps=10).radii == (3.0, 2.0, 1.0)
    assert mrt.APGD(L1, steps=9).radii == (1.0,) and mrt.APGD(LINF).radii is mrt.APGD(L2).radii is None
    assert "radii=(3.0, 2.0, 1.0)" in repr(mrt.APGD(L1)) and "radii=(1.0,)" in repr(mrt.APGD(L1, radii=(1,)))
    model, x, y, seeds = start(n=8)
    asked, seen = recorder(model)
    found = mrt.APGD(L1, steps=10, restarts=2)(asked, x, y, rng=seeds)
    assert L1.contains(x, found).all() and any(not L1.contains(x, z).all() for z in seen if len(z) == 8)


@pytest.mark.parametrize(("steps", "stages"), [(100, [30, 30, 40]), (10, [3, 3, 4]), (11, [4, 4, 3]), (5, [2, 2, 1])])
def test_apgds_stages_are_autoattacks(steps: int, stages: list[int]) -> None:
    theirs = [math.ceil(0.3 * steps)] * 2
    assert apgd.steps_of_stages(steps, 3) == stages == [*theirs, steps - sum(theirs)]
    assert apgd.steps_of_stages(steps, 1) == [steps]


def test_apgd_l1_counts_entries_as_the_authors_round_them() -> None:
    """A fifth of 3072 entries is 615 of them."""
    g = torch.Generator().manual_seed(0)
    x, grad = torch.full((1, 3, 32, 32), 0.5), torch.randn(1, 3, 32, 32, generator=g)

    def linear(z: Tensor) -> Tensor:
        score = (z * grad).flatten(1).sum(1)
        return torch.stack([score * 0, score], 1)

    asked, seen = recorder(linear)
    mrt.APGD(mrt.L1(12), steps=1, random_start=False)(asked, x, torch.zeros(1, dtype=torch.int64))
    assert int((seen[-1] != x).sum()) == 615


def test_targeted_apgd_visits_the_most_likely_classes_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, seeds = start(n=5)
    y = model(x).argmax(1)
    tiny = mrt.Linf(1e-5)  # nothing breaks, so every target is tried on every example
    order = model(x).scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True)
    aims: list[Tensor] = []

    def spy(loss: Loss, labels: Tensor, target: Tensor, any_wrong: bool) -> Goal:
        aims.append(target)
        return Goal(loss, labels, target, any_wrong)

    monkeypatch.setattr("mrt.attacks.apgd.Goal", spy)
    mrt.APGD(tiny, steps=2, loss="dlr", targets=3, restarts=2)(model, x, y, rng=seeds)
    monkeypatch.undo()
    assert torch.equal(torch.stack(aims), order[:, [0, 1, 2, 0, 1, 2]].T)
    found = mrt.APGD(mrt.Linf(0.3), steps=10, loss="dlr", targets=4)(model, x, y)
    assert (model(found).argmax(1) != y).any()


def test_greedy_l0_takes_the_largest_gain_and_never_twice() -> None:
    model, x, _, _ = start(n=6)
    y, count = model(x).argmax(1), 3
    expected = x.clone()
    for i in range(6):
        path, touched = [x[i : i + 1]], torch.zeros(64, dtype=torch.bool)
        for _ in range(count):
            grad, _ = ce_grad(model, path[-1], y[i : i + 1])
            g, now = grad.flatten(), path[-1].flatten().clone()
            gain = torch.where(g > 0, g * (1 - now), -g * now).masked_fill(touched, -1)
            j = int(gain.argmax())
            now[j], touched[j] = float(g[j] > 0), True
            path.append(now.view(1, *SHAPE))
        broken = [z for z in path if model(z).argmax(1) != y[i]]
        expected[i] = best_of(broken or path, model, y[i : i + 1])[0]
    found = mrt.GreedyL0(mrt.L0(count))(model, x, y)
    assert torch.equal(found, expected) and not torch.equal(found, x)
    view = mrt.GreedyL0(mrt.L0(4).scaled(torch.tensor([0.5, 1.0, 0.0, 1.0, 1.0, 1.0])))
    assert ((view(model, x, y) != x).flatten(1).sum(1) <= torch.tensor([2, 4, 0, 4, 4, 4])).all()


def test_greedy_l0_does_not_take_a_move_back() -> None:
    """Past the peak at 0.6 the first pixel's slope turns round, but its one move is spent."""

    def model(z: Tensor) -> Tensor:
        first, second = z.flatten(1).unbind(1)
        return torch.stack([torch.zeros_like(first), 0.1 * second - 10 * (first - 0.6).square()], 1)

    recording, seen = recorder(model)
    mrt.GreedyL0(mrt.L0(2))(recording, torch.full((1, 1, 1, 2), 0.5), torch.zeros(1, dtype=torch.int64))
    assert [z.flatten().tolist() for z in seen] == [[0.5, 0.5], [1.0, 0.5], [1.0, 1.0]]


def test_rt_searches_return_the_worst_candidate() -> None:
    net, x = small_net().eval(), images(SHAPE, 12, 1)
    y, rt = net(x).argmax(1), mrt.RotationTranslation(10, 0.4)
    candidates = [rt.apply(x, d) for d in rt.grid(x, (3, 3, 5))]
    losses = torch.stack([nn.functional.cross_entropy(net(c), y, reduction="none") for c in candidates])
    broken = torch.stack([net(c).argmax(1) != y for c in candidates])
    found = mrt.RTGrid(rt, grid=(3, 3, 5))(net, x, y)
    assert torch.equal(net(found).argmax(1) != y, broken.any(0))
    standing = ~broken.any(0)
    assert standing.any() and broken.any()
    loss = nn.functional.cross_entropy(net(found), y, reduction="none")
    torch.testing.assert_close(loss[standing], losses.amax(0)[standing])
    more = [mrt.RTWorstOf(rt, k=k)(net, x, y, rng=torch.arange(12)) for k in (1, 5, 25)]
    grown = [nn.functional.cross_entropy(net(z), y, reduction="none") + 100 * (net(z).argmax(1) != y) for z in more]
    assert (grown[1] >= grown[0] - 1e-5).all() and (grown[2] >= grown[1] - 1e-5).all() and (grown[2] > grown[0]).any()
    aimed = mrt.RTWorstOf(rt, k=25)(net, x, y, target=(y + 1) % 5, rng=torch.arange(12))
    toward = nn.functional.cross_entropy(net(aimed), (y + 1) % 5, reduction="none")
    assert (toward <= nn.functional.cross_entropy(net(more[2]), (y + 1) % 5, reduction="none") + 1e-5).all()


def test_an_affine_attack_at_the_ends_is_the_single_attack() -> None:
    model, x, y, seeds = start()
    both: tuple[Ball, ...] = (LINF, L2)
    for j, ball in enumerate(both):
        weights = (1.0, 0.0) if j == 0 else (0.0, 1.0)
        attack = mrt.AffineAttack(mrt.Affine((LINF, L2)), steps=6, restarts=1, weights=weights, random_start=False)
        single = mrt.PGD(ball, steps=6, random_start=False)(model, x, y, rng=seeds)
        torch.testing.assert_close(attack(model, x, y, rng=seeds), single, atol=1e-5, rtol=0)


def test_an_affine_attack_spends_both_budgets() -> None:
    model, x = Linear(SHAPE), torch.full((3, *SHAPE), 0.5)
    y = torch.zeros(3, dtype=torch.int64)
    attack = mrt.AffineAttack(mrt.Affine((LINF, L2)), steps=20, restarts=1, weights=(0.5, 0.5), random_start=False)
    gain = ((attack(model, x, y) - x) * model.weight.detach()).flatten(1).sum(1)
    weight = model.weight.detach()
    best = 0.5 * LINF.eps * weight.abs().sum() + 0.5 * L2.eps * weight.norm()
    torch.testing.assert_close(gain, best.expand(3), rtol=5e-3, atol=0)


def test_an_affine_attack_spends_a_large_l1_share_in_few_steps() -> None:
    """On a linear model: 0.1 everywhere, and the share of 12 on the entries of largest weight, which have 0.4 left."""
    model, x = Linear(SHAPE), torch.full((3, *SHAPE), 0.5)
    attack = mrt.AffineAttack(mrt.Affine((LINF, mrt.L1(24.0))), steps=12, restarts=1, weights=(0.5, 0.5))
    found = attack(model, x, torch.zeros(3, dtype=torch.int64), rng=torch.arange(3))
    weight = model.weight.detach().abs().flatten()
    best = 0.1 * weight.sum() + 0.4 * weight.topk(30).values.sum()
    gain = ((found - x) * model.weight.detach()).flatten(1).sum(1)
    assert (gain >= 0.95 * best).all() and (gain <= best * (1 + 1e-5)).all()


def test_an_affine_attack_starts_at_random_in_linf_alone() -> None:
    model, x, y, seeds = start()
    for parts, random in (((L2, L1), False), ((LINF, L1), True)):
        attack = mrt.AffineAttack(mrt.Affine(parts), steps=1, restarts=1, weights=(0.5, 0.5))
        assert torch.equal(attack(model, x, y, rng=seeds), attack(model, x, y, rng=seeds + 1)) != random
        # Later runs differ from the first, although the shares are fixed. Nothing breaks, so that both see all.
        asked, seen = recorder(model)
        again = dataclasses.replace(attack, threat=attack.threat.scaled(1e-4), restarts=2)
        again(asked, x, model(x).argmax(1), rng=seeds)
        assert len(seen) == 6 and not torch.equal(seen[3], seen[0])


def test_an_affine_attack_searches_through_the_motion() -> None:
    """One motion, one ball: PGD on the network that sees the moved image, at the ball's share of its radius."""
    model, x, y, seeds = start()
    rt = mrt.RotationTranslation(20, 2)
    attack = mrt.AffineAttack(mrt.Affine((rt, LINF)), steps=5, k=1, restarts=1, weights=(0.5, 0.5), random_start=False)
    delta = attack.search(model, x, y, rng=seeds)
    weights, (motion, change) = attack.threat.unpack(delta, x)
    assert (weights == 0.5).all() and (motion[:, 2].abs() <= 10).all() and motion.any()
    through = mrt.PGD(mrt.Linf(0.1), steps=5, random_start=False)
    expected = through(lambda z: model(rt.apply(z, motion)), x, y)
    torch.testing.assert_close((x + change).clamp(0, 1), expected, atol=1e-5, rtol=0)


def test_an_affine_attack_runs_k_motions_for_every_restart() -> None:
    model, x, _, seeds = start()
    y, calls = model(x).argmax(1), []

    def counting(z: Tensor) -> Tensor:
        calls.append(len(z))
        answer: Tensor = model(z)
        return answer

    still = mrt.Affine((mrt.RotationTranslation(1e-4, 1e-5), mrt.Linf(1e-6)))
    mrt.AffineAttack(still, steps=1, k=3, restarts=2, ends=False)(counting, x, y, rng=seeds)
    assert calls == [6] * 6 * 2  # two points a run
    calls.clear()
    mrt.AffineAttack(still, steps=1, k=3, restarts=2)(counting, x, y, rng=seeds)
    assert calls == [6] * (775 + 2 + 6 * 2)  # RTGrid's motions, then the ball alone


@pytest.mark.parametrize("parts", [(LINF, L1), (L1, L2), (L2, LINF), (mrt.RotationTranslation(20, 2), L1)], ids=str)
def test_an_affine_set_leaves_no_more_than_its_parts_alone(parts: tuple[Any, ...]) -> None:
    """The first runs give all to one member: APGD for the steps of all balls, or RTGrid's motions."""
    model, x, _, seeds = start(n=24)
    y = model(x).argmax(1)
    threat = mrt.Affine(parts).scaled(0.25)
    attack = mrt.AffineAttack(threat, steps=6, restarts=1, k=1)
    delta = attack.search(model, x, y, rng=seeds)
    x_adv = threat.apply(x, delta)
    assert threat.contains(x, x_adv, delta).all()
    left = model(x_adv).argmax(1) == y
    steps = 6 * sum(isinstance(part, Ball) for part in parts)
    for number, part in enumerate(threat.threats):
        if isinstance(part, Ball):
            with open_task(part, LOSSES["ce"], (model, x, y, None, seeds, None)) as task:
                stands = ~mrt.APGD(part, steps=steps).run(task.with_fresh_noise(number)).broken
        else:
            stands = model(mrt.RTGrid(cast(Any, part))(model, x, y)).argmax(1) == y
        assert not (left & ~stands).any() and not stands.all()
    weights, _ = threat.unpack(delta, x)
    assert (weights[~left].sum(1) <= 1 + 1e-6).all() and ((weights == 1).any(1) & ~left).any()


def test_targeted_apgd_takes_any_wrong_class() -> None:
    """A third class peaks half way to the target: a run that passes it has succeeded, wherever its loss ends."""

    def bump(z: Tensor) -> Tensor:
        t = z.flatten(1)[:, 0]
        third = 4 - 400 * (t - 0.6).square()
        return torch.stack([torch.full_like(t, 2.0), 1 + 0.2 * t, third, torch.full_like(t, -5.0)], 1)

    x, y = torch.linspace(0.4, 0.5, 20).view(-1, 1, 1, 1), torch.zeros(20, dtype=torch.int64)
    for loss in ("ce", "margin", "dlr"):
        recording, seen = recorder(bump)
        attack = mrt.APGD(mrt.Linf(0.3), steps=20, loss=loss, targets=1)
        broken = bump(attack(recording, x, y, rng=torch.arange(20))).argmax(1) != 0
        visited = torch.stack([bump(z).argmax(1) != 0 for z in seen if len(z) == 20]).any(0)
        assert visited.any() and torch.equal(broken, visited)


def test_slides_default_step() -> None:
    """eps / 5, or 2.5 eps / steps where that is more."""
    model, x, y = Linear(SHAPE), torch.full((2, *SHAPE), 0.5), torch.zeros(2, dtype=torch.int64)
    for steps, share in ((1, 1.0), (5, 0.5), (10, 0.25), (40, 0.2)):  # one step of 2.5 eps is projected back to eps
        recording, seen = recorder(model)
        mrt.SLIDE(mrt.L1(0.4), steps=steps, keep=4)(recording, x, y)
        length = (seen[1] - seen[0]).abs().flatten(1).sum(1)
        torch.testing.assert_close(length, torch.full((2,), 0.4 * share), atol=1e-5, rtol=0)


def test_msd_keeps_its_start_where_every_step_goes_too_far() -> None:
    class Peak(nn.Module):
        """The loss of class 0 is largest where the pixels sum to 8.01, next to the image, and falls on both sides."""

        def forward(self, x: Tensor) -> Tensor:
            score = -5 * (x.flatten(1).sum(1) - 8.01).abs()
            return torch.stack([torch.zeros_like(score), score], 1)

    x, y = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)
    attack = mrt.MSD((LINF, L2), steps=1, step_size=(0.2, 0.7))  # a second step would go back to the start
    assert torch.equal(attack(Peak(), x, y, rng=torch.arange(2)), x)


def test_msd_draws_anew_at_every_step() -> None:
    model, x, y, seeds = start()
    wide = mrt.L1(50.0)
    attack = mrt.MSD((wide,), steps=6, step_size=(0.3,), keep=(1, 40))
    recording, seen = recorder(model)
    attack(recording, x, y, rng=seeds)
    points = seen[::2]  # a gradient and one proposal each step
    moved = torch.stack([((b - a).abs() > 1e-7).flatten(1).sum(1) for a, b in zip(points, points[1:], strict=False)])
    assert (moved.amax(0) - moved.amin(0) >= 5).all()


def test_worst_of_and_one_at_random() -> None:
    model, x, y, seeds = start(n=40)
    attacks = (mrt.PGD(LINF, steps=3), mrt.PGD(L2, steps=3))
    worst = mrt.WorstOf(attacks)(model, x, y, rng=seeds)
    ce = nn.CrossEntropyLoss(reduction="none")

    def score(z: Tensor) -> Tensor:
        total: Tensor = ce(model(z), y) + 1e3 * (model(z).argmax(1) != y)
        return total

    singles = [a(model, x, y, rng=noise.fold(seeds, j)) for j, a in enumerate(attacks)]
    torch.testing.assert_close(score(worst), torch.stack([score(s) for s in singles]).amax(0))
    target, begin = (y + 1) % 5, images(SHAPE, 40, 8)
    aimed = mrt.WorstOf(attacks)(model, x, y, target=target, rng=seeds, start=begin)
    parts = [a(model, x, y, target=target, rng=noise.fold(seeds, j), start=begin) for j, a in enumerate(attacks)]
    scores = torch.stack([1e3 * (model(p).argmax(1) == target) - ce(model(p), target) for p in parts])
    assert torch.equal(aimed, torch.stack(parts)[scores.argmax(0), torch.arange(40)])
    drawn = mrt.OneAtRandom(attacks)(model, x, y, rng=seeds)
    results = [a(model, x, y, rng=noise.fold(seeds, 1)) for a in attacks]
    picks = torch.stack([(drawn == r).flatten(1).all(1) for r in results])
    assert picks.any(0).all() and 10 <= int(picks[0].sum()) <= 30


def test_the_reference_presets_carry_the_published_quirks() -> None:
    assert mrt.SLIDE.reference("mnist").threat == mrt.L1(10.0) and mrt.SLIDE.reference("cifar10").step_size == 2.0
    assert mrt.MSD.reference("cifar10").threats == (mrt.Linf(0.03), mrt.L2(0.5), mrt.L1(12.0))
    over = project_l1_one_too_many(torch.tensor([[12.0, 0.5]]).view(1, 1, 1, 2), 10.0)
    torch.testing.assert_close(float(over.abs().sum()), 10.75)  # 7.5% outside
    out = project_l1_one_too_many(torch.tensor([[6.0, 5.0]]).view(1, 1, 1, 2), 10.0)
    assert out.flatten().tolist() == [10.0, 9.0]  # moved outward
    pair = torch.tensor([[1.0, 0, 0], [20.0, 0, 0]]).view(2, 1, 1, 3)
    assert project_l1_whole_batch(pair, 10.0, rescale=True).flatten(1).abs().sum(1).tolist() == [
        10.0,
        10.0,
    ]  # the inner one grew
    model, x = RowWise((1, 28, 28), classes=10), torch.rand(3, 1, 28, 28) * 0.5 + 0.2
    x[:, :, :10] = 0
    y = torch.arange(3)
    attack = dataclasses.replace(mrt.MSD.reference("mnist"), steps=3)
    assert attack.step_size == (0.01, 0.1, 0.8) and attack.keep == (5, 20)
    cifar = mrt.MSD.reference("cifar10")
    assert (cifar.step_size, cifar.steps, cifar.bn) == ((0.003, 0.05, 1.0), 50, "batch")
    frozen = attack._l1(torch.zeros_like(x), torch.ones_like(x), x, 10)
    assert not frozen[:, :, :10].any() and frozen.any()  # black pixels never move
    near = torch.full((1, 1, 4, 4), 0.91)  # within 1/k of the bound, but not within 0.8/k
    assert attack._l1(torch.zeros_like(near), torch.ones_like(near), near, 10).any()
    ce = nn.CrossEntropyLoss(reduction="none")
    assert (ce(model(attack(model, x, y)), y) > ce(model(x), y)).all()
    grad = torch.randn_like(x)
    for move in (attack._linf, attack._l2, lambda d, g, z: attack._l1(d, g, z, 10)):
        assert ((move(torch.zeros_like(x), grad, x) * grad).flatten(1).sum(1) > 0).all()
    slide = dataclasses.replace(mrt.SLIDE.reference("mnist"), steps=20, restarts=1)
    assert (mrt.SLIDE.reference("mnist").step_size, mrt.SLIDE.reference("mnist").restarts) == (0.5, 40)
    assert (ce(model(slide(model, x, y)), y) > ce(model(x), y)).all()
    dark = dataclasses.replace(mrt.SLIDE.reference("cifar10"), steps=3, restarts=2)
    assert math.isclose(dark.threat.eps, 2000 / 255) and dark.dark_start
    small = RowWise((3, 8, 8), classes=10)
    assert dark(small, images((3, 8, 8), 3, 0), y).isfinite().all()
