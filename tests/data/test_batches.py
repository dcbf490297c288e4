"""mrt/data/batches.py: An epoch visits everything once, in an order and with an augmentation that nothing but (seed,
epoch) decides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrt.data import Batch, CropFlip, Images, balanced_order, batches, crop_flip, gather, order

COUNT = 23


def example(augment: str = "crop-flip") -> Images:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (COUNT, 2, 6, 7), dtype=torch.uint8, generator=generator)
    return Images(x, torch.arange(COUNT) % 5, tuple("abcde"), augment=augment)  # type: ignore[arg-type]


def by_index(walk: list[Batch]) -> dict[int, tuple[torch.Tensor, torch.Tensor, int]]:
    return {
        int(i): (x, x_raw, int(y))
        for batch in walk
        for i, x, x_raw, y in zip(batch.index, batch.x, batch.x_raw, batch.y, strict=True)
    }


@given(st.integers(1, 30), st.booleans(), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_an_epoch_is_a_permutation(batch_size: int, shuffle: bool, seed: int, epoch: int) -> None:
    data = example()
    walk = list(batches(data, batch_size, seed=seed, epoch=epoch, shuffle=shuffle))
    sizes = [len(batch.index) for batch in walk]
    assert all(size == batch_size for size in sizes[:-1]) and 0 < sizes[-1] <= batch_size
    visited = torch.cat([batch.index for batch in walk])
    assert torch.equal(visited, order(COUNT, seed=seed, epoch=epoch, shuffle=shuffle))
    assert visited.sort().values.tolist() == list(range(COUNT))
    assert shuffle or visited.tolist() == list(range(COUNT))
    for i, (_, x_raw, y) in by_index(walk).items():
        assert y == data.y[i] and torch.equal(x_raw, data.float(torch.tensor([i]))[0])


def test_augmentation_does_not_depend_on_batch_size_shards_or_order() -> None:
    data = example()
    whole = by_index(list(batches(data, COUNT, seed=3, epoch=4)))
    small = by_index(list(batches(data, 4, seed=3, epoch=4)))
    unshuffled = by_index(list(batches(data, 5, seed=3, epoch=4, shuffle=False)))
    visits = order(COUNT, seed=3, epoch=4)
    sharded = by_index([gather(data, visits[rank::3], seed=3, epoch=4) for rank in range(3)])
    for i, (x, _, _) in whole.items():
        assert all(torch.equal(x, other[i][0]) for other in (small, unshuffled, sharded))


def test_augmentation_is_crop_flip_at_the_drawn_offsets() -> None:
    data, crop = example(), CropFlip(2, mode="zero")
    for batch in batches(data, 6, seed=0, epoch=1, crop=crop):
        offsets, flips = crop.draw(batch.index, seed=0, epoch=1)
        assert torch.equal(batch.x, crop_flip(batch.x_raw, offsets, flips, pad=2, mode="zero"))
    (whole,) = batches(data, COUNT, seed=0, epoch=1)
    offsets, flips = CropFlip(4, mode="reflect").draw(whole.index, seed=0, epoch=1)
    assert torch.equal(whole.x, crop_flip(whole.x_raw, offsets, flips, pad=4, mode="reflect"))
    assert not torch.equal(whole.x, whole.x_raw)


def test_without_augmentation_the_image_is_the_raw_one() -> None:
    assert all(batch.x is batch.x_raw for batch in batches(example("none"), 5, seed=0, epoch=0))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    orders = {(seed, epoch): order(1000, seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)}
    for key, visits in orders.items():
        assert torch.equal(visits, order(1000, seed=key[0], epoch=key[1]))
        matches = [(other, float((visits == orders[other]).float().mean())) for other in orders if other != key]
        assert all(share < 0.02 for _, share in matches), (key, matches)
    assert not torch.equal(orders[0, 1], orders[1, 0])


def test_first_visited_is_uniform() -> None:
    first = torch.tensor([int(order(10, seed=seed, epoch=0)[0]) for seed in range(3000)])
    assert ((torch.bincount(first, minlength=10) - 300).abs() < 5 * 270**0.5).all()


def test_early_examples_are_cropped_like_late_ones() -> None:
    visits = order(20_000, seed=0, epoch=0)
    for part in visits.chunk(10):
        offsets, flips = CropFlip().draw(part, seed=0, epoch=0)
        assert (offsets.float().mean(0) - 4).abs().max() < 5 * (60 / 9 / 2000) ** 0.5
        assert abs(float(flips.float().mean()) - 0.5) < 5 * (0.25 / 2000) ** 0.5


def test_global_generators_are_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = [batch.x for batch in batches(example(), 5, seed=0, epoch=0)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two = [batch.x for batch in batches(example(), 5, seed=0, epoch=0)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_an_empty_set_has_no_batches() -> None:
    assert list(batches(example().take(0), 4, seed=0, epoch=0)) == []


def test_a_bad_batch_size_is_named_at_the_call() -> None:
    with pytest.raises(ValueError, match="batch_size.*0"):
        batches(example(), 0, seed=0, epoch=0)


def test_the_device_is_where_the_batch_goes() -> None:
    (batch,) = batches(example(), COUNT, seed=0, epoch=0, device="cpu")
    assert {t.device for t in (batch.x, batch.x_raw, batch.y, batch.index)} == {torch.device("cpu")}


def marked(true: int, pseudo: int) -> torch.Tensor:
    """A mask of so many examples of each kind, mixed."""
    mask = torch.arange(true + pseudo) < pseudo
    return mask[torch.randperm(len(mask), generator=torch.Generator().manual_seed(true))]


@given(st.data(), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_batch_is_balanced(data: st.DataObject, true: int, pseudo: int, seed: int, epoch: int) -> None:
    """Whatever the proportions: far more of a kind than an epoch needs, or fewer than a single batch does."""
    mask = marked(true, pseudo)
    batch_size = data.draw(st.integers(2, true + pseudo))
    share = data.draw(st.integers(1, batch_size - 1)) / batch_size
    visits = balanced_order(mask, batch_size, share, seed=seed, epoch=epoch)
    assert visits.dtype == torch.int64 and visits.shape == (len(mask) // batch_size * batch_size,)
    assert ((~mask)[visits].view(-1, batch_size).sum(1) == round(share * batch_size)).all()


@pytest.mark.parametrize(("true", "pseudo", "share"), [(5, 60, 0.5), (60, 5, 0.5), (3, 62, 0.75), (30, 35, 0.2)])
def test_no_example_is_visited_twice_more_than_another_of_its_kind(true: int, pseudo: int, share: float) -> None:
    mask, seen = marked(true, pseudo), torch.zeros(65, dtype=torch.int64)
    for epoch in range(7):
        seen += torch.bincount(balanced_order(mask, 8, share, seed=1, epoch=epoch), minlength=65)
        for kind in (mask, ~mask):
            assert seen[kind].max() - seen[kind].min() <= 1
    assert seen[mask].sum() == 7 * 8 * (8 - round(8 * share))


def test_both_kinds_come_in_an_order_of_their_own_each_time() -> None:
    """Walks of four batches: which examples meet in a batch is new in each walk, and of one kind does not tell the
    other."""
    mask = torch.arange(64) >= 32
    batches_of = [balanced_order(mask, 16, 0.5, seed=0, epoch=epoch).view(4, 16) for epoch in range(6)]
    for kind in (mask, ~mask):
        walks = [[frozenset(row[kind[row]].tolist()) for row in rows] for rows in batches_of]
        assert all(len(frozenset.union(*walk)) == 32 for walk in walks)
        assert len({group for walk in walks for group in walk}) == 24
    twins = [sorted((row[mask[row]] - 32).tolist()) == sorted(row[~mask[row]].tolist()) for row in batches_of[0]]
    assert not any(twins)


def test_a_balanced_order_is_a_function_of_seed_and_epoch() -> None:
    mask = marked(300, 700)
    state = torch.get_rng_state()
    orders = {
        (seed, epoch): balanced_order(mask, 10, 0.5, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)
    }
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    for (seed, epoch), visits in orders.items():
        assert torch.equal(visits, balanced_order(mask, 10, 0.5, seed=seed, epoch=epoch))
        same = [float((visits == other).float().mean()) for key, other in orders.items() if key != (seed, epoch)]
        assert max(same) < 0.02


def test_kinds_stand_anywhere_in_a_batch() -> None:
    """So that processes, which take every second or third of a batch, get their share of both in expectation."""
    mask = marked(4000, 12_000)
    rows = (~mask)[balanced_order(mask, 8, 0.25, seed=0, epoch=0)].view(-1, 8).float()
    assert ((rows.mean(0) - 0.25).abs() < 5 * (0.25 * 0.75 / 2000) ** 0.5).all()
    together = (rows[:, :1] * rows[:, 1:]).mean(0)  # 2 of 8 places: one in 28 pairs
    assert ((together - 1 / 28).abs() < 5 * (1 / 28 / 2000) ** 0.5).all()


@pytest.mark.parametrize(
    ("mask", "batch_size", "share", "named"),
    [
        (None, 8, 0.5, "data with a pseudo mask.*got None"),
        (torch.zeros(20), 8, 0.5, "float32"),
        (torch.zeros(20, dtype=torch.bool), 8, 0.5, "both kinds; got 0 pseudo-labelled ones of 20"),
        (torch.ones(20, dtype=torch.bool), 8, 0.5, "both kinds; got 20 pseudo-labelled ones of 20"),
        (torch.arange(20) < 5, 8, 0.0, "labelled must be .* above 0"),
        (torch.arange(20) < 5, 8, 1, "labelled must be .* excluded; got 1"),
        (torch.arange(20) < 5, 8, 1.5, "labelled must be .* at most 1; got 1.5"),
        (torch.arange(20) < 5, 8, "half", "labelled must be .* got 'half'"),
        (torch.arange(20) < 5, 8, 0.05, "is 0 truly labelled and 8"),
        (torch.arange(20) < 5, 8, 0.95, "is 8 truly labelled and 0"),
        (torch.arange(20) < 5, 0, 0.5, "batch_size"),
    ],
)
def test_batches_that_cannot_be_balanced_are_named(mask: Any, batch_size: int, share: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        balanced_order(mask, batch_size, share, seed=0, epoch=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_sees_the_same_batches() -> None:
    data = example()
    here = list(batches(data, 5, seed=0, epoch=0))
    for there in (batches(data.to("cuda"), 5, seed=0, epoch=0), batches(data, 5, seed=0, epoch=0, device="cuda")):
        for a, b in zip(here, there, strict=True):
            assert b.x.is_cuda and b.y.is_cuda and b.index.is_cuda
            assert torch.equal(a.index, b.index.cpu()) and torch.equal(a.y, b.y.cpu())
            torch.testing.assert_close(a.x, b.x.cpu(), rtol=0, atol=1e-7)
