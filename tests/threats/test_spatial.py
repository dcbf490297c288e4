"""mrt/threats/spatial.py, affine.py: Rotations and translations, and what shares a budget with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import mrt
from tests.support import images

WIDE = mrt.RotationTranslation(180, 50)


def naive(x: Tensor, right: float, down: float, degrees: float) -> Tensor:
    """One image, pixel by pixel, in float64."""
    channels, height, width = x.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    out = torch.zeros(x.shape, dtype=torch.float64)
    for v in range(height):
        for u in range(width):
            a, b = u - right - (width - 1) / 2, v - down - (height - 1) / 2
            c, r = a * cos - b * sin + (width - 1) / 2, a * sin + b * cos + (height - 1) / 2
            for i in (math.floor(r), math.floor(r) + 1):
                for j in (math.floor(c), math.floor(c) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        out[:, v, u] += x[:, i, j].double() * (1 - abs(r - i)) * (1 - abs(c - j))
    return out


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 12)], ids=str)
def test_transform_is_the_naive_one(shape: tuple[int, ...]) -> None:
    x = images(shape, 5, 0)
    delta = torch.tensor([[0.0, 0, 0], [1.5, -0.7, 0], [0, 0, 33], [-2.2, 1.1, -75], [0.3, 3, 170]])
    moved = WIDE.apply(x, delta)
    for i, (right, down, degrees) in enumerate(delta.tolist()):
        torch.testing.assert_close(moved[i].double(), naive(x[i], right, down, degrees), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20), (1, 28, 56)], ids=str)
def test_whole_pixels_and_quarter_turns_are_exact(shape: tuple[int, ...]) -> None:
    """Foolbox's "3 pixels" are 2.89 on a square image and 5.89 on one of 28 by 56."""
    x = images(shape, 1, 1)
    shifted = WIDE.apply(x, torch.tensor([[3.0, -2.0, 0.0]]))
    assert torch.equal(shifted[..., :-2, 3:], x[..., 2:, :-3])
    assert not shifted[..., :, :3].any() and not shifted[..., -2:, :].any()
    assert torch.equal(WIDE.apply(x, torch.zeros(1, 3)), x)
    if shape[1] == shape[2]:
        for turns in (1, 2, -1):
            turned = WIDE.apply(x, torch.tensor([[0.0, 0.0, 90.0 * turns]]))
            torch.testing.assert_close(turned, torch.rot90(x, turns, (2, 3)), atol=1e-6, rtol=0)


def test_two_stages_resample_twice() -> None:
    x = images((1, 8, 8), 3, 2)
    threat = mrt.RotationTranslation(two_stage=True)
    delta = torch.tensor([[1.5, 0.5, 20.0], [0.0, 0.0, 20.0], [1.5, 0.5, 0.0]])
    still = torch.zeros(3, 1)
    turned = WIDE.apply(x, torch.cat([still, still, delta[:, 2:]], 1))
    torch.testing.assert_close(threat.apply(x, delta), WIDE.apply(turned, torch.cat([delta[:, :2], still], 1)))
    one = mrt.RotationTranslation().apply(x, delta)
    assert not torch.allclose(threat.apply(x, delta)[0], one[0], atol=1e-3)
    torch.testing.assert_close(threat.apply(x, delta)[1:], one[1:])


def test_the_papers_grid_has_775_candidates() -> None:
    x = images((1, 8, 8), 2, 0)
    grid = torch.stack(list(mrt.RotationTranslation(30, 3).grid(x, (5, 5, 31))))
    assert grid.shape == (775, 2, 3) and len({tuple(row) for row in grid[:, 0].tolist()}) == 775
    assert set(grid[:, 0, 0].tolist()) == {-3.0, -1.5, 0.0, 1.5, 3.0}
    torch.testing.assert_close(grid[:, 0, 2].unique(), torch.arange(-30.0, 31.0, 2))
    assert (grid == 0).all(2).any(0).all()  # the identity is among them
    # What cannot change is tried once.
    assert len(list(mrt.RotationTranslation(30, 0).grid(x, (5, 5, 31)))) == 31
    assert len(list(mrt.RotationTranslation(0, 3).grid(x, (5, 5, 31)))) == 25
    one = list(mrt.RotationTranslation(30, 3).grid(x, (1, 1, 1)))
    assert len(one) == 1 and not one[0].any()


def test_contains_needs_the_right_motion_in_range() -> None:
    x, threat = images((1, 8, 8), 3, 3), mrt.RotationTranslation(30, 3)
    delta = torch.tensor([[3.0, -3.0, 30.0], [3.01, 0.0, 0.0], [0.0, 0.0, 31.0]])
    assert threat.contains(x, WIDE.apply(x, delta), delta).tolist() == [True, False, False]
    assert not threat.contains(x, (x * 0.9), torch.zeros(3, 3)).any()


def test_an_affine_delta_is_judged_part_by_part() -> None:
    x = torch.full((1, 1, 2, 2), 0.5)
    threat = mrt.Affine((mrt.Linf(0.2), mrt.L1(0.4)))
    linf, l1 = torch.full((1, 1, 2, 2), 0.1), torch.tensor([0.2, 0, 0, 0]).view(1, 1, 2, 2)

    def packed(w: list[float], a: Tensor, b: Tensor) -> Tensor:
        return threat.pack(torch.tensor([w]), [a, b])

    for delta, ok in (
        (packed([0.5, 0.5], linf, l1), True),
        (packed([0.4, 0.6], linf, l1), False),  # 0.1 > 0.4 of 0.2
        (packed([0.6, 0.4], linf, l1), False),  # 0.2 > 0.4 of 0.4
        (packed([0.7, 0.7], linf, l1), False),  # more than the whole budget
        (packed([1.2, -0.2], linf, 0 * l1), False),
    ):
        assert bool(threat.contains(x, threat.apply(x, delta), delta)) is ok
    assert not threat.contains(x, x, packed([0.5, 0.5], linf, l1)).any()


def test_an_affine_motion_comes_after_the_pixels() -> None:
    x, rt = images((1, 8, 8), 2, 4), mrt.RotationTranslation()
    threat = mrt.Affine((rt, mrt.Linf(0.2)))
    motion, change = torch.tensor([[1.0, 2.0, 10.0]] * 2), torch.rand(2, 1, 8, 8) * 0.2 - 0.1
    delta = threat.pack(torch.full((2, 2), 0.5), [motion, change])
    torch.testing.assert_close(threat.apply(x, delta), rt.apply((x + change).clamp(0, 1), motion))
