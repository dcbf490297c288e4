"""A trained generator as an attack, and the training that fits a generator to a model."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.best import Best
from mrt.crafting.gradient import crafting
from mrt.crafting.losses import ce
from mrt.crafting.task import open_task
from mrt.data import gather, order
from mrt.data.images import Data, Images, as_images
from mrt.fast import Fast
from mrt.generators.generator import Generator, take_step
from mrt.protocols import Ball, Model, Rng
from mrt.threats import noise

GENERATE = 7  # what these seeds are for


@dataclass(frozen=True, eq=False, repr=False)
class GeneratorAttack:
    """What a generator makes in `threat`, the best of `samples` draws of its noise; projected where it has no radius of
    its own (PGN).

    It was trained against one classifier, and is as strong as it was fitted to the one it is used on: `fit_generator`.
    True labels are among what generators see. Give `rng` to get the same again; one that uses no noise (L2L*, PGN, GAP,
    AdvGAN) makes the same every time.
    """

    generator: Generator
    threat: Ball
    samples: int = 1
    fast: Fast = field(default=Fast(), compare=False)  # which changes nothing beyond rounding

    def __post_init__(self) -> None:
        if not isinstance(self.generator, Generator):
            raise ValueError(f"generator must be one of mrt.generators; got {self.generator!r}")
        self.generator.check_threat(self.threat)
        checks.count("samples", self.samples)
        if not isinstance(self.fast, Fast):
            raise ValueError(f"fast must be a Fast(...); got {self.fast!r}")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.generator.settings.items())
        fast = "" if self.fast == Fast() else f", {self.fast!r}"
        return f"GeneratorAttack({type(self.generator).__name__}({settings}), {self.threat!r}, {self.samples}{fast})"

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        if target is not None or start is not None:
            raise ValueError("a generator attack has no target and no start: it makes what it was trained to make")
        # The generator is put into eval mode and frozen like the model: an attack changes neither.
        call = (model, x, y, None, rng, None)
        with open_task(self.threat, ce, call, fast=self.fast) as task, crafting(self.generator):
            self.generator.check(task.x, task.goal.y, self.threat)

            def f(z: Tensor) -> Tensor:
                return check_classes(self.generator, task.f(z))

            best = Best("broken")  # what fools the model comes first, and the loss decides among such points
            for draw in range(self.samples):
                crafted = self.generator.craft(f, task.x, task.goal.y, noise.fold(task.seeds, draw), self.threat)
                # Generators that know the radius stay in the ball but for rounding; PGN's knows none.
                x_adv = self.threat.apply(task.x, self.threat.project(crafted - task.x, task.x))
                if self.samples == 1:  # nothing to choose from, so that no pass of the model is spent on judging
                    return x_adv
                best.judge(x_adv, task)
            return best.point


def fit_generator(
    generator: Generator,
    model: Model,
    data: Data,
    threat: Ball,
    *,
    iterations: int,
    batch_size: int = 100,
    optimizer: torch.optim.Optimizer | None = None,
    seed: int = 0,
    progress: bool = True,
) -> GeneratorAttack:
    """Train `generator`, in place and on its device, against `model` as it stands; return the attack that it becomes.

    The model is not changed. PGN's generator is trained without a radius: there `threat` is the attack's alone. The
    optimizer is the generator's own, or a live one for its parameters: with that, and another seed for other batches, a
    training goes on.
    """
    if not isinstance(generator, Generator):
        raise ValueError(f"generator must be one of mrt.generators; got {generator!r}")
    attack = GeneratorAttack(generator, threat)
    checks.count("iterations", iterations)
    checks.count("seed", seed, low=0)
    checks.flag("progress", progress)
    images, device = _check_images(data), next(generator.parameters()).device
    if optimizer is not None:
        _check_optimizer(optimizer, generator)
    size = min(checks.count("batch_size", batch_size), len(images))
    check_compatible(generator, model, images, threat, device)
    optimizer, visits = optimizer or generator.optimizer(), torch.arange(0)
    with crafting(model) as f, Bar(progress, iterations) as bar:
        try:
            generator.train()
            for i in range(iterations):
                # As in the training of classifiers, the rest of an epoch that fills no batch is left out.
                epoch, number = divmod(i, len(images) // size)
                if number == 0:
                    visits = order(len(images), seed=seed, epoch=epoch)
                batch = gather(images, visits[number * size :][:size], seed=seed, epoch=epoch, device=device)
                seeds = noise.seeds_of_index(batch.index, seed, epoch, GENERATE)
                result = generator.objective(f, batch.x, batch.y, seeds, threat)
                take_step(generator, optimizer, torch.autograd.grad(result.descent, list(generator.parameters())))
                bar.update(i, result.loss)
        finally:  # also after an error, or when the user interrupts
            generator.eval()
    return attack


def check_compatible(generator: Generator, model: Model, images: Images, threat: Ball, device: torch.device) -> None:
    """Raise a ValueError unless generator, model and data go together."""
    batch = gather(images, torch.arange(1), seed=0, epoch=0, device=device)
    generator.check(batch.x, images.y, threat)
    with torch.no_grad(), crafting(model) as f:
        check_classes(generator, checks.logits(f(batch.x), batch.x))


def check_classes(generator: Generator, logits: Tensor) -> Tensor:
    """Return the logits unchanged, or raise a ValueError unless they are of as many classes as the generator's."""
    if logits.shape[1] != generator.classes:
        raise ValueError(f"this generator was made for {generator.classes} classes; the model has {logits.shape[1]}")
    return logits


def _check_images(data: Any) -> Images:
    """Return the training images, or raise a ValueError unless there is at least one."""
    pair = isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(t, Tensor) for t in data)
    if not pair and not isinstance(data, Images):
        raise ValueError(f"data must be Images, or a pair of tensors (x, y); got {type(data).__name__}")
    images = as_images(data)
    if not len(images):
        raise ValueError("data must hold at least one image; got none")
    return images


def _check_optimizer(optimizer: Any, generator: Generator) -> None:
    """Raise a ValueError unless this is a live optimizer of nothing but the generator's parameters."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"optimizer must be a torch optimizer for the generator's parameters; got {optimizer!r}")
    known = {id(p) for p in generator.parameters()}  # by identity: tensors that are equal need not be the same
    if any(id(p) not in known for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("optimizer must be for the generator's parameters alone; it holds others, which it would move")


class Bar:
    """Shows the progress of a training on stderr: a bar on a terminal, else ten lines."""

    def __init__(self, on: bool, total: int) -> None:
        self.on, self.total = on, total
        self.drawn = on and sys.stderr.isatty()

    def __enter__(self) -> Bar:
        if self.drawn:
            from rich.console import Console
            from rich.progress import Progress

            self.bar: Any = Progress(console=Console(file=sys.stderr), transient=True)
            self.task = self.bar.add_task("generator", total=self.total)
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.drawn:
            self.bar.stop()

    def update(self, i: int, loss: Tensor) -> None:
        """Show that iteration i is done, and the model's loss in it."""
        # The loss is read only where it is shown: on a GPU that waits for all that is under way there.
        if self.drawn:
            self.bar.update(self.task, advance=1, description=f"generator, the model's loss {float(loss):.3f}")
        elif self.on and (i + 1) % -(-self.total // 10) == 0:
            text = f"generator {i + 1}/{self.total}  the model's loss {float(loss):.4f}"
            print(text, file=sys.stderr, flush=True)
