"""adv-lib itself, which is optional, imported without what its attacks do not need; and copies of its functions that
call something else in one place."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any

from torch.torch_version import TorchVersion

from mrt.evaluation.battery import PACKAGE


@cache
def library() -> ModuleType:
    """The module `adv_lib.attacks`; a ValueError of one line where it is not installed."""
    if find_spec("adv_lib") is None:
        raise ValueError(f"adv-lib is not installed: pip install {PACKAGE['advlib']}")
    with warnings.catch_warnings(), _stand_ins():
        warnings.simplefilter("ignore")  # of `distutils`, and of an escape in a docstring
        return importlib.import_module("adv_lib.attacks")


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Modules that adv-lib imports and its attacks do not use, where they are missing: inside, and only there."""
    # `visdom` draws curves on a server, and its source package cannot be built with setuptools 82 or newer. Python has
    # had no `distutils` since 3.12; what is asked of it is whether torch is newer than 1.9.
    made = {"visdom": ModuleType("visdom"), "distutils": ModuleType("distutils")}
    made["distutils.version"] = ModuleType("distutils.version")
    vars(made["distutils.version"])["LooseVersion"] = TorchVersion
    missing = [name for name in made if not _importable(name)]
    sys.modules.update({name: made[name] for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def with_replaced(function: Any, **names: Any) -> Callable[..., Any]:
    """The function with other values for some of the global names that it uses. The library keeps its own, so that
    nobody else who calls it notices, in another thread either."""
    code, defaults = function.__code__, function.__defaults__
    made = FunctionType(code, {**function.__globals__, **names}, function.__name__, defaults, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made
