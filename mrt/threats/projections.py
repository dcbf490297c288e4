"""Euclidean projections of perturbations, as pure functions on (N, ...) tensors.

A radius is one number, or a Tensor (N,) with one per example. No example is ever moved because a batch mate is outside
(MSD's published code and Foolbox's SparseL1Descent then push interior ones outwards). Written in plain arithmetic: on a
CPU a comparison or a `where` costs four to twenty times an addition. A trailing underscore means in place, as in torch.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

Radius = float | Tensor


def no_sync(tensor: Tensor) -> bool:
    """Whether the host must not look at the tensor's values: on a GPU that would wait for all that is under way there,
    and no CUDA graph could record it."""
    return tensor.is_cuda


@overload
def per_example(radius: Tensor, like: Tensor) -> Tensor: ...
@overload
def per_example(radius: float, like: Tensor) -> float: ...
def per_example(radius: Radius, like: Tensor) -> Radius:
    """The radius (N,), or any other column, in a shape that broadcasts over the examples of `like`. Numbers stay as
    they are."""
    return radius.reshape(-1, *[1] * (like.ndim - 1)) if isinstance(radius, Tensor) else radius


def box(delta: Tensor, x: Tensor) -> Tensor:
    """argmin |d - delta|_2 with x + d in [0, 1]."""
    return (x + delta).clamp_(0, 1).sub_(x)


def linf(delta: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_inf <= eps."""
    bound = per_example(eps, delta)
    if isinstance(bound, Tensor):
        return torch.minimum(torch.maximum(delta, -bound), bound)
    return delta.clamp(-bound, bound)


