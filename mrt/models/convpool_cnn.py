"""ConvPool-CNN, the classifier that PGN trains."""

from __future__ import annotations

import math

from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive

# Filters of the hidden convolutions, PGN's Table 1.
HIDDEN = (64, 128, 128, 256, 256, 512)


class ConvPoolCNN(nn.Module):
    """Six hidden 3x3 convolutions, average-pooled after every second one, and a 3x3 convolution to the classes.

    The logits are that last map's spatial mean. `width` multiplies all hidden filter counts, as in PGN's capacity study
    (anonymous 2020, Table 1). With BN after the hidden convolutions 2,337,418 parameters (100 classes: 2,752,228),
    without it 2,334,730 (2,749,540). The paper states neither activation nor BN: ReLU and `batch_norm=True` are ours.
    """

    def __init__(
        self,
        classes: int = 10,
        width: float = 1.0,
        batch_norm: bool = True,
        *,
        in_channels: int = 3,
        size: int = 32,
    ) -> None:
        super().__init__()
        require_positive(classes=classes, in_channels=in_channels, size=size)
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"width must be a positive factor, got {width}")
        if size < 8:
            raise ValueError(f"size must be at least 8, for three poolings, got {size}")
        self.shape = (in_channels, size, size)
        # Padded ("same"), so that the sides of 32 become 16, 8 and 4 by the poolings alone, as in the paper. The
        # convolutions keep their biases beside BN, which is ours: the paper's parameters are those with biases.
        layers: list[nn.Module] = []
        channels = in_channels
        for depth, filters in enumerate(max(1, round(width * count)) for count in HIDDEN):
            layers.append(nn.Conv2d(channels, filters, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(filters))
            layers.append(nn.ReLU())
            if depth % 2 == 1:  # after every second one
                layers.append(nn.AvgPool2d(2))
            channels = filters
        self.hidden = nn.Sequential(*layers)
        self.conv = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        # The last convolution has a filter for each class; there is no linear layer.
        logits: Tensor = self.conv(self.hidden(x)).mean((2, 3))
        return logits
