"""Euclidean projections of perturbations, as pure functions on (N, ...) tensors.

A radius is one number, or a Tensor (N,) with one per example. No example is ever moved because a batch mate is outside.
Written in plain arithmetic: on a CPU a comparison or a `where` costs four to twenty times an addition.
"""

from __future__ import annotations

import torch
from torch import Tensor

Radius = float | Tensor


def column(radius: Radius, like: Tensor) -> Radius:
    """The radius in a shape that broadcasts over the examples of `like`. Numbers stay as they are."""
    return radius.reshape(-1, *[1] * (like.ndim - 1)) if isinstance(radius, Tensor) else radius


def box(delta: Tensor, x: Tensor) -> Tensor:
    """argmin |d - delta|_2 with x + d in [0, 1]."""
    return (x + delta).clamp_(0, 1).sub_(x)


def linf(delta: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_inf <= eps."""
    return linf_(delta.clone(), eps)


def linf_(delta: Tensor, eps: Radius) -> Tensor:
    """`linf` in place."""
    bound = column(eps, delta)
    if isinstance(bound, Tensor):
        return torch.clamp(delta, -bound, bound, out=delta)
    return delta.clamp_(-bound, bound)


def l2(delta: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_2 <= eps."""
    return l2_(delta.clone(), eps)


def l2_(delta: Tensor, eps: Radius) -> Tensor:
    """`l2` in place."""
    norm = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    factor = (eps / norm.clamp_(min=torch.finfo(norm.dtype).tiny)).clamp_(max=1)
    return delta.mul_(column(factor, delta))


def l1(delta: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_1 <= eps: soft thresholding (Duchi et al. 2008)."""
    size = delta.flatten(1).abs()
    level = _water_level(size.unsqueeze(1), eps)
    return size.sub_(level).clamp_(min=0).view_as(delta).copysign_(delta)


def l1_box(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_1 <= eps and x + d in [0, 1].

    Entry by entry d = sign(delta) min((|delta| - t)+, u), where u is the room the box leaves in that direction and t >= 0
    the least level that meets the budget (Croce and Hein 2021, "Mind the box").
    """
    kept = shrink(delta, x, eps)
    return torch.minimum(torch.maximum(kept, -x), 1 - x)


def shrink(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """`l1_box` but for its last cut: sign(delta) (|delta| - t)+, which is l1_box's answer once x + d is clipped to the box."""
    knots = delta.new_empty(len(delta), 2, delta[0].numel())
    size, beyond = knots.unbind(1)
    torch.abs(delta.flatten(1), out=size)
    moved = (delta + x).flatten(1)
    torch.sub(moved, moved.clamp(0, 1), out=beyond).abs_()  # |delta| - u where that is positive
    level = _water_level(knots, eps)
    return size.sub_(level).clamp_(min=0).view_as(delta).copysign_(delta)


def l2_box(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """argmin |d - delta|_2 with |d|_2 <= eps and x + d in [0, 1]: d = box(s delta) with the largest s <= 1 that fits."""
    flat, origin = delta.flatten(1), x.flatten(1)
    radius = torch.as_tensor(eps, dtype=delta.dtype, device=delta.device).expand(len(flat)).unsqueeze(1)

    def norm(scale: Tensor) -> Tensor:
        return torch.linalg.vector_norm(box(flat * scale, origin), dim=1, keepdim=True)

    low, high = torch.zeros_like(radius), torch.ones_like(radius)
    fits = norm(high) <= radius
    for _ in range(32):
        middle = (low + high) / 2
        inside = norm(middle) <= radius
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return box(flat * torch.where(fits, 1.0, low), origin).view_as(delta)


def _water_level(knots: Tensor, eps: Radius) -> Tensor:
    """(N, 1): the least t >= 0 with f(t) <= eps, where f(t) = sum (a - t)+ - sum (b - t)+ over a = knots[:, 0] and, where
    there is one, b = knots[:, 1] <= a. f falls piecewise linearly: a Newton step is exact on its piece, and bisection
    takes over where f is flat, the step leaves the bracket, or 24 steps were not enough. A row stops moving once its step
    is lost in the rounding of its sums.
    """
    sign = knots.new_tensor([1.0, -1.0])[: knots.shape[1]]
    high = knots[:, 0].amax(1)
    low = level = torch.zeros_like(high)
    done = torch.zeros_like(high, dtype=torch.bool)
    for turn in range(64):
        above = (knots - level[:, None, None]).clamp_(min=0)
        sums = above.sum(2)
        excess = (sums * sign).sum(1) - eps
        slope = (above.gt_(0).sum(2) * sign).sum(1)
        done |= (excess <= 0) & (level == 0)
        low, high = torch.where(excess > 0, level, low), torch.where(excess > 0, high, level)
        newton = level + excess / slope.clamp(min=1)
        settled = excess.abs() <= 4e-7 * sums.sum(1)
        useful = settled | ((slope > 0) & (newton > low) & (newton < high) & (turn < 24))
        closed = (high - low <= 1e-7 * high) & ~settled
        step = torch.where(useful, newton, (low + high) / 2)
        level = torch.where(done, level, torch.where(closed, high, step))
        done |= settled | closed
        if not knots.is_cuda and bool(done.all()):  # a look at the values would stall a GPU
            break
    return level.clamp_(min=0).unsqueeze(1)
