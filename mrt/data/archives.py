"""Images in one .npz file of numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from mrt.checks import choice
from mrt.data.checks import reading, require_file
from mrt.data.images import Augment, Images


def npz(
    path: Path | str,
    split: Literal["train", "test"] | None = None,
    *,
    classes: Sequence[str] | None = None,
    augment: Augment = "none",
) -> Images:
    """The arrays x_`split`, y_`split` and, if it is there, pseudo_`split` of an npz file; without `split` x, y, pseudo.

    x: (N, C, H, W), uint8, or floating point in [0, 1]; y: (N,), integers; pseudo: (N,), bool. Classes are called "0",
    "1", ... up to the largest label of any split in the file, unless `classes` names them. Pickled objects are refused,
    never loaded.
    """
    path = Path(path)
    if split is not None:
        choice("split", split, ("train", "test"))
    suffix = "" if split is None else f"_{split}"
    require_file(path, "np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...) writes one")
    labels: dict[str, npt.NDArray[np.generic]] = {}
    with reading(path, "write it again with np.savez, plain arrays only"), path.open("rb") as file:
        # opened here, because np.load leaves a file open that turns out not to be one of its own
        arrays = np.load(file, allow_pickle=False)
        keys = sorted(arrays.files)
        labels = {key: arrays[key] for key in keys if key in ("y", "y_train", "y_test")}
        # Only what is asked for: numpy reads an array when it is looked up, and the other split may be large.
        x = arrays[f"x{suffix}"] if f"x{suffix}" in keys else None
        pseudo = arrays[f"pseudo{suffix}"] if f"pseudo{suffix}" in keys else None
    y = labels.get(f"y{suffix}")
    if x is None or y is None:
        raise ValueError(f"{path} has no x{suffix} and y{suffix}, only {keys}: name the split, None for x and y")
    with reading(path, "see mrt.data.npz for what it should hold"):
        if not np.issubdtype(y.dtype, np.integer):
            raise ValueError(f"labels must be integers, got {y.dtype}")
        # Of every split in the file, so that training and test set have the same classes even if one lacks the last.
        top = max(int(each.max()) for each in labels.values() if each.size)
        names = tuple(map(str, range(top + 1))) if classes is None else tuple(classes)
        pixels = torch.from_numpy(x if x.dtype == np.uint8 else _to_float32(x))
        mask = None if pseudo is None else torch.from_numpy(pseudo)
        return Images(pixels, torch.from_numpy(y.astype(np.int64)), names, augment, mask)


def _to_float32(x: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Floating-point pixels as float32; a ValueError for any other type."""
    # An integer type other than uint8 has no agreed range.
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"images must be uint8, or floating point in [0, 1], got {x.dtype}")
    return x.astype(np.float32)
