"""A network for the 8x8 digits that a CPU trains in seconds."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive


class DigitsCNN(nn.Module):
    """Three 3x3 convolutions (`width`, `2 * width`, `2 * width`) with BatchNorm and ReLU, one pooling, one linear.

    For 1x8x8 images. No paper uses it; it is there for the demo and for tests that need a real BatchNorm network.
    """

    def __init__(self, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        require_positive(classes=classes, width=width)
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width * 4 * 4, classes)  # 8x8, pooled once

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, (1, 8, 8))
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.max_pool2d(F.relu(self.bn2(self.conv2(h))), 2)
        h = F.relu(self.bn3(self.conv3(h)))
        logits: Tensor = self.fc(h.flatten(1))
        return logits
