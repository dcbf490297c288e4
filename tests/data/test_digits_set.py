"""mrt/data/digits_set.py: The embedded digits and their split."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from mrt.data import digits


def test_the_two_splits_are_the_whole_set_once() -> None:
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1300, 497)
    assert train.x.shape[1:] == (1, 8, 8) and train.x.dtype == torch.float32 and train.classes == tuple("0123456789")
    pixels, labels = load_digits(return_X_y=True)
    stored = sorted((*row.tolist(), float(label)) for row, label in zip(pixels, labels, strict=True))
    ours = [
        (*(16 * x).flatten().tolist(), float(y)) for part in (train, test) for x, y in zip(part.x, part.y, strict=True)
    ]
    assert sorted(ours) == stored


def test_the_split_is_fixed_and_fair() -> None:
    assert torch.equal(digits("train").x, digits("train").x)
    assert digits("train").y[:10].tolist() == [2, 8, 2, 6, 6, 7, 1, 9, 8, 5]
    for split in ("train", "test"):
        data = digits(split)
        assert (data.y.bincount() / len(data)).sub(0.1).abs().max() < 0.03
        assert data.augment == "none"


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(ValueError, match="'validation'"):
        digits("validation")  # type: ignore[arg-type]
