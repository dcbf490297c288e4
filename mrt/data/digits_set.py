"""scikit-learn's embedded 8x8 digits: real images that need no download."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from mrt.checks import choice
from mrt.data.images import Images

TRAIN = 1300  # of 1797


def digits(split: Literal["train", "test"]) -> Images:
    """1300 training or 497 test images, 1x8x8, float32 v / 16, of the UCI optical digits that come with scikit-learn.

    The split is ours, and fixed: RandomState(0), whose stream numpy has frozen, permutes all 1797, the first 1300
    train. Which writer wrote which digit is not known, so the two sets may share writers.
    """
    choice("split", split, ("train", "test"))
    from sklearn.datasets import load_digits  # here, or every `import mrt` would wait for it

    pixels, labels = load_digits(return_X_y=True)
    shuffled = np.random.RandomState(0).permutation(len(labels))
    chosen = shuffled[:TRAIN] if split == "train" else shuffled[TRAIN:]
    # Pixels are counts 0 to 16, stored in float64; / 16 is exact.
    x = torch.from_numpy(pixels[chosen]).float().div(16).view(-1, 1, 8, 8)
    return Images(x, torch.from_numpy(labels[chosen]).long(), tuple("0123456789"), name=f"digits {split}")
