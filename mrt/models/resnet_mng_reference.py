"""The network behind MNG-AC's published Tiny-ImageNet numbers, quirks included."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive


class SkiplessBlock(nn.Module):
    """Two 3x3 convolutions with BN, plus a 1x1 convolution (no BN) of the input where the shape changes, then ReLU.

    Where the shape stays, the reference code adds the block's own output instead of its input: twice the output, and no
    skip connection.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        changes = stride != 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        # h + h is no slip of ours: see above.
        return F.relu(h + (h if self.shortcut is None else self.shortcut(x)))


class ResNet18MNGReference(nn.Module):
    """What MNG-AC's code (Madaan et al. 2021) calls resnet50: four stages of two `SkiplessBlock`s, 3x3 stem, 4x4 pool.

    For 3x64x64 images; the pool leaves 2x2 positions, so the linear layer reads 32 * width features. 11,576,840
    parameters at the defaults; PyTorch's default initialisation, because the code's own one never reaches it. For
    comparison with the published numbers only: `ResNet50` is the network the paper names.
    """

    def __init__(self, classes: int = 200, width: int = 64) -> None:
        super().__init__()
        require_positive(classes=classes, width=width)
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        # The code ignores the type and the number of blocks that it is asked for: 64, 128, 256 and 512 channels, two
        # blocks each.
        blocks: list[SkiplessBlock] = []
        channels = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            blocks.append(SkiplessBlock(channels, width * 2**stage, stride))
            channels = width * 2**stage
            blocks.append(SkiplessBlock(channels, channels, 1))
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(4 * channels, classes)  # the 2x2 positions that the pool leaves of 8x8

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, (3, 64, 64))
        h = self.blocks(F.relu(self.bn(self.stem(x))))
        logits: Tensor = self.fc(F.avg_pool2d(h, 4).flatten(1))
        return logits
