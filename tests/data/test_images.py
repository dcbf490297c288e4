"""mrt/data/images.py, checks.py: Images: what it accepts, and that moving and taking keep every example whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import Tensor

from mrt.data import Images, as_images
from mrt.data.images import DEVICE_SHARE, fits

NAMES = ("a", "b", "c")


def example(count: int = 6) -> Images:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 2, 3, 4), dtype=torch.uint8, generator=generator)
    return Images(x, torch.arange(count) % 3, NAMES, pseudo=torch.arange(count) % 2 == 0)


def test_floats_are_bytes_over_255() -> None:
    data = example()
    index = torch.tensor([4, 0, 4])
    out = data.float(index)
    assert out.dtype == torch.float32
    for row, source in enumerate(index.tolist()):
        for value, byte in zip(out[row].flatten().tolist(), data.x[source].flatten().tolist(), strict=True):
            assert value == pytest.approx(byte / 255, abs=1e-7)
    halves = replace(data, x=torch.full((6, 2, 3, 4), 0.5))
    assert torch.equal(halves.float(index), torch.full((3, 2, 3, 4), 0.5))


def test_float_returns_a_copy() -> None:
    data = replace(example(), x=torch.full((6, 2, 3, 4), 0.5))
    data.float(torch.arange(6)).zero_()
    assert (data.x == 0.5).all()


def same(taken: Images, data: Images, index: list[int]) -> None:
    assert taken.classes == data.classes and taken.augment == data.augment and len(taken) == len(index)
    assert taken.pseudo is not None and data.pseudo is not None
    for row, source in enumerate(index):
        assert torch.equal(taken.x[row], data.x[source])
        assert taken.y[row] == data.y[source] and taken.pseudo[row] == data.pseudo[source]


def test_take() -> None:
    data = replace(example(), augment="crop-flip")
    same(data.take(4), data, [0, 1, 2, 3])
    same(data.take(0), data, [])
    same(data.take(torch.tensor([5, 0, 5])), data, [5, 0, 5])
    same(data.take(torch.tensor([], dtype=torch.int64)), data, [])
    assert replace(data, pseudo=None).take(torch.tensor([1])).pseudo is None
    assert replace(data, pseudo=None).take(1).pseudo is None


@pytest.mark.parametrize(
    ("which", "named"),
    [
        (7, "7 of 6"),
        (-1, "-1 of 6"),
        (torch.tensor([0, 6]), r"\[0, 6\), got 0 to 6"),
        (torch.tensor([-1]), r"got -1 to -1"),
        (torch.tensor([0.0]), "float32"),
        (torch.tensor([[0]]), r"\(1, 1\)"),
    ],
)
def test_take_outside_is_named(which: int | Tensor, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        example().take(which)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"x": torch.zeros(6, 2, 3, 4, dtype=torch.float64)}, "float64"),
        ({"x": torch.zeros(6, 2, 3, dtype=torch.uint8)}, r"\(6, 2, 3\)"),
        ({"x": torch.zeros(6, 2, 0, 4)}, r"\(6, 2, 0, 4\)"),
        ({"x": torch.full((6, 1, 2, 2), 1.5)}, "1.5"),
        ({"x": torch.full((6, 1, 2, 2), -0.5)}, "-0.5"),
        ({"x": torch.zeros(6, 1, 2, 2).index_fill(0, torch.tensor([3]), float("nan"))}, "nan"),
        ({"x": torch.zeros(5, 1, 2, 2)}, r"\(5,\)"),
        ({"y": torch.zeros(6, dtype=torch.int32)}, "int32"),
        ({"y": torch.zeros(6, 1, dtype=torch.int64)}, r"\(6, 1\)"),
        ({"y": torch.full((6,), 3)}, r"\[0, 3\), got 3"),
        ({"y": torch.full((6,), -1)}, r"\[0, 3\), got -1"),
        ({"classes": ()}, "classes"),
        ({"classes": ["a", "b", "c"]}, "classes"),
        ({"augment": "flip"}, "'flip'"),
        ({"pseudo": torch.zeros(6)}, "float32"),
        ({"pseudo": torch.zeros(5, dtype=torch.bool)}, r"\(5,\)"),
    ],
)
def test_bad_fields_are_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(example(), **change)  # type: ignore[arg-type]


def test_frozen_and_compared_by_identity() -> None:
    data = example()
    with pytest.raises(FrozenInstanceError):
        data.augment = "crop-flip"  # type: ignore[misc]
    assert data == data and data != example()


def test_pairs_become_images() -> None:
    data = example()
    assert as_images(data) is data
    pair = as_images((data.x, data.y))
    assert pair.x is data.x and pair.y is data.y and pair.classes == ("0", "1", "2") and pair.augment == "none"
    assert len(as_images((data.x[:0], data.y[:0]))) == 0


def test_what_fits_on_a_device() -> None:
    free = 1000
    most = int(DEVICE_SHARE * free)
    assert fits(most, free) and not fits(most + 1, free) and fits(10**18, None)


def test_to_the_device_it_is_on_copies_nothing() -> None:
    data = example()
    moved = data.to("cpu")
    assert moved.x is data.x and moved.y.data_ptr() == data.y.data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("share", [DEVICE_SHARE, 0.0])
def test_on_a_cuda_device_or_beside_it(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrt.data.images.DEVICE_SHARE", share)
    data = example()
    moved = data.to("cuda")
    assert moved.x.device.type == ("cuda" if share else "cpu") and moved.x.dtype == torch.uint8
    assert moved.y.is_cuda and moved.pseudo is not None and moved.pseudo.is_cuda
    for index in (torch.tensor([4, 0, 4]), torch.tensor([4, 0, 4]).cuda()):
        assert moved.float(index).is_cuda and torch.equal(moved.float(index).cpu(), data.float(index.cpu()))
        same(moved.take(index).to("cpu"), data, [4, 0, 4])
    same(moved.take(2).to("cpu"), data, [0, 1])
    assert moved.to("cuda:0").x is moved.x or not share


def test_import_loads_neither_torchvision_nor_scikit_learn() -> None:
    heavy = "torchvision", "sklearn", "scipy", "PIL"
    code = f"import sys, mrt.data, mrt.models; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
