"""AdvGAN (Xiao et al. 2018), untargeted, with its discriminator."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mrt import checks
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import margin
from mrt.generators.generator import Generator, Made, Shape, at_least_float32
from mrt.protocols import Ball, Model
from mrt.threats import Linf
from mrt.threats.projections import linf


class AdvGAN(Generator):
    """x' = clamp(x + clamp(G(x), -eps, eps), 0, 1).

    G descends max(0, z_y - max_other z) + gan L_GAN + hinge max(0, |G(x)|_2 - eps sqrt(d) / 2), z the logits at x',
    while a discriminator learns to tell x' from x. Layers as recalled from the paper, weights and rates our choice:
    L2L-DA, which attacks with it, states none.
    """

    BALLS = (Linf,)

    def __init__(self, shape: Shape, classes: int, *, width: int = 8, gan: float = 1.0, hinge: float = 10.0) -> None:
        super().__init__(shape, classes)
        checks.count("width", width)
        if min(self.shape[1:]) < 8:
            raise ValueError(f"AdvGAN halves images three times: they need 8 by 8 pixels at least; got {shape!r}")
        self.gan, self.hinge = checks.number("gan", gan), checks.number("hinge", hinge)
        channels, wide = self.shape[0], 4 * width
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, wide, 3, 2, 1), nn.InstanceNorm2d(wide), nn.ReLU(),
            *[Residual(wide) for _ in range(4)],
            nn.ConvTranspose2d(wide, 2 * width, 3, 2, 1, 1), nn.InstanceNorm2d(2 * width), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )  # fmt: skip
        sizes = [math.ceil(n / 8) for n in self.shape[1:]]  # of an image that three layers have halved, rounding up
        self.discriminator = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, wide, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(),
            nn.Linear(wide * sizes[0] * sizes[1], 1),
        )  # fmt: skip

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def craft(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Tensor:
        return self.perturb(x, threat)[1]

    def perturb(self, x: Tensor, threat: Ball) -> tuple[Tensor, Tensor]:
        """Return G(x), of any size, and x' in the ball, both (N, C, H, W)."""
        perturbation = self.net(x)
        return perturbation, (x + linf(perturbation, threat.eps)).clamp(0, 1)

    def objective(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Made:
        """Return both players' losses in one scalar: the generator's sees the discriminator as it is, the
        discriminator's sees x' as it is, so that each descends its own."""
        perturbation, x_adv = self.perturb(x, threat)
        # Ascending min(0, max_other z - z_y) descends the first term of the class's formula; its gradient is carried to
        # the generator as slope . x', since no graph leads through the classifier.
        grad, logits, _ = input_grad(f, x_adv, lambda z: margin(at_least_float32(z), y).clamp(max=0))
        fool = (grad * x_adv).flatten(1).sum(1).mean()
        # The generator's loss passes through the discriminator, whose weights are constants there.
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        answer = functional_call(self.discriminator, fixed, (x_adv,))
        bound = threat.eps * math.sqrt(x[0].numel()) / 2  # half the l2 length of a corner of the ball
        size = torch.linalg.vector_norm(perturbation.flatten(1), dim=1)  # (N,)
        generator = -fool + self.gan * answer_loss(answer, True) + self.hinge * (size - bound).clamp(min=0).mean()
        judge = answer_loss(self.discriminator(x), True) + answer_loss(self.discriminator(x_adv.detach()), False)
        return Made(generator + judge, x_adv.detach(), cross_entropy(at_least_float32(logits), y))


class Residual(nn.Module):
    """A residual block: h + two 3x3 convolutions of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.body(h)
        return out


def answer_loss(logits: Tensor, real: bool) -> Tensor:
    """Return the discriminator's mean cross-entropy where its right answer would be `real`."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
