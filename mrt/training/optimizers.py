"""Optimizers as settings, so that a run can be written down. `fit` takes a live torch optimizer as well."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import nn

from mrt import checks

Decayed = Literal["all", "weights"]


@dataclass(frozen=True)
class SGD:
    """torch.optim.SGD. `decay` names what weight_decay is for: all parameters, or only weights of two dimensions and
    more (neither biases nor BatchNorm)."""

    lr: float = 0.1
    momentum: float = field(default=0.9, kw_only=True)
    weight_decay: float = field(default=5e-4, kw_only=True)
    nesterov: bool = field(default=False, kw_only=True)
    decay: Decayed = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        checks.number("lr", self.lr, open_low=True)
        checks.number("momentum", self.momentum, high=1)
        checks.number("weight_decay", self.weight_decay)
        checks.flag("nesterov", self.nesterov)
        checks.choice("decay", self.decay, get_args(Decayed))
        if self.nesterov and not self.momentum:  # torch's own error would come when the run begins
            raise ValueError("nesterov=True needs momentum above 0")

    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return torch's optimizer of the model's parameters."""
        groups = parameter_groups(model, self.weight_decay, self.decay)
        fused = on_gpu(model)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=fused)


@dataclass(frozen=True)
class Adam:
    """torch.optim.Adam, or AdamW with `decoupled` weight decay. `decay` as for SGD."""

    lr: float = 1e-3
    betas: tuple[float, float] = field(default=(0.9, 0.999), kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)
    decoupled: bool = field(default=False, kw_only=True)
    decay: Decayed = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        checks.number("lr", self.lr, open_low=True)
        checks.number("weight_decay", self.weight_decay)
        checks.flag("decoupled", self.decoupled)
        checks.choice("decay", self.decay, get_args(Decayed))
        betas = checks.several("betas", self.betas, "two numbers from 0 to below 1")
        if len(betas) != 2 or any(checks.number("betas", b, high=1) == 1 for b in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1; got {self.betas!r}")
        object.__setattr__(self, "betas", betas)  # a tuple, where a list was given: JSON has lists alone

    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return torch's optimizer of the model's parameters."""
        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        groups = parameter_groups(model, self.weight_decay, self.decay)
        return kind(groups, lr=self.lr, betas=self.betas, fused=on_gpu(model))


def on_gpu(model: nn.Module) -> bool | None:
    """Return torch's `fused`: True if all parameters are on a GPU, else None, which leaves it to torch."""
    # Fused, a step on a GPU is one launch and not hundreds.
    return all(p.is_cuda for p in model.parameters()) or None


def parameter_groups(model: nn.Module, weight_decay: float, decay: Decayed) -> list[dict[str, object]]:
    """Return the groups of parameters that want a gradient: one group, or with "weights" one that decays and one that
    does not."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    if not wanted:
        raise ValueError("the model has no parameter that asks for a gradient, so there is nothing to train")
    if decay == "all":
        return [{"params": wanted, "weight_decay": weight_decay}]
    # Biases and BatchNorm's scales have one dimension, weights of layers two or more.
    groups = [([p for p in wanted if p.ndim > 1], weight_decay), ([p for p in wanted if p.ndim <= 1], 0.0)]
    return [{"params": params, "weight_decay": amount} for params, amount in groups if params]
