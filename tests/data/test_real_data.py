"""mrt/data/torchvision_sets.py, class_folders.py, archives.py: The real sets, where the environment variable
MRT_DATA names a folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrt.data import folder, mnist, npz

ROOT = Path(os.environ.get("MRT_DATA", ""))


def there(*parts: str) -> Path:
    path = ROOT.joinpath(*parts)
    if not os.environ.get("MRT_DATA") or not path.exists():
        pytest.skip(f"MRT_DATA does not name a folder with {'/'.join(parts)}")
    return path


def test_mnist() -> None:
    there("MNIST", "raw")
    train, test = mnist(ROOT, "train"), mnist(ROOT, "test")
    assert train.x.shape == (60_000, 1, 28, 28) and test.x.shape == (10_000, 1, 28, 28)
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9] and test.y[:5].tolist() == [7, 2, 1, 0, 4]


def test_class_folders() -> None:
    data = folder(there("cifar10-jpeg", "test"))
    assert data.x.shape == (10_000, 3, 32, 32) and data.classes[:2] == ("airplane", "automobile")
    assert data.y.bincount().tolist() == 10 * [1000]
    assert (data.take(1000).y.bincount() - 100).abs().max() < 40  # folders sort by class; the loader does not


def test_npz() -> None:
    data = npz(there("cifar10-jpeg.npz"), "test")
    assert data.x.shape == (10_000, 3, 32, 32) and data.y.bincount().tolist() == 10 * [1000]
