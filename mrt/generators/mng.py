"""The noise generator of MNG-AC (Madaan, Shin and Hwang 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from mrt import checks
from mrt.generators.generator import Generator, Made, Shape, ascend_loss
from mrt.protocols import Ball, Model
from mrt.threats import noise
from mrt.threats.differentiable import onto


class MNGNoise(Generator):
    """Four convolutions on Gaussian noise z, one of them 3x3, added to z: noise of any size, brought onto a ball by
    `threats.onto`.

    `conditional` also shows it the image, reflected by a pixel, as the paper writes g(z, x); the published code's
    generator never sees x. 4,183 parameters on z alone for RGB and width 20, 4,243 with x. `rescale` and `squash` are
    those of `onto`.
    """

    MULTIPLE = 1

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        width: int = 20,
        conditional: bool = True,
        rescale: bool = True,
        squash: bool = False,
    ) -> None:
        super().__init__(shape, classes)
        checks.count("width", width)
        for name, value in (("conditional", conditional), ("rescale", rescale), ("squash", squash)):
            checks.flag(name, value)
        if conditional and min(self.shape[1:]) < 2:
            raise ValueError(f"a conditional generator needs images of at least 2 by 2 pixels; got {shape!r}")
        self.conditional, self.rescale, self.squash = conditional, rescale, squash
        channels = self.shape[0]
        self.conv1 = nn.Conv2d(channels * (1 + conditional), width, 1)
        self.conv2 = nn.Conv2d(width, width, 3)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.conv4 = nn.Conv2d(width, channels, 1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):  # as the published code begins
            nn.init.normal_(conv.weight, std=math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels)))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Make noise in the shape of x, of no particular size. z is a pixel wider on each side, which the one 3x3
        convolution takes off."""
        h = torch.cat([z, pad(x, (1, 1, 1, 1), mode="reflect")], 1) if self.conditional else z
        for conv in (self.conv1, self.conv2, self.conv3):
            h = leaky_relu(conv(h), 0.01)
        made: Tensor = self.conv4(h) + z[:, :, 1:-1, 1:-1]
        return made

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-4)

    def craft(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Tensor:
        """x with noise on the ball; nothing is asked of the classifier."""
        channels, height, width = self.shape
        z = noise.normal(seeds, channels, height + 2, width + 2).to(x.dtype)
        return onto(threat, x, self(z, x), rescale=self.rescale, squash=self.squash)

    def objective(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Made:
        """Adversarial noise training's (Rusak et al. 2020): ascend the loss on noisy images. In MNG-AC the generator
        descends another one, that of the classifier after a step on them: `strategies.mng_ac`."""
        return ascend_loss(f, self.craft(f, x, y, seeds, threat), y)
