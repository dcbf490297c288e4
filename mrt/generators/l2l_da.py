"""The recursive stochastic generator of L2L-DA (Jang et al. 2019), and its one-shot ancestor L2L* (Chen et al.)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mrt import checks
from mrt.generators.generator import Generator, Made, Shape, slope
from mrt.generators.unet import LATENT, UNet
from mrt.protocols import Ball, Model
from mrt.threats import Linf, noise
from mrt.threats.projections import linf, per_example

Normalise = Literal["channel", "image", "none"]
TINY = 1e-15  # added before the norm is taken, so that a gradient of zeros is divided by more than zero


class L2LGenerator(Generator):
    """x' after T steps: delta <- clamp(delta + s G(x, g, delta, z, y), -eps, eps), x' = clamp(x + delta, 0, 1), where g
    is the classifier's normalised loss gradient at the last x', and z is drawn once.

    s is `step` times eps. Switches: `recursive` off is one step of eps; `latent` is z, `see_delta` is delta, `labels`
    is y among the inputs; `normalise` divides g by its norm over a channel (the code), the image (the paper) or not.
    `diversity` weighs the distance of two latents' x' in what training ascends. At width 64 it has 495,184 parameters
    for MNIST, 500,944 for CIFAR-10; `deeper` 1,718,992.
    """

    BALLS = (Linf,)
    clip = 1.0

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        width: int = 64,
        steps: int = 10,
        step: float = 0.25,
        diversity: float = 0.02,
        recursive: bool = True,
        latent: bool = True,
        see_delta: bool = True,
        labels: bool = True,
        normalise: Normalise = "channel",
        deeper: bool = False,
    ) -> None:
        super().__init__(shape, classes)
        checks.count("width", width)
        flags = {"recursive": recursive, "latent": latent, "see_delta": see_delta, "labels": labels, "deeper": deeper}
        for name, value in flags.items():
            checks.flag(name, value)
        if deeper and any(n % 8 for n in self.shape[1:]):
            raise ValueError(f"a deeper U-Net needs height and width to be multiples of 8; got {shape!r}")
        checks.choice("normalise", normalise, get_args(Normalise))
        self.steps = checks.count("steps", steps) if recursive else 1
        self.step = checks.number("step", step, open_low=True) if recursive else 1.0
        self.diversity = checks.number("diversity", diversity)
        self.latent, self.see_delta, self.normalise = latent, see_delta, normalise
        planes = self.shape[0] * (3 if see_delta else 2)
        kinds = classes if labels else 0
        self.net = UNet(planes, self.shape[0], width, classes=kinds, latent=latent, deeper=deeper)

    def craft(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Tensor:
        # 1. The latent is drawn once; 2. every step sees the gradient at the x' of the step before it.
        z, delta, x_adv = noise.normal(seeds, LATENT).to(x.dtype), torch.zeros_like(x), x
        for _ in range(self.steps):
            grad, _ = slope(f, x_adv.detach(), y)
            delta, x_adv = self.move(x, grad, delta, z, y, threat)
        return x_adv

    def objective(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Made:
        """- sum_t [CE(f(x'_t), y) + diversity * |x'_t(z1) - x'_t(z2)| / |z1 - z2|], norms l1 and means over entries,
        for two latents of each image; without a latent for the one path there is.

        The pass that gives step t its gradient gives the loss of step t - 1, too: T + 1 of them, not 2 T.
        """
        many = 2 if self.latent else 1
        z = torch.cat([noise.normal(noise.fold(seeds, i), LATENT) for i in range(many)]).to(x.dtype)
        grad, _ = slope(f, x, y)
        x, y, grad = x.repeat(many, 1, 1, 1), y.repeat(many), grad.repeat(many, 1, 1, 1)
        delta, loss = torch.zeros_like(x), x.new_zeros(())
        for _ in range(self.steps):
            delta, x_adv = self.move(x, grad, delta, z, y, threat)
            # The pass at x'_t: its gradient is what step t + 1 sees, and the slope of this step's loss.
            grad, raised = slope(f, x_adv.detach(), y)
            loss = loss - (grad * x_adv).flatten(1).sum(1).mean()
            if self.latent:
                loss = loss - self.diversity * spread(x_adv, z)
        return Made(loss, x_adv.detach(), raised.mean())

    def move(self, x: Tensor, grad: Tensor, delta: Tensor, z: Tensor, y: Tensor, threat: Ball) -> tuple[Tensor, Tensor]:
        """Take one step. Returns the next delta, which the box does not clip, and x', which it does; as in the
        published code the recursion goes on from the unclipped one."""
        planes = [x, self.normalised(grad), *([delta] if self.see_delta else [])]
        moved = delta + self.step * per_example(threat.eps, x) * self.net(torch.cat(planes, 1), z, y)
        delta = linf(moved, threat.eps)
        return delta, (x + delta).clamp(0, 1)

    def normalised(self, grad: Tensor) -> Tensor:
        """Make the gradient image that the network sees. A gradient of zeros stays zeros."""
        if self.normalise == "none":
            return grad
        axes = (2, 3) if self.normalise == "channel" else (1, 2, 3)
        unit: Tensor = grad / torch.linalg.vector_norm(grad + TINY, dim=axes, keepdim=True)
        return unit


def spread(x_adv: Tensor, z: Tensor) -> Tensor:
    """Mean over images of mean |x'(z1) - x'(z2)| / mean |z1 - z2|; the first half of the batch has z1, the second
    z2."""
    (one, two), (z1, z2) = x_adv.chunk(2), z.chunk(2)
    apart = (one - two).abs().flatten(1).mean(1)
    return (apart / ((z1 - z2).abs().mean(1) + 1e-8)).mean()


def L2LStar(shape: Shape, classes: int, *, width: int = 64, deeper: bool = False) -> L2LGenerator:  # noqa: N802
    """L2L*: x' = clamp(x + eps G(x, g), 0, 1), g the loss gradient as it is. One step, no latent, no label: the same
    input gives the same x'. 461,440 parameters for MNIST, 466,048 for CIFAR-10."""
    off = {"recursive": False, "latent": False, "see_delta": False, "labels": False}
    return L2LGenerator(shape, classes, width=width, diversity=0.0, normalise="none", deeper=deeper, **off)
