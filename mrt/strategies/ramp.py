"""RAMP (Jiang and Singh 2024): the larger loss under every attack, answers paired between the two hardest attacks, and
once an epoch a projection on what natural training would have done.

In every update, with x_j what attack j finds against the classifier f:

    1. attack the batch with every threat:              x_1 .. x_n
    2. the two attacks of largest mean loss are q, r, in the order of the threats;
       C are the examples that are still right at x_q
    3. descend   mean_i max_j CE(f(x_j), y) + pairing * mean_(i in C) KL(f(x_q) || f(x_r))

and where `projection` = b is above 0, with w_0 the weights that the epoch began with:

    4. train a twin naturally, from w_0, on the same batches
    5. at the end of the epoch, layer by layer, with a = w - w_0 and n = the twin's weights - w_0:
       w <- w_0 + b max(cos(n, a), 0) n + (1 - b) a,   and the next epoch's twin begins there
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from mrt import checks
from mrt.crafting.gradient import BatchNormMode
from mrt.generators.generator import mean_over_processes
from mrt.protocols import Step
from mrt.strategies.adversaries import Adversary, check_strategy, craft_all
from mrt.strategies.learner import Optimizer, make_optimizer
from mrt.strategies.trades import divergence


@dataclass(frozen=True)
class RAMP:
    """min E max_j CE(f(x_j), y) + pairing KL(f(x_q) || f(x_r)), x_j the result of attack j, q and r the two attacks of
    largest loss in the batch, the divergence over the examples that are right at x_q.

    The authors take two threats, linf and l1, and a pairing of 1.5 to fine-tune a network for three epochs, of 5 to
    train one from scratch. There they also use `projection` = 0.5: a twin, trained naturally from the same weights,
    pulls each layer its way once an epoch. It learns with `natural_optimizer` at the update's own learning rate.
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

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> PairedTraining:
        return PairedTraining(self, getattr(model, "_orig_mod", model)).to(x.device)


class PairedTraining(nn.Module):
    """RAMP as it runs. The twin, the weights that the epoch began with and the twin's optimizer are its state; without
    a projection it has none."""

    def __init__(self, settings: RAMP, model: nn.Module) -> None:
        super().__init__()
        self.settings = settings
        if settings.projection:
            self.twin, self.begun = copy.deepcopy(model).train(), copy.deepcopy(model).requires_grad_(False)
            # The authors' momentum and weight decay, which are those of their classifier.
            how = {"momentum": 0.9, "weight_decay": 5e-4} if settings.natural_optimizer == "sgd" else {}
            self.optimizer = make_optimizer(settings.natural_optimizer, self.twin, 1.0, **how)

    def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor | Iterator[Tensor]:
        if self.settings.projection:
            return self._beside_twin(model, x, y, step)
        return self.loss(model, x, y, step)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        # 1. Every attack on the whole batch.
        logits = torch.stack([model(x_adv) for x_adv in craft_all(self.settings, model, x, y, step)])  # (n, N, K)
        with torch.no_grad():
            losses = torch.stack([cross_entropy(z, y, reduction="none") for z in logits])  # (n, N)
            # 2. The two hardest attacks on average, the same on all processes. (Of two a GPU need not be waited for.)
            means = step.mean(losses.mean(1))
            q, r = (0, 1) if len(means) == 2 else sorted(means.topk(2).indices.tolist())
            right = logits[q].argmax(1) == y
            # Divided by the count over all processes, so that their mean is that of one process.
            count = step.mean(right.float().sum()).clamp(min=1e-6)  # where nothing is right, 0 / 1e-6
        # 3. Each example's answer of largest loss, and the pairing.
        worst = logits[losses.argmax(0), torch.arange(len(y), device=y.device)]
        paired = (divergence(logits[q], logits[r]) * right).sum() / count
        return step.loss(worst, y) + self.settings.pairing * paired

    def _beside_twin(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Iterator[Tensor]:
        """Give the update's loss; after the update teach the twin, and at the end of an epoch bring both together."""
        yield self.loss(model, x, y, step)
        # 4. The twin's own update, on clean images.
        parameters = [p for p in self.twin.parameters() if p.requires_grad]
        zeros: dict[str, Any] = {"materialize_grads": True}  # for weights that this network does not use
        grads = torch.autograd.grad(step.loss(self.twin(x), y), parameters, **zeros)
        for parameter, grad in zip(parameters, mean_over_processes(grads, step.mean), strict=True):
            parameter.grad = grad
        for group in self.optimizer.param_groups:
            group["lr"] = step.lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # 5. Once an epoch.
        if step.ends_epoch:
            self.project(getattr(model, "_orig_mod", model), step)

    @torch.no_grad()
    def project(self, model: nn.Module, step: Step) -> None:
        """Pull every layer towards what natural training added to it, as far as that points the same way."""
        share, natural, begun = self.settings.projection, self.twin.state_dict(), self.begun.state_dict()
        for name, weight in model.state_dict().items():
            start, other = begun[name], natural[name]
            if weight.is_floating_point() and weight.ndim:  # not BatchNorm's counts of batches
                # A process's BatchNorm saw its own part of the batches.
                other.copy_(step.mean(other))
                added, naturally = weight - start, other - start
                same_way = cosine_similarity(naturally.flatten(), added.flatten(), dim=0).clamp(min=0)
                weight.copy_(start + share * same_way * naturally + (1 - share) * added)
            start.copy_(weight)
            other.copy_(weight)

    # torch's own hooks into state_dict: so the twin's optimizer is saved and restored with it.
    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict() if self.settings.projection else {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if self.settings.projection:
            self.optimizer.load_state_dict(state)
