"""mrt/data/archives.py: Npz files, written by hand and read back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mrt.data import npz

rng = np.random.default_rng(0)
BYTES = rng.integers(0, 256, (6, 3, 4, 5), np.uint8)
LABELS = np.array([0, 2, 1, 0, 2, 2], np.uint8)


def save(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


def test_both_splits(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=BYTES, y_train=LABELS, x_test=BYTES[:2], y_test=np.array([4, 0]))
    train, test = npz(path, "train", augment="crop-flip"), npz(str(path), "test")
    assert train.x.dtype == torch.uint8 and np.array_equal(train.x.numpy(), BYTES) and train.augment == "crop-flip"
    assert train.y.dtype == torch.int64 and train.y.tolist() == LABELS.tolist()
    assert np.array_equal(test.x.numpy(), BYTES[:2]) and test.y.tolist() == [4, 0] and test.augment == "none"
    assert train.classes == test.classes == ("0", "1", "2", "3", "4")  # the largest label is in one split only


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_without_splits(tmp_path: Path, dtype: Any) -> None:
    x = (BYTES / 255).astype(dtype)
    data = npz(save(tmp_path, x=x, y=LABELS), classes=("a", "b", "c"))
    assert data.x.dtype == torch.float32 and np.array_equal(data.x.numpy(), x.astype(np.float32))
    assert data.classes == ("a", "b", "c")


def test_a_mask_of_pseudo_labels_belongs_to_its_split(tmp_path: Path) -> None:
    mask = LABELS == 2
    path = save(tmp_path, x_train=BYTES, y_train=LABELS, pseudo_train=mask, x_test=BYTES, y_test=LABELS)
    train, test = npz(path, "train"), npz(path, "test")
    assert train.pseudo is not None and train.pseudo.tolist() == mask.tolist() and test.pseudo is None
    plain = npz(save(tmp_path, x=BYTES, y=LABELS, pseudo=~mask)).pseudo
    assert plain is not None and plain.tolist() == (~mask).tolist()


@pytest.mark.parametrize(
    ("arrays", "split", "named"),
    [
        ({"x": BYTES, "y": LABELS}, "train", r"no x_train and y_train, only \['x', 'y'\]"),
        ({"x_test": BYTES, "y_test": LABELS}, None, r"only \['x_test', 'y_test'\]"),
        ({"x": BYTES}, None, "no x and y"),
        ({"x": BYTES, "y": LABELS[:4]}, None, r"\(6,\)"),
        ({"x": BYTES, "y": LABELS / 2}, None, "float64"),
        ({"x": BYTES.astype(np.int64), "y": LABELS}, None, "int64"),
        ({"x": BYTES / 1.0, "y": LABELS}, None, r"in \[0, 1\]"),
        ({"x": BYTES[0], "y": LABELS}, None, r"\(3, 4, 5\)"),
        ({"x": BYTES, "y": np.array([None] * 6)}, None, "plain arrays only"),
        ({"x": BYTES[:0], "y": LABELS[:0]}, None, "cannot be read"),
        ({"x": BYTES, "y": LABELS}, "extra", "'extra'"),
        ({"x": BYTES, "y": LABELS, "pseudo": LABELS}, None, "pseudo must be bool"),
        ({"x": BYTES, "y": LABELS, "pseudo": LABELS[:4] == 0}, None, r"pseudo must be bool of shape \(6,\)"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, arrays: dict[str, Any], split: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        npz(save(tmp_path, **arrays), split)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="data.npz is missing: np.savez"):
        npz(tmp_path / "data.npz", "train")
    path = save(tmp_path, x=BYTES, y=LABELS)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"text", pickle.dumps({"x": 1})):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"data\.npz cannot be read"):
            npz(path)


def test_nothing_pickled_is_ever_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    for path in (save(tmp_path, x=np.array([Trap()]), y=LABELS), tmp_path / "raw.npz"):
        if path.name == "raw.npz":
            path.write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ValueError):
            npz(path)
    assert not (tmp_path / "ran").exists()
