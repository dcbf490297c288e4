"""GAP: generative adversarial perturbations (Poursaeed et al. 2018), its image-dependent form."""

from __future__ import annotations

import torch
from torch import Tensor

from mrt import checks
from mrt.generators.generator import Generator, Made, Shape, ascend_loss
from mrt.generators.unet import UNet
from mrt.protocols import Ball, Model
from mrt.threats import Linf
from mrt.threats.projections import per_example


class GAP(Generator):
    """x' = clamp(x + eps G(x), 0, 1), trained to minimise - log CE(f(x'), y).

    The network is our choice, the U-Net of L2L-DA shown the image alone; so are Adam 2e-4 with betas 0.5 and 0.999.
    """

    BALLS = (Linf,)

    def __init__(self, shape: Shape, classes: int, *, width: int = 64) -> None:
        super().__init__(shape, classes)
        self.net = UNet(self.shape[0], self.shape[0], checks.count("width", width))

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def craft(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Tensor:
        x_adv: Tensor = (x + per_example(threat.eps, x) * self.net(x, None, y)).clamp(0, 1)
        return x_adv

    def objective(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Made:
        ascent = ascend_loss(f, self.craft(f, x, y, seeds, threat), y)
        # d log CE = d CE / CE. The bound keeps the quotient finite where the classifier is sure of every image.
        return ascent._replace(descent=ascent.descent / ascent.loss.clamp(min=1e-12))
