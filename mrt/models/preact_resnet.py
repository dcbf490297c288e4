"""The pre-activation ResNet-18 of MSD and E-AT."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.checks import choice
from mrt.models.checks import require_images, require_positive

Activation = Literal["relu", "softplus"]


class PreActBlock(nn.Module):
    """BN, activation, 3x3 convolution, twice; plus the input.

    Where the shape changes, the shortcut is a 1x1 convolution without BN, fed by the *activated* input.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, activation: Activation = "relu") -> None:
        super().__init__()
        # E-AT's softplus has beta = 1, which is torch's default.
        self.activate = F.relu if activation == "relu" else F.softplus
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        changes = stride != 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.activate(self.bn1(x))
        # Where the shape stays the raw input is added: nothing lies on the way of its gradient.
        identity = x if self.shortcut is None else self.shortcut(h)
        h = self.conv2(self.activate(self.bn2(self.conv1(h))))
        out: Tensor = h + identity
        return out


class PreActResNet18(nn.Module):
    """3x3 stem, four stages of two `PreActBlock`s (`width` times 1, 2, 4, 8; strides 1, 2, 2, 2), average pool, linear.

    As published by MSD (Maini et al. 2020; 11,171,146 parameters) there is no BN after the last block. `final_bn=True`
    adds BN and ReLU there (11,172,170), and with `activation="softplus"` inside the blocks that is E-AT's network
    (Croce and Hein 2022). The pool is global, which at the papers' size of 32 is their 4x4 window.
    """

    def __init__(
        self,
        classes: int = 10,
        width: int = 64,
        final_bn: bool = False,
        *,
        activation: Activation = "relu",
        in_channels: int = 3,
        size: int = 32,
    ) -> None:
        super().__init__()
        require_positive(classes=classes, width=width, in_channels=in_channels, size=size)
        choice("activation", activation, get_args(Activation))
        self.shape = (in_channels, size, size)
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        # 64, 128, 256 and 512 channels at the published width, two blocks each: eight, as in MSD's code. (Its paper
        # says nine residual units.)
        blocks: list[PreActBlock] = []
        channels = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            blocks.append(PreActBlock(channels, width * 2**stage, stride, activation))
            channels = width * 2**stage
            blocks.append(PreActBlock(channels, channels, 1, activation))
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(channels) if final_bn else None
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        h = self.blocks(self.stem(x))
        if self.bn is not None:
            h = F.relu(self.bn(h))  # a ReLU with either activation: E-AT's softplus is inside the blocks only
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits
