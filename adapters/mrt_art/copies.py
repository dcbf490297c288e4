"""Copies of modules whose instances have a `forward` of their own, as ART gives one to HuggingFace's models."""

from __future__ import annotations

import functools
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import nn


def rebind_functions(original: nn.Module, copied: nn.Module) -> None:
    """Make the functions that hang on the modules of a deep copy see the copy and its tensors, where they saw the
    original; ValueError where one of them reaches the original through a global name."""
    # Python copies a function as itself: with it the copy would answer with the original's weights, whatever its own.
    twins: dict[int, Any] = {}
    for old, new in zip(original.modules(), copied.modules(), strict=True):
        twins[id(old)] = new
        for kind in ("_parameters", "_buffers"):
            twins |= {id(t): vars(new)[kind][name] for name, t in vars(old)[kind].items() if t is not None}
    for module in copied.modules():
        for name, held in list(vars(module).items()):
            if isinstance(held, (FunctionType, MethodType, functools.partial)):
                module.__dict__[name] = _rebound(held, twins, set())


def _rebound(value: Any, twins: dict[int, Any], path: set[int]) -> Any:
    """The value with the twin in place of each module or tensor that it refers to; itself where there is none."""
    if id(value) in twins:
        return twins[id(value)]
    if id(value) in path:  # a function that refers to itself
        return value
    path = path | {id(value)}
    if isinstance(value, MethodType):
        owner = _rebound(value.__self__, twins, path)
        return value if owner is value.__self__ else MethodType(value.__func__, owner)
    if isinstance(value, functools.partial):
        function, args = _rebound(value.func, twins, path), [_rebound(a, twins, path) for a in value.args]
        return functools.partial(function, *args, **{k: _rebound(v, twins, path) for k, v in value.keywords.items()})
    if isinstance(value, (list, tuple)):
        parts = [_rebound(v, twins, path) for v in value]
        same = all(a is b for a, b in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    if isinstance(value, dict):
        by_key = {k: _rebound(v, twins, path) for k, v in value.items()}
        return value if all(v is value[k] for k, v in by_key.items()) else by_key
    return _rebound_function(value, twins, path) if isinstance(value, FunctionType) else value


def _rebound_function(function: FunctionType, twins: dict[int, Any], path: set[int]) -> FunctionType:
    """The same for a plain function: what its closure and its defaults hold."""
    for name in function.__code__.co_names:
        seen = function.__globals__.get(name)
        if id(getattr(seen, "__self__", seen)) in twins:
            raise ValueError(
                f"the model's own {function.__name__} finds the model under the global name {name!r}, so that a copy "
                "would answer with the original's weights: define it in the model's class"
            )
    cells = [_rebound_cell(cell, twins, path) for cell in function.__closure__ or ()]
    defaults = _rebound(function.__defaults__, twins, path)
    own: dict[str, Any] = function.__kwdefaults__ or {}
    by_name = {k: _rebound(v, twins, path) for k, v in own.items()}
    same = all(a is b for a, b in zip(cells, function.__closure__ or (), strict=True))
    if same and defaults is function.__defaults__ and all(v is own[k] for k, v in by_name.items()):
        return function  # a library's function, say, which pickle knows by its name
    made = FunctionType(function.__code__, function.__globals__, function.__name__, defaults, tuple(cells) or None)
    made.__kwdefaults__ = by_name or None
    made.__dict__.update({k: _rebound(v, twins, path) for k, v in function.__dict__.items()})
    return made


def _rebound_cell(cell: CellType, twins: dict[int, Any], path: set[int]) -> CellType:
    try:
        held = cell.cell_contents
    except ValueError:  # nothing has been put into it
        return cell
    value = _rebound(held, twins, path)
    return cell if value is held else CellType(value)
