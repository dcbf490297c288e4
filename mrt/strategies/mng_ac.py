"""MNG-AC (Madaan, Shin and Hwang 2021): SAT, a consistency loss, and noise from a generator that is trained through a
look-ahead of the classifier.

In every update, with theta the classifier's weights, phi the generator's and z Gaussian noise:

    1. draw a threat and attack with it:                  x_adv
    2. look ahead on noisy images:                        theta' = theta - r d CE(f_theta(x_aug), y) / d theta
       and train the generator to help there:             phi <- phi - rate * d CE(f_theta'(x_adv), y) / d phi
    3. make noisy images with the new generator:          x_aug = x + its noise, on the threat's ball (or noise_ball)
    4. train the classifier:                              CE(f(x_adv), y) + beta JSD(f(x), f(x_aug), f(x_adv))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, log_softmax

from mrt import checks
from mrt.attacks import PGD, SLIDE
from mrt.crafting.gradient import BatchNormMode
from mrt.generators import MNGNoise
from mrt.generators.generator import mean_over_processes
from mrt.protocols import Attack, Ball, Step
from mrt.strategies.adversaries import Adversary, attacks_of, check_strategy, craft
from mrt.strategies.learner import Learner, Optimizer, make_optimizer, shape_and_classes
from mrt.strategies.sat import draw_index
from mrt.threats import L1, L2, Linf, noise
from mrt.threats.differentiable import onto

Kind = Literal["learned", "plain"]
LOOK, AUGMENT = 1000, 1001  # the purposes of the seeds of both noises, far from the attacks' small numbers


@dataclass(frozen=True)
class MNGAC:
    """min CE(f(x_adv), y) + beta JSD(f(x), f(x_aug), f(x_adv)), x_adv from one threat drawn for the batch, x_aug noise
    brought onto that threat's ball.

    The noise is the generator's, which descends CE at x_adv of the classifier after one plain gradient step on x_aug;
    noise="plain" leaves the generator out (the ablation SAT+AC). `generator_rate` and `look_ahead` are the generator's
    learning rate and that step's length in units of the update's learning rate, which for SGD is what the published
    code does; with Adam, whose rates are smaller, a look_ahead above 1 brings the step to SGD's scale. A threat that is
    no ball, as motions are not, has its noise on `noise_ball`: the first L2 ball of the threats if left out.
    """

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    beta: float = field(default=12.0, kw_only=True)
    noise: Kind = field(default="learned", kw_only=True)
    width: int = field(default=20, kw_only=True)
    conditional: bool = field(default=True, kw_only=True)
    generator_optimizer: Optimizer = field(default="sgd", kw_only=True)
    generator_rate: float = field(default=1.0, kw_only=True)
    look_ahead: float = field(default=1.0, kw_only=True)
    noise_ball: Ball | None = field(default=None, kw_only=True)
    rescale: bool = field(default=True, kw_only=True)
    squash: bool = field(default=False, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")
        checks.choice("noise", self.noise, get_args(Kind))
        checks.choice("generator_optimizer", self.generator_optimizer, get_args(Optimizer))
        checks.count("width", self.width)
        for name in ("conditional", "rescale", "squash"):
            checks.flag(name, getattr(self, name))
        checks.number("beta", self.beta)
        for name in ("generator_rate", "look_ahead"):
            checks.number(name, getattr(self, name), open_low=True)
        if not isinstance(self.noise_ball, (Linf, L2, L1, type(None))):
            raise ValueError(f"noise_ball must be a ball such as L2(0.5); got {self.noise_ball!r}")
        for number in range(len(self.threats)):
            self.ball(number)

    @staticmethod
    def reference(dataset: str = "cifar10") -> MNGAC:
        """The published code's radii, steps, BatchNorm and generator: train-mode statistics in the attacks, z alone
        into the generator. Not its errors (starts of length 1, a projection of whole batches in half precision), nor an
        l1 attack without SLIDE's box filter, nor, on Tiny-ImageNet, noise at CIFAR's radii. dataset: cifar10, svhn,
        tiny-imagenet. Train 30 epochs of batch 128 with SGD(0.21) and Triangular()."""
        tiny = checks.choice("dataset", dataset, ("cifar10", "svhn", "tiny-imagenet")) == "tiny-imagenet"
        published: dict[str, Any] = {"random_start": True, "best": "last", "bn": "batch"}
        linf = PGD(Linf((4 if tiny else 8) / 255), steps=10, step_size=1 / 255, **published)
        l2 = PGD(L2((80 if tiny else 128) / 255), steps=10, step_size=30 / 255, **published)
        l1 = SLIDE(L1(2000 / 255, projection="clip"), steps=20, step_size=1.0, **published)
        return MNGAC((linf, l1, l2), conditional=False, bn="batch")

    def ball(self, number: int) -> Ball:
        """Choose the ball that the noise goes onto while that threat is drawn."""
        balls = [threat.threat if isinstance(threat, Attack) else threat for threat in self.threats]
        own = balls[number]
        if isinstance(own, (Linf, L2, L1)):
            return own
        partner = self.noise_ball or next((ball for ball in balls if isinstance(ball, L2)), None)
        if partner is None:
            raise ValueError(f"{own!r} is no ball that noise can be brought onto: give noise_ball=L2(0.5), say")
        return partner

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> MetaNoise:
        if isinstance(model, nn.DataParallel):
            raise ValueError("MNGAC cannot look ahead of an nn.DataParallel; give its .module, and use torchrun")
        settings: dict[str, Any] = {"width": self.width, "conditional": self.conditional}
        settings |= {"rescale": self.rescale, "squash": self.squash}
        generator = MNGNoise(*shape_and_classes(model, x, y), **settings).to(x.device)
        decay = {"momentum": 0.9, "weight_decay": 5e-4} if self.generator_optimizer == "sgd" else {}
        return MetaNoise(self, generator, make_optimizer(self.generator_optimizer, generator, 1.0, **decay))


class MetaNoise(Learner):
    """MNG-AC as it runs."""

    def __init__(self, settings: MNGAC, generator: MNGNoise, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(generator, optimizer)
        self.settings = settings

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        s = self.settings
        # 1. One threat for the whole batch, as in SAT.
        number = draw_index(torch.ones(len(s.threats)), step)
        x_adv = craft(attacks_of(s, step)[number], number, model, x, y, step)
        ball = s.ball(number)
        # 2. A step of the generator, whose rate follows the classifier's, as the published code has it.
        if s.noise == "learned":
            for group in self.optimizer.param_groups:
                group["lr"] = s.generator_rate * step.lr
            self.learn(self.meta_gradient(model, x, x_adv, y, ball, step), step)
        # 3. Fresh noise from the generator as it now is.
        with torch.no_grad():
            x_aug = self.augmented(model, x, y, ball, noise.fold(step.seeds, AUGMENT))
        # 4. The classifier's loss. Three passes and not one, since BatchNorm could tell a joint batch from these.
        clean, augmented, adversarial = model(x), model(x_aug), model(x_adv)
        return step.loss(adversarial, y) + s.beta * consistency(clean, augmented, adversarial)

    def augmented(self, model: nn.Module, x: Tensor, y: Tensor, ball: Ball, seeds: Tensor) -> Tensor:
        """Put noise on x, the generator's or plain Gaussian noise, and bring it onto the ball."""
        if self.settings.noise == "learned":
            return self.generator.craft(model, x, y, seeds, ball)
        options = {"rescale": self.settings.rescale, "squash": self.settings.squash}
        return onto(ball, x, noise.normal(seeds, *x.shape[1:]), **options)

    def meta_gradient(
        self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, ball: Ball, step: Step
    ) -> tuple[Tensor, ...]:
        """d CE(f_ahead(x_adv), y) / d phi, where ahead = theta - r d CE(f_theta(x_aug), y) / d theta.

        By the chain rule this is - r d (g . v) / d phi, with g the inner gradient and v the outer one at `ahead`: two
        first-order gradients and the derivative of their product, where unrolling the step would keep the graph of the
        whole update. Both are averaged over processes where they meet, so that any number of these takes the same look
        ahead. Train-mode BatchNorm writes its statistics into copies.
        """
        model = getattr(model, "_orig_mod", model)  # a compiled one cannot be differentiated twice
        theta = {n: p.detach().requires_grad_() for n, p in model.named_parameters() if p.requires_grad}
        rate = self.settings.look_ahead * step.lr

        def loss_at(weights: dict[str, Tensor], images: Tensor) -> Tensor:
            buffers = {n: b.clone() for n, b in model.named_buffers()}
            return cross_entropy(functional_call(model, (weights, buffers), (images,)), y)

        x_aug = self.augmented(model, x, y, ball, noise.fold(step.seeds, LOOK))
        zeros: dict[str, Any] = {"materialize_grads": True}  # zeros for weights that this network does not use
        inner = torch.autograd.grad(loss_at(theta, x_aug), list(theta.values()), create_graph=True, **zeros)
        taken = mean_over_processes(inner, step.mean)
        ahead = {n: (p - rate * g).detach().requires_grad_() for (n, p), g in zip(theta.items(), taken, strict=True)}
        at_ahead = torch.autograd.grad(loss_at(ahead, x_adv), list(ahead.values()), **zeros)
        outer = mean_over_processes(at_ahead, step.mean)
        product = torch.stack([(g * v).sum() for g, v in zip(inner, outer, strict=True)]).sum()  # g . v
        return torch.autograd.grad(-rate * product, list(self.generator.parameters()))


def consistency(*logits: Tensor) -> Tensor:
    """Measure how far several posteriors (N, K) are apart: their Jensen-Shannon divergence, mean over the batch, from 0
    where they agree to the logarithm of their number. Gradients flow through all of them and their mean."""
    logs = [log_softmax(z, 1) for z in logits]
    # The clamp keeps the logarithm finite where all of them are sure that it is another class.
    middle = torch.stack([log.exp() for log in logs]).mean(0).clamp(1e-7, 1).log()
    return torch.stack([(log.exp() * (log - middle)).sum(1).mean() for log in logs]).mean()
