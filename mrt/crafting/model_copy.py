"""The copy of a model that fast attacks run. It shares the model's tensors, but is frozen and in eval mode for good,
may hold its weights in bfloat16, and may be compiled.

A copy, because a recorded CUDA graph must never meet a parameter that asks for a gradient or a layer in train mode, and
compiled code would be thrown away each time that training flips either. It is made again when the model is no longer
what it was made of, which every call of an attack finds out by a walk over the modules: nn.Module counts no versions.
"""

from __future__ import annotations

import copy
import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mrt.fast import Fast

HEAVY = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers whose weights bfloat16 autocast would convert at every call."""
COMPILE_MODES = {True: "default", "max-autotune": "max-autotune-no-cudagraphs"}
DICTIONARIES = frozenset((dict, OrderedDict))
PLAIN = frozenset((bool, int, float, str, bytes, type(None), torch.dtype, torch.device, torch.Size))

_COPIES: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], ModelCopy]] = WeakKeyDictionary()


class ModelCopy:
    """`call` is the copy, ready to run. `recordings` holds the attack steps that were recorded of it, `warned` whether
    the user was told that one cannot be, and `checked_calls` how often the reuse of forward passes was asked for, by
    shape."""

    def __init__(self, model: nn.Module, bn: str, fast: Fast) -> None:
        self.made_of = _identity(model)
        self.recordings: OrderedDict[Any, Any] = OrderedDict()
        self.warned = False  # that a step cannot be recorded
        self.checked_calls: dict[Any, int] = {}
        heavy = [m for m in model.modules() if isinstance(m, HEAVY)] if fast.precision == "bfloat16" else []
        # A tied or spectrally normed layer makes its weight from other parameters: those stay as they are.
        heavy = [m for m in heavy if m._parameters.keys() <= {"weight", "bias"}]
        first = {id(t) for m in heavy[:1] for t in m._parameters.values()}  # which a later layer may share
        low = {id(t) for m in heavy for t in m._parameters.values() if t is not None and t.dtype == torch.float32}
        low -= first
        # deepcopy is told beforehand what each tensor's copy is: the tensor itself, or its weights in bfloat16.
        memo: dict[int, Any] = {}
        self.pairs: list[tuple[Tensor, Tensor]] = []  # bfloat16 weight, the model's own
        for tensor in _all_tensors(model):
            own: Tensor = tensor.detach()
            if id(tensor) in low:
                own = own.to(torch.bfloat16)
                self.pairs.append((own, tensor))
            memo[id(tensor)] = nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own
        try:
            module: nn.Module = copy.deepcopy(model, memo)
        except Exception as error:
            raise ValueError(f"{fast} needs a copy of the model, which cannot be made: {error}") from error
        # A __deepcopy__ of somebody's own may have made new tensors, which training would not move.
        alike = zip(*([*m.parameters(), *m.buffers()] for m in (module, model)), strict=True)
        if any(mine.data_ptr() != own.data_ptr() and id(own) not in low for mine, own in alike):
            raise ValueError(
                f"{fast} needs a copy of the model that shares its tensors; {type(model).__name__}'s do not"
            )
        for part in module.modules():
            part.training = False
            if isinstance(part, _BatchNorm) and bn == "batch":
                part.training, part.track_running_stats = True, False
        if fast.precision == "bfloat16":
            layers = [m for m in module.modules() if isinstance(m, HEAVY)]
            if layers and all(p.dtype == torch.float32 for p in layers[0].parameters()):
                # Its answer is rounded, unless it is the model's own: all that follows would else stay in float32.
                _compute_in_float32(layers[0], torch.float32 if len(layers) == 1 else torch.bfloat16)
        self.call: Callable[[Tensor], Tensor] = module
        if fast.compile and any(p.is_cuda for p in module.parameters()):
            self.call = torch.compile(module, mode=COMPILE_MODES[fast.compile], dynamic=False)

    def refresh(self) -> None:
        """Take over the weights that the model has at this moment, where the copy holds them in bfloat16."""
        if self.pairs:
            with torch.no_grad():
                torch._foreach_copy_([low for low, _ in self.pairs], [full.detach() for _, full in self.pairs])


def copy_of(model: nn.Module, bn: str, fast: Fast) -> ModelCopy:
    """The model's copy for attacks with that `bn` and `fast`, made again if the model has become another one."""
    copies = _COPIES.setdefault(model, {})
    key = (bn, fast.precision, fast.compile)
    if key not in copies or copies[key].made_of != _identity(model):
        if key in copies:
            copies[key].recordings.clear()  # at once, not when the garbage is collected
        copies[key] = ModelCopy(model, bn, fast)
    copies[key].refresh()
    return copies[key]


