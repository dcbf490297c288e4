"""Random numbers that belong to an example: a pure function of its seed, so that batch mates, shards and resumed runs
cannot change them. Counter based (SplitMix64: Steele, Lea and Flood 2014), in int64 arithmetic that every device does
alike.

SplitMix64's n-th output for a seed s is mix(s + n gamma), with gamma the odd number next to 2^64 over the golden ratio.
Every number here is one of its outputs: `fold` takes the output of a tag as a new seed, `uniform` the outputs 1, 2, ...
as the entries of a tensor. So any of them can be had without those before it, and all of them at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrt import checks
from mrt.protocols import Rng


def _signed(value: int) -> int:
    """The int64 that has this 64-bit pattern: torch has no arithmetic on unsigned 64-bit numbers."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


# SplitMix64's constants: gamma, and the shift and the multiplier of each round of its mix.
_GOLDEN = 0x9E3779B97F4A7C15
CACHED = 32768  # words that a CPU's cache holds, with what is computed from them
_MIX = (30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB))


def _shift(z: Tensor, by: int) -> Tensor:
    """z shifted to the right with zeros coming in; torch's own shift of an int64 brings in copies of the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's mix: a bijection of 64-bit words in which every input bit reaches every output bit."""
    # Products overflow, and wrap around on every device: int64 multiplication is that of 64-bit words.
    for by, factor in _MIX:
        z = (z ^ _shift(z, by)) * factor
    return z ^ _shift(z, 31)


def seeds(rng: Rng, x: Tensor) -> Tensor:
    """int64 (N,), one seed for each example of x, on its device: `rng` itself if it is seeds, else drawn from it."""
    n = x.shape[0]
    if isinstance(rng, Tensor):
        if rng.dtype != torch.int64 or rng.shape != (n,):
            raise ValueError(f"seeds must be int64 of shape ({n},); got {rng.dtype} of shape {tuple(rng.shape)}")
        return rng.to(x.device)
    if rng is not None and not isinstance(rng, torch.Generator):
        raise ValueError(f"rng must be a torch.Generator, int64 seeds ({n},) or None; got {type(rng).__name__}")
    # Drawn where the generator lives, which need not be where x is: one generator gives the same seeds anywhere.
    device = "cpu" if rng is None else rng.device
    return torch.randint(-(2**63), 2**63 - 1, (n,), generator=rng, device=device).to(x.device)


def fold(seed: Tensor, *tags: int) -> Tensor:
    """New seeds of the same shape, one stream for each tag: noise for different purposes is independent. Several tags
    are folded in one after the other."""
    for tag in tags:
        seed = _mix(seed + _signed((tag + 1) * _GOLDEN))  # + 1, so that tag 0 is an output like the others
    return seed


def fold_range(seed: Tensor, first: int, count: int) -> Tensor:
    """int64 (count, N): the rows are fold(seed, first), fold(seed, first + 1), ..., made at once."""
    tags = torch.arange(first + 1, first + 1 + count, device=seed.device)[:, None]
    return _mix(seed + tags * _signed(_GOLDEN))


def seeds_of_index(index: Tensor, *tags: int) -> Tensor:
    """int64 seeds (N,) for the positions `index` of a data set, one stream for each choice of tags, which are by custom
    (seed, epoch, purpose)."""
    for tag in tags:
        checks.count("seed, epoch and purpose", tag, low=0)
    return _mix(fold(torch.zeros(1, dtype=torch.int64, device=index.device), *tags) + index * _signed(_GOLDEN))


def uniform(seed: Tensor, *shape: int) -> Tensor:
    """float32 (N, *shape), uniform on (0, 1): both ends excluded, and exactly 1/2 as well."""
    # The seed is mixed once more first: without it the entries would be the very words that `fold` makes seeds of, and
    # seeds that differ by gamma would have the same entries, one place further on.
    count, mixed = math.prod(shape), _mix(seed)[:, None]
    # A CPU makes few columns at once: a dozen passes over words of a whole batch would all go through memory.
    block = max(count, 1) if seed.is_cuda else max(CACHED // max(len(seed), 1), 1024)
    out = torch.empty(len(seed), count, dtype=torch.float32, device=seed.device)
    for start in range(0, count, block):
        part = out[:, start : start + block]
        counter = torch.arange(start + 1, start + 1 + part.shape[1], device=seed.device) * _signed(_GOLDEN)
        bits = _shift(_mix(mixed + counter), 41)  # 23 bits, so that the half step below is exact
        # Half a step up: 0 would be infinite in `normal`, `laplace` and `simplex`, and so would 1 in the first two.
        part.copy_(bits).add_(0.5).mul_(2.0**-23)
    return out.reshape(-1, *shape)


def normal(seed: Tensor, *shape: int) -> Tensor:
    """float32 (N, *shape), standard normal: a uniform number through the inverse of the distribution function."""
    return torch.erfinv(uniform(seed, *shape) * 2 - 1) * math.sqrt(2)


def laplace(seed: Tensor, *shape: int) -> Tensor:
    """float32 (N, *shape), standard Laplace: a uniform number through the inverse of the distribution function."""
    centred = uniform(seed, *shape) * 2 - 1
    return -centred.sign() * torch.log1p(-centred.abs())


def integers(seed: Tensor, low: int | Tensor, high: int | Tensor) -> Tensor:
    """int64 (N,), one number for each seed, uniform on low..high, both included. Ends may be numbers for each seed."""
    return low + (uniform(seed, 1)[:, 0] * (high - low + 1)).long()


def simplex(seed: Tensor, parts: int) -> Tensor:
    """float32 (N, parts), uniform on the probability simplex: rows that are not negative and sum to 1."""
    # -log u is exponentially distributed, and independent exponentials over their sum are uniform there. This is how
    # Tramer and Boneh's code draws the shares of an affine attack.
    spacing = -torch.log(uniform(seed, parts))
    return spacing / spacing.sum(1, keepdim=True)
