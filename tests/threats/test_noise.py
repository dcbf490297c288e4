"""mrt/threats/noise.py: Noise belongs to an example's seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrt.threats import noise

MASK = (1 << 64) - 1
seeds_of = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5)


def splitmix(z: int) -> int:
    """The published finaliser on Python integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@given(seeds=seeds_of, n=st.integers(1, 9))
def test_uniform_is_splitmix(seeds: list[int], n: int) -> None:
    values = noise.uniform(torch.tensor(seeds), n)
    for row, seed in zip(values.tolist(), seeds, strict=True):
        key = splitmix(seed & MASK)
        expected = [((splitmix((key + (j + 1) * 0x9E3779B97F4A7C15) & MASK) >> 41) + 0.5) / 2**23 for j in range(n)]
        assert row == expected


@given(seeds=seeds_of)
def test_an_example_gets_the_same_noise_in_any_batch(seeds: list[int]) -> None:
    together = torch.tensor(seeds)
    for draw in (noise.uniform, noise.normal, noise.laplace):
        for i, seed in enumerate(seeds):
            assert torch.equal(draw(together, 3, 5)[i], draw(torch.tensor([seed]), 3, 5)[0])
    assert torch.equal(noise.fold(together, 1)[0], noise.fold(together[:1], 1)[0])


def test_streams_are_distinct_and_distributions_right() -> None:
    seeds = torch.arange(2000)
    u = noise.uniform(seeds, 100)
    assert u.min() > 0 and u.max() < 1
    torch.testing.assert_close(u.mean(), torch.tensor(0.5), atol=3e-3, rtol=0)
    torch.testing.assert_close(u.var(), torch.tensor(1 / 12), atol=3e-3, rtol=0)
    neighbours = torch.corrcoef(
        torch.stack([u[:-1, 0], u[1:, 0], u[:-1, 1], noise.uniform(noise.fold(seeds, 0), 1)[:-1, 0]])
    )
    assert (neighbours - torch.eye(4)).abs().max() < 0.1
    assert not torch.equal(noise.fold(seeds, 0), noise.fold(seeds, 1))
    assert torch.equal(noise.fold(seeds, 0, 1), noise.fold(noise.fold(seeds, 0), 1))
    z = noise.normal(seeds, 100)
    torch.testing.assert_close(z.var(), torch.tensor(1.0), atol=0.02, rtol=0)
    w = noise.laplace(seeds, 100)
    torch.testing.assert_close(w.abs().mean(), torch.tensor(1.0), atol=0.02, rtol=0)
    torch.testing.assert_close(w.mean(), torch.tensor(0.0), atol=0.02, rtol=0)
    k = noise.integers(seeds, 5, 20)
    assert set(k.tolist()) == set(range(5, 21))
    s = noise.simplex(seeds, 3)
    torch.testing.assert_close(s.sum(1), torch.ones(2000))
    torch.testing.assert_close(s.mean(0), torch.full((3,), 1 / 3), atol=0.02, rtol=0)


def test_seeds_come_from_the_given_source() -> None:
    x = torch.zeros(4, 1)
    given_seeds = torch.tensor([3, 1, 4, 1])
    assert torch.equal(noise.seeds(given_seeds, x), given_seeds)
    first = noise.seeds(torch.Generator().manual_seed(1), x)
    assert torch.equal(noise.seeds(torch.Generator().manual_seed(1), x), first)
    torch.manual_seed(2)
    drawn = noise.seeds(None, x)
    torch.manual_seed(2)
    assert torch.equal(noise.seeds(None, x), drawn) and len(set(drawn.tolist())) == 4
    with pytest.raises(ValueError, match="int64"):
        noise.seeds(given_seeds.float(), x)


def test_many_folds_are_each_ones() -> None:
    seeds = torch.randint(-(2**63), 2**63 - 1, (7,), generator=torch.Generator().manual_seed(1))
    for first in (0, 1, 40):
        together = noise.fold_range(seeds, first, 5)
        assert torch.equal(together, torch.stack([noise.fold(seeds, first + step) for step in range(5)]))
