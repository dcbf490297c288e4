"""What is written down about a run: whole files, fingerprints of tensors and settings, and versions."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

PACKAGES = (
    "mrt-robust", "torch", "numpy", "foolbox", "adversarial-robustness-toolbox", "pyautoattack", "autoattack",
    "adv-lib",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that may have taken part, as far as they are installed."""
    numbers = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            numbers[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # not installed, or run from a checkout
            continue
    return numbers


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside into one that names the path."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write there: {error.strerror}", str(path)) from error


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write the file, whole or not at all: `write` gets it open, and an OSError names its path."""
    # Under another name in the same folder, to the disk, and then renamed, which either happens or does not: whoever is
    # killed in between leaves the file as it was.
    # Two processes, or threads, that write one file each have a name of their own.
    mine = f".{path.name}.{platform.node()[:12]}."
    beside = path.with_name(f"{mine}{os.getpid()}-{threading.get_ident()}.part")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path.parent, mine)
            # Exclusively: a link of that name would lead the writing elsewhere.
            with open(beside, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
    finally:
        with suppress(OSError):  # renamed already, or in a folder that is none
            beside.unlink()


def _sweep(folder: Path, mine: str) -> None:
    """Remove unfinished files whose names begin with `mine` and whose writers, processes of this machine, are gone."""
    for left in folder.iterdir():
        writer = left.name.removeprefix(mine).partition("-")[0]
        if left.name.startswith(mine) and left.suffix == ".part" and writer.isdigit():
            try:
                os.kill(int(writer), 0)
            except ProcessLookupError:
                left.unlink(missing_ok=True)
            except OSError:  # alive, and somebody else's
                continue


def write_tensors(content: Any, file: Path | str | BinaryIO) -> None:
    """torch.save(content, file), which at a path is whole or not there."""
    # Always to an open file: given a path torch turns a full disk into an error of its own, without the path.
    if isinstance(file, (str, Path)):
        write_file(Path(file), lambda opened: torch.save(content, opened))
    else:
        torch.save(content, file)


def fingerprint(*values: object) -> str:
    """A hash, 16 hexadecimal digits, of tensors' values and shapes, and of what repr says of anything else."""
    sha = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            sha.update(f"{tuple(value.shape)} {value.dtype}".encode())
            flat = value.detach().cpu().contiguous().flatten()
            # One number, or none, passes for contiguous whatever its stride.
            flat = flat if len(flat) > 1 else flat.clone(memory_format=torch.contiguous_format)
            sha.update(flat.view(torch.uint8).numpy().tobytes())  # as bytes, since numpy has no bfloat16
        else:
            sha.update(repr(value).encode())
    return sha.hexdigest()[:16]


def identity(value: Any) -> str:
    """What tells a setting from any other: its repr, with a fingerprint in place of each network and tensor in it.

    A network (or a method of one) is its weights and buffers, and the types and plain settings of its parts. Of another
    callable nothing is known but its repr, mostly an address, which no other process repeats.
    """
    owner = getattr(value, "__self__", value)  # of model.forward, say, the model
    if isinstance(owner, nn.Module):
        name = type(owner).__qualname__ + (f".{value.__name__}" if owner is not value else "")
        # Buffers once more, because a state_dict leaves out those that are not persistent.
        return f"{name}({fingerprint(_list_modules(owner), *owner.state_dict().values(), *owner.buffers())})"
    if isinstance(value, Tensor):
        return f"Tensor({fingerprint(value)})"
    parts = _take_apart(value)
    texts = {key: identity(part) for key, part in parts.items()}
    # Where no part needs a fingerprint the plain repr is the identity, which a reader of the file understands.
    if all(texts[key] == repr(part) for key, part in parts.items()):
        return repr(value)
    return f"{type(value).__qualname__}({', '.join(f'{key}={text}' for key, text in texts.items())})"


def _take_apart(value: Any) -> dict[Any, Any]:
    """What a dataclass, a mapping or a sequence is made of, by name, key or number; nothing for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        # Fields that are not compared make no difference between two values, and so none here.
        return {f.name: getattr(value, f.name) for f in fields(value) if f.compare}
    return {}


def _list_modules(network: nn.Module) -> list[object]:
    """Of each module in the network its name, its type, and those of its settings that no state_dict holds, such as a
    generator's steps."""
    # A network in train mode is the same network; the other name is torch's own bookkeeping.
    skip, plain = ("training", "_is_full_backward_hook"), (bool, int, float, str, tuple, type(None))

    def settings(module: nn.Module) -> list[tuple[str, object]]:
        return [(k, v) for k, v in vars(module).items() if k not in skip and (isinstance(v, plain) or is_dataclass(v))]

    return [(name, type(module).__qualname__, settings(module)) for name, module in network.named_modules()]
