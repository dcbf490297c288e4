"""mrt/generators/, each file of it: What every generator promises as an attack, and what its training does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
import mrt.evaluation
from mrt.generators import GAP, AdvGAN, Generator, L2LGenerator, L2LStar, MNGNoise, PGNGenerator
from mrt.generators.generator import take_step
from mrt.threats import noise
from tests.support import BALLS, RowWise, digits, digits_net, images, small_net

SHAPE = (1, 8, 8)
MAKE: dict[str, Any] = {
    "MNGNoise": lambda shape, n: MNGNoise(shape, n, width=6),
    "MNGNoise z": lambda shape, n: MNGNoise(shape, n, width=6, conditional=False, squash=True),
    "L2LGenerator": lambda shape, n: L2LGenerator(shape, n, width=4, steps=3),
    "L2LGenerator plain": lambda shape, n: L2LGenerator(shape, n, width=4, steps=2, see_delta=False, labels=False),
    "L2LGenerator once": lambda shape, n: L2LGenerator(shape, n, width=4, recursive=False, normalise="image"),
    "L2LGenerator deeper": lambda shape, n: L2LGenerator(shape, n, width=4, steps=2, deeper=True),
    "L2LStar": lambda shape, n: L2LStar(shape, n, width=4),
    "PGNGenerator": lambda shape, n: PGNGenerator(shape, n, width=4, penalty=0.1),
    "PGNGenerator raw": lambda shape, n: PGNGenerator(shape, n, width=4, penalty=0.1, grad_norm="none", space="tanh"),
    "AdvGAN": lambda shape, n: AdvGAN(shape, n, width=4),
    "GAP": lambda shape, n: GAP(shape, n, width=4),
}
HELPERS = ("Generator", "GeneratorAttack", "Made", "fit_generator", "load_generator", "save_generator")
every_generator = pytest.mark.parametrize("name", list(MAKE))
NOISY = ("MNGNoise", "MNGNoise z", "L2LGenerator", "L2LGenerator plain", "L2LGenerator once", "L2LGenerator deeper")


def made(name: str, shape: tuple[int, int, int] = SHAPE, classes: int = 5, scale: float = 1.0, seed: int = 0) -> Any:
    """With BatchNorm statistics of its own, and weights of the last layer times `scale`."""
    torch.manual_seed(seed)
    generator = MAKE[name](shape, classes)
    x, y = images(shape, 8, seed), torch.arange(8) % classes
    model = RowWise(shape, classes, seed)
    generator.train()
    for i in range(2):
        generator.objective(model, x, y, torch.arange(8) + i, ball_for(generator))
    with torch.no_grad():
        last = [m for m in generator.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))][-1]
        last.weight *= scale
    return generator.eval()


def ball_for(generator: Generator, eps: float = 0.2) -> Any:
    return generator.BALLS[0](eps)


def test_every_export_is_tested() -> None:
    exported = {n for n in mrt.generators.__all__ if n not in HELPERS}
    assert {name.split()[0] for name in MAKE} == exported


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_papers() -> None:
    rgb, mnist = (3, 32, 32), (1, 28, 28)
    assert count(MNGNoise(rgb, 10)) == 4243 and count(MNGNoise(rgb, 10, conditional=False)) == 4183
    assert count(L2LGenerator(mnist, 10)) == 495_184 and count(L2LGenerator(rgb, 10)) == 500_944
    assert count(L2LGenerator((3, 64, 64), 200)) == 573_904 and count(L2LGenerator(rgb, 10, deeper=True)) == 1_718_992
    assert count(L2LStar(mnist, 10)) == 461_440 and count(L2LStar(rgb, 10)) == 466_048
    assert count(PGNGenerator(rgb, 10, batch_norm=False)) == 8_966_147 and count(PGNGenerator(rgb, 10)) == 8_985_347
    assert count(PGNGenerator(rgb, 100, batch_norm=False)) == 10_002_947
    assert count(PGNGenerator(rgb, 100)) == 10_022_147


def test_noise_starts_far_outside_every_ball() -> None:
    """Measured on the published generator: standard deviation about 1.5, l2 norm about 80 to 90."""
    x = torch.rand(4, 3, 32, 32)
    out = [MNGNoise((3, 32, 32), 10, conditional=False)(noise.normal(torch.arange(4), 3, 34, 34), x) for _ in range(8)]
    assert 1.0 < torch.stack(out).std() < 2.0


@every_generator
@given(st.integers(0, 2**40), st.sampled_from([1e-3, 0.2, 1.0, 4.0]), st.integers(1, 3), st.sampled_from([0.1, 50.0]))
@settings(max_examples=6)
def test_what_it_makes_lies_in_the_threat(name: str, seed: int, factor: float, samples: int, scale: float) -> None:
    shape = (3, 12, 20) if "AdvGAN" in name or "deeper" not in name else (3, 8, 16)
    generator = made(name, shape, scale=scale, seed=seed % 5)
    x, y = images(shape, 5, seed % 1000), torch.arange(5)
    model = RowWise(shape, 5)
    for ball in (b for b in BALLS if isinstance(b, generator.BALLS)):
        for threat in (ball.scaled(factor), ball.scaled(torch.linspace(0, factor, 5))):
            attack: Any = mrt.GeneratorAttack(generator, threat, samples)
            x_adv = attack(model, x, y, rng=noise.seeds_of_index(torch.arange(5), seed))
            assert x_adv.dtype == torch.float32 and not x_adv.requires_grad
            assert bool(threat.contains(x, x_adv).all())


@every_generator
def test_it_touches_nothing_and_needs_no_mates(name: str) -> None:
    generator, net = made(name).train(), small_net().train()
    x, y = images(SHAPE, 6, 3), torch.arange(6) % 5
    before = copy.deepcopy((net.state_dict(), generator.state_dict(), x))
    attack, seeds = mrt.GeneratorAttack(generator, ball_for(generator)), torch.arange(6)
    with torch.no_grad():
        whole = attack(net, x, y, rng=seeds)
    for module, held in ((net, before[0]), (generator, before[1])):
        assert all(torch.equal(value, held[n]) for n, value in module.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in module.parameters())
        assert all(m.training for m in module.modules())
    assert torch.equal(x, before[2])
    parts = torch.cat([attack(net, x[rows], y[rows], rng=seeds[rows]) for rows in (slice(0, 2), slice(2, 6))])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)
    again = attack(net, x, y, rng=seeds)
    assert torch.equal(whole, again)
    differs = not torch.equal(whole, attack(net, x, y, rng=seeds + 9))
    assert differs == (name in NOISY)


@every_generator
def test_the_descent_is_that_of_the_loss_itself(name: str) -> None:
    """The shared pass against one that differentiates through the classifier, in float64."""
    generator = made(name).double().train()
    model = smooth().double()
    x, y, seeds = images(SHAPE, 6, 1).double(), torch.arange(6) % 5, torch.arange(6)
    ball, weights = ball_for(generator), list(generator.parameters())
    found = generator.objective(model, x, y, seeds, ball)
    mine = torch.autograd.grad(found.descent, weights, allow_unused=True)
    theirs = torch.autograd.grad(through(generator, model, x, y, seeds, ball), weights, allow_unused=True)
    assert any(g is not None and bool((g != 0).any()) for g in mine)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.loss, cross_entropy(model(found.x_adv), y.repeat(len(found.x_adv) // 6)))
    assert not found.x_adv.requires_grad and not found.loss.requires_grad


def smooth() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(144, 5)).eval()


def through(generator: Any, model: nn.Module, x: Tensor, y: Tensor, seeds: Tensor, ball: Any) -> Tensor:
    """What each paper descends, with the classifier in the graph."""
    if isinstance(generator, L2LGenerator):
        return two_pass(generator, model, x, y, seeds, ball)
    if isinstance(generator, PGNGenerator):
        raw, x_adv = generator.perturb_image(x, generator.gradient_image(model, x, y), y)
        moved = raw if generator.space == "tanh" else x_adv - x
        cost: Tensor = torch.stack([generator.penalty * d.square().sum() for d in moved]).mean()
        return cost - cross_entropy(model(x_adv), y)
    if isinstance(generator, AdvGAN):
        return two_players(generator, model, x, y, ball)
    x_adv = generator.craft(model, x, y, seeds, ball)
    loss = cross_entropy(model(x_adv), y)
    return -loss.log() if isinstance(generator, GAP) else -loss


def two_players(generator: AdvGAN, model: nn.Module, x: Tensor, y: Tensor, ball: Any) -> Tensor:
    """Each player's loss with the other held still."""
    raw = generator.net(x)
    x_adv = (x + raw.clamp(-ball.eps, ball.eps)).clamp(0, 1)
    logits, rows = model(x_adv), torch.arange(len(x))
    others = logits.clone()
    others[rows, y] = -torch.inf
    fool = (logits[rows, y] - others.amax(1)).clamp(min=0).mean()
    still = copy.deepcopy(generator.discriminator).requires_grad_(False)
    unseen = -torch.sigmoid(still(x_adv)).log().mean()
    bound = ball.eps * x[0].numel() ** 0.5 / 2
    hinge = (raw.flatten(1).norm(dim=1) - bound).clamp(min=0).mean()
    judge = -torch.sigmoid(generator.discriminator(x)).log().mean()
    judge = judge - (1 - torch.sigmoid(generator.discriminator(x_adv.detach()))).log().mean()
    total: Tensor = fool + generator.gan * unseen + generator.hinge * hinge + judge
    return total


def two_pass(generator: L2LGenerator, model: nn.Module, x: Tensor, y: Tensor, seeds: Tensor, ball: Any) -> Tensor:
    """Image by image and step by step, with sums written out."""
    many = 2 if generator.latent else 1
    zs = [noise.normal(noise.fold(seeds, i), 8).double() for i in range(many)]
    z, x2, y2 = torch.cat(zs), torch.cat([x] * many), torch.cat([y] * many)
    delta, x_adv, total = torch.zeros_like(x2), x2, torch.zeros((), dtype=torch.float64)
    for _ in range(generator.steps):
        leaf = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(cross_entropy(model(leaf), y2, reduction="sum"), leaf)
        if generator.normalise != "none":
            grad = torch.stack([g / g.norm() for g in grad])  # of one channel
        planes = torch.cat([x2, grad, *([delta] if generator.see_delta else [])], 1)
        u = generator.net(planes, z, y2)
        delta = (delta + generator.step * ball.eps * u).clamp(-ball.eps, ball.eps)
        x_adv = (x2 + delta).clamp(0, 1)
        total = total - cross_entropy(model(x_adv), y2)
        if generator.latent:
            one, two = x_adv[: len(x)], x_adv[len(x) :]
            apart = torch.stack([(a - b).abs().mean() for a, b in zip(one, two, strict=True)])
            total = total - generator.diversity * (apart / (zs[0] - zs[1]).abs().mean(1)).mean()
    return total


@every_generator
def test_training_makes_it_stronger_and_leaves_the_model_alone(name: str) -> None:
    net, train = digits_net(1, 40, 0.1), digits(300, "train")
    x, y = digits(60)
    torch.manual_seed(0)
    generator = MAKE[name](SHAPE, 10)
    ball = mrt.L2(2.0) if isinstance(generator, MNGNoise) else ball_for(generator, 0.2)
    held = copy.deepcopy(net.state_dict())
    attack = mrt.GeneratorAttack(generator.eval(), ball)
    seeds = torch.arange(60)
    before = cross_entropy(net(attack(net, x, y, rng=seeds)), y)
    state = torch.get_rng_state()
    how: Any = {"optimizer": torch.optim.Adam(generator.parameters(), lr=5e-3), "progress": False}
    after_attack = mrt.fit_generator(generator, net, train, ball, iterations=60, batch_size=64, **how)
    assert torch.equal(state, torch.get_rng_state())
    after = cross_entropy(net(after_attack(net, x, y, rng=seeds)), y)
    assert after > before and not generator.training
    assert all(torch.equal(v, held[n]) for n, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_training_is_a_function_of_its_seed_and_can_go_on() -> None:
    net, train = digits_net(0, 40, 0.1), digits(200, "train")

    def trained(seed: int, parts: tuple[int, ...]) -> Tensor:
        generator = made("GAP", classes=10)
        optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
        how: Any = {"batch_size": 50, "optimizer": optimizer, "progress": False}
        for part in parts:
            mrt.fit_generator(generator, net, train, mrt.Linf(0.1), iterations=part, seed=seed, **how)
        return torch.cat([p.detach().flatten() for p in generator.parameters()])

    assert torch.equal(trained(0, (4,)), trained(0, (4,)))
    assert not torch.equal(trained(0, (4,)), trained(1, (4,)))
    assert not torch.equal(trained(0, (4, 4)), trained(0, (4,)))


def test_the_best_of_several_draws_is_kept() -> None:
    generator, net = made("L2LGenerator", classes=10), digits_net(0, 40, 0.1)
    x, y = digits(40)
    one = mrt.GeneratorAttack(generator, mrt.Linf(0.2), 1)
    many = mrt.GeneratorAttack(generator, mrt.Linf(0.2), 5)
    seeds = torch.arange(40)
    singles = [one(net, x, y, rng=noise.fold(seeds, k)) for k in range(3)]
    drawn = [generator.craft(net, x, y, noise.fold(seeds, k), mrt.Linf(0.2)).detach() for k in range(5)]
    losses = torch.stack([cross_entropy(net(d), y, reduction="none") for d in drawn])
    best = cross_entropy(net(many(net, x, y, rng=seeds)), y, reduction="none")
    torch.testing.assert_close(best, losses.amax(0), rtol=1e-4, atol=1e-5)
    assert len({float(s.sum()) for s in singles}) == 3


def test_bad_input_is_named() -> None:
    net, x, y = small_net(), images(SHAPE, 4, 0), torch.arange(4)
    linf, star = mrt.Linf(0.1), L2LStar(SHAPE, 5, width=4)
    cases: list[tuple[str, Any]] = [
        ("multiples of 4", lambda: L2LGenerator((1, 10, 8), 5)),
        ("multiples of 8", lambda: L2LGenerator((1, 12, 8), 5, deeper=True)),
        (r"\(channels, height, width\)", lambda: GAP((8, 8), 5)),  # type: ignore[arg-type]
        ("classes must be", lambda: GAP(SHAPE, 1)),
        ("normalise must be one of", lambda: L2LGenerator(SHAPE, 5, normalise="rows")),  # type: ignore[arg-type]
        ("8 by 8 pixels", lambda: AdvGAN((1, 4, 4), 5)),
        ("2 by 2 pixels", lambda: MNGNoise((1, 1, 8), 5)),
        ("inputs must be one of", lambda: PGNGenerator(SHAPE, 5, inputs=("y",))),  # type: ignore[arg-type]
        ("searches Linf balls", lambda: mrt.GeneratorAttack(star, mrt.L2(1.0))),
        ("one of mrt.generators", lambda: mrt.GeneratorAttack(net, linf)),  # type: ignore[arg-type]
        ("samples must be", lambda: mrt.GeneratorAttack(star, linf, 0)),
        ("no target and no start", lambda: mrt.GeneratorAttack(star, linf)(net, x, y, target=y)),
        ("no target and no start", lambda: mrt.GeneratorAttack(star, linf)(net, x, y, start=x)),
        (r"images of \(1, 8, 8\)", lambda: mrt.GeneratorAttack(star, linf)(net, images((1, 12, 8), 2, 0), y[:2])),
        ("for 3 classes; got label 3", lambda: mrt.GeneratorAttack(GAP(SHAPE, 3, width=4), linf)(net, x, y)),
        ("for 6 classes; the model has 5", lambda: fitted(GAP(SHAPE, 6, width=4), net, (x, y))),
        (r"images of \(1, 12, 8\)", lambda: fitted(GAP((1, 12, 8), 5, width=4), net, (x, y))),
        ("searches Linf balls", lambda: fitted(star, net, (x, y), mrt.L1(1.0))),
        ("iterations must be", lambda: fitted(star, net, (x, y), iterations=0)),
        ("one of mrt.generators", lambda: fitted(net, net, (x, y))),
    ]
    for text, call in cases:
        with pytest.raises(ValueError, match=text):
            call()


def fitted(generator: Any, net: nn.Module, data: Any, threat: Any = mrt.Linf(0.1), iterations: int = 1) -> Any:  # noqa: B008
    return mrt.fit_generator(generator, net, data, threat, iterations=iterations, progress=False)


def test_a_generator_without_a_number_to_descend_stops() -> None:
    generator = made("GAP")
    with torch.no_grad():
        next(generator.parameters())[0, 0] = torch.inf
    before = copy.deepcopy(generator.state_dict())
    with pytest.raises(FloatingPointError, match="gradient has length"):
        fitted(generator, small_net(), (images(SHAPE, 4, 0), torch.arange(4)))
    weights = {n: v for n, v in generator.state_dict().items() if "running" not in n and "tracked" not in n}
    assert all(torch.equal(v, before[n]) for n, v in weights.items())


@pytest.mark.parametrize("name", ["L2LGenerator", "GAP"])
def test_only_l2l_clips_its_gradient(name: str) -> None:
    """To length 1, as published; a step of plain descent then has the rate's length."""
    generator = made(name)
    before = [p.detach().clone() for p in generator.parameters()]
    grads = [torch.full_like(p, 3.0) for p in generator.parameters()]
    whole = float(torch.stack([g.norm() for g in grads]).norm())
    take_step(generator, torch.optim.SGD(generator.parameters(), lr=0.5), grads)
    moved = [(p.detach() - q).norm() for p, q in zip(generator.parameters(), before, strict=True)]
    length = 1.0 if name == "L2LGenerator" else whole
    assert float(torch.stack(moved).norm()) == pytest.approx(0.5 * length, rel=1e-4)


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    net, x, y = small_net(), images(SHAPE, 8, 0), torch.arange(8) % 5
    mrt.fit_generator(made("GAP"), net, (x, y), mrt.Linf(0.1), iterations=20)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[-1].startswith("generator 20/20  the model's loss ")


def test_an_optimizer_must_be_the_generators_own() -> None:
    net, data = small_net(), (images(SHAPE, 8, 0), torch.arange(8) % 5)
    generator = made("GAP")
    held = copy.deepcopy((net.state_dict(), generator.state_dict()))
    foreign = torch.optim.SGD([*net.parameters(), *generator.parameters()], lr=1.0)
    for other, text in ((foreign, "it holds others"), (mrt.Adam(1e-3), "must be a torch optimizer")):
        with pytest.raises(ValueError, match=text):
            mrt.fit_generator(generator, net, data, mrt.Linf(0.1), iterations=1, optimizer=other)  # type: ignore[arg-type]
    for module, before in ((net, held[0]), (generator, held[1])):
        assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())
    rates = {"GAP": 2e-4, "AdvGAN": 1e-3, "MNGNoise": 1e-4, "L2LGenerator": 2e-3, "PGNGenerator": 5e-4}
    for name, rate in rates.items():
        assert made(name).optimizer().param_groups[0]["lr"] == rate
    assert made("GAP").optimizer().param_groups[0]["betas"] == (0.5, 0.999)
    for wrong in (data[0], (data[0].numpy(), data[1]), (data[0][:0], data[1][:0])):
        with pytest.raises(ValueError, match=r"data must|labels|at least"):
            mrt.fit_generator(generator, net, wrong, mrt.Linf(0.1), iterations=1)  # type: ignore[arg-type]


