"""The interfaces of `mrt`. Read this first: everything else is a value that fits one of them.

A *threat* says what may change in an input and is the only place that knows a norm, a radius or the pixel box.
An *attack* searches a threat for the worst input. A *strategy* says what loss training descends. A *model* is any
callable from images in [0, 1] to logits.

Letters mean the same everywhere: x is a batch of clean images (N, C, H, W), y their classes (N,), delta a perturbation
(for a ball in the shape of x, otherwise a row of numbers for each image), x_adv the image that it makes of x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mrt.fast import Fast

Model = Callable[[Tensor], Tensor]
"""float32 (N, C, H, W) in [0, 1] -> logits (N, K). Normalisation belongs inside it (`models.Normalized`)."""

Rng = torch.Generator | Tensor | None
"""Where noise comes from. A Tensor is int64 seeds (N,), one per example, and all noise of an example comes from its own
seed. Otherwise N seeds are drawn once per call: from the generator, or from torch's global one for None."""

Mover = Callable[[Tensor, Tensor, float | Tensor, Tensor | None], Tensor]
"""(x_adv, grad, size, keep) -> x_adv: one projected steepest step within a ball about a fixed batch. The arguments are
those of `Ball.step`, but for x_adv in place of delta."""


@runtime_checkable
class Threat(Protocol):
    """A perturbation set, as a frozen dataclass of plain numbers: ==, hash and eval(repr(v)) == v hold."""

    @property
    def name(self) -> str:
        """Short and lower case: linf, l2, l1, l0, rt, affine, any."""

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """A random feasible perturbation of each example; `project` leaves it unchanged."""

    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        """A feasible perturbation, the pixel box included; identity on feasible ones, and idempotent. No gradient
        flows through a ball's."""

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        """The perturbed input, in [0, 1]; the zero perturbation gives x."""

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        """bool (N,): may this input be reported? Where x_adv alone cannot tell (rt, affine) delta is required."""

    def scaled(self, factor: float | Tensor) -> Threat:
        """The same set with its radius times `factor`. A Tensor (N,) gives per-example radii: a run-time view that
        compares by identity and never enters a config."""

    def at(self, index: Tensor) -> Threat:
        """The rows of such a view (an active set); itself where the radius is one number."""


@runtime_checkable
class Ball(Threat, Protocol):
    """A norm ball cut with the pixel box (Linf, L2, L1). Its delta is in pixels, in the shape of x. Only balls have
    steps."""

    @property
    def eps(self) -> float:
        """The radius. A per-example view holds a Tensor (N,) here."""

    def distance(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The length of x_adv - x in this ball's norm, (N,)."""

    def steepest(self, grad: Tensor, delta: Tensor, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """The direction of largest gain for a step of length 1 that the box does not stop. Zero where grad is zero.
        `keep`, int64 (N,), is the number of entries an l1 step moves (None: one); the other norms ignore it."""

    def step(self, delta: Tensor, grad: Tensor, x: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
        """project(delta + size * steepest(...)), up to rounding and in fewer passes."""

    def mover(self, x: Tensor) -> Mover:
        """The same step as loops take it: from input to input, with what depends on x alone computed once.
        mover(x)(x_adv, grad, size, keep) is apply(x, step(x_adv - x, grad, x, size, keep)), up to rounding."""


@runtime_checkable
class Attack(Protocol):
    """A search of a threat for the input that the model handles worst, as a frozen dataclass of settings. The model is
    an argument of the call, so that one attack serves many models. All iterative attacks here are this loop:

        x_adv = x, or a random point of the threat
        repeat `steps` times:
            grad = d loss(model(x_adv), y) / d x_adv            crafting.gradient.input_grad
            remember x_adv where it is the best point so far    crafting.best.Best.offer
            x_adv = a projected step along grad                 threat.mover(x)
        return the best point of each example
    """

    @property
    def threat(self) -> Threat:
        """What `__call__` returns lies in this set."""

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
        """The best x_adv found per example: float32, detached, on x's device. With `target` (int64 (N,)) the search is
        for that class instead of any wrong one; `start` is an input to begin from. ValueError where either makes no
        sense. Touches nothing of the model, and no example's result depends on its batch mates."""


@runtime_checkable
class Spatial(Attack, Protocol):
    """An attack whose x_adv is threat.apply(x, search(...)), so that membership can be shown."""

    def search(self, model: Model, x: Tensor, y: Tensor, *, rng: Rng = None) -> Tensor:
        """The worst delta found per example."""


@dataclass(frozen=True, eq=False)
class Step:
    """All that the training loop tells a strategy about the update that it is asked for."""

    index: int  # of this update, from 0 to total - 1
    total: int
    epoch: float  # how many were done before this update
    lr: float
    """The learning rate of this very update (MNG-AC looks ahead by it)."""
    x_raw: Tensor
    """The images of the batch before augmentation."""
    seeds: Tensor
    """int64 (N,), one per example and epoch (and update, where a share of each batch is `labelled`): noise drawn from
    them depends neither on batch mates nor on the number of processes."""
    shared_seed: int
    """The same on all processes, another at every update: what one draw for the whole batch is made from."""
    fast: Fast
    mean: Callable[[Tensor], Tensor]
    """The mean over processes. A strategy with an optimizer of its own calls it on its gradients."""
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    """(logits, y) -> scalar: what the classifier descends. Attacks and generators keep to cross-entropy."""
    ends_epoch: bool = False  # this update is the last of its epoch, or of the run


class Strategy(Protocol):
    """What loss training descends, as a frozen dataclass of settings; a plain function qualifies. The training loop
    (`training.loop`) asks for it once in every update, whatever the strategy is:

        for x, y in the batches of every epoch:
            loss = strategy(model, x, y, step)                  MSDTraining, say: CE(model(msd(model, x, y)), y)
            optimizer.zero_grad(); loss.backward()
            average the gradients over the processes
            optimizer.step()
        after each epoch: judge held-out images, write a checkpoint
    """

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor | Iterator[Tensor]:
        """A scalar, for one update; or an iterator of scalars, each asked for after the update that the one before it
        led to. The model arrives in train mode and leaves in it."""


@runtime_checkable
class Stateful(Protocol):
    """A strategy that remembers something from one update to the next: running errors, or a generator and its
    optimizer. Its settings stay frozen; what changes is in the module that `start` makes, and so in checkpoints."""

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
        """The state, as a module that is called as a Strategy; x and y are the first batch. Called once, before a
        checkpoint's weights are put into it (what is no tensor belongs in its get_extra_state)."""
