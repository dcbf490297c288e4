"""Zero-padding of channels: the parameter-free half of a shortcut between stages of different width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_channels(x: Tensor, channels: int) -> Tensor:
    """`x` in the middle of `channels` channels, zeros before and after it (one more after, if the number is odd)."""
    missing = channels - x.shape[1]
    if missing < 0:
        raise ValueError(f"cannot pad {x.shape[1]} channels to {channels}: a shortcut never drops channels")
    before = missing // 2
    return F.pad(x, (0, 0, 0, 0, before, missing - before))  # pairs from the last dimension: width, height, channels