def l2(delta: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_2 <= eps."""
    return l2_(delta.clone(), eps)


def l2_(delta: Tensor, eps: Radius) -> Tensor:
    """What `l2` returns, written into delta."""
    # A perturbation of zero has the norm 0: the floor keeps eps / norm from being 0 / 0 at eps = 0. Inside the ball the
    # factor is cut to exactly 1, so that a feasible delta comes back to the bit.
    norm = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    factor = (eps / norm.clamp_(min=torch.finfo(norm.dtype).tiny)).clamp_(max=1)
    return delta.mul_(per_example(factor, delta))


def l1(delta: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_1 <= eps: soft thresholding (Duchi et al. 2008), sign(delta) (|delta| - t)+."""
    size = delta.flatten(1).abs()  # (N, d)
    level = _find_level(size, None, eps)
    return size.sub_(level).clamp_(min=0).view_as(delta).copysign_(delta)


def l1_box(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_1 <= eps and x + d in [0, 1].

    Entry by entry d = sign(delta) min((|delta| - t)+, u), where u is the room the box leaves in that direction and t
    >= 0 the least level that meets the budget (Croce and Hein 2021, "Mind the box").
    """
    size = delta.flatten(1).abs()  # (N, d)
    # u: go one whole unit in delta's direction, and see how far the box lets one come. (An entry of zero has no room,
    # and needs none.)
    room = delta.sign().add_(x).clamp_(0, 1).sub_(x).abs_().flatten(1)
    level = _find_level(size, room, eps)
    return torch.minimum(size.sub_(level).clamp_(min=0), room).view_as(delta).copysign_(delta)


def l2_box(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_2 <= eps and x + d in [0, 1]: d = box(s delta) with the largest s <= 1 that
    fits."""
    # The multiplier of the ball's constraint divides all of d alike before the box cuts it; hence a single scale s, and
    # |box(s delta)|_2 never falls as s grows, which is what bisection needs.
    flat, origin = delta.flatten(1), x.flatten(1)
    radius = per_example(eps, flat)

    def norm(scale: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(box(flat * scale, origin), dim=1, keepdim=True)
        return length

    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp_(min=torch.finfo(flat.dtype).tiny)
    low, high = (radius / length).clamp_(max=1), torch.ones_like(length)  # low fits, since the box only shortens
    for _ in range(40):
        # The geometric mean, since the scale may span many orders of magnitude: on [0, 1] the arithmetic one has no
        # digits left for a delta of length 1e8.
        middle = (low * high).sqrt()
        inside = norm(middle) <= radius
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    # Bisection only comes near its upper end; where the box alone is enough, s is exactly 1.
    low = torch.where(norm(torch.ones_like(low)) <= radius, 1.0, low)
    return box(flat * low, origin).view_as(delta)


def _find_level(size: Tensor, room: Tensor | None, eps: Radius) -> Tensor:
    """t (N, 1): the least t >= 0 with sum min((size - t)+, room) <= eps. Without `room` no entry has a bound."""
    # A search by Newton steps instead of the papers' sort: the cost is memory traffic, and a handful of turns over the
    # entries, in place, makes less of it.
    radius = eps.to(size.dtype) if isinstance(eps, Tensor) else torch.full_like(size[:, 0], eps)
    level = _search_level(size, room, radius, look=not no_sync(size))  # (N,)
    return level.mul_(1 + 2.0**-23).unsqueeze(1)  # so that the rounding left over errs to the inside


def _sum_and_slope(above: Tensor, room: Tensor | None, bounded: Tensor) -> tuple[Tensor, Tensor]:
    """sum min(above, room) of each row, and how fast it falls with the level: the number of entries that are neither at
    zero nor at their room. Overwrites `above` and `bounded`."""
    if room is None:
        return above.sum(1), above.gt_(0).sum(1)
    spent = torch.minimum(above, room, out=bounded).sum(1)
    slope = torch.lt(above, room, out=bounded).mul_(above.gt_(0)).sum(1)
    return spent, slope


def _search_level(size: Tensor, room: Tensor | None, eps: Tensor, look: bool = True) -> Tensor:
    """The level (N,). With `look`, rows that are done leave the search; what a row finds is the same either way.

    The sum falls piecewise linearly in t: a Newton step is exact on its piece, and bisection takes over where it is
    flat, the step leaves the bracket, or 20 steps were not enough. A row rests once its step is lost in the sum's
    rounding.
    """
    # `levels` holds the results of all rows; `rows` says which of them the smaller tensors below still belong to.
    levels, rows = torch.zeros_like(eps), torch.arange(len(eps), device=eps.device)
    # The level lies in [low, high]: at the largest entry nothing is left of the sum.
    level, low, high = torch.zeros_like(eps), torch.zeros_like(eps), size.amax(1)
    done = torch.zeros_like(eps, dtype=torch.bool)
    above, bounded = torch.empty_like(size), torch.empty_like(size)  # memory for each turn
    for turn in range(40):
        torch.sub(size, level[:, None], out=above).clamp_(min=0)  # (size - t)+
        spent, slope = _sum_and_slope(above, room, bounded)
        excess = spent - eps
        done |= (excess <= 0) & (level == 0)  # inside already: this row is not to be moved
        low, high = torch.where(excess > 0, level, low), torch.where(excess > 0, high, level)
        newton = level + excess / slope.clamp(min=1)
        settled = excess.abs() <= 4e-7 * spent  # a few roundings of a float32 sum; this row's Newton step is its last
        # The last step may only raise the level. Where rounding has carried it past the size of many equal entries,
        # `slope` counts the few that are left, and a step back down by that slope would end outside the ball.
        newton = torch.where(settled, torch.maximum(newton, level), newton)
        useful = settled | ((slope > 0) & (newton > low) & (newton < high) & (turn < 20))
        # The bracket is down to rounding: its upper end errs to the inside.
        closed = (high - low <= 1e-7 * high) & ~settled
        step = torch.where(useful, newton, (low + high) / 2)
        level = torch.where(done, level, torch.where(closed, high, step))
        done |= settled | closed
        if not look:
            continue
        # Rows that are done are dropped once they are half of all: so the others are copied a few times only.
        left = (~done).nonzero().squeeze(1)
        if 2 * len(left) > len(rows):
            continue
        levels[rows] = level
        rows, level, low, high, done = rows[left], level[left], low[left], high[left], done[left]
        size, eps, room = size[left], eps[left], None if room is None else room[left]
        above, bounded = above[: len(left)], bounded[: len(left)]
        if len(left) == 0:
            return levels
    return levels.index_copy(0, rows, level)
