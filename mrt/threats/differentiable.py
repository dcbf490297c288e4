"""Noise brought onto a ball about x, with gradients back to the noise: what a generator is trained through.

The balls' own `project` carries no gradient. Here the active set (which entries are cut by the box, which are
thresholded away) is found without one, and the scale or threshold is then written as a formula of the noise on that
set, which is differentiable wherever the set does not change. So there is no sort in the graph, through which MNG-AC's
published code differentiates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mrt.protocols import Ball
from mrt.threats.balls import L1, L2, Linf
from mrt.threats.projections import Radius, l1, l1_box, linf, per_example


def onto(ball: Ball, x: Tensor, noise: Tensor, *, rescale: bool = True, squash: bool = False) -> Tensor:
    """x + noise, brought into the ball and the box. linf: clamped, or with `squash` eps tanh(noise / eps), which never
    saturates to a zero gradient. l1: projected. l2: with `rescale` brought to the sphere, from inside, too (Rauber and
    Bethge 2020), else projected. This is MNG-AC's P_p(x, n)."""
    if isinstance(ball, Linf):
        bound = per_example(ball.eps, x)
        return (x + (_squash(noise, bound) if squash else linf(noise, ball.eps))).clamp(0, 1)
    if isinstance(ball, L2):
        scale = sphere_scale(noise, x, ball.eps)
        if not rescale:
            scale = scale.clamp(max=1)  # what is inside stays where it is
        # Multiplied in the scale's float64, and rounded once.
        return (x + (per_example(scale, x) * noise.double()).to(x.dtype)).clamp(0, 1)
    if isinstance(ball, L1):
        return (x + soft_threshold(noise, x, ball.eps, box=ball.projection == "exact")).clamp(0, 1)
    raise ValueError(f"noise can be brought onto Linf, L2 or L1 balls; got {ball!r}")


def _squash(noise: Tensor, bound: float | Tensor) -> Tensor:
    """bound tanh(noise / bound), and 0 where the bound is 0."""
    least = torch.finfo(noise.dtype).tiny
    low = bound.clamp(min=least) if isinstance(bound, Tensor) else max(bound, least)
    return bound * torch.tanh(noise / low)


def sphere_scale(noise: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """s (N,) >= 0, float64, with |clip(x + s noise) - x|_2 = eps; where no s reaches that, the least that drives every
    entry to its bound.

    The squared length is piecewise linear in s^2, with a knot where an entry meets the box. With A the entries that do
    not meet it and B those that do, s^2 = (eps^2 - sum_B room^2) / sum_A noise^2.
    """
    # In float64, since the differences of cumulated squares below cancel.
    flat, origin = noise.flatten(1).double(), x.flatten(1).double()  # (N, d)
    target = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x)) ** 2
    with torch.no_grad():
        room, size = torch.where(flat >= 0, 1 - origin, origin), flat.abs()
        # The s at which each entry meets its bound. Noise of zero never does, and takes part in neither A nor B.
        knots = torch.where(size > 0, room / size.clamp(min=1e-300), 0.0)
        order = knots.argsort(1)
        by_knot = knots.gather(1, order)
        squares = size.gather(1, order) ** 2
        spent = (room * (size > 0)).gather(1, order).square().cumsum(1)  # by entries up to this knot, at it
        left = squares.sum(1, keepdim=True) - squares.cumsum(1)  # of noise^2 beyond it
        reached = spent + by_knot**2 * left.clamp(min=0)  # the squared length at each knot
        # The target lies on the piece behind the last knot that falls short of it: entries before `first` are B's.
        first = (reached < target[:, None]).sum(1)
        last = by_knot[:, -1]
        free = torch.arange(flat.shape[1], device=x.device)[None] >= first[:, None]
        free = torch.zeros_like(free).scatter(1, order, free) & (size > 0)
        cut = (room.square() * (~free & (size > 0))).sum(1)  # sum_B room^2, a constant while B is the same
    moving = (flat.square() * free).sum(1)
    reachable = moving > 0
    # 1.0 and 1e-300 stand in where the other branch of `where` is taken, or where s is 0: 0 / 0 and the root's slope at
    # 0 would be NaN, and NaN times a gradient of zero is NaN.
    inside = (target - cut).clamp(min=0) / torch.where(reachable, moving, 1.0)
    return torch.where(reachable, inside.clamp(min=1e-300).sqrt(), last)


def soft_threshold(noise: Tensor, x: Tensor, eps: Radius, *, box: bool) -> Tensor:
    """The projection of noise on the l1 ball, and with `box` on the pixel box at once: sign(n) min((|n| - t)+, u), u
    the room in that direction. With S the entries at u, A those between and k the size of A, t = (sum_A |n| + sum_S u -
    eps) / k."""
    with torch.no_grad():
        if box:
            delta = l1_box(noise, x, eps).flatten(1)
            room = torch.where(noise >= 0, 1 - x, x).flatten(1)
        else:
            delta = l1(noise, eps).flatten(1)
            room = torch.full_like(delta, torch.inf)
        # Rows that the box alone brings into the ball have the level 0, which no longer depends on the noise.
        outside = torch.minimum(noise.flatten(1).abs(), room).double().sum(1) > torch.as_tensor(eps, device=x.device)
        # The projection's own answer says which entries are S's (`full`) and which A's (`between`); the rest are zero.
        full = (delta.abs() >= room) & (delta != 0)
        between = (delta != 0) & ~full
        count = between.sum(1).clamp(min=1)
        filled = torch.where(full, room.double(), 0.0).sum(1)
    size = noise.flatten(1).abs().double()  # of a level far above the radius float32 would round too much away
    level = ((size * between).sum(1) + filled - eps) / count
    level = torch.where(outside, level.clamp(min=0), 0.0)
    shrunk = torch.where(between, size - level[:, None], torch.where(full, room.double(), 0.0)).clamp(min=0)
    return (shrunk.to(noise.dtype) * noise.flatten(1).sign()).view_as(noise)
