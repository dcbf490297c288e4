"""mrt/data/augment.py: crop_flip against a loop over pixels, and whose the draws are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mrt.data import CropFlip, crop_flip
from mrt.data.augment import Mode


def reflected(position: int, side: int) -> int:
    """Bounce between the borders, one step at a time."""
    if position < 0:
        return reflected(-position, side)
    return reflected(2 * (side - 1) - position, side) if position >= side else position


def twin(x: Tensor, offsets: Tensor, flips: Tensor, pad: int, mode: str) -> Tensor:
    """One pixel after the other."""
    out = torch.zeros_like(x)
    count, _, height, width = x.shape
    for n in range(count):
        for row in range(height):
            for column in range(width):
                a = row + int(offsets[n, 0]) - pad
                b = (width - 1 - column if flips[n] else column) + int(offsets[n, 1]) - pad
                if mode == "reflect":
                    out[n, :, row, column] = x[n, :, reflected(a, height), reflected(b, width)]
                elif 0 <= a < height and 0 <= b < width:
                    out[n, :, row, column] = x[n, :, a, b]
    return out


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_equals_a_loop_over_pixels(data: st.DataObject) -> None:
    count, channels, height, width = (data.draw(st.integers(low, 5)) for low in (0, 1, 2, 2))
    mode: Mode = data.draw(st.sampled_from(["reflect", "zero"]))
    pad = data.draw(st.integers(0, min(height, width) - 1 if mode == "reflect" else 12))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    x = torch.rand(count, channels, height, width, generator=generator)
    offsets = torch.randint(0, 2 * pad + 1, (count, 2), generator=generator)
    flips = torch.rand(count, generator=generator) < 0.5
    expected = twin(x, offsets, flips, pad, mode)
    assert torch.equal(crop_flip(x, offsets, flips, pad=pad, mode=mode), expected)
    in_bytes = (255 * x).to(torch.uint8)
    assert torch.equal(
        crop_flip(in_bytes, offsets, flips, pad=pad, mode=mode), twin(in_bytes, offsets, flips, pad, mode)
    )


def test_the_middle_window_is_the_image() -> None:
    x = torch.rand(3, 2, 8, 8)
    middle = torch.full((3, 2), 4)
    assert torch.equal(crop_flip(x, middle, torch.zeros(3, dtype=torch.bool)), x)
    assert torch.equal(crop_flip(x, middle, torch.ones(3, dtype=torch.bool)), x.flip(3))


@pytest.mark.parametrize(
    ("offsets", "flips", "pad", "mode", "named"),
    [
        (torch.zeros(2, 2).long(), torch.zeros(3).bool(), 1, "zero", r"\(2, 2\)"),
        (torch.zeros(3, 2).long(), torch.zeros(3), 1, "zero", "float32"),
        (torch.full((3, 2), 3), torch.zeros(3).bool(), 1, "zero", r"\[0, 3\), got 3"),
        (torch.full((3, 2), -1), torch.zeros(3).bool(), 1, "zero", "got -1"),
        (torch.zeros(3, 2).long(), torch.zeros(3).bool(), 4, "reflect", "4"),
        (torch.zeros(3, 2).long(), torch.zeros(3).bool(), -1, "zero", "-1"),
        (torch.zeros(3, 2).long(), torch.zeros(3).bool(), 1, "wrap", "'wrap'"),
    ],
)
def test_bad_arguments_are_named(offsets: Tensor, flips: Tensor, pad: int, mode: Mode, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        crop_flip(torch.rand(3, 1, 4, 6), offsets, flips, pad=pad, mode=mode)


@pytest.mark.parametrize("settings", [{"pad": -1}, {"pad": 1.5}, {"mode": "wrap"}])
def test_bad_settings_are_named(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="pad|mode"):
        CropFlip(**settings)  # type: ignore[arg-type]


def test_settings_are_a_value() -> None:
    assert CropFlip() == CropFlip(4, mode="reflect", flip=True) and hash(CropFlip()) == hash(CropFlip(4))
    assert eval(repr(CropFlip(2, mode="zero"))) == CropFlip(2, mode="zero")


@given(st.lists(st.integers(0, 10**6), max_size=8), st.integers(0, 2**63), st.integers(0, 10**4))
@settings(max_examples=50, deadline=None)
def test_draws_belong_to_the_example(index: list[int], seed: int, epoch: int) -> None:
    together = CropFlip().draw(torch.tensor(index, dtype=torch.int64), seed=seed, epoch=epoch)
    for row, one in enumerate(index):
        alone = CropFlip().draw(torch.tensor([one]), seed=seed, epoch=epoch)
        assert torch.equal(together[0][row], alone[0][0]) and together[1][row] == alone[1][0]


def test_draws_are_uniform_and_independent() -> None:
    count, sides = 90_000, 9
    offsets, flips = CropFlip().draw(torch.arange(count), seed=1, epoch=2)
    cells = torch.bincount(offsets[:, 0] * 2 * sides + offsets[:, 1] * 2 + flips, minlength=2 * sides**2)
    expected = count / (2 * sides**2)
    chi_square = float(((cells - expected) ** 2 / expected).sum())
    freedom = 2 * sides**2 - 1
    assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5
    for other in ((1, 3), (2, 2)):  # another epoch, another seed: agreement by chance only
        again, _ = CropFlip().draw(torch.arange(count), seed=other[0], epoch=other[1])
        assert abs(float((again == offsets).all(1).float().mean()) - 1 / sides**2) < 0.003
    shifted = (offsets[1:] == offsets[:-1]).all(1).float().mean()
    assert abs(float(shifted) - 1 / sides**2) < 0.003


def test_every_corner_is_drawn_and_none_outside() -> None:
    for pad in (0, 1, 2):
        offsets, flips = CropFlip(pad, mode="zero", flip=False).draw(torch.arange(2000), seed=0, epoch=0)
        assert set(offsets.flatten().tolist()) == set(range(2 * pad + 1)) and not flips.any()


@pytest.mark.parametrize(("seed", "epoch"), [(-1, 0), (0, -1), (0.5, 0)])
def test_bad_seeds_are_named(seed: int, epoch: int) -> None:
    with pytest.raises(ValueError, match="seed|epoch"):
        CropFlip().draw(torch.arange(3), seed=seed, epoch=epoch)
