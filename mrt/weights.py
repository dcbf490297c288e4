"""Weights from files that anybody may have written: what torch.save wrote, and the networks that go with them."""

from __future__ import annotations

import os
import pickletools
import re
import reprlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from mrt.files import open_regular, reading

REMEDY = "write it again with torch.save, weights only"
# What a pickle of weights names. torch would also let it make arrays of any size, and tensors of memory that was never
# written, in which there may be anything.
NAMES = re.compile(r"collections (OrderedDict|Counter)|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage")
# Other ways of pickles to name things, which torch.save never takes.
OTHER_WAYS = ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX")


def read_tensors(file: Path | str | BinaryIO, remedy: str = REMEDY) -> Any:
    """What torch.save wrote there, as far as it is tensors, numbers, strings, and containers of these."""
    if not isinstance(file, (str, Path)):
        return _read_tensors(file, getattr(file, "name", "the open file"), remedy)
    with reading(file, remedy):
        opened = open_regular(file)
    with opened:
        return _read_tensors(opened, str(file), remedy)


def make_for(make: Callable[..., nn.Module], settings: Any, weights: Any) -> nn.Module:
    """The module make(**settings); a ValueError if it is larger than those weights allow. Settings that come from a
    file may ask for a network of any depth and width."""
    for name, value in (("settings", settings), ("weights", weights)):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"its {name} must be a dict with names as keys; got {type(value).__name__}")
    for name, value in settings.items():
        if not _is_setting(value):
            raise ValueError(f"its setting {name[:100]} must be a number or a short text; got {reprlib.repr(value)}")
    # Each part of memory once: a tensor may show one number many times.
    storages = {w.untyped_storage().data_ptr(): w.untyped_storage() for w in weights.values() if isinstance(w, Tensor)}
    stored = sum(storage.nbytes() for storage in storages.values())
    # Some buffers are made and not saved: hence twice as much, and a little.
    with at_most(2 * len(weights) + 1000, 2 * stored + (1 << 22)):
        try:
            return make(**settings)
        except (TypeError, KeyError, RuntimeError) as error:  # unknown settings, or one tensor too large by itself
            why = str(error).splitlines()[0][:300]
            raise ValueError(f"the settings {reprlib.repr(settings)} make nothing: {why}") from error


@contextmanager
def at_most(tensors: int, size: int) -> Iterator[None]:
    """Inside, this thread may make modules with so many parameters and buffers, of so many bytes in all; a ValueError
    where it makes more."""
    this, left, room = threading.get_ident(), tensors, size

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal left, room
        if value is not None and threading.get_ident() == this:
            left, room = left - 1, room - value.nbytes  # before anything is written to it
            if left < 0 or room < 0:
                raise ValueError(f"the settings ask for more than {tensors:,} tensors or {size:,} bytes")

    registrations = (hooks.register_module_parameter_registration_hook, hooks.register_module_buffer_registration_hook)
    handles = [register(count) for register in registrations]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_setting(value: Any) -> bool:
    """Whether the value is one that our networks and generators take: a number, a short text, a few numbers."""
    if isinstance(value, (tuple, list)):
        return len(value) <= 16 and all(isinstance(each, (bool, int, float, type(None))) for each in value)
    return isinstance(value, (bool, int, float, type(None))) or isinstance(value, str) and len(value) <= 100


def _read_tensors(file: BinaryIO, name: str, remedy: str) -> Any:
    """What torch.save wrote into the open file."""
    with reading(name, remedy):
        if _is_plain(file):
            # Since 2.10 torch compares what tensors claim with what is there.
            return torch.load(file, map_location="cpu", weights_only=True)
    raise ValueError(f"{name} holds more than weights (code, which was not run)")


def _is_plain(file: BinaryIO) -> bool:
    """Whether the archive's pickle names nothing but what weights are made of; a ValueError unless every record is as
    torch wrote it."""
    start = file.tell()
    if file.read(4) != b"PK\3\4":
        # Older files have no checksums, and torch may fill what is missing in them with what lies in memory.
        raise ValueError("it is no archive, as torch has written since 1.6")
    file.seek(start)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its records are compressed, which torch never does")
        file.seek(0, os.SEEK_END)
        if sum(entry.file_size for entry in entries) > file.tell() - start:
            raise ValueError("its records overlap")
        damaged = archive.testzip()  # torch itself reads records without a look at their checksums
        if damaged is not None:
            raise ValueError(f"its record {damaged} is damaged: its checksum differs")
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it must hold one pickle, data.pkl, as torch writes it")
        operations = [(op.name, str(argument)) for op, argument, _ in pickletools.genops(archive.read(pickles[0]))]
    file.seek(start)
    return not any(op in OTHER_WAYS or op == "GLOBAL" and not NAMES.fullmatch(name) for op, name in operations)
