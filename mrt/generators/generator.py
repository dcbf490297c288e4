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

    BALLS: ClassVar[tuple[type, ...]] = (Linf, L2, L1)  # the kinds of ball that it can search
    MULTIPLE: ClassVar[int] = 4  # height and width must be multiples of it: networks halve images twice
    clip: float | None = None  # bound on the gradient's norm in training
    settings: dict[str, Any]  # the arguments that it was made with

    def __new__(cls, *args: Any, **kwargs: Any) -> Generator:
        # The arguments are kept here and not in __init__, so that no generator has to pass its own on. Files make a
        # generator again by them, and the repr of an attack names it by them.
        generator = super().__new__(cls)
        if args or kwargs:  # a copy is made without any, and gets the settings of what is copied
            bound = signature(cls.__init__).bind(None, *args, **kwargs)
            arguments = {name: value for name, value in bound.arguments.items() if name != "self"}
            object.__setattr__(generator, "settings", arguments)  # nn.Module has not been initialised yet
        return generator

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
        """Return x_adv, (N, C, H, W), with a graph to the weights where autograd is on.

        All its noise comes from `seeds`, (N,), one for each example.
        """

    @abstractmethod
    def objective(self, f: Model, x: Tensor, y: Tensor, seeds: Tensor, threat: Ball) -> Made:
        """Return what the generator's training descends, and the inputs that it made on the way."""

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer that training uses unless it is given another."""
        # Adam and not the published SGD(0.01) of L2L-DA: in 200 updates on the digits that reached a mean loss of 0.37,
        # Adam 2.15, where PGD had 2.64.
        return torch.optim.Adam(self.parameters(), lr=2e-3)

    def check(self, x: Tensor, y: Tensor, threat: Ball) -> None:
        """Raise a ValueError unless the generator was made for these images, labels and threat."""
        self.check_threat(threat)
        self.check_batch(x, y)

    def check_batch(self, x: Tensor, y: Tensor) -> None:
        """Raise a ValueError unless the generator was made for these images and labels."""
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this generator was made for images of {self.shape}; got {tuple(x.shape[1:])}")
        if int(y.max()) >= self.classes:
            raise ValueError(f"this generator was made for {self.classes} classes; got label {int(y.max())}")

    def check_threat(self, threat: object) -> None:
        """Raise a ValueError unless the generator can search this threat."""
        if not isinstance(threat, self.BALLS):
            names = " or ".join(kind.__name__ for kind in self.BALLS)
            raise ValueError(f"{type(self).__name__} searches {names} balls; got {threat!r}")


def slope(f: Model, x_adv: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return d CE / d x_adv, (N, C, H, W), and CE of each example, (N,): one pass forward and one back to the image."""
    grad, _, loss = input_grad(f, x_adv, lambda logits: cross_entropy(at_least_float32(logits), y, reduction="none"))
    return grad, loss


def at_least_float32(logits: Tensor) -> Tensor:
    """Return the logits in float32 at least, whatever the classifier ran in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def ascend_loss(f: Model, x_adv: Tensor, y: Tensor, cost: Tensor | float = 0.0) -> Made:
    """Return an objective whose descent ascends the mean CE(f(x_adv), y), in whatever x_adv depends on, less a cost."""
    grad, loss = slope(f, x_adv, y)
    # The slope is a constant: the gradient of slope . x_adv is that of CE, by the chain rule, without a second pass.
    return Made(cost - (grad * x_adv).flatten(1).sum(1).mean(), x_adv.detach(), loss.mean())


def take_step(
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    grads: Sequence[Tensor | None],
    mean: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Take one step along the gradients of the generator's parameters.

    `mean` is over processes: of the gradients, and of the statistics that BatchNorm keeps. FloatingPointError, before
    the step, if there is no number to descend.
    """
    parameters = list(generator.parameters())
    statistics = [b for b in generator.buffers() if b.is_floating_point()]  # the count of batches is equal anyway
    dense = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
    averaged = mean_over_processes([*dense, *statistics], mean)
    for parameter, grad in zip(parameters, averaged, strict=False):  # the statistics come after the gradients
        parameter.grad = grad
    for buffer, value in zip(statistics, averaged[len(parameters) :], strict=True):
        buffer.copy_(value)
    length = float(nn.utils.clip_grad_norm_(parameters, torch.inf if generator.clip is None else generator.clip))
    if not length < torch.inf:  # written so that NaN, which is not less than anything, is caught as well
        raise FloatingPointError(f"the generator's gradient has length {length}: look at the classifier, or its rate")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    torch.clear_autocast_cache()  # which holds the weights as they were


@torch.no_grad()
def mean_over_processes(tensors: Sequence[Tensor], mean: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return each tensor's mean over processes; they travel in one message."""
    flat = mean(torch.cat([t.flatten() for t in tensors]))
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]
