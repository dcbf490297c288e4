"""Random numbers that belong to an example: a pure function of its seed, so that batch mates, shards and resumed runs
cannot change them. Counter based (SplitMix64: Steele, Lea and Flood 2014), in int64 arithmetic that every device does
alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrt import checks
from mrt.protocols import Rng


def _signed(value: int) -> int:
    """A 64-bit pattern as the int64 that holds it."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB))


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift; torch's own is arithmetic."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _mix(z: Tensor) -> Tensor:
    """A bijection of 64-bit words in which every input bit reaches every output bit."""
    for by, factor in _MIX:
        z = (z ^ _shift(z, by)) * factor
    return z ^ _shift(z, 31)


def seeds(rng: Rng, x: Tensor) -> Tensor:
    """int64 (N,), one seed per example of x, on its device."""
    n = x.shape[0]
    if isinstance(rng, Tensor):
        if rng.dtype != torch.int64 or rng.shape != (n,):
            raise ValueError(f"seeds must be int64 of shape ({n},); got {rng.dtype} of shape {tuple(rng.shape)}")
        return rng.to(x.device)
    if rng is not None and not isinstance(rng, torch.Generator):
        raise ValueError(f"rng must be a torch.Generator, int64 seeds ({n},) or None; got {type(rng).__name__}")
    device = "cpu" if rng is None else rng.device
    return torch.randint(-(2**63), 2**63 - 1, (n,), generator=rng, device=device).to(x.device)


def fold(seed: Tensor, *tags: int) -> Tensor:
    """New seeds, one stream per tag: noise for different purposes is independent."""
    for tag in tags:
        seed = _mix(seed + _signed((tag + 1) * _GOLDEN))
    return seed


def fold_range(seed: Tensor, first: int, count: int) -> Tensor:
    """(count, N): fold(seed, first), fold(seed, first + 1), ... at once."""
    tags = torch.arange(first + 1, first + 1 + count, device=seed.device)[:, None]
    return _mix(seed + tags * _signed(_GOLDEN))


def seeds_of_index(index: Tensor, *tags: int) -> Tensor:
    """int64 seeds for the positions `index` of a data set, one stream per tags: (seed, epoch, purpose)."""
    for tag in tags:
        checks.count("seed, epoch and purpose", tag, low=0)
    return _mix(fold(torch.zeros(1, dtype=torch.int64, device=index.device), *tags) + index * _signed(_GOLDEN))


def uniform(seed: Tensor, *shape: int) -> Tensor:
    """float32 (N, *shape), uniform on (0, 1): both ends excluded."""
    counter = torch.arange(1, math.prod(shape) + 1, device=seed.device) * _signed(_GOLDEN)
    bits = _shift(_mix(_mix(seed)[:, None] + counter), 41)  # 23 bits, so that the half step below is exact
    return ((bits.float() + 0.5) * 2.0**-23).reshape(-1, *shape)


def normal(seed: Tensor, *shape: int) -> Tensor:
    """float32 (N, *shape), standard normal."""
    return torch.erfinv(uniform(seed, *shape) * 2 - 1) * math.sqrt(2)


def laplace(seed: Tensor, *shape: int) -> Tensor:
    """float32 (N, *shape), standard Laplace."""
    centred = uniform(seed, *shape) * 2 - 1
    return -centred.sign() * torch.log1p(-centred.abs())


def integers(seed: Tensor, low: int, high: int) -> Tensor:
    """int64 (N,), uniform on low..high, both included."""
    return low + (uniform(seed, 1)[:, 0] * (high - low + 1)).long()


def simplex(seed: Tensor, parts: int) -> Tensor:
    """float32 (N, parts), uniform on the probability simplex."""
    spacing = -torch.log(uniform(seed, parts))
    return spacing / spacing.sum(1, keepdim=True)
