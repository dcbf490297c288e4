"""Images in class folders, and Tiny-ImageNet's validation set, which has one folder and a list of labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrt.data.checks import require_file
from mrt.data.images import Augment, Images
from mrt.files import MEMORY, open_regular, reading

# Formats that pillow decodes by itself and data sets come in; other files are left alone, whatever their names say: of
# an EPS it would ask another program, which runs what is written in it.
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp"}
REMEDY = "replace or remove it"
ANNOTATIONS = "val_annotations.txt"  # Tiny-ImageNet's, by which its validation set is recognised


def folder(
    root: Path | str,
    *,
    classes: Sequence[str] | None = None,
    gray: bool = False,
    augment: Augment = "none",
) -> Images:
    """All images below `root`/<class>/ at any depth, uint8, RGB (or one channel, with `gray`); all of one size.

    Also Tiny-ImageNet's val: `root`/val_annotations.txt beside `root`/images. Classes are numbered in the order of
    their names, or as in `classes` (give the training set's, in case a split lacks one). The examples come in a fixed
    shuffled order, because folders sort by class and the first n should be a fair sample: RandomState(0) permutes the
    list sorted by class, then path (in val: by line). Decoded on as many threads as the machine has use for.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: it should hold one folder of images per class")
    listing = _list_annotations(root) if (root / ANNOTATIONS).is_file() else _list_class_folders(root)
    names = tuple(sorted({name for _, name in listing})) if classes is None else tuple(classes)
    number = {name: label for label, name in enumerate(names)}
    unknown = sorted({name for _, name in listing} - set(names))
    if unknown:
        raise ValueError(f"{root} has classes that are not in `classes`: {', '.join(unknown[:5])}")
    # numpy has frozen RandomState's stream: the order stays the same with every release.
    shuffled = [listing[i] for i in np.random.RandomState(0).permutation(len(listing))]
    y = torch.tensor([number[name] for _, name in shuffled])
    return Images(_decode([path for path, _ in shuffled], "L" if gray else "RGB"), y, names, augment)


def _list_class_folders(root: Path) -> list[tuple[Path, str]]:
    """(file, class) of every image, sorted by class and then by path."""
    listing: list[tuple[Path, str]] = []
    for entry in sorted(path for path in root.iterdir() if path.is_dir()):
        files = sorted(path for path in entry.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(f"{entry} has no images ({', '.join(sorted(SUFFIXES))}): fill or remove it")
        listing += [(path, entry.name) for path in files]
    if not listing:
        raise ValueError(f"{root} has no class folders: it should hold one folder of images per class")
    return listing


def _list_annotations(root: Path) -> list[tuple[Path, str]]:
    """(file, class) of every line "file <tab> class <tab> ..." of val_annotations.txt."""
    listing: list[tuple[Path, str]] = []
    with reading(root / ANNOTATIONS, "unpack the archive again"), open_regular(root / ANNOTATIONS) as file:
        lines = file.read().decode().splitlines()
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise ValueError(f"{root / ANNOTATIONS}, line {number}: expected file <tab> class, got {line!r}")
        path = root / "images" / fields[0]
        require_file(path, f"line {number} of {ANNOTATIONS} names it; unpack the archive again")
        listing.append((path, fields[1]))
    if not listing:
        raise ValueError(f"{root / ANNOTATIONS} is empty: unpack the archive again")
    return listing


def _decode(paths: list[Path], mode: str) -> Tensor:
    """The images in these files, uint8 (N, C, H, W); pillow's `mode` "L" is one channel, "RGB" three."""
    with _open(paths[0]) as image:
        height, width = image.height, image.width
    shape = (1 if mode == "L" else 3, height, width)
    needed = len(paths) * math.prod(shape)
    if needed > MEMORY:
        raise ValueError(f"{len(paths)} images of {shape} take {needed:,} bytes, more than {MEMORY:,}: take fewer")
    x = np.empty((len(paths), *shape), dtype=np.uint8)  # written to in place: never twice in memory

    def fill(row: int) -> None:
        with _open(paths[row]) as image:
            size = (image.height, image.width)  # known before anything is decoded
            array = np.asarray(image.convert(mode)) if size == (height, width) else None
        if array is None:
            sizes = f"{size} (height, width), {paths[0]} has {(height, width)}"
            raise ValueError(f"{paths[row]} has {sizes}: resize them to one size first")
        x[row] = array[None] if mode == "L" else array.transpose(2, 0, 1)

    # Threads suffice, since pillow decodes without Python's lock.
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(paths))):  # the results are None; asking for them raises what a thread raised
            pass
    return torch.from_numpy(x)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open the image in that file; a ValueError about the file for whatever goes wrong inside."""
    from PIL import Image  # only whoever reads files waits for its import

    with reading(path, REMEDY), open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
        yield image
