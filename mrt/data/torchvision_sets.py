"""MNIST, CIFAR-10, CIFAR-100 and SVHN as torchvision stores and downloads them.

torchvision is imported where it is used, or every `import mrt` would wait for it. Files are checked before it reads
them, so that an error names the file: torchvision says only that a set was not found or is corrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mrt.checks import choice
from mrt.data.checks import require_file
from mrt.data.images import Images
from mrt.files import reading

Split = Literal["train", "test"]
DIGITS = tuple("0123456789")


def mnist(root: Path | str, split: Split, *, download: bool = False) -> Images:
    """MNIST, 60,000 or 10,000 images, uint8 1x28x28, from the unpacked idx files in `root`/MNIST/raw.

    T&B train on the last 55,000 of the training set: `.take(torch.arange(5000, 60000))`.
    """
    choice("split", split, ("train", "test"))
    from torchvision.datasets import MNIST
    from torchvision.datasets.mnist import read_image_file, read_label_file

    if download:
        MNIST(root, download=True)  # does nothing where the files are there
    raw = Path(root) / "MNIST" / "raw"
    names = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    # Without MD5 sums: torchvision has those of the packed files only.
    _require_intact(raw, [(name, None) for name in names])
    images, labels = (str(raw / name) for name in (names[:2] if split == "train" else names[2:]))
    with reading(f"{images} or {labels}", "delete them and load with download=True"):
        # By file and not by MNIST(root), which takes processed/*.pt instead where an old torchvision left them.
        pixels = read_image_file(images).unsqueeze(1)  # (N, 28, 28) -> (N, 1, 28, 28)
        return Images(pixels, read_label_file(labels), DIGITS, name=f"mnist {split}")


def cifar10(root: Path | str, split: Split, *, download: bool = False) -> Images:
    """CIFAR-10, 50,000 or 10,000 images, uint8 3x32x32, from `root`/cifar-10-batches-py; training augments."""
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, Path(root), split, download)


def cifar100(root: Path | str, split: Split, *, download: bool = False) -> Images:
    """CIFAR-100 with its 100 fine classes, otherwise as CIFAR-10, from `root`/cifar-100-python; training augments."""
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, Path(root), split, download)


def svhn(root: Path | str, split: Literal["train", "test", "extra"], *, download: bool = False) -> Images:
    """SVHN's cropped digits, 73,257, 26,032 or 531,131 images, uint8 3x32x32, from `root`/`split`_32x32.mat.

    Needs scipy. The digit 0 has label 0. No augmentation, as in MNG-AC.
    """
    choice("split", split, ("train", "test", "extra"))
    from torchvision.datasets import SVHN

    if download:
        SVHN(str(root), split, download=True)
    _, name, md5 = SVHN.split_list[split]
    _require_intact(Path(root), [(name, md5)])
    with reading(Path(root) / name, "delete it and load with download=True"):
        stored = SVHN(str(root), split)
        x = torch.from_numpy(np.ascontiguousarray(stored.data))
        return Images(x, torch.from_numpy(stored.labels).long(), DIGITS, name=f"svhn {split}")


def _cifar(dataset: Any, root: Path, split: Split, download: bool) -> Images:
    """CIFAR-10 or CIFAR-100; `dataset` is torchvision's class for it. They differ in their file lists only."""
    choice("split", split, ("train", "test"))
    if download:
        dataset(root, download=True)
    folder = root / dataset.base_folder
    meta = (dataset.meta["filename"], dataset.meta["md5"])
    _require_intact(folder, [*map(tuple, dataset.train_list + dataset.test_list), meta])
    with reading(folder, "delete it and load with download=True"):
        stored = dataset(root, train=split == "train")
        x = torch.from_numpy(np.ascontiguousarray(stored.data.transpose(0, 3, 1, 2)))  # from (N, H, W, C)
        y = torch.tensor(stored.targets, dtype=torch.int64)
        augment: Literal["crop-flip", "none"] = "crop-flip" if split == "train" else "none"
        return Images(x, y, tuple(stored.classes), augment, name=f"{dataset.__name__.lower()} {split}")


def _require_intact(folder: Path, files: Sequence[tuple[str, str | None]]) -> None:
    """Raise an error that names the first of `files`, each (name, MD5 or None), that is missing from `folder` or is not
    what was published."""
    from torchvision.datasets.utils import check_integrity

    for name, md5 in files:
        require_file(folder / name, f"put it there unpacked, or load with download=True ({len(files)} files needed)")
        if not check_integrity(str(folder / name), md5):
            raise ValueError(f"{folder / name} is damaged (its MD5 is not {md5}): delete it, load with download=True")
