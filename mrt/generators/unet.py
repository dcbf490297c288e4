"""The U-Net of L2L-DA (Jang et al. 2019), with class-conditional BatchNorm and a latent in every layer on the way
down."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

LATENT = 8  # entries of z


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation with scale and shift from a table: a row for each class plus one that all share. With no
    classes the shared row is all there is."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(features, eps=1e-10, momentum=0.1, affine=False)
        self.scale = nn.Parameter(torch.randn(classes + 1, features) * 0.02)
        self.shift = nn.Parameter(torch.zeros(classes + 1, features))
        # The last row is the shared one. A class's row is added to it, so that at first every scale is about 1.
        with torch.no_grad():
            self.scale[-1] += 1

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        scale, shift = self.scale[-1:], self.shift[-1:]  # (1, features), or (N, features) with classes
        if len(self.scale) > 1:
            scale, shift = scale + self.scale[y], shift + self.shift[y]
        normed: Tensor = self.norm(h)
        return normed * scale[:, :, None, None] + shift[:, :, None, None]


class Bottom(nn.Module):
    """The level of a U-Net that `deeper` adds below the others."""

    def __init__(self, width: int, latent: int, classes: int) -> None:
        super().__init__()
        self.norm = ConditionalBatchNorm(width, classes)
        # A convolution 4, 2, 1 halves height and width, a transposed one doubles them again.
        self.down = nn.Conv2d(width + latent, 2 * width, 4, 2, 1, bias=False)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False)
        self.norm_up = ConditionalBatchNorm(width, classes)

    def forward(self, h: Tensor, join_code: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
        above = leaky_relu(self.norm(h, y), 0.2)
        below = leaky_relu(self.down(join_code(above)), 0.2)
        return torch.cat([relu(self.norm_up(self.up(below), y)), above], 1)


class UNet(nn.Module):
    """Planes (N, planes, H, W) -> (N, out, H, W) in (-1, 1). With `latent` a code of z, made once, joins the input of
    every layer on the way down. `deeper` adds a level."""

    def __init__(
        self, planes: int, out: int, width: int, *, classes: int = 0, latent: bool = False, deeper: bool = False
    ) -> None:
        super().__init__()
        extra, wide = LATENT if latent else 0, 2 * width  # extra: channels that the code of z adds to a layer's input
        self.code = (
            nn.Sequential(nn.Linear(extra, extra), nn.ReLU(), nn.Linear(extra, extra), nn.ReLU()) if latent else None
        )
        self.down0 = nn.Conv2d(planes + extra, width, 3, padding=1, bias=False)
        self.down1 = nn.Conv2d(width + extra, width, 4, 2, 1, bias=False)
        self.norm1 = ConditionalBatchNorm(width, classes)
        self.down2 = nn.Conv2d(width + extra, wide, 4, 2, 1, bias=False)
        self.bottom = Bottom(wide, extra, classes) if deeper else None
        # On the way up a layer sees the level below beside the one of its own height: twice the channels, but for the
        # lowest, which has nothing below it unless the net is deeper.
        self.up2 = nn.ConvTranspose2d(2 * wide if deeper else wide, width, 4, 2, 1, bias=False)
        self.norm_up2 = ConditionalBatchNorm(width, classes)
        self.up1 = nn.ConvTranspose2d(wide, width, 4, 2, 1, bias=False)
        self.norm_up1 = ConditionalBatchNorm(width, classes)
        self.last = nn.Conv2d(wide, out, 3, padding=1, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, planes: Tensor, z: Tensor | None, y: Tensor) -> Tensor:
        code = None if self.code is None else self.code(z)[:, :, None, None]  # (N, LATENT, 1, 1)

        def join_code(h: Tensor) -> Tensor:
            return h if code is None else torch.cat([h, code.expand(-1, -1, *h.shape[2:])], 1)

        first = leaky_relu(self.down0(join_code(planes)), 0.2)  # (N, width, H, W)
        second = leaky_relu(self.norm1(self.down1(join_code(first)), y), 0.2)  # (N, width, H / 2, W / 2)
        h = self.down2(join_code(second))  # (N, 2 width, H / 4, W / 4)
        h = leaky_relu(h, 0.2) if self.bottom is None else self.bottom(h, join_code, y)
        h = torch.cat([relu(self.norm_up2(self.up2(h), y)), second], 1)
        h = torch.cat([relu(self.norm_up1(self.up1(h), y)), first], 1)
        out: Tensor = torch.tanh(self.last(h))
        return out
