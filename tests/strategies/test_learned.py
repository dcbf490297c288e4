"""mrt/strategies/mng_ac.py, l2l_da.py, pgn.py, ant.py, learner.py: MNG-AC, L2L-DA, PGN and ANT, each against its
algorithm box."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

import mrt
from mrt.generators import L2LGenerator, MNGNoise, PGNGenerator
from mrt.strategies.adversaries import adversary
from mrt.strategies.mng_ac import consistency
from mrt.strategies.sat import draw_index
from mrt.threats import noise
from mrt.threats.differentiable import onto
from tests.strategies.support import a_step, batch
from tests.support import UNION, small_net

LINF, L2, L1 = UNION


def smooth(norm: bool = False) -> nn.Module:
    torch.manual_seed(2)
    middle: list[nn.Module] = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.Softplus(), nn.Flatten(), nn.Linear(144, 5)).train()


def mng(model: nn.Module, x: Tensor, y: Tensor, double: bool = False, **settings: Any) -> Any:
    """MNG-AC's state, on l2 unless told otherwise, with a generator that starts small, so that nothing saturates."""
    torch.manual_seed(0)
    state = mrt.MNGAC(**{"threats": (L2,), "steps": 2, "width": 6, "look_ahead": 5.0, **settings}).start(model, x, y)
    return state.double() if double else state


def looked_ahead(state: Any, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, ball: Any, step: Any) -> Tensor:
    """The loss that the generator descends, by copies of everything: a step of plain SGD taken in place."""
    s = state.settings
    x_aug = state.augmented(model, x, y, ball, noise.fold(step.seeds, 1000)).detach()
    copied = copy.deepcopy(model)
    optimizer = torch.optim.SGD(copied.parameters(), lr=s.look_ahead * step.lr)
    optimizer.zero_grad()
    cross_entropy(copied(x_aug), y).backward()
    optimizer.step()
    return cross_entropy(copied(x_adv), y).detach()


@pytest.mark.parametrize("ball", [L2, mrt.Linf(0.9), mrt.L1(30.0)], ids=lambda b: b.name)
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batchnorm"])
def test_the_look_ahead_gradient_is_the_finite_difference(ball: Any, norm: bool) -> None:
    """In float64, along random directions of phi, against a copied classifier that really takes the step."""
    model = smooth(norm).double()
    x, y = (batch(6)[0] * 0.6 + 0.2).double(), batch(6)[1]
    state, step = mng(model, x, y, double=True), a_step(x)
    if not isinstance(ball, mrt.L2):
        with torch.no_grad():  # noise that mostly lies inside
            for p in state.generator.parameters():
                p *= 0.3
    x_adv = (x + 0.05 * noise.normal(step.seeds, 1, 8, 8).double()).clamp(0, 1)
    grads = state.meta_gradient(model, x, x_adv, y, ball, step)
    weights = list(state.generator.parameters())
    g, size = torch.Generator().manual_seed(1), 1e-7
    close = 0
    for _ in range(5):
        ways = [torch.randn(p.shape, generator=g).double() for p in weights]
        ends = []
        for sign in (1, -1):
            moved = copy.deepcopy(state)
            with torch.no_grad():
                for p, way in zip(moved.generator.parameters(), ways, strict=True):
                    p += sign * size * way
            ends.append(float(looked_ahead(moved, model, x, x_adv, y, ball, step)))
        slope = float(sum((a * b).sum() for a, b in zip(grads, ways, strict=True)))
        close += abs((ends[0] - ends[1]) / (2 * size) - slope) <= 1e-3 * abs(slope) + 1e-8
    assert any(bool(grad.abs().max() > 1e-8) for grad in grads)
    assert close >= 4  # one direction may cross a kink


def test_the_look_ahead_gradient_is_the_reference() -> None:
    """Against parameters put into a deep copy as graph tensors, step by step as the published code does it."""
    model = smooth(norm=True).double()
    x, y = batch(6)[0].double(), batch(6)[1]
    state, step = mng(model, x, y, double=True), a_step(x)
    x_adv = (x + 0.1).clamp(0, 1)
    mine = state.meta_gradient(model, x, x_adv, y, L2, step)

    def run(weights: dict[str, Tensor], images: Tensor) -> Tensor:
        """The network written out; train-mode BatchNorm by hand."""
        h = nn.functional.conv2d(images, weights["0.weight"], weights["0.bias"])
        mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), keepdim=True, unbiased=False)
        h = (h - mean) / (var + 1e-5).sqrt()
        h = h * weights["1.weight"][:, None, None] + weights["1.bias"][:, None, None]
        h = nn.functional.softplus(h).flatten(1)
        return nn.functional.linear(h, weights["4.weight"], weights["4.bias"])

    theta = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    z = noise.normal(noise.fold(step.seeds, 1000), 1, 10, 10).double()
    x_aug = onto(L2, x, state.generator(z, x))
    slopes = torch.autograd.grad(cross_entropy(run(theta, x_aug), y), list(theta.values()), create_graph=True)
    ahead = {n: p - 5.0 * 0.1 * g for (n, p), g in zip(theta.items(), slopes, strict=True)}
    outer = cross_entropy(run(ahead, x_adv), y)
    theirs = torch.autograd.grad(outer, list(state.generator.parameters()))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)
    assert any(bool(b.abs().max() > 1e-6) for b in theirs)


def test_the_generators_step_leaves_the_classifier_alone() -> None:
    """Weights, BatchNorm buffers, .grad and optimizer, to the bit."""
    model = small_net().train()
    x, y = batch()
    state = mng(model, x, y)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    cross_entropy(model(x), y).backward()
    optimizer.step()
    grads: list[Any] = [p.grad for p in model.parameters()]
    held = copy.deepcopy((model.state_dict(), grads, optimizer.state_dict()))
    before = copy.deepcopy(state.generator.state_dict())
    state.learn(state.meta_gradient(model, x, x.flip(0), y, L2, a_step(x)), a_step(x))
    assert all(torch.equal(v, held[0][n]) for n, v in model.state_dict().items())
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(g, h) for g, h in zip(grads, held[1], strict=True))
    for a, b in zip(optimizer.state_dict()["state"].values(), held[2]["state"].values(), strict=True):
        assert torch.equal(a["momentum_buffer"], b["momentum_buffer"])
    assert any(not torch.equal(v, before[n]) for n, v in state.generator.state_dict().items())
    assert all(p.requires_grad for p in model.parameters()) and model.training


@given(st.integers(0, 100))
def test_consistency_is_the_jensen_shannon_divergence(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = [torch.randn(4, 5, generator=g).double() * 3 for _ in range(3)]
    p = [softmax(z, 1).numpy() for z in logits]
    total = 0.0
    for i in range(4):
        for one in p:
            for k in range(5):
                middle = (p[0][i, k] + p[1][i, k] + p[2][i, k]) / 3
                total += one[i, k] * math.log(one[i, k] / middle) / 12
    assert float(consistency(*logits)) == pytest.approx(total, rel=1e-4, abs=1e-7)
    assert float(consistency(logits[0], logits[0], logits[0])) == pytest.approx(0, abs=1e-7)
    apart = [nn.functional.one_hot(torch.tensor([k]), 5) * 1e3 for k in range(3)]
    assert float(consistency(*(z.double() for z in apart))) == pytest.approx(math.log(3), rel=1e-5)


def test_an_iteration_of_mng_ac_is_the_algorithm() -> None:
    """The nine steps by hand, two iterations long, with three classifier passes in the order clean, augmented,
    adversarial."""
    model, (x, y) = smooth(norm=True), batch()
    strategy = mrt.MNGAC(
        UNION, steps=2, beta=3.0, width=6, generator_optimizer="sgd", generator_rate=2.0, look_ahead=5.0
    )
    torch.manual_seed(0)
    state = strategy.start(model, x, y)
    mine, theirs = copy.deepcopy(model), copy.deepcopy(model)
    twin, velocity = copy.deepcopy(state.generator), list[Tensor]()
    passes: list[Tensor] = []
    mine.register_forward_pre_hook(lambda m, g: passes.append(g[0].detach().clone()))
    for index in range(2):
        step = a_step(x, index)
        loss = state(mine, x, y, step)
        number = draw_index(torch.ones(3), step)
        x_adv = adversary(UNION[number], 2)(theirs, x, y, rng=noise.fold(step.seeds, number))
        helper = copy.deepcopy(state)
        helper.generator.load_state_dict(twin.state_dict())
        found = helper.meta_gradient(theirs, x, x_adv, y, UNION[number], step)
        weights = list(twin.parameters())
        grads = [g + 5e-4 * p.detach() for g, p in zip(found, weights, strict=True)]
        velocity = [0.9 * v + g for v, g in zip(velocity or [torch.zeros(())] * len(grads), grads, strict=True)]
        with torch.no_grad():
            for p, v in zip(weights, velocity, strict=True):
                p.sub_(2.0 * 0.1 * v)
            z = noise.normal(noise.fold(step.seeds, 1001), 1, 10, 10)
            x_aug = onto(UNION[number], x, twin(z, x))
        clean, augmented, adversarial = theirs(x), theirs(x_aug), theirs(x_adv)
        expected = cross_entropy(adversarial, y) + 3.0 * consistency(clean, augmented, adversarial)
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
        slopes = [torch.autograd.grad(v, list(m.parameters())) for v, m in ((loss, mine), (expected, theirs))]
        for a, b in zip(*slopes, strict=True):  # through all three posteriors
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
        for a, b in zip(passes[-3:], (x, x_aug, x_adv), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
        for a, b in zip(state.generator.parameters(), weights, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    for name, value in mine.state_dict().items():  # three passes each, no more
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert int(mine.state_dict()["1.num_batches_tracked"]) == 6


def test_without_consistency_and_generator_it_is_sat() -> None:
    model, (x, y) = smooth(), batch()
    for index in range(6):
        step = a_step(x, index)
        plain = mrt.MNGAC(UNION, steps=2, beta=0.0, noise="plain").start(model, x, y)
        torch.testing.assert_close(plain(model, x, y, step), mrt.SAT(UNION, steps=2)(model, x, y, step))


def test_plain_noise_is_noise_on_the_ball() -> None:
    model, (x, y) = smooth(), batch()
    state = mng(model, x, y, noise="plain")
    before = copy.deepcopy(state.generator.state_dict())
    state(model, x, y, a_step(x))
    assert all(torch.equal(v, before[n]) for n, v in state.generator.state_dict().items())
    seeds = torch.arange(len(x))
    expected = onto(L2, x, noise.normal(seeds, 1, 8, 8))
    assert torch.equal(state.augmented(model, x, y, L2, seeds), expected)
    inside = mng(model, x, y, noise="plain", rescale=False)
    assert float(mrt.L2(0.7).distance(x, inside.augmented(model, x, y, mrt.L2(50.0), seeds)).max()) < 12


def test_motions_have_their_noise_in_l2() -> None:
    rt = mrt.RotationTranslation(20, 2)
    seen = mrt.MNGAC((LINF, L2, L1, rt), steps=2)
    assert [seen.ball(i) for i in range(4)] == [LINF, L2, L1, L2]
    assert mrt.MNGAC((LINF, rt), noise_ball=L1).ball(1) == L1
    assert mrt.MNGAC((mrt.SLIDE(L1), mrt.L0(3), mrt.L2(1.0))).ball(1) == mrt.L2(1.0)
    with pytest.raises(ValueError, match="is no ball that noise can be brought onto"):
        mrt.MNGAC((LINF, rt))


def test_an_iteration_of_l2l_da_is_the_algorithm() -> None:
    """The generator's step is along its objective, clipped; the classifier learns on what was made before it, in one
    batch of three parts."""
    (x, y), model = batch(), smooth(norm=True)
    strategy = mrt.L2LDA(LINF, steps=2, width=4, generator_optimizer="sgd", generator_lr=0.5, warmup=1)
    torch.manual_seed(0)
    state = strategy.start(model, x, y)
    before = copy.deepcopy(state.generator)
    warm = state(model, x, y, a_step(x, 0))
    assert all(torch.equal(a, b) for a, b in zip(state.generator.parameters(), before.parameters(), strict=True))
    torch.testing.assert_close(warm, cross_entropy(copy.deepcopy(model)(x), y))
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda m, g: seen.append(g[0].detach()) if m.training else None)
    step, frozen = a_step(x, 1), copy.deepcopy(model).eval()
    state.generator.eval()  # as a run leaves it
    loss = state(model, x, y, step)
    twin = before.train()
    made = twin.objective(frozen, x, y, step.seeds, LINF)
    grads = torch.autograd.grad(made.descent, list(twin.parameters()))
    length = torch.stack([g.norm() for g in grads]).norm()
    assert length > 0
    for p, q, g in zip(twin.parameters(), state.generator.parameters(), grads, strict=True):
        expected = p - 0.5 * (g / max(float(length), 1.0) + 1e-5 * p)
        torch.testing.assert_close(q, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(seen[0], torch.cat([x, made.x_adv]))
    logits = copy.deepcopy(model)(seen[0])
    torch.testing.assert_close(loss, cross_entropy(logits, y.repeat(3)))
    model.load_state_dict(frozen.state_dict())
    half = mrt.L2LDA(LINF, steps=2, width=4, clean_weight=0.5)
    torch.manual_seed(0)
    value = half.start(model, x, y)(model, x, y, step)
    mixed = 0.5 * cross_entropy(logits[:12], y) + 0.5 * cross_entropy(logits[12:], y.repeat(2))
    torch.testing.assert_close(value, mixed, rtol=1e-3, atol=1e-4)


def test_an_iteration_of_pgn_is_the_algorithm() -> None:
    """The classifier learns on what the generator makes after its step."""
    (x, y), model = batch(), smooth()
    for clean, adversarial in ((1.0, 1.0), (0.0, 2.0)):
        strategy = mrt.PGN(2.0, width=4, clean=clean, adversarial=adversarial, generator_lr=0.1)
        torch.manual_seed(0)
        state = strategy.start(model, x, y)
        twin = copy.deepcopy(state.generator).train()
        loss = state(model, x, y, a_step(x))
        made = twin.objective(model, x, y, a_step(x).seeds, LINF)
        optimizer = torch.optim.Adam(twin.parameters(), lr=0.1)
        made.descent.backward()
        optimizer.step()
        for p, q in zip(twin.parameters(), state.generator.parameters(), strict=True):
            torch.testing.assert_close(p, q)
        x_adv = twin.craft(model, x, y, a_step(x).seeds, LINF).detach()
        assert float((x_adv - made.x_adv).abs().max()) > 1e-3
        expected = adversarial * cross_entropy(model(x_adv), y) + clean * cross_entropy(model(x), y)
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_ant_trains_on_half_noisy_images() -> None:
    x, y = batch(400)
    model = smooth()
    torch.manual_seed(0)
    state = mrt.ANT(L2, width=4, generator_lr=0.05).start(model, x, y)
    before = copy.deepcopy(state.generator)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda m, g: seen.append(g[0].detach()) if m.training else None)
    state(model, x, y, a_step(x))
    changed = (seen[0] != x).flatten(1).any(1)
    assert 160 < int(changed.sum()) < 240
    torch.testing.assert_close(L2.distance(x, seen[0])[changed], torch.full((int(changed.sum()),), 0.7).double())
    seeds = noise.fold(a_step(x).seeds, 0)

    def raised(generator: Any) -> float:
        x_aug = generator.craft(model, x, y, seeds, L2).detach()
        return float(cross_entropy(copy.deepcopy(model).eval()(x_aug), y).detach())

    assert raised(state.generator) > raised(before)


def test_clean_images_may_join_adversarial_training() -> None:
    (x, y), model = batch(), smooth()
    attack = mrt.FGM(L2)
    loss = mrt.Adversarial(attack, clean=0.5)(model, x, y, a_step(x))
    both = cross_entropy(model(attack(model, x, y)), y) + 0.5 * cross_entropy(model(x), y)
    torch.testing.assert_close(loss, both)


def test_generators_are_made_for_the_classifier_at_hand() -> None:
    net, (x, y) = small_net(), batch()
    kinds: dict[Any, Any] = {
        mrt.MNGAC(UNION): MNGNoise, mrt.ANT(L2): MNGNoise, mrt.L2LDA(LINF, width=4): L2LGenerator,
        mrt.PGN(width=4): PGNGenerator,
    }  # fmt: skip
    for strategy, kind in kinds.items():
        generator = strategy.start(net, x, y).generator
        assert type(generator) is kind and generator.shape == (1, 8, 8) and generator.classes == 5
    both: list[Any] = [mrt.L2LDA(LINF), mrt.PGN(width=4)]
    for strategy in both:
        with pytest.raises(ValueError, match="multiples of 4"):
            mrt.fit(small_net((1, 10, 10)), strategy, (torch.rand(8, 1, 10, 10), y[:8]), iterations=1, progress=False)


def test_only_what_trains_looks_ahead() -> None:
    """Frozen weights, weights that the network does not use, and a compiled network."""

    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.unused = smooth(), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.body(x)
            return found

    (x, y), step = batch(), a_step(batch()[0])
    plain, spare = smooth(), Spare()
    state = mng(plain, x, y)
    expected = state.meta_gradient(plain, x, x.flip(0), y, L2, step)
    compiled: Any = torch.compile(plain, backend="eager")
    for model in (spare, compiled):
        for a, b in zip(state.meta_gradient(model, x, x.flip(0), y, L2, step), expected, strict=True):
            torch.testing.assert_close(a, b)
    next(plain.parameters()).requires_grad_(False)
    frozen = state.meta_gradient(plain, x, x.flip(0), y, L2, step)
    assert any(not torch.equal(a, b) for a, b in zip(frozen, expected, strict=True))
    assert not next(plain.parameters()).requires_grad
    with pytest.raises(ValueError, match="DataParallel"):
        mrt.MNGAC(UNION).start(nn.DataParallel(plain), x, y)


def test_nothing_of_a_run_is_written_before_it_is_accepted(tmp_path: Path) -> None:
    x, y = torch.rand(8, 1, 10, 10), torch.arange(8) % 5
    with pytest.raises(ValueError, match="multiples of 4"):
        mrt.fit(small_net((1, 10, 10)), mrt.L2LDA(LINF), (x, y), iterations=1, out=tmp_path, progress=False)
    assert not (tmp_path / "config.json").exists()
    mrt.fit(small_net((1, 10, 10)), mrt.Standard(), (x, y), iterations=1, out=tmp_path, progress=False)


def test_another_generator_is_another_run(tmp_path: Path) -> None:
    x, y = batch()
    attacks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        attacks.append(mrt.GeneratorAttack(mrt.generators.GAP((1, 8, 8), 5, width=4), LINF))
    how: dict[str, Any] = {"iterations": 1, "out": tmp_path, "progress": False}
    mrt.fit(small_net(), mrt.Adversarial(attacks[0]), (x, y), **how)
    assert mrt.fit(small_net(), mrt.Adversarial(attacks[0]), (x, y), **how).finished
    with pytest.raises(ValueError, match="strategy"):
        mrt.fit(small_net(), mrt.Adversarial(attacks[1]), (x, y), **how)


def test_bfloat16_casts_of_old_weights_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast keeps them, and the generator moves in the middle of an update."""
    x, y = batch()
    forgotten: list[bool] = []
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: forgotten.append(True))
    model = smooth()
    state = mng(model, x, y)
    forgotten.clear()
    state.learn(state.meta_gradient(model, x, x.flip(0), y, L2, a_step(x)), a_step(x))
    assert forgotten


def test_labels_beyond_the_classes_are_named() -> None:
    x, y = batch()
    strategies: list[Any] = [mrt.L2LDA(LINF, steps=1, width=4), mrt.PGN(width=4), mrt.ANT(L2, width=4)]
    for strategy in strategies:
        state = strategy.start(small_net(), x, y)
        with pytest.raises(ValueError, match="for 5 classes; got label 6"):
            state(small_net(), x, y.clamp(max=3) + 3, a_step(x))
        with pytest.raises(ValueError, match="labels must be class numbers below 5"):
            strategy.start(small_net(), x, y + 3)
    with pytest.raises(ValueError, match="batches of 2 images"):
        mrt.PGN(width=4).start(small_net(), x[:1], y[:1])
    with pytest.warns(UserWarning, match="exactly 0 or 1"):
        mrt.PGN(width=4).start(small_net(), x.round(), y)


def test_reference_presets() -> None:
    """The published codes' settings."""
    tiny = mrt.MNGAC.reference("tiny-imagenet")
    cifar = mrt.MNGAC.reference()
    assert [cifar.ball(i).eps * 255 for i in range(3)] == pytest.approx([8, 2000, 128])
    assert [tiny.ball(i).eps * 255 for i in range(3)] == pytest.approx([4, 2000, 80])
    found = [(a.steps, a.step_size, a.bn, a.random_start) for a in cifar.threats]  # type: ignore[union-attr]
    assert found == [(10, 1 / 255, "batch", True), (20, 1.0, "batch", True), (10, 30 / 255, "batch", True)]
    assert not cifar.conditional and cifar.beta == 12 and cifar.generator_optimizer == "sgd" and cifar.look_ahead == 1
    mnist = mrt.L2LDA.reference("mnist")
    assert (mnist.threat.eps, mnist.diversity, mnist.warmup, mnist.generator_lr) == (0.3, 0.02, 1000, 0.01)
    assert (mnist.steps, mnist.width, mnist.step, mnist.generator_optimizer) == (10, 64, 0.25, "sgd")
    assert mrt.L2LDA.reference("cifar10").diversity == 0.5
    assert mrt.L2LDA.reference("tiny-imagenet").generator_lr == 0.025
    assert mrt.PGN.reference() == mrt.PGN(50, grad_norm="none")
    star = mrt.L2LDA.star(LINF, width=4)
    assert not (star.recursive or star.latent or star.see_delta or star.labels) and star.normalise == "none"


def test_bad_settings_are_named() -> None:
    cases: list[tuple[str, Any]] = [
        ("noise must be one of", lambda: mrt.MNGAC(UNION, noise="white")),  # type: ignore[arg-type]
        ("optimizer must be one of", lambda: mrt.MNGAC(UNION, generator_optimizer="x")),  # type: ignore[arg-type]
        ("beta must be", lambda: mrt.MNGAC(UNION, beta=-1)),
        ("look_ahead must be", lambda: mrt.MNGAC(UNION, look_ahead=0)),
        ("noise_ball must be a ball", lambda: mrt.MNGAC(UNION, noise_ball=mrt.L0(3))),  # type: ignore[arg-type]
        ("type Linf", lambda: mrt.L2LDA(L2)),  # type: ignore[arg-type]
        ("warmup must be", lambda: mrt.L2LDA(LINF, warmup=-1)),
        ("clean_weight must be", lambda: mrt.L2LDA(LINF, clean_weight=2)),
        ("dataset must be one of", lambda: mrt.L2LDA.reference("svhn")),
        ("penalty must be", lambda: mrt.PGN(-1)),
        ("inputs must be one of", lambda: mrt.PGN(inputs=("z",))),  # type: ignore[arg-type]
        ("ANT needs a threat", lambda: mrt.ANT(mrt.L0(3))),  # type: ignore[arg-type]
        ("clean must be", lambda: mrt.Adversarial(LINF, clean=-1)),
    ]
    for text, call in cases:
        with pytest.raises(ValueError, match=text):
            call()
