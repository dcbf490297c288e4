"""Files that anybody may have written, read so that none runs code, hangs, or asks for more memory than there is.

Whatever is wrong with one ends in a ValueError of one line, which names the file and says what to do about it.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import threading
import zipfile
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # bytes that the content of one file may take
SMALL = 1 << 26  # bytes that are no matter, and the limit of a file of JSON: ours have kilobytes
RATIO = 100  # what is larger than SMALL may be this many times the size of its file
DEPTH = 64  # how deep lists and objects may be nested in JSON; ours are about ten deep

Array = npt.NDArray[Any]


@contextmanager
def reading(what: object, remedy: str) -> Iterator[None]:
    """Turn whatever a parser raises inside into a ValueError that names `what` was read and the `remedy`."""
    try:
        yield
    # Broken files make parsers fail in any way: assertions, short buffers, bad pickles, memory that is not there.
    except Exception as error:
        # torch writes paragraphs, and numpy's advice about pickles would have the user run code.
        why = next(iter(str(error).splitlines()), "")[:300]
        raise ValueError(f"{what} cannot be read ({type(error).__name__}: {why}): {remedy}") from error


def open_regular(path: Path | str) -> BinaryIO:
    """The file, open for reading; OSError if it is none, such as a pipe, on which reading may wait for ever."""
    if Path(path).exists() and not Path(path).is_file():
        raise OSError("it is no regular file")
    return open(path, "rb")


def read_json(path: Path | str, remedy: str) -> Any:
    """What a file of JSON holds."""
    with reading(path, remedy):
        with open_regular(path) as file:
            text = file.read(SMALL + 1)
        if len(text) > SMALL:
            raise ValueError(f"it has more than {SMALL} bytes")
        content = json.loads(text)
        if _depth(content) > DEPTH:
            raise ValueError(f"its lists and objects are nested more than {DEPTH} deep")
    return content


def read_arrays(path: Path | str, remedy: str, wanted: Container[str] | None = None) -> dict[str, Array]:
    """The arrays of a file of np.savez, by name: all of them, or those wanted that are there; no objects, which are
    pickles."""
    with reading(path, remedy), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        entries = {name: entry for name, entry in entries.items() if wanted is None or name in wanted}
        # The sizes in the archive's own list hold: its reader stops there.
        size, stored = (sum(getattr(e, kind) for e in entries.values()) for kind in ("file_size", "compress_size"))
        if size > min(MEMORY, max(SMALL, RATIO * stored)):
            raise ValueError(f"its {stored} bytes unpack to {size}")
        return {name: _read_array(archive, entry) for name, entry in entries.items()}


def list_arrays(path: Path | str, remedy: str) -> list[str]:
    """The names of the arrays in a file of np.savez."""
    with reading(path, remedy), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_tensors(file: Path | str | BinaryIO, remedy: str = "write it again with torch.save, weights only") -> Any:
    """What torch.save wrote there, as far as it is tensors, numbers, strings, and containers of these."""
    if isinstance(file, (str, Path)):
        with reading(file, remedy):
            opened = open_regular(file)
        with opened:
            return _read_tensors(opened, str(file), remedy)
    return _read_tensors(file, getattr(file, "name", "the open file"), remedy)


def make_for(make: Callable[..., nn.Module], settings: Mapping[str, Any], weights: Mapping[str, Any]) -> nn.Module:
    """The module make(**settings); a ValueError if it is larger than those weights allow. Settings that come from a
    file may ask for a network of any depth and width."""
    for name, value in (("settings", settings), ("weights", weights)):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"its {name} must be a dict with names as keys; got {type(value).__name__}")
    tensors = [w for w in weights.values() if isinstance(w, Tensor)]
    # Some buffers are made and not saved: hence twice as much, and a little.
    left, numbers = 2 * len(tensors) + 1000, 2 * sum(w.numel() for w in tensors) + 1_000_000
    this = threading.get_ident()

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal left, numbers
        if value is not None and threading.get_ident() == this:
            left, numbers = left - 1, numbers - value.numel()
            if left < 0 or numbers < 0:
                raise ValueError(f"the settings {dict(settings)} ask for more than the weights that are there")

    registrations = (hooks.register_module_parameter_registration_hook, hooks.register_module_buffer_registration_hook)
    handles = [register(count) for register in registrations]
    try:
        return make(**settings)  # which registers each tensor before it writes to it
    except (TypeError, KeyError, RuntimeError) as error:  # unknown settings, or one tensor that is too large by itself
        why = str(error).splitlines()[0][:300]
        raise ValueError(f"the settings {dict(settings)} make nothing: {why}") from error
    finally:
        for handle in handles:
            handle.remove()


def _depth(content: Any) -> int:
    """How deep lists and dicts are nested; 0 for anything else."""
    layer, depth = [content], 0
    while layer:
        containers = [value for value in layer if isinstance(value, (dict, list))]
        layer = [each for value in containers for each in (value.values() if isinstance(value, dict) else value)]
        depth += bool(containers)
    return depth


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    """One array of the archive, whose header does not claim more than is there."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{entry.filename} has a header of version {version}; 1.0 and 2.0 are known")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if math.prod(shape) * dtype.itemsize > entry.file_size:
            raise ValueError(f"{entry.filename} claims to hold {shape} of {dtype} in {entry.file_size} bytes")
    with archive.open(entry) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # which also makes zipfile compare the checksum
            raise ValueError(f"{entry.filename} holds more than its {shape} of {dtype}")
        return array


def _read_tensors(file: BinaryIO, name: str, remedy: str) -> Any:
    """What torch.save wrote into the open file."""
    try:
        with reading(name, remedy):
            _compare_checksums(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except ValueError as error:
        if isinstance(error.__cause__, pickle.UnpicklingError):
            why = "holds more than weights (code, which was not run), or is no checkpoint"
            raise ValueError(f"{name} {why}") from error
        raise


def _compare_checksums(file: BinaryIO) -> None:
    """Raise ValueError unless every record of an archive of torch.save is as it was written, and stored as it is."""
    start = file.tell()
    if zipfile.is_zipfile(file):  # files of torch before 1.6 are none, and have no checksums
        # torch itself reads records without a look at their checksums.
        with zipfile.ZipFile(file) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("its records are compressed, which torch.save never does")
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"its record {damaged} is damaged: its checksum differs")
    file.seek(start)