def copies_of(model: nn.Module) -> list[ModelCopy]:
    """The copies of that model that there are at this moment."""
    return list(_COPIES.get(model, {}).values())


def _compute_in_float32(stem: Any, answer: torch.dtype) -> None:
    """The first layer computes in float32, since bfloat16 would round a pixel's perturbation by up to half of 1/255;
    what it answers is in `answer`."""
    if "forward" in vars(stem):  # somebody's own, which a class's would not replace
        own = stem.forward
        stem.forward = lambda x: _call_in_float32(own, x, answer)
    else:
        # Another class, not a function that hangs on the layer and holds it: that waits for the garbage collector.
        kind: Any = type(stem)
        stem.__class__ = _float32_class(kind, answer)


@functools.cache
def _float32_class(kind: Any, answer: torch.dtype) -> Any:
    """A class of layers of that kind which compute in float32 and answer in `answer`."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return _call_in_float32(functools.partial(kind.forward, self), x, answer)

    return type(kind.__name__, (kind,), {"forward": forward})


def _call_in_float32(forward: Callable[[Tensor], Tensor], x: Tensor, answer: torch.dtype) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float()).to(answer)


def _all_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors among plain attributes."""
    for part in model.modules():
        for name, held in part.__dict__.items():
            if name != "_modules":
                yield from _tensors_in(held)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors_in(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors_in(one)


def _identity(model: nn.Module) -> list[Any]:
    """What must not change for a copy to stay one: modules, hooks, attributes, and where the tensors lie. Of an object
    of the caller's own, which object it is and what its attributes say. Every call of an attack looks at this (0.05 ms
    for the MNIST network, 0.5 ms for PreActResNet-18), so that what there is most of comes first: empty dictionaries
    of hooks, plain values, tensors."""
    facts: list[Any] = []
    for part in model.modules():
        facts.append(type(part))
        for name, held in part.__dict__.items():
            kind = type(held)
            if kind in PLAIN:
                if name != "training":
                    facts += (name, held)
            elif kind in DICTIONARIES:
                if held and name != "_modules":
                    facts.append(name)
                    for key, value in held.items():
                        facts += (key, _memory_place(value) if isinstance(value, Tensor) else _comparable(value, 1))
            else:
                facts += (name, _comparable(held))
    return facts


def _memory_place(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor lies in memory, and how: equal for two tensors that share all of it."""
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def _comparable(value: Any, depth: int = 0) -> Any:
    """The value as something that compares equal while it stays the same."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Tensor):
        return _memory_place(value)
    if kind in (list, tuple, set, frozenset):
        return kind, *(_comparable(one, depth + 1) for one in value)
    if isinstance(value, dict):
        return kind, *((name, _comparable(one, depth + 1)) for name, one in value.items())
    inside = {} if depth > 3 or isinstance(value, (type, nn.Module, FunctionType, MethodType)) else _attributes(value)
    return _SameObject(value), _comparable(inside, depth + 1) if inside else None


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, empty where it has none."""
    held: dict[str, Any] = getattr(value, "__dict__", {})
    return held


class _SameObject:
    """Equal to another of the same object, which it does not keep alive: it may lead back to the model."""

    def __init__(self, value: object) -> None:
        self.value: Any
        try:
            self.value = weakref.ref(value)
        except TypeError:
            self.value = lambda: value  # what cannot be referred to weakly holds nothing, or little

    def __eq__(self, other: object) -> bool:
        held = self.value()
        return isinstance(other, _SameObject) and held is not None and held is other.value()

    __hash__ = None  # type: ignore[assignment]
