"""Input normalisation as a part of the model, so that every attack works on pixels in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    """`model((x - mean) / std)`, channel by channel.

    `mean` and `std` hold one number per channel and are kept as buffers: they move with the module, are saved with it
    and are never trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) == 0 or len(mean) != len(std):
            raise ValueError(f"mean and std need one number per channel each, got {len(mean)} and {len(std)}")
        if not all(math.isfinite(m) for m in mean):
            raise ValueError(f"mean must be finite, got {tuple(mean)}")
        if not all(math.isfinite(s) and s > 0 for s in std):
            raise ValueError(f"std must be finite and positive, got {tuple(std)}")
        self.model = model
        # (1, C, 1, 1), so that they broadcast over images (N, C, H, W).
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        channels = self.mean.shape[1]
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"mean and std are for {channels} channels, got images of shape {tuple(x.shape)}")
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits
