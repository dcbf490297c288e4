"""mrt/crafting/gradient.py, checked_model.py: The model as an attack sees it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.crafting.gradient import crafting, input_grad
from mrt.crafting.losses import ce
from mrt.fast import Fast
from tests.support import UNION, images, operations, small_net


def test_inside_the_model_is_frozen_and_in_eval_mode() -> None:
    net = small_net()
    with crafting(net) as f:
        assert not any(m.training for m in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
        x = torch.rand(4, 1, 8, 8)
        torch.testing.assert_close(f(x), net(x))
    assert all(m.training for m in net.modules()) and all(p.requires_grad for p in net.parameters())


def test_bn_batch_uses_the_batch_and_moves_nothing() -> None:
    net, x = small_net(), torch.rand(8, 1, 8, 8)
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.running_mean is not None and norm.num_batches_tracked is not None
    before, count = norm.running_mean.clone(), int(norm.num_batches_tracked)
    with crafting(net, bn="batch") as f:
        crafted = f(x)
        assert not next(m for m in net.modules() if isinstance(m, nn.Dropout)).training
    assert torch.equal(norm.running_mean, before) and int(norm.num_batches_tracked) == count
    plain = small_net().train()
    next(m for m in plain.modules() if isinstance(m, nn.Dropout)).eval()
    torch.testing.assert_close(crafted, plain(x))
    with crafting(net) as f:
        assert not torch.allclose(f(x), crafted)


def test_bn_reaches_the_attacks() -> None:
    net, x, y = small_net(), images((1, 8, 8), 6, 0), torch.arange(6) % 5
    for make in (
        lambda bn: mrt.PGD(mrt.Linf(0.2), steps=3, bn=bn),
        lambda bn: mrt.MSD(UNION, steps=3, bn=bn),
        lambda bn: mrt.APGD(mrt.L2(0.7), steps=4, bn=bn),
    ):
        results = [make(bn)(net, x, y, rng=torch.arange(6)) for bn in ("eval", "batch")]
        assert not torch.equal(*results)


def test_nested_crafting_restores_its_own() -> None:
    net = small_net()
    with crafting(net, bn="batch"):
        inside = [m.training for m in net.modules()]
        with crafting(net):
            assert not any(m.training for m in net.modules())
        assert [m.training for m in net.modules()] == inside
    assert all(m.training for m in net.modules())


def test_a_model_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ValueError, match="inference_mode"):
        mrt.PGD(mrt.Linf(0.1))(net, torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))


def test_input_grad_is_autograds() -> None:
    net, x, y = small_net().eval(), torch.rand(4, 1, 8, 8), torch.arange(4)
    grad, logits, loss = input_grad(net, x, lambda z: ce(z, y))
    point = x.clone().requires_grad_()
    out = net(point)
    expected = nn.functional.cross_entropy(out, y, reduction="none")
    expected.sum().backward()
    assert point.grad is not None
    torch.testing.assert_close(grad, point.grad)
    torch.testing.assert_close(logits, out.detach())
    torch.testing.assert_close(loss, expected.detach())
    assert not grad.requires_grad and not logits.requires_grad and not loss.requires_grad


@pytest.mark.parametrize("weighted", [False, True], ids=["constant", "detached"])
def test_a_model_that_cannot_be_differentiated_is_an_error(weighted: bool) -> None:
    weight = torch.ones(64, 3, requires_grad=True)

    def model(x: Tensor) -> Tensor:
        z = x.detach().flatten(1)
        return z @ (weight if weighted else weight.detach())

    with pytest.raises(ValueError, match="differentiably"):
        mrt.PGD(mrt.Linf(0.1))(model, torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))


def test_bfloat16_runs_the_model_only() -> None:
    seen = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.linear = nn.Linear(64, 64), nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.dtype)
            first = self.stem(x.flatten(1))
            seen.append(first.dtype)
            out: Tensor = self.linear(first)
            seen.append(out.dtype)
            return out

    net, x, y = Net(), images((1, 8, 8), 6, 0), torch.arange(6) % 5
    x_adv = mrt.PGD(mrt.L2(0.5), steps=3, fast=Fast(precision="bfloat16"))(net, x, y)
    assert set(seen[::3]) == {torch.float32}, "the first layer sees the pixels"
    assert {*seen[1::3], *seen[2::3]} == {torch.bfloat16}
    assert x_adv.dtype == torch.float32 and mrt.L2(0.5).contains(x, x_adv).all()
    seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the caller's precision is not the attack's
        mrt.PGD(mrt.L2(0.5), steps=3)(net, x, y)
    assert set(seen) == {torch.float32}


def test_a_callers_autocast_does_not_reach_into_the_backward_pass() -> None:
    net, x, y = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), images((1, 8, 8), 6, 0), torch.arange(6) % 5
    seen: list[bool] = []

    def watched(z: Tensor) -> Tensor:
        logits: Tensor = net(z)
        if logits.requires_grad:
            logits.register_hook(lambda grad: seen.append(torch.is_autocast_enabled("cpu")))
        return logits

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mrt.PGD(mrt.L2(0.5), steps=3)(watched, x, y)
    assert seen == [False] * 3


def test_attack_steps_compute_no_parameter_gradients() -> None:
    """Operations of PGD-5 beside those of the same five steps by loss.backward(), which also fills parameter
    gradients."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Flatten(), nn.Linear(2048, 10)
    )
    x, y = torch.rand(4, 3, 16, 16), torch.arange(4)

    forward = operations(lambda: net(x))

    def by_backward() -> None:
        for _ in range(5):
            nn.functional.cross_entropy(net(x.clone().requires_grad_()), y).backward()
        net(x)

    ours = operations(lambda: mrt.PGD(mrt.Linf(0.1), steps=5)(net, x, y))
    assert operations(by_backward) == 16 * forward  # 5 (F + 2F) + F
    assert ours == 11 * forward  # 5 (F + F) + F
    balls = operations(lambda: mrt.MSD(UNION, steps=5)(net, x, y))
    assert balls == 25 * forward  # 5 (F + F + 3F): three candidates, and no pass for the last point
