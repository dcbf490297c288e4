"""The perturbation generator network of PGN (anonymous ICLR 2020 submission)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, relu, softmax

from mrt import checks
from mrt.crafting.gradient import input_grad
from mrt.generators.generator import Generator, Made, Shape, ascend_loss, at_least_float32
from mrt.protocols import Ball, Model

GradNorm = Literal["none", "l2"]
Space = Literal["image", "tanh"]
Input = Literal["gradient", "image", "label"]
EDGE = 1 - 1e-6  # of tanh space, as in implementations of C&W


class PGNGenerator(Generator):
    """x' = (tanh(atanh(2x - 1) + G) + 1) / 2, with G made from the label, the image and the gradient of the true
    class's probability. No radius: training maximises CE(f(x'), y) - penalty |x' - x|_2^2.

    In tanh space a pixel at exactly 0 or 1 hardly moves: its slope there is 1e-6, and on images such as MNIST's most
    pixels are frozen. `grad_norm="l2"` divides each image's gradient by its norm: raw, as in the paper, it vanishes
    where the classifier is sure. `inputs` is what the network is shown (the rest are zeros); `space="tanh"` penalises
    G itself. With BatchNorm, our choice, 8,985,347 parameters for CIFAR-10, without it the table's 8,966,147.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        width: int = 128,
        penalty: float = 50.0,
        grad_norm: GradNorm = "l2",
        space: Space = "image",
        inputs: tuple[Input, ...] = ("gradient", "image", "label"),
        batch_norm: bool = True,
    ) -> None:
        super().__init__(shape, classes)
        checks.count("width", width)
        self.penalty = checks.number("penalty", penalty)
        checks.choice("grad_norm", grad_norm, get_args(GradNorm))
        checks.choice("space", space, get_args(Space))
        for one in checks.several("inputs", inputs, "inputs"):
            checks.choice("inputs", one, get_args(Input))
        checks.flag("batch_norm", batch_norm)
        self.grad_norm, self.space, self.inputs = grad_norm, space, tuple(inputs)
        channels, height, wide = self.shape[0], self.shape[1] // 4, self.shape[2] // 4
        self.base = (width, height, wide)

        def norm(kind: type[nn.Module], features: int) -> nn.Module:
            return kind(features) if batch_norm else nn.Identity()

        up = {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}
        self.dense1 = nn.Linear(classes, 8 * width)
        self.norm1 = norm(nn.BatchNorm1d, 8 * width)
        self.dense2 = nn.Linear(8 * width + classes, width * height * wide)
        self.norm2 = norm(nn.BatchNorm1d, width * height * wide)
        self.up1 = nn.ConvTranspose2d(width + classes, width, **up)  # type: ignore[arg-type]
        self.norm3 = norm(nn.BatchNorm2d, width)
        self.up2 = nn.ConvTranspose2d(width + classes, width, **up)  # type: ignore[arg-type]
        self.norm4 = norm(nn.BatchNorm2d, width)
        self.conv = nn.Conv2d(width + 2 * channels, width, 3, padding=1)
        self.norm5 = norm(nn.BatchNorm2d, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        for layer in (self.dense1, self.dense2, self.up1, self.up2, self.conv, self.last):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.last.weight *= 0.1  # so that the game starts near no perturbation

    def forward(self, x: Tensor, grad: Tensor, y: Tensor) -> Tensor:
        """Make G, the perturbation in tanh space, (N, C, H, W)."""
        shown = {"image": x, "gradient": grad, "label": one_hot(y, self.classes).to(x.dtype)}
        label, x, grad = (v if n in self.inputs else torch.zeros_like(v) for n, v in _ordered(shown))

        def joined(h: Tensor) -> Tensor:
            return torch.cat([h, label[:, :, None, None].expand(-1, -1, *h.shape[2:])], 1)

        h = relu(self.norm1(self.dense1(label)))
        h = relu(self.norm2(self.dense2(torch.cat([h, label], 1)))).view(-1, *self.base)
        h = relu(self.norm3(self.up1(joined(h))))
        h = relu(self.norm4(self.up2(joined(h))))
        h = relu(self.norm5(self.conv(torch.cat([h, x, grad], 1))))
        made: Tensor = self.last(h)
        return made

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=5e-4)

    def craft(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Tensor:
        """x' of any length: the attack projects it."""
        return self.perturb_image(x, self.gradient_image(f, x, y), y)[1]

    def perturb_image(self, x: Tensor, grad: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Make G, and the image x' that it leads to: tanh keeps it in [0, 1] without a clamp, which has no gradient."""
        made = self(x, grad, y)
        return made, (torch.tanh(torch.atanh((2 * x - 1).clamp(-EDGE, EDGE)) + made) + 1) / 2

    def gradient_image(self, f: Model, x: Tensor, y: Tensor) -> Tensor:
        """Ask the classifier for the gradient image d softmax(f(x))_y / dx; to the generator it is a constant."""
        grad, _, _ = input_grad(f, x, lambda logits: softmax(at_least_float32(logits), 1).gather(1, y[:, None])[:, 0])
        if self.grad_norm == "none":
            return grad
        unit: Tensor = grad / (torch.linalg.vector_norm(grad, dim=(1, 2, 3), keepdim=True) + 1e-12)
        return unit

    def objective(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Made:
        return self.penalised(f, x, self.gradient_image(f, x, y), y)

    def penalised(self, f: Model, x: Tensor, grad: Tensor, y: Tensor) -> Made:
        """- CE(f(x'), y) + penalty |x' - x|^2, a sum over the entries of an image and a mean over images."""
        made, x_adv = self.perturb_image(x, grad, y)
        cost = (x_adv - x if self.space == "image" else made).square().flatten(1).sum(1).mean()
        return ascend_loss(f, x_adv, y, self.penalty * cost)


def _ordered(shown: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(name, shown[name]) for name in ("label", "image", "gradient")]
