"""Settings as JSON and back: a value is its type's name and its fields. Nothing is evaluated."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mrt import checks

Allowed = Mapping[str, Callable[..., Any]]


def encode(value: Any) -> Any:
    """Numbers, strings, None, sequences and dataclasses as JSON: {"type": name, field: ...}, defaults left out.

    A type that is no export of `mrt` is named "module:Class".
    """
    # Defaults are left out so that a file stays short and shows what was chosen. is_dataclass is true of classes, too.
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        name = kind.__name__ if kind.__module__.split(".")[0] == "mrt" else f"{kind.__module__}:{kind.__qualname__}"
        settings = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
        return {"type": name, **{key: encode(setting) for key, setting in settings.items()}}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value!r} of type {type(value).__name__} cannot be written as JSON")


def decode(value: Any, known: Allowed, allow: tuple[str, ...] = ()) -> Any:
    """The value that `encode` wrote: lists become tuples. A type is looked up in `known`; one named "module:Class" is
    imported, which runs code, and so must be repeated in `allow`."""
    if isinstance(value, list):
        return tuple(decode(v, known, allow) for v in value)
    if not isinstance(value, dict):
        return value
    name = value.get("type")
    if not isinstance(name, str):
        raise ValueError(f'an object needs a "type"; got {value!r}')
    kind = _look_up(name, known, allow)
    settings = {key: decode(v, known, allow) for key, v in value.items() if key != "type"}
    if is_dataclass(kind):
        # Asked before the constructor, whose TypeError would not say what is allowed.
        for key in settings:
            checks.choice(f"a setting of {name}", key, tuple(f.name for f in fields(kind)))
    try:
        return kind(**settings)
    except TypeError as error:  # a setting that is missing
        raise ValueError(f"{name}: {error}") from error


def _look_up(name: str, known: Allowed, allow: tuple[str, ...]) -> Callable[..., Any]:
    """The type of that name, as `decode` explains."""
    if ":" not in name:
        return known[checks.choice("type", name, tuple(sorted(known)))]
    if name not in allow:
        raise ValueError(f"type {name!r} would import code of yours: repeat it in `allow` to permit that")
    kind: Callable[..., Any] = import_attribute(name)
    return kind


def import_attribute(path: str) -> Any:
    """The attribute that "package.module:name" names, in which `name` may have dots. Importing the module runs its
    code."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise ValueError(f"expected package.module:name; got {path!r}")
    # Modules of one's own may stand in the working directory. Behind all others: a file there that has a library's name
    # must not run in its place.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        value = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{path!r} cannot be imported: {error}") from error
    for part in name.split("."):  # a __qualname__ has dots where classes are nested
        if not hasattr(value, part):
            raise ValueError(f"{path!r}: {module} has no {name!r}")
        value = getattr(value, part)
    return value
