"""mrt/evaluation/analysis/loss_path.py: The loss along a path against a loop by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.evaluation import loss_path
from mrt.evaluation.analysis.loss_path import LossPath
from mrt.threats import noise
from tests.support import Linear, RowWise, images, small_net, torch_seed

SHAPE, N = (1, 6, 6), 9
X, Y = images(SHAPE, N, 0), torch.arange(N) % 5
EPS, STEP = 0.1, 0.03
ATTACK = mrt.PGD(mrt.Linf(EPS), steps=4, step_size=STEP, random_start=True, best="last")


def by_hand(net: nn.Module, attempts: int, seed: int = 0, steps: int = 4) -> Tensor:
    """(attempts, steps + 1, N): cross-entropy at the attack's own start and after each signed step."""
    found = []
    for attempt in range(attempts):
        starts: list[Tensor] = []

        def first(z: Tensor, starts: list[Tensor] = starts) -> Tensor:
            starts.append(z.detach().clone())
            logits: Tensor = net(z)
            return logits

        ATTACK(first, X, Y, rng=noise.seeds_of_index(torch.arange(N), seed, attempt))
        z, losses = starts[0], []
        for step in range(steps + 1):
            z = z.detach().requires_grad_()
            loss = nn.functional.cross_entropy(net(z), Y, reduction="none")
            losses.append(loss.detach())
            if step < steps:
                (grad,) = torch.autograd.grad(loss.sum(), z)
                z = torch.minimum(torch.maximum(z + STEP * grad.sign(), X - EPS), X + EPS).clamp(0, 1)
        found.append(torch.stack(losses))
    return torch.stack(found)


@pytest.mark.parametrize("attempts", [1, 3])
def test_pgd_against_a_loop(attempts: int) -> None:
    net = RowWise(SHAPE)
    path = loss_path(ATTACK, net, X, Y, attempts=attempts)
    losses = by_hand(net, attempts)  # (attempts, iterations + 1, images)
    worst, middle = losses.amax(0), losses.mean(0)
    assert path.mean.shape == path.std.shape == (5,) and (path.n, path.attempts) == (N, attempts)
    assert torch.allclose(path.mean, worst.mean(1), atol=1e-5)
    assert torch.allclose(path.std, ((losses - middle) ** 2).mean(0).sqrt().mean(1), atol=1e-5)
    assert (path.mean.diff() > 0).all() and (path.std.min() > 1e-4) == (attempts > 1)
    assert path.points == [(float(i), float(path.mean[i]), float(path.std[i])) for i in range(5)]


def test_more_attempts_lose_nothing_and_differ() -> None:
    """At every iteration, since the first attempts are the same."""
    few, many = (loss_path(ATTACK, RowWise(SHAPE), X, Y, attempts=k) for k in (1, 6))
    assert (many.mean > few.mean).all()
    other = loss_path(ATTACK, RowWise(SHAPE), X, Y, attempts=1, seed=1)
    assert not torch.equal(other.mean, few.mean)
    again = loss_path(ATTACK, RowWise(SHAPE), X, Y, attempts=1)
    assert torch.equal(again.mean, few.mean) and torch.equal(again.std, few.std)


def test_without_noise_it_starts_at_the_images() -> None:
    net = RowWise(SHAPE)
    attack = mrt.PGD(mrt.L2(0.5), steps=2, best="last")
    path = loss_path(attack, net, X, Y, attempts=2)
    with torch.no_grad():
        ends = [nn.functional.cross_entropy(net(z), Y) for z in (X, attack(net, X, Y))]
    assert len(path.mean) == 3 and path.mean[[0, 2]].tolist() == pytest.approx([float(end) for end in ends])


def test_a_generator_that_asks_once() -> None:
    @dataclass(frozen=True)
    class Made:
        net: nn.Module
        threat: mrt.Linf

        def __call__(self, model: Any, x: Tensor, y: Tensor, **rest: Any) -> Tensor:
            with torch.no_grad():
                model(x)
                return self.threat.apply(x, self.threat.project(self.net(x), x))

    torch.manual_seed(0)
    attack = Made(nn.Conv2d(1, 1, 3, padding=1), mrt.Linf(0.2))
    path = loss_path(attack, RowWise(SHAPE), X, Y, attempts=2)
    assert len(path.mean) == 2 and path.mean[0] != path.mean[1]


def test_the_model_is_in_eval_mode_meanwhile_and_left_as_it_was() -> None:
    net, x = small_net(), torch.rand(8, 1, 8, 8, generator=torch_seed(0))
    y = torch.arange(8) % 5
    before = {k: v.clone() for k, v in net.state_dict().items()}
    path = loss_path(ATTACK, net, x, y, attempts=2)
    assert all(m.training for m in net.modules()) and all(p.requires_grad for p in net.parameters())
    assert all(p.grad is None for p in net.parameters()) and not any(m._forward_hooks for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(loss_path(ATTACK, net.eval(), x, y, attempts=2).mean, path.mean)
    assert torch.equal(loss_path(ATTACK, net.train().forward, x, y, attempts=2).mean, path.mean)


def test_losses_are_float32_of_a_model_that_answers_in_bfloat16() -> None:
    class Low(RowWise):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).bfloat16()

    exact, path = (loss_path(ATTACK, net, X, Y, attempts=1) for net in (RowWise(SHAPE), Low(SHAPE)))
    assert path.mean.dtype == path.std.dtype == torch.float32
    assert path.mean[0] == pytest.approx(float(exact.mean[0]), rel=0.02) and path.mean[0] != exact.mean[0]


@dataclass(frozen=True)
class Uneven:
    """Asks as often, and for as many images, as `ask` says of the attempt."""

    threat: mrt.Linf
    ask: Any

    def __call__(self, model: Any, x: Tensor, y: Tensor, **rest: Any) -> Tensor:
        for size in next(self.ask):
            model(x[:size])
        return x


BAD: list[tuple[dict[str, Any], str]] = [
    ({"attack": Uneven(mrt.Linf(0.1), iter([[N], [N, N]]))}, "Uneven.* made 1 calls .* and 2 in another"),
    ({"attack": Uneven(mrt.Linf(0.1), iter([[N, N - 1]]))}, "all 9 images at once; Uneven.* asked for 8"),
    ({"attack": mrt.PGD(mrt.Linf(0.3), steps=2)}, "best='last'; got 'broken'"),
    ({"attack": mrt.APGD(mrt.Linf(0.3), steps=2, best="loss")}, "best='last'; got 'loss'"),
    ({"attempts": 0}, "attempts must be"),
    ({"seed": -1}, "seed must be"),
    ({"x": X * 2}, r"x must lie in \[0, 1\]"),
    ({"y": Y[:3]}, "y must have shape"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_calls_are_named(change: dict[str, Any], message: str) -> None:
    net = RowWise(SHAPE) if change.get("attack") is None else Linear(SHAPE)
    call: dict[str, Any] = {"attack": ATTACK, "model": net, "x": X, "y": Y % 2, "attempts": 2, **change}
    with pytest.raises(ValueError, match=message):
        loss_path(**call)


def test_an_attack_without_noise_has_no_spread() -> None:
    """Its attempts are one and the same, however much the images differ."""
    path = loss_path(replace(ATTACK, random_start=False), RowWise(SHAPE), X, Y, attempts=3)
    assert isinstance(path, LossPath) and path.std.max() < 1e-6