@every_generator
def test_a_file_holds_all_that_makes_a_generator(name: str, tmp_path: Path) -> None:
    generator = made(name)
    mrt.generators.save_generator(generator, tmp_path / "generator.pt")
    again = mrt.generators.load_generator(tmp_path / "generator.pt")
    assert type(again) is type(generator) and again.settings == generator.settings and not again.training
    x, y, ball = images(SHAPE, 4, 0), torch.arange(4), ball_for(generator)
    both = [mrt.GeneratorAttack(g, ball)(RowWise(SHAPE), x, y, rng=torch.arange(4)) for g in (generator, again)]
    assert torch.equal(*both)
    assert "BatchNorm" not in repr(mrt.GeneratorAttack(again, ball)) and type(again).__name__ in repr(
        mrt.GeneratorAttack(again, ball)
    )
    copied = copy.deepcopy(generator)
    assert copied.settings == generator.settings


def test_what_is_no_generator_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds no generator"):
        mrt.generators.load_generator(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="one of mrt.generators"):
        mrt.generators.save_generator(small_net(), tmp_path / "net.pt")  # type: ignore[arg-type]


def test_a_model_with_other_classes_is_refused() -> None:
    x, y = images(SHAPE, 4, 0), torch.arange(4)
    with pytest.raises(ValueError, match="for 7 classes; the model has 5"):
        mrt.GeneratorAttack(made("L2LGenerator", classes=7), mrt.Linf(0.1))(RowWise(SHAPE), x, y)


def test_a_loss_path_is_one_sample() -> None:
    x, y, generator = images(SHAPE, 6, 0), torch.arange(6) % 5, made("L2LGenerator")
    with pytest.raises(ValueError, match="samples=1; got 3"):
        mrt.evaluation.loss_path(mrt.GeneratorAttack(generator, mrt.Linf(0.1), 3), RowWise(SHAPE), x, y)
    path = mrt.evaluation.loss_path(mrt.GeneratorAttack(generator, mrt.Linf(0.1)), RowWise(SHAPE), x, y, attempts=2)
    assert len(path.mean) == generator.steps + 1
