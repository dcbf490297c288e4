"""How many entries a sparse l1 step moves."""

from __future__ import annotations

import torch
from torch import Tensor

from mrt.threats import noise

Keep = float | int | tuple[float, float] | tuple[int, int]
"""A count; or a quantile of |grad| as a float: the entries at or above it; or a (low, high) range of either."""


def check(keep: Keep) -> None:
    """A count of at least 1, a quantile strictly between 0 and 1, or a rising pair of either."""
    ends = keep if isinstance(keep, tuple) else (keep, keep)
    counts = all(isinstance(k, int) and not isinstance(k, bool) and k >= 1 for k in ends)
    quantiles = all(isinstance(k, float) and 0 < k < 1 for k in ends)
    if len(ends) != 2 or not (counts or quantiles) or ends[0] > ends[1]:
        raise ValueError(
            "keep must be a count of at least 1, a quantile strictly between 0 and 1, or a pair (low, high) of either; "
            f"got {keep!r}"
        )


def drawn(keep: Keep, entries: int, seeds: Tensor) -> Tensor:
    """int64 (N,): the count for each example, where a range is drawn from uniformly with the example's own seed.

    The entries at or above the q-quantile with linear interpolation are the d - ceil(q (d - 1)) largest.
    """
    low, high = keep if isinstance(keep, tuple) else (keep, keep)
    if isinstance(low, int) and isinstance(high, int):
        return torch.full_like(seeds, low) if low == high else noise.integers(seeds, low, high)
    quantile = low + (high - low) * noise.uniform(seeds, 1)[:, 0].double()
    return entries - (quantile * (entries - 1) - 1e-9).ceil().long()
