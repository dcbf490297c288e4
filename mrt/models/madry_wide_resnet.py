"""The CIFAR-10 network of Madry et al. (w32-10), which T&B train. It is not WRN-28-10 (`WideResNet`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive
from mrt.models.shortcuts import pad_channels

SLOPE = 0.1  # of the leaky ReLUs, below zero
STEM = 16  # channels of the first convolution


def standardized(x: Tensor) -> Tensor:
    """Each image minus its mean, over max(its standard deviation, 1 / sqrt(its number of entries))."""
    # A part of the published model, TensorFlow's per_image_standardization: attacks go through it. The floor is put
    # under the variance, before the root, so that the gradient is finite on an image of one colour.
    centred = x - x.mean((1, 2, 3), keepdim=True)
    variance = centred.square().mean((1, 2, 3), keepdim=True)
    return centred / variance.clamp(min=1 / math.prod(x.shape[1:])).sqrt()


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """A BatchNorm with the original's constants."""
    # TensorFlow's decay of 0.9 is PyTorch's momentum of 0.1.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class PaddedUnit(nn.Module):
    """BN, leaky ReLU, 3x3 convolution, twice; plus a shortcut without parameters (average pool and zero channels).

    `shared=True` feeds the shortcut with the activated input instead of the raw one.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shared: bool) -> None:
        super().__init__()
        self.channels, self.stride, self.shared = channels, stride, shared
        self.bn1 = batch_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = batch_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.bn1(x), SLOPE)
        identity = h if self.shared else x
        # No 1x1 convolution where the width changes: the original pools and pads its shortcuts.
        if self.stride > 1:
            identity = F.avg_pool2d(identity, self.stride, ceil_mode=True)
        h = self.conv2(F.leaky_relu(self.bn2(self.conv1(h)), SLOPE))
        out: Tensor = h + pad_channels(identity, self.channels)
        return out


class MadryWideResNet(nn.Module):
    """Per-image standardisation, 3x3 stem of 16, three stages of `units` `PaddedUnit`s (strides 1, 2, 2), linear.

    45,901,914 parameters as published (Madry et al. 2018, Tramer and Boneh 2019), 464,154 with `widths=(16, 32, 64)`.
    Before the linear layer: BN, leaky ReLU, global average pool. Convolutions are drawn from N(0, 2 / (9 outputs)), the
    linear layer has PyTorch's default initialisation. Strided convolutions pad symmetrically, TensorFlow's do not.
    """

    def __init__(
        self,
        widths: Sequence[int] = (160, 320, 640),
        classes: int = 10,
        units: int = 5,
        *,
        in_channels: int = 3,
        size: int = 32,
    ) -> None:
        super().__init__()
        require_positive(classes=classes, units=units, in_channels=in_channels, size=size)
        if len(widths) != 3 or list(widths) != sorted(widths) or widths[0] < STEM:
            raise ValueError(f"widths must be three numbers, none smaller than the one before or {STEM}, got {widths}")
        self.shape = (in_channels, size, size)
        self.stem = nn.Conv2d(in_channels, STEM, 3, padding=1, bias=False)
        stages: list[PaddedUnit] = []
        channels = STEM
        for width, first_stride in zip(widths, (1, 2, 2), strict=True):
            for unit in range(units):
                # The very first unit alone shares its activated input with the shortcut.
                stages.append(PaddedUnit(channels, width, first_stride if unit == 0 else 1, shared=not stages))
                channels = width
        self.units = nn.Sequential(*stages)
        self.bn = batch_norm(channels)
        self.fc = nn.Linear(channels, classes)
        # The 9 is the kernel's area: He's fan-out, as in `init.he_fan_out`, with the original's formula.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * module.out_channels)))

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        # BN and leaky ReLU come before the convolutions of a unit, so the last unit's output gets its own.
        h = F.leaky_relu(self.bn(self.units(self.stem(standardized(x)))), SLOPE)
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits
