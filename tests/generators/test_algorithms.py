"""mrt/generators/, each file of it: Each generator's own mathematics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import softmax

import mrt
from mrt.generators import L2LGenerator, L2LStar, MNGNoise, PGNGenerator
from mrt.generators.l2l_da import spread
from mrt.generators.unet import ConditionalBatchNorm, UNet
from mrt.threats import noise
from tests.support import Linear, RowWise, images, torch_seed

SHAPE = (1, 8, 8)
LINF = mrt.Linf(0.2)


class Counting(nn.Module):
    """A smooth classifier that counts the images it is shown."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        logits: Tensor = self.body(x)
        return logits


class Constant(nn.Module):
    """In the place of a U-Net: the same answer everywhere. It remembers what it was shown."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.seen = value, list[Tensor]()

    def forward(self, planes: Tensor, z: Tensor, y: Tensor) -> Tensor:
        self.seen.append(planes)
        return torch.full_like(planes[:, :1], self.value)


def test_cbn_without_classes_is_batch_normalisation() -> None:
    cbn, plain, h = ConditionalBatchNorm(6, 5), nn.BatchNorm2d(6, eps=1e-10), torch.randn(4, 6, 3, 3)
    y = torch.tensor([0, 1, 2, 4])
    assert (
        cbn.scale[:5].abs().max() < 0.15
        and 0.9 < float(cbn.scale[5].detach().mean()) < 1.1
        and not bool(cbn.shift.any())
    )
    with torch.no_grad():
        cbn.scale[:5] = 0
        cbn.shift[5] = torch.randn(6)
        plain.weight.copy_(cbn.scale[5])
        plain.bias.copy_(cbn.shift[5])
    torch.testing.assert_close(cbn(h, y), plain(h))
    torch.testing.assert_close(cbn.norm.running_var, plain.running_var)
    with torch.no_grad():
        cbn.scale[2] = 3.0
        cbn.shift[2] = 1.0
    changed = cbn.eval()(h, y) - plain.eval()(h)
    normed = cbn.norm(h)
    torch.testing.assert_close(changed[2], 3 * normed[2] + 1)
    assert not bool(changed[[0, 1, 3]].abs().gt(1e-6).any())


def test_the_latent_joins_every_layer_on_the_way_down() -> None:
    net = UNet(3, 1, 4, classes=5, latent=True).eval()
    planes, y = torch.rand(2, 3, 8, 8), torch.tensor([1, 4])
    z = torch.randn(2, 8)
    for layer in (net.down0, net.down1, net.down2):
        own = UNet(3, 1, 4, classes=5, latent=True).eval()
        own.load_state_dict(net.state_dict())
        with torch.no_grad():
            for other in (own.down0, own.down1, own.down2):
                same = other is getattr(own, name_of(net, layer))
                other.weight[:, -8:] = layer.weight[:, -8:] if same else 0  # the code's channels come last
        moved = own(planes, z, y) - own(planes, -z, y)
        assert bool((moved != 0).any())
    assert bool((net(planes, z, y) != net(planes, z, y.flip(0))).any())
    assert bool((net(planes, z, y).abs() < 1).all())


def test_the_unets_derivative_is_the_finite_difference() -> None:
    """In its planes and in z, through every level."""
    torch.manual_seed(0)
    for deeper in (False, True):
        net = UNet(2, 1, 3, classes=5, latent=True, deeper=deeper).double().eval()
        with torch.no_grad():
            for p in net.parameters():
                if p.ndim == 4:
                    p.mul_(6)  # so that no level is lost in rounding
        planes = torch.rand(1, 2, 8, 8).double().requires_grad_()
        z = torch.randn(1, 8).double().requires_grad_()
        y = torch.tensor([3])
        way, size = torch.randn(1, 2, 8, 8).double(), 1e-6
        for leaf, direction in ((planes, way), (z, torch.randn(1, 8).double())):
            (grad,) = torch.autograd.grad(net(planes, z, y).sum(), leaf)
            ends = []
            for sign in (1, -1):
                at = leaf.detach() + sign * size * direction
                ends.append(float(net(*((at, z) if leaf is planes else (planes, at)), y).sum().detach()))
            slope = float((grad * direction).sum())
            assert abs(slope) > 1e-6 and (ends[0] - ends[1]) / (2 * size) == pytest.approx(slope, rel=1e-4)


def name_of(net: nn.Module, layer: nn.Module) -> str:
    names: list[str] = [name for name, module in net.named_modules() if module is layer]
    return names[0]


def test_steps_saturate_the_ball_and_the_box_clips_only_the_image() -> None:
    """A constant push of one quarter a step: delta is eps from the fourth on, also where the image cannot follow."""
    generator = L2LGenerator(SHAPE, 5, width=4, steps=10)
    generator.net = net = Constant(1.0)  # type: ignore[assignment]
    x, model = images(SHAPE, 6, 0), Counting()
    y = torch.arange(6) % 5
    delta = torch.zeros_like(x)
    for t in range(1, 6):
        delta, x_adv = generator.move(x, torch.ones_like(x), delta, torch.zeros(6, 8), y, LINF)
        torch.testing.assert_close(delta, torch.full_like(x, min(t * 0.05, 0.2)))
        assert torch.equal(x_adv, (x + delta).clamp(0, 1))
    net.seen.clear()
    generator.craft(model, x, y, torch.arange(6), LINF)
    assert len(net.seen) == 10 and all(torch.equal(p[:, :1], x) for p in net.seen)  # the clean image, each time
    torch.testing.assert_close(net.seen[2][:, 2:], torch.full_like(x, 0.1))


def test_one_step_of_full_length_is_l2l() -> None:
    """The recursion with T = 1 and a step of eps is x + eps G(x, g, 0)."""
    torch.manual_seed(0)
    once, model = L2LGenerator(SHAPE, 5, width=4, recursive=False).eval(), RowWise(SHAPE)
    torch.manual_seed(0)
    recursive = L2LGenerator(SHAPE, 5, width=4, steps=1, step=1.0).eval()
    x, y, seeds = images(SHAPE, 5, 2), torch.arange(5), torch.arange(5)
    made = once.craft(model, x, y, seeds, LINF)
    assert torch.equal(made, recursive.craft(model, x, y, seeds, LINF)) and once.steps == 1
    star = L2LStar(SHAPE, 5, width=4)
    star.net = Constant(-1.0)  # type: ignore[assignment]
    torch.testing.assert_close(star.craft(model, x, y, seeds, LINF), (x - 0.2).clamp(0, 1))
    assert torch.equal(star.normalised(x), x)


@given(st.integers(0, 100), st.sampled_from([1e-6, 1.0, 1e4]))
@settings(max_examples=20)
def test_gradients_are_normalised_per_channel(seed: int, scale: float) -> None:
    grad = torch.randn(3, 2, 6, 4, generator=torch.Generator().manual_seed(seed)) * scale
    grad[0, 1] = 0
    generator = L2LGenerator((2, 4, 4), 5, width=2)
    unit = generator.normalised(grad)
    lengths = unit.flatten(2).norm(dim=2)
    expected = torch.ones(3, 2)
    expected[0, 1] = 0
    torch.testing.assert_close(lengths, expected)
    whole = L2LGenerator((2, 4, 4), 5, width=2, normalise="image").normalised(grad)
    torch.testing.assert_close(whole.flatten(1).norm(dim=1), torch.ones(3))


def test_the_shared_pass_counts() -> None:
    """T steps cost T + 1 passes of the classifier: one at x for both latents together, T on both."""
    generator, model = L2LGenerator(SHAPE, 5, width=4, steps=4), Counting()
    x, y = images(SHAPE, 3, 0), torch.arange(3)
    generator.objective(model, x, y, torch.arange(3), LINF)
    assert [len(s) for s in model.seen] == [3, 6, 6, 6, 6]
    model.seen.clear()
    generator.craft(model, x, y, torch.arange(3), LINF)
    assert [len(s) for s in model.seen] == [3, 3, 3, 3]


def test_gradients_reach_the_weights_through_delta() -> None:
    """Of the loss after two steps, not only of the last step's own move."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.1))

        def forward(self, planes: Tensor, z: Tensor, y: Tensor) -> Tensor:
            return self.scale * torch.ones_like(planes[:, :1])

    generator, model = L2LGenerator(SHAPE, 5, width=4, steps=3, diversity=0.0), Linear(SHAPE)
    generator.net = Scaled()  # type: ignore[assignment]
    x, y = torch.full((2, *SHAPE), 0.5), torch.zeros(2, dtype=torch.int64)
    made = generator.objective(model, x, y, torch.arange(2), LINF)
    (grad,) = torch.autograd.grad(made.descent, list(generator.net.parameters()))
    leaf = torch.tensor(0.1, requires_grad=True)
    total = sum(
        nn.functional.cross_entropy(model(x + t * 0.05 * leaf), y) for t in range(1, 4)
    )  # delta_t = t 0.05 scale
    torch.testing.assert_close(grad, -torch.autograd.grad(total, leaf)[0])  # type: ignore[arg-type]


