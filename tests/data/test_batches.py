"""An epoch visits everything once, in an order and with an augmentation that nothing but (seed, epoch) decides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrt.data import Batch, CropFlip, Images, batches, crop_flip, gather, order

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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_sees_the_same_batches() -> None:
    data = example()
    here = list(batches(data, 5, seed=0, epoch=0))
    for there in (batches(data.to("cuda"), 5, seed=0, epoch=0), batches(data, 5, seed=0, epoch=0, device="cuda")):
        for a, b in zip(here, there, strict=True):
            assert b.x.is_cuda and b.y.is_cuda and b.index.is_cuda
            assert torch.equal(a.index, b.index.cpu()) and torch.equal(a.y, b.y.cpu())
            torch.testing.assert_close(a.x, b.x.cpu(), rtol=0, atol=1e-7)
