"""What is written down about a run: whole files, fingerprints of tensors and settings, and versions."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

PACKAGES = ("mrt-robust", "torch", "numpy", "foolbox", "adversarial-robustness-toolbox", "pyautoattack", "autoattack")


def versions() -> dict[str, str]:
    """Of Python and of what may have taken part."""
    held = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            held[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # not installed, or run from a checkout
            continue
    return held


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """The file, whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write there: {error.strerror}", str(path)) from error
    finally:
        with suppress(OSError):  # a folder that is none
            beside.unlink()


def fingerprint(*values: object) -> str:
    """A hash of tensors' values and shapes, and of what repr says of anything else."""
    sha = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            sha.update(f"{tuple(value.shape)} {value.dtype}".encode())
            sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        else:
            sha.update(repr(value).encode())
    return sha.hexdigest()[:16]


def identity(value: Any) -> str:
    """What tells a setting from any other: its repr, with a fingerprint in place of each network and tensor in it.

    A network (or a method of one) is its weights and buffers, and the types and plain settings of its parts. Of another
    callable nothing is known but its repr, mostly an address, which no other process repeats.
    """
    owner = getattr(value, "__self__", value)
    if isinstance(owner, nn.Module):
        name = type(owner).__qualname__ + (f".{value.__name__}" if owner is not value else "")
        return f"{name}({fingerprint(_parts(owner), *owner.state_dict().values(), *owner.buffers())})"
    if isinstance(value, Tensor):
        return f"Tensor({fingerprint(value)})"
    held = _held(value)
    told = {key: identity(v) for key, v in held.items()}
    if all(told[key] == repr(v) for key, v in held.items()):
        return repr(value)
    return f"{type(value).__qualname__}({', '.join(f'{key}={text}' for key, text in told.items())})"


def _held(value: Any) -> dict[Any, Any]:
    """What a dataclass, a mapping or a sequence is made of; of anything else nothing."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    known = is_dataclass(value) and not isinstance(value, type)
    return {f.name: getattr(value, f.name) for f in fields(value) if f.compare} if known else {}


def _parts(module: nn.Module) -> list[object]:
    """The type of each part, and those of its settings that no state_dict holds, such as a generator's steps."""
    skip, plain = ("training", "_is_full_backward_hook"), (bool, int, float, str, tuple, type(None))

    def settings(part: nn.Module) -> list[tuple[str, object]]:
        return [(k, v) for k, v in vars(part).items() if k not in skip and (isinstance(v, plain) or is_dataclass(v))]

    return [(name, type(part).__qualname__, settings(part)) for name, part in module.named_modules()]
