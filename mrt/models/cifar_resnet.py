"""He et al.'s thin residual networks for CIFAR, which L2L-DA trains."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive
from mrt.models.shortcuts import pad_channels


class ThinBlock(nn.Module):
    """3x3 convolution, BN, ReLU, 3x3 convolution, BN; plus the input (every `stride`th pixel, zero channels); ReLU."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        # The shortcut has no parameters (He et al.'s option A): where a stage begins, pixels are left out and channels
        # of zeros added.
        identity = x[:, :, :: self.stride, :: self.stride]
        return F.relu(h + pad_channels(identity, self.channels))


class CifarResNet(nn.Module):
    """ResNet-`depth` with parameter-free shortcuts (He et al. 2016): 269,722 parameters at 20, 853,018 at 56.

    3x3 stem, three stages of (depth - 2) / 6 blocks (`width` times 1, 2, 4; strides 1, 2, 2), global average pool,
    linear; Kaiming-normal weights. L2L-DA (Jang et al. 2019) normalises its input:
    `Normalized(CifarResNet(20), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))`.
    """

    def __init__(
        self, depth: int = 20, classes: int = 10, width: int = 16, *, in_channels: int = 3, size: int = 32
    ) -> None:
        super().__init__()
        require_positive(depth=depth, classes=classes, width=width, in_channels=in_channels, size=size)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n >= 1 (8, 14, 20, ..., 56), got {depth}")
        self.shape = (in_channels, size, size)
        # L2L-DA's widths are 16, 32 and 64, three blocks each at depth 20. Convolutions need no bias before BN.
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks: list[ThinBlock] = []
        channels = width
        for stage, stride in enumerate((1, 2, 2)):
            for block in range((depth - 2) // 6):
                blocks.append(ThinBlock(channels, width * 2**stage, stride if block == 0 else 1))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)
        # The published network's weights are Kaiming-normal, those of its linear layer too.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        h = self.blocks(F.relu(self.bn(self.stem(x))))  # (N, 4 width, size / 4, size / 4)
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits
