"""The MNIST network of Madry et al., which T&B and MSD train."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive


class MadryCNN(nn.Module):
    """Two 5x5 convolutions (`width`, `2 * width`) with ReLU and 2x2 max-pooling, then a hidden layer of `32 * width`.

    3,274,634 parameters as published (Tramer and Boneh 2019, Maini et al. 2020); PyTorch's default initialisation.
    """

    def __init__(self, classes: int = 10, width: int = 32, *, in_channels: int = 1, size: int = 28) -> None:
        super().__init__()
        require_positive(classes=classes, width=width, in_channels=in_channels, size=size)
        if size < 4:
            raise ValueError(f"size must be at least 4, for two poolings, got {size}")
        self.shape = (in_channels, size, size)
        # At width 32 the published 32 and 64 filters and 1024 hidden units: 64 * 7 * 7 = 3136 numbers go into fc1.
        self.conv1 = nn.Conv2d(in_channels, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, 2 * width, 5, padding=2)
        self.fc1 = nn.Linear(2 * width * (size // 4) ** 2, 32 * width)
        self.fc2 = nn.Linear(32 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        # ReLU after pooling is the published ReLU before it, to the bit, on a quarter of the entries.
        h = F.relu(F.max_pool2d(self.conv1(x), 2))
        h = F.relu(F.max_pool2d(self.conv2(h), 2))
        logits: Tensor = self.fc2(F.relu(self.fc1(h.flatten(1))))
        return logits
