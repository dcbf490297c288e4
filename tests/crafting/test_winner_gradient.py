"""mrt/crafting/winner_gradient.py: One backward pass through each example's winner is the plain gradient, or
refused."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.crafting import gradient as gradients
from mrt.crafting import winner_gradient
from mrt.crafting.losses import LOSSES, Goal
from tests.crafting.support import Net, batch, fast
from tests.support import UNION, operations


def test_passes_are_freed_with_their_last_user() -> None:
    x, y = batch()
    net = Net().eval().requires_grad_(False)
    gone: list[weakref.ref[object]] = []
    for used in (True, False):
        passes = winner_gradient.ForwardPasses(net, torch.rand(3, *x.shape), Goal(LOSSES["ce"], y))
        if used:
            passes.grad(torch.arange(6) % 3)
        gone += [weakref.ref(passes.saved), weakref.ref(passes.saved.tensors[1][0])]
        del passes
    gc.collect()
    assert all(r() is None for r in gone)


def test_reuse_gives_no_direction_where_there_is_none() -> None:
    """An infinite slope, as in the plain loop."""
    x, y = batch()
    x[:, :, 0, 0] = 0

    def root(z: Tensor) -> Tensor:
        return z[:, 0, 0, :5].sqrt()

    passes = winner_gradient.ForwardPasses(root, torch.stack([x, x]), Goal(LOSSES["ce"], y))
    assert passes.grad(torch.arange(6) % 2).isfinite().all()


@pytest.mark.parametrize("candidates", [2, 3, 4])
def test_reuse_is_exact(candidates: int) -> None:
    """The gradient of each winner is the plain one, to the bit."""
    x, y = batch(11)
    points = torch.rand(candidates, *x.shape)
    net = Net().eval().requires_grad_(False)
    goal = Goal(LOSSES["ce"], y)
    winner = torch.arange(11) * 3 % candidates
    passes = winner_gradient.ForwardPasses(net, points, goal)
    mixed = points[winner, torch.arange(11)]
    plain, logits, _ = gradients.input_grad(net, mixed, goal)
    assert torch.equal(passes.grad(winner), plain)
    torch.testing.assert_close(passes.logits[winner, torch.arange(11)], logits)


def test_reuse_saves_a_pass_of_every_step() -> None:
    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))
    x, y = batch(4)
    attack = fast(mrt.MSD(UNION, steps=5), reuse=True)
    attack(net, x, y)  # compares itself with the plain gradient once

    assert operations(lambda: attack(net, x, y)) == 21 * operations(lambda: net(x))  # F + B, 5 x 3F, 4 x B


def test_the_last_step_keeps_nothing_to_go_back_by() -> None:
    """It needs no gradient, so that its passes hold no activations."""
    x, y = batch(4)
    modes: list[bool] = []

    class Watched(Net):
        def forward(self, x: Tensor) -> Tensor:
            modes.append(torch.is_grad_enabled())
            return super().forward(x)

    net = Watched()
    attack = fast(mrt.MSD(UNION, steps=2), reuse=True)
    attack(net, x, y)  # compares itself with the plain gradient once
    modes.clear()
    attack(net, x, y)
    assert modes == [True] * 4 + [False] * 3  # the start, the first step's three proposals; the last step's


def test_what_all_passes_share_is_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight with as many rows as the batch looks like a tensor of the batch; copying it would be for nothing."""
    net, gathered = nn.Sequential(nn.Flatten(), nn.Linear(128, 6), nn.Linear(6, 5)).requires_grad_(False), set[int]()
    plain = winner_gradient._SavedTensors._gather

    def gather(self: winner_gradient._SavedTensors, parts: list[Tensor]) -> Tensor:
        gathered.update(part.data_ptr() for part in parts)
        return plain(self, parts)

    monkeypatch.setattr(winner_gradient._SavedTensors, "_gather", gather)
    x, y = batch(6)
    passes = winner_gradient.ForwardPasses(net, torch.rand(3, *x.shape), Goal(LOSSES["ce"], y))
    passes.grad(torch.arange(6) % 3)
    assert gathered and not gathered & {weight.data_ptr() for weight in net.parameters()}


def test_reuse_refuses_models_whose_examples_see_each_other() -> None:
    x, y = batch()

    class Mixing(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * x.mean(0, keepdim=True))

    class Flat(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(2 * len(x), 1, 8, 8).sigmoid().reshape(x.shape))

    for net in (Mixing(), Flat()):
        for some in (slice(6), slice(1)):
            if isinstance(net, Mixing) and some == slice(1):
                continue  # one example sees only itself
            for _ in range(2):  # refused once, refused again
                with pytest.raises(ValueError, match=r"reuse=True.*keeps examples apart"):
                    fast(mrt.MSD(UNION, steps=2), reuse=True)(net, x[some], y[some])
    with pytest.raises(ValueError, match="bn='batch'"):
        mrt.MSD(UNION, bn="batch", fast=mrt.Fast(reuse=True))
