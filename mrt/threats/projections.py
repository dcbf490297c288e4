"""Euclidean projections of perturbations, as pure functions on (N, ...) tensors.

A radius is one number, or a Tensor (N,) with one per example. No example is ever moved because a batch mate is outside.
Written in plain arithmetic: on a CPU a comparison or a `where` costs four to twenty times an addition.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from mrt.threats.selection import columns_of_largest

Radius = float | Tensor
SPARSE = 24  # a row with at most one positive entry in so many is searched among those alone


def no_sync(tensor: Tensor) -> bool:
    """Are its values not to be looked at? On a GPU that would wait for all that is under way, and no CUDA graph could
    hold it."""
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
    """`l2` in place."""
    norm = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    factor = (eps / norm.clamp_(min=torch.finfo(norm.dtype).tiny)).clamp_(max=1)
    return delta.mul_(per_example(factor, delta))


def l1(delta: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_1 <= eps: soft thresholding (Duchi et al. 2008)."""
    size = delta.flatten(1).abs()
    level = _water_level(size, None, eps)
    return size.sub_(level).clamp_(min=0).view_as(delta).copysign_(delta)


def l1_box(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_1 <= eps and x + d in [0, 1].

    Entry by entry d = sign(delta) min((|delta| - t)+, u), where u is the room the box leaves in that direction and t
    >= 0 the least level that meets the budget (Croce and Hein 2021, "Mind the box").
    """
    size = delta.flatten(1).abs()
    room = delta.sign().add_(x).clamp_(0, 1).sub_(x).abs_().flatten(1)
    level = _water_level(size, room, eps)
    return torch.minimum(size.sub_(level).clamp_(min=0), room).view_as(delta).copysign_(delta)


def l2_box(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_2 <= eps and x + d in [0, 1]: d = box(s delta) with the largest s <= 1 that
    fits."""
    flat, origin = delta.flatten(1), x.flatten(1)
    radius = per_example(eps, flat)

    def norm(scale: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(box(flat * scale, origin), dim=1, keepdim=True)
        return length

    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp_(min=torch.finfo(flat.dtype).tiny)
    low, high = (radius / length).clamp_(max=1), torch.ones_like(length)  # low fits, since the box only shortens
    for _ in range(40):
        middle = (low * high).sqrt()  # the scale may span many orders of magnitude
        inside = norm(middle) <= radius
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    low = torch.where(norm(torch.ones_like(low)) <= radius, 1.0, low)
    return box(flat * low, origin).view_as(delta)


def _water_level(size: Tensor, room: Tensor | None, eps: Radius) -> Tensor:
    """(N, 1): the least t >= 0 with sum min((size - t)+, room) <= eps; no room means no bound."""
    radius = eps.to(size.dtype) if isinstance(eps, Tensor) else torch.full_like(size[:, 0], eps)
    level = torch.zeros_like(radius)
    if no_sync(size):
        level = _search_level(size, room, radius, look=False)
    else:
        few = max(size.shape[1] // SPARSE, 1)
        sparse = torch.gt(size, 0, out=torch.empty_like(size)).sum(1) <= few
        for part, narrow in ((sparse, True), (~sparse, False)):
            rows = part.nonzero().squeeze(1)
            if len(rows):
                a, u, r = size[rows], None if room is None else room[rows], radius[rows]
                columns = columns_of_largest(a, few) if narrow else None
                if columns is not None:
                    a, u = a.gather(1, columns), None if u is None else u.gather(1, columns)
                level[rows] = _search_level(a, u, r)
    return level.mul_(1 + 2.0**-23).unsqueeze(1)  # so that the rounding left over errs to the inside


def _search_level(size: Tensor, room: Tensor | None, eps: Tensor, look: bool = True) -> Tensor:
    """The level (N,). With `look`, rows that are done leave the search; what a row finds is the same either way.

    The sum falls piecewise linearly in t: a Newton step is exact on its piece, and bisection takes over where it is
    flat, the step leaves the bracket, or 20 steps were not enough. A row rests once its step is lost in the sum's
    rounding.
    """
    found, rows = torch.zeros_like(eps), torch.arange(len(eps), device=eps.device)
    level, low, high = torch.zeros_like(eps), torch.zeros_like(eps), size.amax(1)
    done = torch.zeros_like(eps, dtype=torch.bool)
    above, kept = torch.empty_like(size), torch.empty_like(size)
    for turn in range(40):
        torch.sub(size, level[:, None], out=above).clamp_(min=0)
        if room is None:
            spent, slope = above.sum(1), above.gt_(0).sum(1)
        else:
            spent = torch.minimum(above, room, out=kept).sum(1)
            slope = torch.lt(above, room, out=kept).mul_(above.gt_(0)).sum(1)
        excess = spent - eps
        done |= (excess <= 0) & (level == 0)
        low, high = torch.where(excess > 0, level, low), torch.where(excess > 0, high, level)
        newton = level + excess / slope.clamp(min=1)
        settled = excess.abs() <= 4e-7 * spent
        useful = settled | ((slope > 0) & (newton > low) & (newton < high) & (turn < 20))
        closed = (high - low <= 1e-7 * high) & ~settled
        step = torch.where(useful, newton, (low + high) / 2)
        level = torch.where(done, level, torch.where(closed, high, step))
        done |= settled | closed
        if not look:
            continue
        left = (~done).nonzero().squeeze(1)
        if 2 * len(left) > len(rows):
            continue
        found[rows] = level
        rows, level, low, high, done = rows[left], level[left], low[left], high[left], done[left]
        size, eps, room = size[left], eps[left], None if room is None else room[left]
        above, kept = above[: len(left)], kept[: len(left)]
        if len(left) == 0:
            return found
    return found.index_copy(0, rows, level)
