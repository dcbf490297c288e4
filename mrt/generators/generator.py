"""What every learned attack is: a network that makes perturbations, and what its training descends."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mrt import checks
from mrt.crafting.gradient import input_grad
from mrt.protocols import Ball, Model
from mrt.threats import L1, L2, Linf

Shape = tuple[int, int, int]


class Made(NamedTuple):
    """What a generator made of one batch in training. `descent`: a scalar whose gradient it descends; its value means
    nothing, since the classifier's loss stands in it as slope . x_adv. `x_adv`: the inputs, without a graph, the batch
    once or several times over. `loss`: the classifier's mean cross-entropy on them."""

    descent: Tensor
    x_adv: Tensor
    loss: Tensor


class Generator(nn.Module):
    """A search of a ball by a network, for images of one shape and labels of one set of classes.

    `craft` is the search. `objective` is what training descends, from one batch. Both see the classifier frozen, and no
    graph leads through it: d CE(f(x'))/d phi is written as slope . dx'/d phi, with slope = dCE/dx' from the one pass
    that is made at x' anyway. Gradient images that a network is shown are constants.
    A base class and no protocol, because a generator has to be an nn.Module as well.
    """

    BALLS: ClassVar[tuple[type, ...]] = (Linf, L2, L1)  # that it can search
    MULTIPLE: ClassVar[int] = 4  # of which height and width must be
    clip: float | None = None  # bound on the gradient's norm in training
    settings: dict[str, Any]  # what it was made with

    def __new__(cls, *args: Any, **kwargs: Any) -> Generator:
        made = super().__new__(cls)
        if args or kwargs:  # not where one is being copied
            bound = signature(cls.__init__).bind(None, *args, **kwargs)
            object.__setattr__(made, "settings", dict(list(bound.arguments.items())[1:]))
        return made

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        if not isinstance(shape, (tuple, list)) or len(shape) != 3:
            raise ValueError(f"shape must be (channels, height, width); got {shape!r}")
        self.shape: Shape = tuple(checks.count("shape", n) for n in shape)  # type: ignore[assignment]
        if any(n % self.MULTIPLE for n in self.shape[1:]):
            raise ValueError(f"height and width must be multiples of {self.MULTIPLE}; got {shape!r}")
        self.classes = checks.count("classes", classes, low=2)

    @abstractmethod
    def craft(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Tensor:
        """x_adv, with a graph to the weights where autograd is on. Its noise comes from one seed per example."""

    @abstractmethod
    def objective(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Made:
        """What its training descends, and the inputs it made on the way."""

    def optimizer(self) -> torch.optim.Optimizer:
        """What its training uses unless told otherwise."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)

    def check(self, x: Tensor, y: Tensor, threat: Ball) -> None:
        """ValueError unless it was made for these images, labels and threat."""
        self.check_threat(threat)
        self.check_batch(x, y)

    def check_batch(self, x: Tensor, y: Tensor) -> None:
        """ValueError unless it was made for these images and labels."""
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this generator was made for images of {self.shape}; got {tuple(x.shape[1:])}")
        if int(y.max()) >= self.classes:
            raise ValueError(f"this generator was made for {self.classes} classes; got label {int(y.max())}")

    def check_threat(self, threat: object) -> None:
        """ValueError unless it can search that."""
        if not isinstance(threat, self.BALLS):
            names = " or ".join(kind.__name__ for kind in self.BALLS)
            raise ValueError(f"{type(self).__name__} searches {names} balls; got {threat!r}")


def slope(f: Model, x_adv: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """d CE / d x_adv, and CE (N,), of each example: one pass forward and one back to the image."""
    grad, _, loss = input_grad(f, x_adv, lambda logits: cross_entropy(at_least_float32(logits), y, reduction="none"))
    return grad, loss


def at_least_float32(logits: Tensor) -> Tensor:
    """In float32 at least, whatever the classifier ran in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def ascend_loss(f: Model, x_adv: Tensor, y: Tensor, cost: Tensor | float = 0.0) -> Made:
    """Ascend the mean CE(f(x_adv), y), in whatever x_adv depends on, less a cost."""
    grad, loss = slope(f, x_adv, y)
    return Made(cost - (grad * x_adv).flatten(1).sum(1).mean(), x_adv.detach(), loss.mean())


def take_step(
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    grads: Sequence[Tensor | None],
    mean: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """One step along the gradients of its parameters. `mean` is over processes: of the gradients, and of the
    statistics that BatchNorm keeps. FloatingPointError, before the step, if there is no number to descend."""
    parameters = list(generator.parameters())
    kept = [b for b in generator.buffers() if b.is_floating_point()]
    held = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
    together = mean_over_processes([*held, *kept], mean)
    for parameter, grad in zip(parameters, together, strict=False):
        parameter.grad = grad
    for buffer, value in zip(kept, together[len(parameters) :], strict=True):
        buffer.copy_(value)
    length = float(nn.utils.clip_grad_norm_(parameters, torch.inf if generator.clip is None else generator.clip))
    if not length < torch.inf:
        raise FloatingPointError(f"the generator's gradient has length {length}: look at the classifier, or its rate")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    torch.clear_autocast_cache()  # which holds the weights as they were


@torch.no_grad()
def mean_over_processes(tensors: Sequence[Tensor], mean: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Each tensor's mean over processes, in one message."""
    flat = mean(torch.cat([t.flatten() for t in tensors]))
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]
