"""Checks that the data sets share. Those of files say which file is at fault and what to do about it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def require_file(path: Path, remedy: str) -> None:
    """Raise FileNotFoundError, with the `remedy`, unless `path` is a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {remedy}")


def require_below(name: str, values: Tensor, top: int) -> None:
    """Raise ValueError unless all of `values` (integers; none at all is fine) are in [0, top)."""
    if values.numel():
        # One pass over the values and one wait for their device, where two comparisons would take two.
        low, high = (int(bound) for bound in torch.aminmax(values))
        if low < 0 or high >= top:
            raise ValueError(f"{name} must be in [0, {top}), got {low} to {high}")
