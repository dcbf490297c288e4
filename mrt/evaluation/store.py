"""Results on disk as they are obtained: one file per finished batch, written beside its name and then renamed, so that
a kill at any moment leaves only whole files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

CONFIG, PARTS = "evaluation.json", "parts"
FILES = ("arrays.npz", "index.html", "report.json")  # of a finished evaluation, in the order they are written


@dataclass(frozen=True, eq=False)
class Outcome:
    """One attack on one batch. `index` (n,): which examples; broken, distance: (n,); `kept`: positions in the batch
    whose image and its loss are kept, as worst so far or for the pictures. The rest counts work and faults."""

    index: Tensor
    broken: Tensor
    distance: Tensor
    kept: Tensor
    images: Tensor
    loss: Tensor
    counts: dict[str, float]
    why: str = ""


class Store:
    """A folder that an evaluation resumes from; nothing is kept where `folder` is None."""

    def __init__(self, folder: Path | str | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def open(self, config: dict[str, Any], first: bool) -> bool:
        """Start here, or go on with the same evaluation: is it finished? ValueError if the folder holds another one.
        Only the first process writes."""
        if self.folder is None:
            return False
        path = self.folder / CONFIG
        begun = [name for name in (*FILES, PARTS) if (self.folder / name).exists()]
        if begun and not path.is_file():
            raise ValueError(f"{self.folder} holds {begun[0]} of something else; choose another folder")
        if path.is_file():
            then = json.loads(path.read_text("utf-8"))
            differ = [key for key in config if then.get(key) != config[key]]
            if differ:
                raise ValueError(
                    f"{self.folder} holds an evaluation that differs in {', '.join(differ)}; choose another folder"
                )
        elif first:  # the others wait for the first in `gathered`
            written(path, lambda file: file.write(json.dumps(config, indent=1).encode()))
        return all((self.folder / name).is_file() for name in FILES)

    def load(self, unit: str) -> Outcome | None:
        """What that unit of work gave, None if it has not been done."""
        if self.folder is None or not (self.folder / PARTS / f"{unit}.npz").is_file():
            return None
        with np.load(self.folder / PARTS / f"{unit}.npz", allow_pickle=False) as held:
            arrays = {key: torch.from_numpy(held[key]) for key in held.files if key != "notes"}
            counts, why = json.loads(str(held["notes"]))
        return Outcome(**arrays, counts=counts, why=why)

    def save(self, unit: str, outcome: Outcome) -> None:
        if self.folder is None:
            return
        names = ("index", "broken", "distance", "kept", "images", "loss")
        arrays: dict[str, Any] = {name: getattr(outcome, name).numpy() for name in names}
        arrays["notes"] = np.array(json.dumps([outcome.counts, outcome.why]))
        written(self.folder / PARTS / f"{unit}.npz", lambda file: np.savez(file, **arrays))

    def close(self) -> None:
        """The report is written: forget the parts."""
        if self.folder is not None:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)


def written(path: Path, write: Callable[[BinaryIO], object]) -> None:
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
