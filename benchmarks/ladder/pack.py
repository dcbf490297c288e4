"""What `make gpu-pack` packed, laid out on the machine it was carried to. This module imports no torch: it runs before.

python -m benchmarks.ladder.pack PACK FOLDER        (unpacks the data sets, as the ladder does in the background)
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from itertools import groupby
from multiprocessing import Pool
from pathlib import Path
from typing import Any

SITE, CACHE, CIFAR = "site.tar.xz", "triton.tar.xz", "cifar10-jpeg.tar.xz"
NPZ, FAILED = "cifar10-jpeg.npz", "failed.txt"
PROCESSES = 12
TOGETHER = 500  # images that a process decodes at a time
Part = tuple[str, int, list[bytes]]
"""Of a split: a class's number, and some of its files."""


def software(pack: Path, folder: Path) -> list[str]:
    """Packages on sys.path, behind the machine's own, and the compiled kernels where Triton looks for them; what was
    there to be unpacked."""
    found = []
    for name, target in ((SITE, folder / "site"), (CACHE, folder / "triton")):
        if (pack / name).is_file():
            with tarfile.open(pack / name) as tar:
                tar.extractall(target, filter="data")
            found.append(name)
    if SITE in found:
        sys.path.append(str(folder / "site"))
    if CACHE in found:
        moved_here(folder / "triton")
        os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    return found


def moved_here(cache: Path) -> None:
    """Triton finds its files through lists of absolute paths, which are those of the machine that compiled them."""
    for group in cache.glob("*/__grp__*.json"):
        held = json.loads(group.read_text())
        held["child_paths"] = {name: str(group.parent / name) for name in held["child_paths"]}
        group.write_text(json.dumps(held))


def data_in_background(pack: Path, folder: Path) -> Any:
    """A process, leader of a group of its own, that unpacks the data sets into that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["nice", sys.executable, "-m", "benchmarks.ladder.pack", str(pack), str(folder)]
    with open(folder / "log.txt", "w") as log:
        return subprocess.Popen(command, start_new_session=True, stdout=log, stderr=subprocess.STDOUT)


def mnist(pack: Path, folder: Path) -> None:
    """The four files as torchvision reads them. The last one appears last, and whole."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for packed in sorted(pack.glob("*-ubyte.gz")):
        part = raw / f"{packed.stem}.part"
        part.write_bytes(gzip.decompress(packed.read_bytes()))
        part.rename(raw / packed.stem)


def parts(packed: Path) -> Iterator[Part]:
    """The archive's JPEG files, class after class in the order of their names."""
    with tarfile.open(packed) as tar:
        files = [(tuple(Path(m.name).parts[-3:]), read.read()) for m in tar if (read := tar.extractfile(m)) is not None]
    files = sorted(file for file in files if file[0][-1].endswith(".jpg"))
    classes = sorted({split_class[1] for split_class, _ in files})
    for (split, name), group in groupby(files, lambda file: file[0][:2]):
        data = [content for _, content in group]
        for first in range(0, len(data), TOGETHER):
            yield split, classes.index(name), data[first : first + TOGETHER]


def decoded(part: Part) -> tuple[str, int, Any]:
    """The same, as one array (N, C, H, W)."""
    import numpy as np
    from PIL import Image

    split, label, files = part
    return split, label, np.stack([np.asarray(Image.open(io.BytesIO(f))).transpose(2, 0, 1) for f in files])


def cifar(pack: Path, folder: Path) -> None:
    """Both splits in one .npz, shuffled in a way that is always the same; it appears whole."""
    import numpy as np

    with Pool(PROCESSES) as pool:
        found = pool.map(decoded, parts(pack / CIFAR), 1)
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        of_split = [(label, images) for name, label, images in found if name == split]
        labels = np.concatenate([np.full(len(images), label, np.uint8) for label, images in of_split])
        order = np.random.default_rng(0).permutation(len(labels))
        arrays[f"x_{split}"] = np.concatenate([images for _, images in of_split])[order]
        arrays[f"y_{split}"] = labels[order]
    part = folder / "part.npz"
    np.savez(part, **arrays)
    part.rename(folder / NPZ)


def main() -> None:
    pack, folder = map(Path, sys.argv[1:])
    try:
        mnist(pack, folder)
        if (pack / CIFAR).is_file():
            cifar(pack, folder)
    except Exception as error:
        (folder / FAILED).write_text(repr(error))
        raise


if __name__ == "__main__":
    main()