def test_diversity_is_a_distance_per_latent_distance() -> None:
    x_adv = torch.cat([torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.3)])
    z = torch.cat([torch.zeros(2, 8), torch.full((2, 8), 1.5)])
    assert float(spread(x_adv, z)) == pytest.approx(0.2, rel=1e-5)
    assert float(spread(torch.zeros(4, 1, 2, 2), torch.ones(4, 8))) == 0.0  # equal latents, equal outputs


@given(st.integers(0, 50), st.sampled_from([0.0, 1.0, 1e3, 1e30]))
@settings(max_examples=20)
def test_tanh_space_is_the_box(seed: int, scale: float) -> None:
    """For any output, without a clip; no output means no change; a pixel on its bound stands nearly still."""
    generator, x = PGNGenerator(SHAPE, 5, width=2).eval(), images(SHAPE, 4, seed)
    raw = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(seed)) * scale
    generator.forward = lambda x, grad, y: raw  # type: ignore[method-assign]
    made, x_adv = generator.perturb_image(x, x, torch.arange(4))
    assert made is raw and bool(((x_adv >= 0) & (x_adv <= 1)).all())
    if scale == 0:
        torch.testing.assert_close(x_adv, x, rtol=0, atol=1e-6)
    if scale == 1:
        frozen = (x == 0) | (x == 1)
        assert float((x_adv - x)[frozen].abs().max()) < 2e-3 < float((x_adv - x)[~frozen].abs().max())


def test_the_gradient_image_is_that_of_the_true_class() -> None:
    model, x, y = RowWise(SHAPE), images(SHAPE, 3, 0), torch.tensor([0, 2, 4])
    for kind in ("none", "l2"):
        seen = PGNGenerator(SHAPE, 5, width=2, grad_norm=kind).gradient_image(model, x, y)
        for i in range(3):
            leaf = x[i : i + 1].clone().requires_grad_()
            (grad,) = torch.autograd.grad(softmax(model(leaf), 1)[0, y[i]], leaf)
            expected = grad[0] if kind == "none" else grad[0] / grad.norm()
            torch.testing.assert_close(seen[i], expected, rtol=1e-4, atol=1e-7)


def test_what_is_no_input_is_not_looked_at() -> None:
    """PGN's ablation: the output changes with each input that is given, and with no other."""
    x, grad, y = images(SHAPE, 4, 0), torch.randn(4, *SHAPE), torch.arange(4)
    others: dict[str, Any] = {"image": (1 - x, grad, y), "gradient": (x, -grad, y), "label": (x, grad, y + 1)}
    for left in ("image", "gradient", "label"):
        kept: Any = tuple(n for n in others if n != left)
        generator = PGNGenerator(SHAPE, 5, width=2, inputs=kept).eval()
        base = generator(x, grad, y)
        for name, changed in others.items():
            assert torch.equal(generator(*changed), base) == (name == left)


