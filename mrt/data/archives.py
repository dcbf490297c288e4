"""Images in one .npz file of numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from mrt.checks import choice
from mrt.data.checks import require_file
from mrt.data.images import Augment, Images, number_classes
from mrt.files import list_arrays, read_arrays, reading


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
    # Only what is asked for, since the other split may be large; its labels too, which say how many classes there are.
    remedy = "write it again with np.savez, plain arrays only"
    arrays = read_arrays(path, remedy, {f"x{suffix}", f"pseudo{suffix}", "y", "y_train", "y_test"})
    x, y, pseudo = (arrays.get(f"{name}{suffix}") for name in ("x", "y", "pseudo"))
    if x is None or y is None:
        held = sorted(list_arrays(path, remedy))
        raise ValueError(f"{path} has no x{suffix} and y{suffix}, only {held}: name the split, None for x and y")
    with reading(path, "see mrt.data.npz for what it should hold"):
        if not np.issubdtype(y.dtype, np.integer):
            raise ValueError(f"labels must be integers, got {y.dtype}")
        if not y.size:
            raise ValueError("it holds no image")
        # Of every split in the file, so that training and test set have the same classes even if one lacks the last.
        top = max(int(each.max(initial=0)) for name, each in arrays.items() if name.startswith("y"))
        names = number_classes(top) if classes is None else tuple(classes)
        pixels = torch.from_numpy(x if x.dtype == np.uint8 else _to_float32(x))
        mask = None if pseudo is None else torch.from_numpy(pseudo)
        return Images(pixels, torch.from_numpy(y.astype(np.int64)), names, augment, mask)


def _to_float32(x: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Floating-point pixels as float32; a ValueError for any other type."""
    # An integer type other than uint8 has no agreed range.
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"images must be uint8, or floating point in [0, 1], got {x.dtype}")
    return x.astype(np.float32)
