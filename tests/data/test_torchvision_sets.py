"""mrt/data/torchvision_sets.py: The torchvision formats, written by hand and read back; and what is said about
missing and damaged files."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets as tv
from scipy.io import savemat

from mrt.data import cifar10, cifar100, mnist, svhn

rng = np.random.default_rng(0)
Arrays = dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


@pytest.fixture
def mnist_files(tmp_path: Path) -> Arrays:
    """Idx files: a magic number (0, 0, type 8, dimensions), the sizes, the bytes, all big-endian."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    written: Arrays = {}
    for split, part, count in (("train", "train", 7), ("test", "t10k", 3)):
        x, y = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, *x.shape) + x.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, count) + y.tobytes())
        written[split] = x, y
    return written


def test_mnist(tmp_path: Path, mnist_files: Arrays) -> None:
    for split, (x, y) in mnist_files.items():
        data = mnist(tmp_path, split)  # type: ignore[arg-type]
        assert data.x.dtype == torch.uint8 and np.array_equal(data.x[:, 0].numpy(), x)
        assert data.y.tolist() == y.tolist() and data.classes == tuple("0123456789") and data.augment == "none"


def test_mnist_missing_and_damaged(tmp_path: Path, mnist_files: Arrays) -> None:
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    kept = labels.read_bytes()
    labels.write_bytes(kept[:-2])
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte cannot be read.*download=True"):
        mnist(tmp_path, "train")
    labels.write_bytes(struct.pack(">2i", 0x801, 6) + bytes(6))  # a sound file with one label too few
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte cannot be read.*\(6,\)"):
        mnist(tmp_path, "train")
    labels.unlink()
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte is missing.*download=True"):
        mnist(tmp_path, "train")
    with pytest.raises(ValueError, match="'extra'"):
        mnist(tmp_path, "extra")  # type: ignore[arg-type]


def write_cifar(folder: Path, dataset: Any, key: str, names: list[str], patch: pytest.MonkeyPatch) -> Arrays:
    """Pickled batches of `dataset`, whose list of MD5 sums is replaced by theirs."""
    folder.mkdir(parents=True)
    written: Arrays = {}

    def dump(name: str, content: dict[str, Any]) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    for split, files in (("train", dataset.train_list), ("test", dataset.test_list)):
        batches, sums = [], []
        for name, _ in files:
            x = rng.integers(0, 256, (4, 3 * 32 * 32), np.uint8)
            y = rng.integers(0, len(names), 4)
            sums.append([name, dump(name, {"data": x, key: y.tolist()})])
            batches.append((x.reshape(4, 3, 32, 32), y))
        patch.setattr(dataset, f"{split}_list", sums)
        written[split] = np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])
    meta = dict(dataset.meta)
    meta["md5"] = dump(meta["filename"], {meta["key"]: names})
    patch.setattr(dataset, "meta", meta)
    return written


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar(tmp_path: Path, hundred: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, load = (tv.CIFAR100, cifar100) if hundred else (tv.CIFAR10, cifar10)
    names = [f"class {i}" for i in range(100 if hundred else 10)]
    folder = tmp_path / dataset.base_folder
    written = write_cifar(folder, dataset, "fine_labels" if hundred else "labels", names, monkeypatch)
    for split, (x, y) in written.items():
        data = load(tmp_path, split)  # type: ignore[arg-type]
        assert data.x.dtype == torch.uint8 and data.x.is_contiguous() and np.array_equal(data.x.numpy(), x)
        assert data.y.tolist() == y.tolist() and data.classes == tuple(names)
        assert data.augment == ("crop-flip" if split == "train" else "none")
    name = dataset.train_list[-1][0]
    with (folder / name).open("ab") as file:
        file.write(b"0")
    with pytest.raises(ValueError, match=f"{name} is damaged.*download=True"):
        load(tmp_path, "train")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing.*download=True"):
        load(tmp_path, "test")
    with pytest.raises(ValueError, match="'extra'"):
        load(tmp_path, "extra")  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn(tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"{split}_32x32.mat"
    x, y = rng.integers(0, 256, (32, 32, 3, 5), np.uint8), np.array([[10], [1], [2], [9], [10]], np.uint8)
    savemat(path, {"X": x, "y": y})
    sums = {key: list(entry) for key, entry in tv.SVHN.split_list.items()}
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*download=True"):
        svhn(tmp_path, split)  # type: ignore[arg-type]
    sums[split][2] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(tv.SVHN, "split_list", sums)
    data = svhn(tmp_path, split)  # type: ignore[arg-type]
    assert data.y.tolist() == [0, 1, 2, 9, 0] and data.classes == tuple("0123456789") and data.augment == "none"
    assert data.x.shape == (5, 3, 32, 32) and data.x.dtype == torch.uint8
    for n in range(5):
        assert np.array_equal(data.x[n].numpy().transpose(1, 2, 0), x[..., n])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name} is missing.*download=True"):
        svhn(tmp_path, split)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'validation'"):
        svhn(tmp_path, "validation")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "load"), [("MNIST", mnist), ("CIFAR10", cifar10), ("CIFAR100", cifar100)])
def test_downloads_only_when_asked(name: str, load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def refuse(self: object) -> None:
        asked.append(True)
        raise ConnectionError("no network")

    monkeypatch.setattr(getattr(tv, name), "download", refuse)
    with pytest.raises(FileNotFoundError):
        load(tmp_path, "train")
    assert not asked
    with pytest.raises(ConnectionError, match="no network"):
        load(tmp_path, "train", download=True)
    assert asked
