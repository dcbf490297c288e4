"""The wide ResNet that MNG-AC trains on CIFAR-10 and SVHN."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive
from mrt.models.init import he_fan_out
from mrt.models.preact_resnet import PreActBlock


class WideResNet(nn.Module):
    """Zagoruyko and Komodakis' WRN-`depth`-`widen` without dropout, as MNG-AC (Madaan et al. 2021) trains it.

    3x3 stem of 16, three groups of (depth - 4) / 6 `PreActBlock`s with 16, 32, 64 times `widen` channels and strides
    1, 2, 2, then BN, ReLU, global average pool, linear. 36,479,194 parameters at the defaults, 36,536,884 for 100
    classes. Convolutions: He, fan-out; BN 1 and 0; the linear bias 0, its weight PyTorch's default.
    """

    def __init__(
        self, depth: int = 28, widen: int = 10, classes: int = 10, *, in_channels: int = 3, size: int = 32
    ) -> None:
        super().__init__()
        require_positive(depth=depth, widen=widen, classes=classes, in_channels=in_channels, size=size)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6 n + 4 with n >= 1 (10, 16, 22, 28, ...), got {depth}")
        self.shape = (in_channels, size, size)
        # 16 channels whatever `widen` is; the groups have 160, 320 and 640 at the published 10, four blocks each at 28.
        self.stem = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        blocks: list[PreActBlock] = []
        channels = 16
        for group, stride in enumerate((1, 2, 2)):
            width = 16 * widen * 2**group
            for block in range((depth - 4) // 6):
                blocks.append(PreActBlock(channels, width, stride if block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(channels)  # blocks begin with BN and ReLU, so the last one's output gets its own
        self.fc = nn.Linear(channels, classes)
        he_fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        h = F.relu(self.bn(self.blocks(self.stem(x))))
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits
