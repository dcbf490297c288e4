"""A model's twin: the copy that fast attacks run. It shares the model's tensors, but is frozen and in eval mode for
good, may hold its weights in bfloat16, and may be compiled; what a CUDA graph has captured of it stays valid."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mrt.protocols import Fast

HEAVY = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers whose weights bfloat16 autocast would convert at every call."""
PLAIN = (bool, int, float, str, tuple, type(None), torch.dtype, torch.device)

_TWINS: WeakKeyDictionary[nn.Module, dict[tuple[str, str, bool], Twin]] = WeakKeyDictionary()


class Twin:
    """`call` is the copy, ready to run. `captured` holds the attack steps recorded of it, `proven` the shapes at which
    the reuse of forward passes was compared with the plain gradient."""

    def __init__(self, model: nn.Module, bn: str, fast: Fast) -> None:
        self.made_of = _identity(model)
        self.captured: OrderedDict[Any, Any] = OrderedDict()
        self.proven: set[Any] = set()
        heavy = [m for m in model.modules() if isinstance(m, HEAVY)] if fast.precision == "bfloat16" else []
        low = {
            id(t): t for m in heavy[1:] for t in m._parameters.values() if t is not None and t.dtype == torch.float32
        }
        memo: dict[int, Any] = {}
        self.pairs: list[tuple[Tensor, Tensor]] = []  # bfloat16 weight, the model's own
        for tensor in _tensors(model):
            held: Tensor = tensor.detach()
            if id(tensor) in low:
                held = held.to(torch.bfloat16)
                self.pairs.append((held, tensor))
            memo[id(tensor)] = nn.Parameter(held, requires_grad=False) if isinstance(tensor, nn.Parameter) else held
        try:
            module: nn.Module = copy.deepcopy(model, memo)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"{fast} needs a copy of the model, which cannot be made: {error}") from error
        for part in module.modules():
            part.training = False
            if isinstance(part, _BatchNorm) and bn == "batch":
                part.training, part.track_running_stats = True, False
        stem = next((m for m in module.modules() if isinstance(m, HEAVY)), None)
        if stem is not None and fast.precision == "bfloat16":
            _in_float32(stem)
        compiled = fast.compile and any(p.is_cuda for p in module.parameters())
        self.call = torch.compile(module, mode="max-autotune-no-cudagraphs") if compiled else module

    def refresh(self) -> None:
        """Take over the model's weights of this moment."""
        if self.pairs:
            with torch.no_grad():
                torch._foreach_copy_([low for low, _ in self.pairs], [full.detach() for _, full in self.pairs])


def twin_of(model: nn.Module, bn: str, fast: Fast) -> Twin:
    """The model's twin for such attacks, made again if the model is no longer what it was made of."""
    twins = _TWINS.setdefault(model, {})
    key = (bn, fast.precision, fast.compile)
    if key not in twins or twins[key].made_of != _identity(model):
        twins[key] = Twin(model, bn, fast)
    twins[key].refresh()
    return twins[key]


def _in_float32(stem: nn.Module) -> None:
    """The first layer sees the pixels: in bfloat16 a perturbation would be rounded by up to half of 1/255."""
    forward = stem.forward

    def precise(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = forward(x.float())
            return out

    stem.forward = precise


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that are plain attributes."""
    for part in model.modules():
        for held in (part._parameters, part._buffers, part.__dict__):
            yield from (value for value in held.values() if isinstance(value, Tensor))


def _identity(model: nn.Module) -> list[Any]:
    """What must not change for a twin to stay one: modules, hooks, plain attributes, and where the tensors lie."""
    found: list[Any] = []
    for part in model.modules():
        found.append(type(part))
        for name, value in part.__dict__.items():
            if isinstance(value, PLAIN) and name != "training":
                found.append((name, value))
            elif isinstance(value, OrderedDict) and value:  # hooks
                found.append((name, *(id(hook) for hook in value.values())))
    found += [(t.data_ptr(), t.shape, t.stride(), t.dtype, t.device) for t in _tensors(model)]
    return found
