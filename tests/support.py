"""Inputs, models and float64 twins that several tests share."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import mrt
from mrt.protocols import Ball, Threat

ROOT = Path(__file__).parents[1]
SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 12, 20))
UNION: tuple[mrt.Linf, mrt.L2, mrt.L1] = (mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0))
BALLS: tuple[Ball, ...] = (
    mrt.Linf(0.2),
    mrt.L2(0.7),
    mrt.L2(0.7, projection="exact"),
    mrt.L1(2.0),
    mrt.L1(2.0, projection="clip"),
)
THREATS: tuple[Threat, ...] = (
    *BALLS,
    mrt.L0(5),
    mrt.AnyOf(UNION),
    mrt.RotationTranslation(),
    mrt.RotationTranslation(20, 2.5, two_stage=True),
    mrt.Affine((mrt.Linf(0.2), mrt.L1(2.0))),
    mrt.Affine((mrt.RotationTranslation(), mrt.L2(0.7))),
)


def torch_seed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(shape: tuple[int, ...], n: int, seed: int) -> Tensor:
    """Random images of which about a third of the pixels stand on each bound."""
    g = torch_seed(seed)
    return (torch.rand(n, *shape, generator=g) * 3 - 1).clamp(0, 1)


class Case:
    """A batch, a perturbation of its shape at some scale, and a gradient of some kind."""

    def __init__(self, x: Tensor, delta: Tensor, grad: Tensor, label: str) -> None:
        self.x, self.delta, self.grad, self.label = x, delta, grad, label

    def __repr__(self) -> str:
        return self.label


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Shapes, batch sizes 1 to 33, perturbations from tiny to far outside the box, gradients dense, tied, constant,
    zero."""
    shape = draw(st.sampled_from(SHAPES))
    n = draw(st.integers(1, 33))
    seed = draw(st.integers(0, 10**6))
    g = torch_seed(seed + 1)
    scale = 10.0 ** draw(st.integers(-4, 1))
    delta = torch.randn(n, *shape, generator=g) * scale
    if draw(st.booleans()):
        delta = delta * (torch.rand(n, *shape, generator=g) < 0.05)
    grad = torch.randn(n, *shape, generator=g)
    kind = draw(st.sampled_from(["dense", "tied", "constant", "zero", "sparse"]))
    if kind == "tied":
        grad = grad.round()
    elif kind == "constant":
        grad = torch.full_like(grad, 0.5)
    elif kind == "zero":
        grad = torch.zeros_like(grad)
    elif kind == "sparse":
        grad = grad * (torch.rand(n, *shape, generator=g) < 0.02)
    x = images(shape, n, seed)
    bounds = draw(st.booleans())
    if bounds:
        x = x.round()  # every pixel on a bound
    return Case(x, delta, grad, f"<{n} of {shape}, seed {seed}, delta {scale:g}, grad {kind}, all on bounds: {bounds}>")


def points_that_return(n: int, entries: int) -> tuple[Tensor, Tensor]:
    """Perturbations (n, 1, 1, entries) of black images, and l1 radii (n,). Every entry has grown by as little as the
    projection takes away again, which brings all but three back to zero."""
    g = torch_seed(0)
    held = torch.zeros(n, entries)
    held[:, :3] = torch.rand(n, 3, generator=g) * 0.9 + 0.05
    length = 10 ** (2 * torch.rand(n, 1, generator=g) - 4)
    return (held + length / entries).view(n, 1, 1, entries), held.sum(1)


factors = st.sampled_from([0.0, 1e-3, 0.3, 1.0, 7.0, 1e4])
"""Of a radius: from zero to far larger than the box."""


class Linear(nn.Module):
    """Two classes with logits (0, w.x + b): a model of row-wise arithmetic, whose best perturbations are known."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        g = torch_seed(seed)
        self.weight = nn.Parameter(torch.randn(*shape, generator=g))
        self.bias = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


class RowWise(nn.Module):
    """`classes` logits by elementwise products and row sums, with a kink: every example's arithmetic is its own."""

    def __init__(self, shape: tuple[int, ...], classes: int = 5, seed: int = 0) -> None:
        super().__init__()
        g = torch_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, *shape, generator=g))
        self.bend = nn.Parameter(torch.rand(classes, *shape, generator=g))

    def forward(self, x: Tensor) -> Tensor:
        rows = [((x - b).relu() * w).flatten(1).sum(1) for w, b in zip(self.weight, self.bend, strict=True)]
        return torch.stack(rows, 1)


class Noisy(nn.Module):
    """A network behind Gaussian noise on its input, drawn anew at every pass."""

    def __init__(self, net: nn.Module, sd: float) -> None:
        super().__init__()
        self.net, self.sd = net, sd

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x + self.sd * torch.randn_like(x))
        return logits


