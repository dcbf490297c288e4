"""The largest entries of each row, found in two short selections instead of one long one."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor


def columns_of_largest(size: Tensor, k: int) -> Tensor | None:
    """int64 (N, m): columns among which are the k largest entries of each row of size (N, d); None where that would
    save nothing.

    A row is cut into groups. The k largest entries lie in the k groups whose maxima are largest, or tie with entries
    there.
    """
    d = size.shape[1]
    # `width` groups of `depth` entries. One selection is among the d / depth maxima, the other among the k * depth
    # entries of the best groups: equally many, and so fewest together, at depth = sqrt(d / k).
    depth = isqrt(d // k)
    width = d // max(depth, 1)
    if depth < 2 or width < k:
        return None
    # A group is a column of this view, its entries `width` apart: so the maximum is taken of whole rows of memory.
    groups = size[:, : depth * width].unflatten(1, (depth, width))
    best = groups.amax(1).topk(k, dim=1, sorted=False).indices
    members = best.unsqueeze(1) + width * torch.arange(depth, device=size.device)[:, None]
    # What is left over when d is no multiple of depth is in no group, and looked at by all.
    tail = torch.arange(depth * width, d, device=size.device).expand(len(size), -1)
    return torch.cat([members.flatten(1), tail], 1)


def top(size: Tensor, k: int) -> Tensor:
    """(N, k): the k largest entries of each row of size (N, d), in descending order."""
    columns = columns_of_largest(size, k)
    return (size if columns is None else size.gather(1, columns)).topk(k, dim=1).values
