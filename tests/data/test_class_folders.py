"""mrt/data/class_folders.py: Class folders and Tiny-ImageNet's validation layout, written by hand and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrt.data import folder

SIDE = 5


def write(path: Path, tone: int, side: int = SIDE, mode: str = "RGB") -> None:
    """An image of one colour, (tone, tone + 1, tone + 2); PNG, so that it comes back as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((side, side, 3), np.uint8) + np.array([tone, tone + 1, tone + 2], np.uint8)
    image = Image.fromarray(pixels)
    image.convert(mode).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """cat: 10..17, dog: 50..53, one level deeper as in Tiny-ImageNet's train, and files that are not images."""
    for i in range(8):
        write(tmp_path / "cat" / f"{i}.png", 10 + i)
    for i in range(4):
        write(tmp_path / "dog" / "images" / f"{i}.PNG", 50 + i)
    (tmp_path / "dog" / "boxes.txt").write_text("0 0 1 1")
    (tmp_path / "readme.txt").write_text("not a class")
    return tmp_path


def test_class_folders(root: Path) -> None:
    data = folder(root, augment="crop-flip")
    assert data.classes == ("cat", "dog") and data.x.shape == (12, 3, SIDE, SIDE) and data.augment == "crop-flip"
    tones = data.x[:, 0, 0, 0]
    assert sorted(tones.tolist()) == [*range(10, 18), *range(50, 54)]
    for image, label, tone in zip(data.x, data.y, tones, strict=True):
        assert int(label) == (1 if tone >= 50 else 0)
        assert all((image[channel] == tone + channel).all() for channel in range(3))


def test_the_order_is_fixed_and_mixed(root: Path) -> None:
    data, again = folder(root), folder(root)
    assert (data.x == again.x).all() and (data.y == again.y).all()
    assert data.y.tolist() != sorted(data.y.tolist())


def test_gray(root: Path) -> None:
    gray = folder(root, gray=True)
    assert gray.x.shape == (12, 1, SIDE, SIDE)
    assert (gray.x[:, 0] == folder(root).x[:, 1]).all()  # (t, t + 1, t + 2) has the brightness t + 1


def test_palette_and_gray_files_become_rgb(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0.png", 30, mode="L")
    write(tmp_path / "b" / "0.png", 40, mode="P")
    assert folder(tmp_path).x.shape == (2, 3, SIDE, SIDE)


def test_classes_can_be_given(root: Path) -> None:
    data = folder(root, classes=("ant", "dog", "cat"))
    assert data.classes == ("ant", "dog", "cat")
    assert all(int(y) == (1 if x[0, 0, 0] >= 50 else 2) for x, y in zip(data.x, data.y, strict=True))
    with pytest.raises(ValueError, match="not in `classes`: dog"):
        folder(root, classes=("cat",))


@pytest.fixture
def val(tmp_path: Path) -> Path:
    lines = []
    for i in range(6):
        write(tmp_path / "images" / f"val_{i}.png", 100 + i)
        lines.append(f"val_{i}.png\tn0{i % 2}\t0\t0\t62\t62")
    (tmp_path / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_tiny_imagenet_validation(val: Path) -> None:
    data = folder(val)
    assert data.classes == ("n00", "n01") and len(data) == 6
    assert all(int(y) == int(x[0, 0, 0]) % 2 for x, y in zip(data.x, data.y, strict=True))


def test_tiny_imagenet_damage_is_named(val: Path) -> None:
    (val / "images" / "val_3.png").unlink()
    with pytest.raises(FileNotFoundError, match="val_3.png is missing: line 4"):
        folder(val)
    (val / "val_annotations.txt").write_text("val_0.png n00\n")
    with pytest.raises(ValueError, match="line 1: expected"):
        folder(val)
    (val / "val_annotations.txt").write_text("")
    with pytest.raises(ValueError, match="val_annotations.txt is empty"):
        folder(val)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no class folders"):
        folder(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="cat has no images"):
        folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_a_damaged_image_is_named(root: Path, content: bytes | None) -> None:
    path = root / "cat" / "3.png"
    path.write_bytes(path.read_bytes()[:50] if content is None else content)
    with pytest.raises(ValueError, match=r"3\.png cannot be read.*replace or remove"):
        folder(root)


def test_an_image_of_another_size_is_named(root: Path) -> None:
    write(root / "dog" / "big.png", 5, side=7)
    with pytest.raises(ValueError, match=r"\(7, 7\).*resize"):
        folder(root)
