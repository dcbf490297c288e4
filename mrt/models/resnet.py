"""ResNet-18 and ResNet-50 for Tiny-ImageNet's 64x64 images (L2L-DA and MNG-AC)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive
from mrt.models.init import he_fan_out


def make_shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    """The shortcut of He et al.: nothing where the shape stays, a 1x1 convolution with BN where it changes."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BN, plus the shortcut, then ReLU."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = make_shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with BN, the last four times as wide, plus the shortcut, then ReLU.

    The stride is on the 3x3 convolution, as in torchvision, not on the first 1x1 as in the paper.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.shortcut = make_shortcut(in_channels, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(h)) + self.shortcut(x))


class ResNet18(nn.Module):
    """3x3 stem with stride 1 and no max-pool, four stages of two basic blocks, global average pool, linear.

    11,271,432 parameters at the defaults, those of the L2L-DA repository for Tiny-ImageNet, which wraps it in
    `Normalized(..., (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))`. He initialisation, fan-out (our choice).
    """

    def __init__(self, classes: int = 200, width: int = 64, *, in_channels: int = 3, size: int = 64) -> None:
        super().__init__()
        require_positive(classes=classes, width=width, in_channels=in_channels, size=size)
        self.shape = (in_channels, size, size)
        # ImageNet's stem divides the sides by four before the first block; 64x64 images would be left with 16x16.
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks: list[BasicBlock] = []
        channels = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            blocks.append(BasicBlock(channels, width * 2**stage, stride))
            channels = width * 2**stage
            blocks.append(BasicBlock(channels, channels, 1))
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        h = self.blocks(F.relu(self.bn(self.stem(x))))
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits


class ResNet50(nn.Module):
    """Four stages of 3, 4, 6, 3 bottlenecks, global average pool, linear: what MNG-AC's paper names for Tiny-ImageNet.

    `stem=3`: 3x3, stride 1, no max-pool (23,910,152 parameters). `stem=7`: ImageNet's, 7x7 with stride 2 and a 3x3
    max-pool with stride 2 (23,917,832). What MNG-AC's *code* builds is `ResNet18MNGReference`. He initialisation,
    fan-out (our choice).
    """

    def __init__(
        self,
        classes: int = 200,
        stem: Literal[3, 7] = 3,
        width: int = 64,
        *,
        in_channels: int = 3,
        size: int = 64,
    ) -> None:
        super().__init__()
        require_positive(classes=classes, width=width, in_channels=in_channels, size=size)
        if stem not in (3, 7):
            raise ValueError(f"stem must be 3 or 7, got {stem!r}")
        self.shape = (in_channels, size, size)
        self.stem = nn.Conv2d(in_channels, width, stem, 1 if stem == 3 else 2, padding=stem // 2, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.pool = nn.Identity() if stem == 3 else nn.MaxPool2d(3, 2, padding=1)
        blocks: list[Bottleneck] = []
        channels = width
        # ResNet-50's numbers of blocks, and the stride of each stage's first one.
        for stage, (count, stride) in enumerate(((3, 1), (4, 2), (6, 2), (3, 2))):
            for block in range(count):
                blocks.append(Bottleneck(channels, width * 2**stage, stride if block == 0 else 1))
                channels = 4 * width * 2**stage  # a bottleneck's last convolution is four times as wide
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        h = self.blocks(self.pool(F.relu(self.bn(self.stem(x)))))
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits
