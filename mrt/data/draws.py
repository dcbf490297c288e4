"""Random numbers that belong to an example: a pure function of (seed, epoch, index), with no generator behind it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mrt import checks

Words = npt.NDArray[np.uint64]

ORDER, CROP = 0, 1  # streams: what is drawn for one purpose says nothing about what is drawn for another


def words(index: Tensor, *, seed: int, epoch: int, stream: int) -> Words:
    """64 random bits for each entry of `index` (int64, on any device; the result is on the host).

    The SplitMix64 sequence (Steele et al. 2014) at position `index`, started at a hash of (seed, epoch, stream): the
    same on every machine, whatever else is in the batch. Numpy's uint64 wraps by definition, which int64 does not.
    """
    checks.count("seed", seed, low=0)
    checks.count("epoch", epoch, low=0)
    start = np.random.SeedSequence((seed, epoch, stream)).generate_state(1, np.uint64)
    z: Words = start + index.cpu().numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return z


def below(count: int, bits: Words) -> npt.NDArray[np.int64]:
    """Integers in [0, count), `count` at most 2^16, from the low 24 of `bits`; biased by less than count / 2^24."""
    scaled: Words = ((bits & np.uint64(0xFFFFFF)) * np.uint64(count)) >> np.uint64(24)
    numbers: npt.NDArray[np.int64] = scaled.astype(np.int64)
    return numbers
