"""RAMP (Jiang and Singh 2024): the worst of several attacks, answers paired between the two hardest, and once an epoch
a projection on what natural training would have done.

In every update, with x_j what attack j finds against the classifier f:

    1. attack the batch with every threat, as E-AT does:    x_1 .. x_n
    2. of each example x' is the x_j of largest loss; q, r are the two attacks of largest mean loss, in the order of the
       threats; C are the examples that are still right at x_q
    3. descend    CE(f(x'), y) + pairing * mean_(i in C) KL(f(x_q) || f(x_r))

and where `projection` = b is above 0, with w_0 the weights that the epoch began with:

    4. train a twin naturally, from w_0, on the same batches
    5. at the end of the epoch, layer by layer, with a = w - w_0 and n = the twin's weights - w_0:
       w <- w_0 + b max(cos(n, a), 0) n + (1 - b) a,   and the next epoch's twin begins there
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from mrt import checks
from mrt.crafting.gradient import BatchNormMode
from mrt.generators.generator import mean_over_processes
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, check_strategy, craft, losses_of, pick
from mrt.strategies.e_at import apgd_of
from mrt.strategies.learner import Optimizer
from mrt.strategies.trades import divergence


@dataclass(frozen=True)
class RAMP:
    """min E max_j CE(f(x_j), y) + pairing KL(f(x_q) || f(x_r)), x_j the result of attack j, q and r the two attacks of
    largest loss in the batch, the divergence over the examples that are right at x_q. Of these two q is the one that
    `threats` names first: put what the network withstands best in front, as the authors do with linf before l1.

    Their pairing is 1.5 to fine-tune a network for three epochs, and from scratch 5 (ResNet-18) or 2 (WideResNet) with
    `projection` = 0.5: a twin, trained naturally from the same weights, pulls each layer its way once an epoch. It
    learns with `natural_optimizer`, for "sgd" with momentum 0.9 and weight decay 5e-4, at the update's own rate; the
    run's `clip` and counts of passes do not include it.
    """

    threats: tuple[Adversary, ...]
    steps: int = field(default=10, kw_only=True)
    pairing: float = field(default=1.5, kw_only=True)
    projection: float = field(default=0.0, kw_only=True)
    natural_optimizer: Optimizer = field(default="sgd", kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        check_strategy(self, "threats")
        if len(self.threats) < 2:
            raise ValueError(f"RAMP pairs the answers under two threats or more; got {self.threats!r}")
        object.__setattr__(self, "pairing", checks.number("pairing", self.pairing))
        object.__setattr__(self, "projection", checks.number("projection", self.projection, high=1))
        checks.choice("natural_optimizer", self.natural_optimizer, get_args(Optimizer))
        if self.natural_optimizer != "sgd" and not self.projection:
            raise ValueError("natural_optimizer is the twin's, and there is none without a projection above 0")

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> PairedTraining:
        whole: nn.Module = getattr(model, "_orig_mod", model)  # of a compiled one, which is not compiled twice
        return PairedTraining(self, whole).to(x.device)


class PairedTraining(nn.Module):
    """RAMP as it runs. The twin, the weights that the epoch began with and the twin's optimizer are its state; without
    a projection it has none."""

    def __init__(self, settings: RAMP, model: nn.Module) -> None:
        super().__init__()
        self.settings = settings
        if settings.projection:
            self.twin, self.begun = copy.deepcopy(model).train(), copy.deepcopy(model).requires_grad_(False)
            self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        learning = [p for p in self.twin.parameters() if p.requires_grad]
        if self.settings.natural_optimizer == "adam":
            return torch.optim.Adam(learning, lr=1.0)  # the rate is that of each update
        # As the authors have it, neither biases nor BatchNorm decay.
        parts = ([p for p in learning if p.ndim > 1], 5e-4), ([p for p in learning if p.ndim <= 1], 0.0)
        groups = [{"params": params, "weight_decay": decay} for params, decay in parts if params]
        return torch.optim.SGD(groups, lr=1.0, momentum=0.9)

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor | Iterator[Tensor]:
        if self.settings.projection:
            return self._beside_twin(model, x, y, step)
        return self.loss(model, x, y, step)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        # 1. Every attack on the whole batch.
        attacks = apgd_of(self.settings, step)
        batches = [craft(attack, j, model, x, y, step) for j, attack in enumerate(attacks)]
        # 2. What is worst for each example, and the two attacks that are hardest on average, the same on all processes.
        # (Of two attacks no mean is needed, for which a GPU would be waited for.)
        losses = losses_of(batches, model, y, self.settings, step)  # (n, N)
        q, r = 0, 1
        if len(batches) > 2:
            q, r = sorted(step.mean(losses.mean(1)).topk(2).indices.tolist())
        # 3. Three passes and not one, since BatchNorm could tell a joint batch from these.
        worst, first, second = model(pick(batches, losses)), model(batches[q]), model(batches[r])
        right = (first.argmax(1) == y).to(first.dtype)
        # Divided by the count over all processes, so that their mean is that of one process; 0 / 1e-6 where none is.
        count = step.mean(right.sum()).clamp(min=1e-6)
        paired = (divergence(first, second) * right).sum() / count
        loss: Tensor = step.loss(worst, y) + self.settings.pairing * paired
        return loss

    def _beside_twin(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Iterator[Tensor]:
        """Give the update's loss; after the update teach the twin, and at the end of an epoch bring both together."""
        yield self.loss(model, x, y, step)
        # 4. The twin's own update, on clean images.
        self._teach(step.loss(self.twin(x), y), step)
        # 5. Once an epoch.
        if step.ends_epoch:
            self.project(model)

    def _teach(self, loss: Tensor, step: Step) -> None:
        """Take the twin's step down that loss. Gradients and BatchNorm's statistics are averaged over processes."""
        learning = [p for group in self.optimizer.param_groups for p in group["params"]]
        zeros: dict[str, Any] = {"materialize_grads": True}  # for weights that this network does not use
        grads = torch.autograd.grad(loss, learning, **zeros)
        statistics = [b for b in self.twin.buffers() if b.is_floating_point()]
        averaged = mean_over_processes([*grads, *statistics], step.mean)
        # Before anything is changed, as the loop does: a checkpoint must be something that can be resumed.
        if not all(bool(t.isfinite().all()) for t in averaged):
            raise FloatingPointError(f"the twin that trains naturally diverges at update {step.index}: lower the rate")
        for parameter, grad in zip(learning, averaged, strict=False):  # the statistics come after the gradients
            parameter.grad = grad
        for buffer, value in zip(statistics, averaged[len(learning) :], strict=True):
            buffer.copy_(value)
        for group in self.optimizer.param_groups:
            group["lr"] = step.lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def project(self, model: nn.Module) -> None:
        """Pull every layer towards what natural training added to it, as far as that points the same way."""
        share = self.settings.projection
        networks = (model, self.begun, self.twin)
        # Running statistics count as layers, as in the authors' code.
        tensors = (chain(network.parameters(), network.buffers()) for network in networks)
        for weight, begun, natural in zip(*tensors, strict=True):
            if weight.is_floating_point() and weight.ndim:  # neither counts nor, as in that code, single numbers
                added, naturally = weight - begun, natural - begun
                same_way = cosine_similarity(naturally.flatten(), added.flatten(), dim=0).clamp(min=0)
                weight.copy_(begun + share * same_way * naturally + (1 - share) * added)
            begun.copy_(weight)
            natural.copy_(weight)

    # torch's own hooks into state_dict: so the twin's optimizer is saved and restored with it.
    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict() if self.settings.projection else {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if self.settings.projection:
            self.optimizer.load_state_dict(state)
