"""Files that anybody may have written, read so that none runs code, hangs, or asks for more memory than there is.

Whatever is wrong with one ends in a ValueError of one line, which names the file and says what to do about it.
"""

from __future__ import annotations

import json
import math
import os
import stat
import zipfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # bytes that the content of one file may take
SMALL = 1 << 26  # bytes that arrays may always take
RATIO = 100  # what is larger than SMALL may be this many times the size of its file
TEXT = 1 << 22  # bytes of a file of JSON: ours have kilobytes
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
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is no regular file")
    return file


def read_json(path: Path | str, remedy: str) -> Any:
    """What a file of JSON holds."""
    with reading(path, remedy):
        with open_regular(path) as file:
            text = file.read(TEXT + 1)
        if len(text) > TEXT:
            raise ValueError(f"it has more than {TEXT} bytes")
        return parse_json(text)


def read_rows(path: Path | str, remedy: str) -> list[dict[str, float]]:
    """The objects, one a line, of a file of JSON lines. The last line may be half written, and is left out then."""
    with reading(path, remedy):
        with open_regular(path) as file:
            text = file.read(SMALL + 1)
        if len(text) > SMALL:
            raise ValueError(f"it has more than {SMALL} bytes")
        rows = [parse_json(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is no object")
        return rows


def read_arrays(path: Path | str, remedy: str, wanted: Container[str] | None = None) -> dict[str, Array]:
    """The arrays of a file of np.savez, by name: all of them, or those wanted that are there; no objects, which are
    pickles."""
    with reading(path, remedy), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        entries = {name: entry for name, entry in entries.items() if wanted is None or name in wanted}
        # The sizes in the archive's own list hold: its reader stops there.
        size, stored = sum(entry.file_size for entry in entries.values()), os.fstat(file.fileno()).st_size
        if size > min(MEMORY, max(SMALL, RATIO * stored)):
            raise ValueError(f"its {stored} bytes unpack to {size}")
        return {name: _read_array(archive, entry) for name, entry in entries.items()}


def list_arrays(path: Path | str, remedy: str) -> list[str]:
    """The names of the arrays in a file of np.savez."""
    with reading(path, remedy), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text that is nested up to DEPTH."""
    content = json.loads(text)
    layer, depth = [content], 0
    while layer:
        containers = [value for value in layer if isinstance(value, (dict, list))]
        layer = [each for value in containers for each in (value.values() if isinstance(value, dict) else value)]
        depth += bool(containers)
    if depth > DEPTH:
        raise ValueError(f"its lists and objects are nested more than {DEPTH} deep")
    return content


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
