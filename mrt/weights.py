"""Weights from files that anybody may have written: what torch.save wrote, and the networks that go with them."""

from __future__ import annotations

import io
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

from mrt.checks import first_line
from mrt.files import MEMORY, RATIO, SMALL, open_regular, reading

REMEDY = "write it again with torch.save, weights only"
# What a pickle of weights names. torch would also let it make arrays of any size, and tensors of memory that was never
# written, in which there may be anything.
NAMES = re.compile(r"collections (OrderedDict|Counter)|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage")
# Other ways of pickles to name things, which torch.save never takes.
OTHER_WAYS = ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX")
# Of a network that is made: settings may be mistyped, or stand in a file of somebody else's.
MOST_TENSORS, MOST_BYTES = 10_000, 1 << 34
PICKLE, OPERATIONS = 1 << 25, 2_000_000  # bytes and operations of the pickle, of which a tensor takes some 30
VALUES = 2_000_000  # containers, tensors, numbers and texts in what it makes, counted each time one is met


def read_tensors(file: Path | str | BinaryIO, remedy: str = REMEDY) -> Any:
    """What torch.save wrote there, as far as it is tensors, numbers, strings, and containers of these."""
    if not isinstance(file, (str, Path)):
        return _read_tensors(file, getattr(file, "name", "the open file"), remedy)
    with reading(file, remedy):
        opened = open_regular(file)
    with opened:
        return _read_tensors(opened, str(file), remedy)


def is_tagged(content: Any, name: str) -> bool:
    """Whether the content of a file is a dict in which `name` stands for 1, as we mark the files that we write."""
    tag = content.get(name) if isinstance(content, dict) else None
    return type(tag) is int and tag == 1  # a tensor has no single truth value


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
            why = first_line(error)[:300]
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
    except RuntimeError as error:  # one tensor alone may be more than there is
        if "allocat" not in str(error):
            raise
        raise ValueError(f"the settings ask for more memory than there is: {first_line(error)[:200]}") from error
    finally:
        for handle in handles:
            handle.remove()


def within_bounds(make: Callable[..., Any], *given: Any) -> Any:
    """make(*given), which may make networks of as many tensors and bytes as can be meant."""
    with at_most(MOST_TENSORS, MOST_BYTES):
        return make(*given)


def _is_setting(value: Any) -> bool:
    """Whether the value is one that our networks and generators take: a number, a short text, a few numbers."""
    if isinstance(value, (tuple, list)):
        return len(value) <= 16 and all(isinstance(each, (bool, int, float, type(None))) for each in value)
    return isinstance(value, (bool, int, float, type(None))) or isinstance(value, str) and len(value) <= 100


def _read_tensors(file: BinaryIO, name: str, remedy: str) -> Any:
    """What torch.save wrote into the open file."""
    with reading(name, remedy):
        archive = _checked_archive(file)
        if archive is not None:
            # Since 2.10 torch compares what tensors claim with what is there.
            content = torch.load(archive, map_location="cpu", weights_only=True)
            _check_size(content, archive.getbuffer().nbytes)
            return content
    raise ValueError(f"{name} holds more than weights (code, which was not run)")


def _checked_archive(file: BinaryIO) -> io.BytesIO | None:
    """The archive's records in a new archive; None if its pickle names anything but what weights are made of, and a
    ValueError unless every record is as torch wrote it."""
    # A new one, since torch's reader may find other records in the file than zipfile's, which has checked these: of two
    # lists of contents it reads the other one, and of two names the one that differs in upper and lower case.
    start = file.tell()
    if file.read(4) != b"PK\3\4":
        # Older files have no checksums, and torch may fill what is missing in them with what lies in memory.
        raise ValueError("it is no archive, as torch has written since 1.6")
    file.seek(start)
    checked = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(checked, "w") as copied:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its records are compressed, which torch never does")
        stored = file.seek(0, io.SEEK_END) - start
        if sum(entry.file_size for entry in entries) > stored:
            raise ValueError("its records overlap")
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            raise ValueError("two of its records have one name")
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it must hold one pickle, data.pkl, as torch writes it")
        if pickles[0].file_size > PICKLE:
            raise ValueError(f"its pickle has {pickles[0].file_size} bytes")
        for entry in entries:
            try:
                content = archive.read(entry)  # and compares its checksum, which torch does not look at
            except zipfile.BadZipFile as error:
                raise ValueError(f"its record {entry.filename} is damaged: its checksum differs") from error
            if entry is pickles[0] and not _is_plain(content):
                return None
            copied.writestr(entry.filename, content)
    checked.seek(0)
    return checked


def _is_plain(pickle: bytes) -> bool:
    """Whether the pickle names nothing but what weights are made of."""
    for number, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
        if operation.name in OTHER_WAYS or operation.name == "GLOBAL" and not NAMES.fullmatch(str(argument)):
            return False
        if number > OPERATIONS:
            raise ValueError(f"its pickle has more than {OPERATIONS:,} operations")
    return True


def _check_size(content: Any, stored: int) -> None:
    """A ValueError where a few bytes stand for far more: containers that hold one another again and again, or tensors
    that show the same numbers many times. Whoever copies such content would take hours and all memory."""
    left, shown, layer = VALUES, 0, [content]
    while layer:
        value = layer.pop()
        left -= 1
        if isinstance(value, dict):
            layer += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            layer += value
        elif isinstance(value, Tensor):
            shown += value.numel() * value.element_size()
        if left < len(layer):
            raise ValueError(f"it stands for more than {VALUES:,} values")
        if shown > min(MEMORY, max(SMALL, RATIO * stored)):
            raise ValueError(f"its {stored} bytes show tensors of {shown} bytes and more")
