"""How many entries an l1 step moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrt.crafting.task import Task
from mrt.protocols import Ball
from mrt.threats import noise
from mrt.threats.balls import L1

Keep = float | int | tuple[float, float] | tuple[int, int]
"""A count; or a quantile of |grad| as a float: the entries at or above it; or a (low, high) range of either."""

# The range of entries in units of those that the radius can move across all of [0, 1].
SPENT = (0.5, 2.0)


def check_keep(keep: Keep) -> None:
    """A count of at least 1, a quantile strictly between 0 and 1, or a rising pair of either."""
    ends = keep if isinstance(keep, tuple) else (keep, keep)
    counts = all(isinstance(k, int) and not isinstance(k, bool) and k >= 1 for k in ends)
    quantiles = all(isinstance(k, float) and 0 < k < 1 for k in ends)
    if len(ends) != 2 or not (counts or quantiles) or ends[0] > ends[1]:
        raise ValueError(
            "keep must be a count of at least 1, a quantile strictly between 0 and 1, or a pair (low, high) of either; "
            f"got {keep!r}"
        )


def draw_counts(keep: Keep, entries: int, seeds: Tensor) -> Tensor:
    """Turn `keep` into a count of entries for each seed, int64; from a range each seed draws its own, uniformly.

    The entries at or above the q-quantile with linear interpolation are the d - ceil(q (d - 1)) largest.
    """
    low, high = keep if isinstance(keep, tuple) else (keep, keep)
    # The 1e-9 keeps a product such as 0.99 * 100, which is not exact, from being rounded up to the next whole number.
    if isinstance(low, int) and isinstance(high, int):
        return torch.full_like(seeds, low) if low == high else noise.integers(seeds.flatten(), low, high).view_as(seeds)
    if low == high:
        return torch.full_like(seeds, entries - math.ceil(low * (entries - 1) - 1e-9))
    quantile = low + (high - low) * noise.uniform(seeds.flatten(), 1).view_as(seeds).double()
    return entries - (quantile * (entries - 1) - 1e-9).ceil().long()


def draw_counts_of_steps(
    keep: Keep | None, task: Task[Any], steps: int, balls: Sequence[Ball] = ()
) -> Sequence[Tensor]:
    """Draw the counts (N,) of all steps at once: on a GPU each of the many small operations of one draw costs as much
    as all of them together. With keep=None the range is that of the largest l1 ball among `balls`."""
    entries, seeds = task.x[0].numel(), noise.fold_range(task.seeds, 1, steps)  # (steps, N)
    if keep is not None:
        return draw_counts(keep, entries, seeds).unbind()
    radii = [ball.eps for ball in balls if isinstance(ball, L1)] or [1.0]  # without one nobody looks at the counts
    if not any(isinstance(radius, Tensor) for radius in radii):
        return draw_counts(range_for_radius(max(radii), entries), entries, seeds).unbind()
    # A radius for each example, and so a range for each.
    stacked = torch.stack([torch.as_tensor(r, device=seeds.device).expand(seeds.shape[1]) for r in radii])
    eps = stacked.amax(0)
    low, high = ((factor * eps + 0.5).floor().long().clamp(1, entries).expand_as(seeds) for factor in SPENT)
    return noise.integers(seeds.flatten(), low.flatten(), high.flatten()).view_as(seeds).unbind()


def range_for_radius(eps: float, entries: int) -> tuple[int, int]:
    """(low, high) of the number of entries that a step in an l1 ball of that radius moves, where no `keep` is given.

    MSD's published 5 to 20 belong to its radius 10, and are too many at smaller ones: on a network for 8x8 digits at
    (0.15, 0.5, 1.5) MSD of 50 steps left 68.7% with 5 to 20 entries and 57.3% with this range, on a network for MNIST
    at (0.2, 1, 5) 83.5% and 75.5%.
    """
    low, high = (min(max(math.floor(factor * eps + 0.5), 1), entries) for factor in SPENT)
    return low, high


def entries_to_spend_on(ball: Ball, x: Tensor) -> Tensor | None:
    """(N,), in an l1 ball: as many entries as its radius can move across all of [0, 1], rounded up. None in other
    balls, whose steps move every entry.

    For attacks without a `keep`. The steepest step moves one entry, where the box stops it after a unit or less, so
    that `steps` of them never spend a large radius: 50 steps at a radius of 40 broke 7% of a small network's images,
    where Foolbox's dense steps broke 88% and these break all.
    """
    if not isinstance(ball, L1):
        return None
    if isinstance(ball.eps, Tensor):  # a radius for each example
        return ball.eps.ceil().long().clamp(1, x[0].numel())
    # Filled on the device: a number that is sent to a GPU waits for all that is under way there.
    return torch.full((len(x),), min(max(math.ceil(ball.eps), 1), x[0].numel()), dtype=torch.int64, device=x.device)