def test_the_noise_network_is_its_table() -> None:
    """Written out: 1x1, 3x3, 1x1, 1x1 convolutions, leaky ReLU between, x reflected at the border, z added."""
    generator, x = MNGNoise(SHAPE, 5, width=6).double(), torch.rand(2, *SHAPE).double()
    z = torch.randn(2, 1, 10, 10).double()
    framed = torch.cat([x[:, :, 1:2], x, x[:, :, -2:-1]], 2)
    h = torch.cat([z, torch.cat([framed[..., 1:2], framed, framed[..., -2:-1]], 3)], 1)
    for conv in (generator.conv1, generator.conv2, generator.conv3):
        h = nn.functional.conv2d(h, conv.weight, conv.bias)
        h = torch.maximum(h, 0.01 * h)
    made = nn.functional.conv2d(h, generator.conv4.weight, generator.conv4.bias)
    torch.testing.assert_close(generator(z, x), made + z[:, :, 1:-1, 1:-1])
    for conv in (generator.conv1, generator.conv2):
        wide = MNGNoise(SHAPE, 5, width=400)
        assert float(wide.conv3.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.05)
        assert not bool(conv.bias.any())  # type: ignore[union-attr]


def test_pgn_starts_near_no_perturbation() -> None:
    x = torch.rand(4, *SHAPE) * 0.8 + 0.1
    generator = PGNGenerator(SHAPE, 5, width=8)
    x_adv = generator.perturb_image(x, torch.randn(4, *SHAPE), torch.arange(4))[1]
    assert 0 < float((x_adv - x).abs().mean().detach()) < 0.05


def test_noise_sees_x_or_does_not() -> None:
    one, two = torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8)
    z = noise.normal(torch.arange(3), 1, 10, 10)
    blind, seeing = MNGNoise(SHAPE, 5, conditional=False), MNGNoise(SHAPE, 5)
    assert torch.equal(blind(z, one), blind(z, two))
    assert not torch.equal(seeing(z, one), seeing(z, two))
    with torch.no_grad():
        blind.conv4.weight.zero_()
    assert torch.equal(blind(z, one), z[:, :, 1:-1, 1:-1])  # what is left is z itself


def penalised(margin: float, length: float, penalty: float) -> tuple[float, float]:
    """PGN's theory on a linear two-class model: the best -s w / |w|^2 and its value softplus(s - m) - c s^2 / |w|^2,
    by search over s."""
    s = torch.linspace(0, 40, 400_001, dtype=torch.float64)
    value = torch.nn.functional.softplus(s - margin) - penalty * (s / length) ** 2
    best = int(value.argmax())
    return float(s[best]), float(value[best])


def test_the_generator_reaches_the_optimum_of_a_linear_model() -> None:
    """PGN section 4: the penalised maximiser is known there. Ascent by the generator comes close, a larger penalty
    makes it shorter, and at the optimum sigmoid(s - m) = 2 c s / |w|^2."""
    model, x = Linear((1, 4, 4), seed=1), torch.rand(64, 1, 4, 4, generator=torch_seed(0)) * 0.2 + 0.4
    with torch.no_grad():
        model.bias.sub_(model(x)[:, 1].mean())  # so that the classifier is nowhere sure
    y = (model(x)[:, 1] > 0).long()
    length = float(model.weight.detach().norm())
    lengths = []
    for penalty in (4.0, 1.5):
        torch.manual_seed(0)
        generator = PGNGenerator((1, 4, 4), 2, width=8, penalty=penalty)
        how: Any = {"iterations": 150, "batch_size": 64, "progress": False}
        how["optimizer"] = torch.optim.Adam(generator.parameters(), lr=5e-3)
        mrt.fit_generator(generator, model, (x, y), mrt.L2(10.0), **how)
        x_adv = generator.craft(model, x, y, torch.arange(64), mrt.L2(10.0)).detach()
        size = (x_adv - x).flatten(1).square().sum(1)
        reached = (nn.functional.cross_entropy(model(x_adv), y, reduction="none") - penalty * size).detach()
        score = (model(x)[:, 1] * (2 * y - 1)).detach()
        found = [penalised(float(m), length, penalty) for m in score]
        best, none = torch.tensor([v for _, v in found]), nn.functional.softplus(-score)
        for (s, _), m in zip(found, score.tolist(), strict=True):
            assert s == 0 or abs(1 / (1 + math.exp(m - s)) - 2 * penalty * s / length**2) < 1e-3
        gained = float((reached - none).mean() / (best - none).mean())
        assert 0.8 < gained < 1.001
        lengths.append(float(size.sqrt().mean()))
    assert lengths[0] < 0.8 * lengths[1]
