"""Foolbox models as ours: any that answers torch tensors, a user's own and wrappers of them included."""

from __future__ import annotations

import functools
import inspect
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import eagerpy as ep
import foolbox
import torch
from torch import Tensor, nn

from mrt.protocols import Model

ELSEWHERE = {foolbox.JAXModel: "JAX", foolbox.NumPyModel: "NumPy", foolbox.TensorFlowModel: "TensorFlow"}
DEPTH = 8  # how far a model is searched for the networks in it


def as_model(fmodel: Any, dtype: torch.dtype = torch.float32) -> Model:
    """Return a Foolbox model as one of ours: images in [0, 1], whatever its bounds.

    The host's model is given images of type `dtype`, as the host's attacks do in an EagerPy tensor. ValueError where it
    is none, or one of another framework.
    """
    # With its place in memory: a deep copy of the model would bring a copy of the network, and Foolbox's own function,
    # which no deep copy copies, goes on calling the original.
    place, kept = getattr(fmodel, "__dict__", {}).get("_mrt_ranged", (0, None))
    if place == id(fmodel) and kept.still_is(fmodel, dtype):
        return kept  # type: ignore[no-any-return]
    if not callable(fmodel) or not hasattr(fmodel, "bounds"):
        raise ValueError(f"only a foolbox.Model can be attacked or evaluated; got {type(fmodel).__name__}")
    parts = list(_search(fmodel, set(), DEPTH))
    for part in parts:
        framework = next((words for kind, words in ELSEWHERE.items() if isinstance(part, kind)), None)
        if framework is not None:
            raise ValueError(
                f"only PyTorch can be attacked or evaluated here; got {type(part).__name__}, a model of {framework}: "
                "the attacks of foolbox.attacks take it"
            )
    ranged = Ranged(fmodel, [part for part in parts if isinstance(part, nn.Module)], dtype)
    # Kept with the model: fast attacks make a copy, compiled perhaps, for each model that they see.
    if ranged.plain:
        fmodel._mrt_ranged = id(fmodel), ranged
    return ranged


class Ranged(nn.Module):
    """A Foolbox model for images in [0, 1]. It holds the user's networks, so that they can be put into eval mode and
    frozen. `plain`: the host's own class around one network, which is then called without its closure, so that a copy
    of this calls a copy of the network."""

    def __init__(self, fmodel: Any, networks: list[nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        self.fmodel, (self.low, self.high), self.dtype = fmodel, fmodel.bounds, dtype
        self.networks = nn.ModuleList(networks)
        self.plain = type(fmodel) is foolbox.PyTorchModel and len(networks) == 1
        self.preprocessing = fmodel._preprocess_args if self.plain else None
        self.training = any(network.training for network in networks)

    def still_is(self, fmodel: Any, dtype: torch.dtype) -> bool:
        """Is that model as it was when this was made of it?"""
        same = self.preprocessing is fmodel._preprocess_args and self.dtype == dtype
        return same and (self.low, self.high) == tuple(fmodel.bounds)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.to(self.dtype)
        if (self.low, self.high) != (0, 1):
            pixels = pixels * (self.high - self.low) + self.low
        if self.plain:
            logits: Tensor = self.networks[0](self.fmodel._preprocess(ep.astensor(pixels)).raw)
            return logits
        answer = self.fmodel(ep.astensor(pixels))
        raw: Tensor = answer.raw if isinstance(answer, ep.Tensor) else answer
        return raw


def _search(value: Any, seen: set[int], depth: int) -> Iterator[Any]:
    """Yield the networks and the models of other frameworks that a model is made of, each once.

    Foolbox hides a network in the closure of a function, and people hold theirs in lists, functions and objects.
    """
    if depth == 0 or id(value) in seen or isinstance(value, (Tensor, ep.Tensor, type, types.ModuleType, str, Ranged)):
        return
    seen.add(id(value))
    if isinstance(value, (nn.Module, *ELSEWHERE)):
        yield value
        return
    held: list[Any] = []
    if isinstance(value, dict):
        held = list(value.values())
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        held = list(value)
    elif isinstance(value, functools.partial):
        held = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, types.MethodType):
        held = [value.__self__, value.__func__]
    elif isinstance(value, types.FunctionType):
        names = inspect.getclosurevars(value)
        held = [*names.nonlocals.values(), *(v for v in names.globals.values() if isinstance(v, nn.Module))]
    else:
        held = list(getattr(value, "__dict__", {}).values())
        for kind in type(value).__mro__:
            # A method may name networks as globals, where no attribute holds them.
            held += [method for method in vars(kind).values() if inspect.isfunction(method)]
            slots = [name for name, member in vars(kind).items() if isinstance(member, types.MemberDescriptorType)]
            held += [getattr(value, slot, None) for slot in slots]
    for one in held:
        yield from _search(one, seen, depth - 1)
