"""L2L-DA (Jang et al. 2019): a classifier against a recursive generator of diverse attacks.

In every update, for a batch x:

    1. the generator makes x'_1 .. x'_T for two latents of each image          generators.l2l_da.L2LGenerator
    2. it ascends sum_t CE(f(x'_t), y) + diversity
    3. the classifier descends its loss on [x, x'_T(z1), x'_T(z2)], as they were made before the generator's step
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.generators import L2LGenerator
from mrt.generators.l2l_da import Normalise
from mrt.protocols import Step
from mrt.strategies.learner import Learner, Optimizer, make_optimizer, shape_and_classes
from mrt.threats import Linf


@dataclass(frozen=True)
class L2LDA:
    """min_theta (1/3) CE(f(x), y) + (2/3) CE(f(x'_T), y), max_phi sum_t CE(f(x'_t), y) + diversity, x'_t the steps of
    the generator for two latents z of each image: see `generators.L2LGenerator`, which most of these settings are for.

    Best from a trained classifier; or `warmup` updates train it on clean images alone. The generator's learning rate
    is constant; the published SGD(0.01) needs tens of thousands of updates. `clean_weight` None weighs every image of
    the batch [x, x'(z1), x'(z2)] alike. The published training also clips the classifier's gradient: fit(...,
    clip=1.0). Ablations: recursive=False, diversity=0, see_delta=False, labels=False.
    """

    threat: Linf
    steps: int = field(default=10, kw_only=True)
    width: int = field(default=64, kw_only=True)
    step: float = field(default=0.25, kw_only=True)
    diversity: float = field(default=0.02, kw_only=True)
    recursive: bool = field(default=True, kw_only=True)
    latent: bool = field(default=True, kw_only=True)
    see_delta: bool = field(default=True, kw_only=True)
    labels: bool = field(default=True, kw_only=True)
    normalise: Normalise = field(default="channel", kw_only=True)
    deeper: bool = field(default=False, kw_only=True)
    generator_optimizer: Optimizer = field(default="adam", kw_only=True)
    generator_lr: float = field(default=2e-3, kw_only=True)
    clean_weight: float | None = field(default=None, kw_only=True)
    warmup: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Linf):
            raise ValueError(f"L2LDA needs a threat of type Linf: Linf(0.3), say; got {self.threat!r}")
        for name in ("steps", "width"):
            checks.count(name, getattr(self, name))
        checks.count("warmup", self.warmup, low=0)
        checks.number("step", self.step, open_low=True)
        checks.number("diversity", self.diversity)
        checks.number("generator_lr", self.generator_lr, open_low=True)
        for name in ("recursive", "latent", "see_delta", "labels", "deeper"):
            checks.flag(name, getattr(self, name))
        checks.choice("generator_optimizer", self.generator_optimizer, get_args(Optimizer))
        checks.choice("normalise", self.normalise, get_args(Normalise))
        if self.clean_weight is not None:
            checks.number("clean_weight", self.clean_weight, high=1)

    @staticmethod
    def star(threat: Linf, *, width: int = 64) -> L2LDA:
        """L2L*: one deterministic step from the image and its raw gradient. See `generators.L2LStar`."""
        off: dict[str, Any] = {"recursive": False, "latent": False, "see_delta": False, "labels": False}
        return L2LDA(threat, width=width, diversity=0.0, normalise="none", **off)

    @staticmethod
    def reference(dataset: str = "mnist") -> L2LDA:
        """The published code's settings. Train 100,000 iterations of batch 100 with SGD(0.01, weight_decay=1e-5), its
        rate times 0.1 half way, and clip=1.0: MNIST from scratch, CIFAR-10 from a trained ResNet-20. Tiny-ImageNet
        (64x64) has batches of 60, and 0.005 for the classifier, times 0.3 half way."""
        checks.choice("dataset", dataset, ("mnist", "cifar10", "tiny-imagenet"))
        if dataset == "mnist":
            return L2LDA(Linf(0.3), diversity=0.02, generator_optimizer="sgd", generator_lr=0.01, warmup=1000)
        if dataset == "cifar10":
            return L2LDA(Linf(8 / 255), diversity=0.5, generator_optimizer="sgd", generator_lr=0.01)
        return L2LDA(Linf(8 / 255), diversity=0.3, generator_optimizer="sgd", generator_lr=0.025)

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> LearningToLearn:
        names = ("width", "steps", "step", "diversity", "recursive", "latent", "see_delta", "labels", "normalise")
        settings: dict[str, Any] = {name: getattr(self, name) for name in (*names, "deeper")}
        generator = L2LGenerator(*shape_and_classes(model, x, y), **settings).to(x.device)
        decay = {"momentum": 0.9, "weight_decay": 1e-5} if self.generator_optimizer == "sgd" else {}
        return LearningToLearn(
            self, generator, make_optimizer(self.generator_optimizer, generator, self.generator_lr, **decay)
        )


class LearningToLearn(Learner):
    """L2L-DA as it runs. The classifier learns on what the generator made before its step."""

    def __init__(self, settings: L2LDA, generator: L2LGenerator, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(generator, optimizer)
        self.settings = settings

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        if step.index < self.settings.warmup:
            return step.loss(model(x), y)
        self.generator.check_batch(x, y)
        self.generator.train()
        # 1. Attack: the inputs, and what the generator's training descends on the way.
        with crafting(model, fast=step.fast) as f:
            made = self.generator.objective(f, x, y, step.seeds, self.settings.threat)
        # 2. A step of the generator.
        self.descend(made.descent, step)
        # 3. The classifier's loss, from one pass over clean and adversarial images, as the published code makes it.
        logits, latents = model(torch.cat([x, made.x_adv])), len(made.x_adv) // len(x)
        share = 1 / (1 + latents) if self.settings.clean_weight is None else self.settings.clean_weight
        clean, adversarial = logits[: len(x)], logits[len(x) :]
        return share * step.loss(clean, y) + (1 - share) * step.loss(adversarial, y.repeat(latents))