def small_net(shape: tuple[int, ...] = (1, 8, 8), classes: int = 5, seed: int = 0) -> nn.Module:
    """A convolutional network with BatchNorm and dropout, whose running statistics are not the defaults; in train
    mode."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(shape[0], 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, classes),
    )
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(16, *shape))
    return net


@lru_cache
def digits_net(seed: int = 0, steps: int = 40, eps: float = 0.0) -> nn.Module:
    """A DigitsCNN trained on batches of 256, or with PGD-3 in linf on 128 where eps is given. Shared: leave it as it
    is."""
    torch.manual_seed(seed)
    data, net = mrt.data.digits("train"), mrt.models.DigitsCNN(width=8)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for step in range(steps):
        rows = torch.randperm(len(data.x), generator=torch_seed(step))[: 128 if eps else 256]
        x, y = data.x[rows], data.y[rows]
        if eps:
            threat = mrt.Linf(eps * min(1.0, 2 * step / steps))
            x = mrt.PGD(threat, steps=3, best="loss")(net, x, y, rng=torch_seed(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net.eval()


def digits(n: int, split: Any = "test") -> tuple[Tensor, Tensor]:
    """The first n digits."""
    data = mrt.data.digits(split).take(n)
    return data.x, data.y


def rooms(x: Tensor, weight: Tensor) -> Tensor:
    """How far each pixel may go in the direction of `weight`, float64 (N, d)."""
    x = x.double()
    return torch.where(weight.double() > 0, 1 - x, x).flatten(1)


def best_gain(threat: Threat, x: Tensor, weight: Tensor) -> Tensor:
    """max w.delta over the threat cut with the box, in closed form, float64 (N,)."""
    room, size = rooms(x, weight), weight.double().abs().flatten().expand(len(x), -1)
    if isinstance(threat, mrt.AnyOf):
        return torch.stack([best_gain(t, x, weight) for t in threat.threats]).amax(0)
    if isinstance(threat, mrt.Linf):
        return (size * room.clamp(max=threat.eps)).sum(1)
    if isinstance(threat, mrt.L0):
        return (size * room).sort(1, descending=True).values[:, : threat.count].sum(1)
    if isinstance(threat, mrt.L1):
        order = size.argsort(1, descending=True)
        room, size = room.gather(1, order), size.gather(1, order)
        before = room.cumsum(1) - room
        return (size * torch.minimum(room, (threat.eps - before).clamp(min=0))).sum(1)
    if not isinstance(threat, mrt.L2):
        raise TypeError(threat)
    low, high = torch.zeros(len(x), 1, dtype=torch.float64), torch.full((len(x), 1), 1e6, dtype=torch.float64)
    for _ in range(200):  # delta = min(t |w|, room) with the t that spends the radius
        middle = (low + high) / 2
        over = torch.minimum(middle * size, room).norm(dim=1, keepdim=True) > threat.eps
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return (size * torch.minimum(low * size, room)).sum(1)


def project_float64(threat: Ball, delta: Tensor, x: Tensor) -> Tensor:
    """The nearest point of ball and box, row by row, by bisection of the multiplier in float64."""
    out = np.empty((len(x), x[0].numel()))
    for i, (d, z) in enumerate(zip(delta.double().flatten(1).numpy(), x.double().flatten(1).numpy(), strict=True)):
        room = np.where(d > 0, 1 - z, z)

        def at(t: float, d: Any = d, room: Any = room) -> Any:
            if isinstance(threat, mrt.L1):
                return np.sign(d) * np.minimum(np.maximum(np.abs(d) - t, 0), room)
            if isinstance(threat, mrt.L2):
                return np.sign(d) * np.minimum(np.abs(d) / (1 + t), room)
            return np.sign(d) * np.minimum(np.minimum(np.abs(d), threat.eps), room)

        p = 1 if isinstance(threat, mrt.L1) else 2
        low, high = 0.0, 1.0
        if not isinstance(threat, mrt.Linf) and np.linalg.norm(at(0.0), p) > threat.eps:
            while np.linalg.norm(at(high), p) > threat.eps and high < 1e30:
                high *= 2
            for _ in range(120):
                middle = (low + high) / 2
                low, high = (middle, high) if np.linalg.norm(at(middle), p) > threat.eps else (low, middle)
            out[i] = at(high)
        else:
            out[i] = at(0.0)
    return torch.from_numpy(out).view_as(x)


class _Flops(TorchDispatchMode):
    """Floating-point operations of the matrix products and convolutions inside, forward and backward."""

    total: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def operations(run: Callable[[], object]) -> int:
    """The floating-point operations of what it does."""
    counter = cast(Any, _Flops)()  # its constructor is untyped in torch
    with counter:
        run()
    return int(counter.total)
