"""Rotations and translations (Engstrom et al. 2019; Tramer and Boneh 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from mrt import checks
from mrt.protocols import Rng
from mrt.threats import noise
from mrt.threats.radii import Radii, in_box


@dataclass(frozen=True, eq=False)
class RotationTranslation(Radii):
    """Rotate about the image's centre by up to `degrees`, then shift by up to `pixels` each way. delta is (N, 3):
    pixels to the right, pixels down, degrees counter-clockwise as displayed. Bilinear, zeros outside, exact for whole
    pixels. `two_stage` resamples twice, once for each motion, as the papers' code does; one resampling blurs less."""

    degrees: float = 30.0
    pixels: float = 3.0
    two_stage: bool = field(default=False, kw_only=True)
    RADII: ClassVar[tuple[str, ...]] = ("degrees", "pixels")

    def __post_init__(self) -> None:
        object.__setattr__(self, "degrees", checks.number("degrees", self.degrees, high=180))
        object.__setattr__(self, "pixels", checks.number("pixels", self.pixels))

    @property
    def name(self) -> str:
        return "rt"

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """A motion drawn uniformly: shift right, shift down and angle, each from its own range."""
        return (noise.uniform(noise.seeds(rng, x), 3) * 2 - 1) * self._limits(x)

    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        self._check(x, delta)
        limits = self._limits(x)
        return torch.minimum(torch.maximum(delta, -limits), limits)

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        self._check(x, delta)
        right, down, angle = delta.double().unbind(1)  # in float64 whole pixels and right angles come out exact
        if self.two_stage:
            turned = transform(x, torch.zeros_like(right), torch.zeros_like(down), angle)
            return transform(turned, right, down, torch.zeros_like(angle))
        return transform(x, right, down, angle)

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        """True where delta is in range and x_adv is x moved by it, up to 1e-5."""
        if delta is None:
            raise ValueError(
                "RotationTranslation.contains needs delta, as search(...) gives it: x_adv does not show it"
            )
        checks.same_shape("x_adv", x_adv, x)
        # 1e-6 is rounding of the limits, 1e-5 that of pixels that were interpolated.
        in_range = (delta.abs() <= self._limits(x) * (1 + 1e-6)).all(1)
        same = ((self.apply(x, delta) - x_adv).abs() <= 1e-5).flatten(1).all(1)
        return in_range & same & in_box(x_adv)

    def grid(self, x: Tensor, counts: tuple[int, int, int]) -> Iterator[Tensor]:
        """Every (N, 3) combination of evenly spaced shifts right, shifts down and angles, `counts` of each, but one of
        what cannot change."""
        reach = (self.pixels, self.pixels, self.degrees)
        axes = [_spaced(count if most else 1, x) for count, most in zip(counts, reach, strict=True)]
        limits = self._limits(x)
        for unit in torch.cartesian_prod(*axes):
            yield limits * unit

    def _limits(self, x: Tensor) -> Tensor:
        """The largest shift right, shift down and angle of each example, (N, 3)."""
        rows = x.new_ones(x.shape[0])
        pixels, degrees = rows * self.pixels, rows * self.degrees
        return torch.stack([pixels, pixels, degrees], 1)

    def _check(self, x: Tensor, delta: Tensor) -> None:
        if x.ndim != 4:
            raise ValueError(f"RotationTranslation moves images (N, C, H, W); got shape {tuple(x.shape)}")
        if delta.shape != (x.shape[0], 3):
            raise ValueError(f"delta must have shape ({x.shape[0]}, 3): right, down, degrees; got {tuple(delta.shape)}")


def _spaced(count: int, x: Tensor) -> Tensor:
    """`count` evenly spaced points from -1 to 1, symmetric to the bit; 0 alone for one."""
    # Whole numbers divided once, not linspace: an odd count then holds exactly 0, the image that is not moved.
    return (2 * torch.arange(count, device=x.device) - (count - 1)).to(x.dtype) / max(count - 1, 1)


def transform(x: Tensor, right: Tensor, down: Tensor, degrees: Tensor) -> Tensor:
    """x turned counter-clockwise and then shifted, per example (float64 (N,)): every output pixel looks back at where
    it came from and takes the bilinear mean of its four neighbours there, zeros beyond the edge. Differentiable in
    x."""
    n, channels, height, width = x.shape
    # (v, u): row and column of every output pixel, (H, W).
    v, u = torch.meshgrid(
        torch.arange(height, device=x.device, dtype=torch.float64),
        torch.arange(width, device=x.device, dtype=torch.float64),
        indexing="ij",
    )
    angle = (degrees * (math.pi / 180)).reshape(-1, 1, 1)
    cos, sin = angle.cos(), angle.sin()
    # The way back: undo the shift, measure from the centre, and turn by -angle. With rows counted downwards, a turn
    # that is counter-clockwise as displayed has the signs below. (a, b), column and row are (N, H, W).
    a = u - right.reshape(-1, 1, 1) - (width - 1) / 2
    b = v - down.reshape(-1, 1, 1) - (height - 1) / 2
    column = a * cos - b * sin + (width - 1) / 2
    row = a * sin + b * cos + (height - 1) / 2
    left, top = column.floor(), row.floor()
    # Written out rather than by grid_sample, whose coordinates are shares of the image: whole shifts would not be
    # exact. All channels of an example, (C, H W), move alike.
    flat = x.flatten(2)
    out = torch.zeros_like(flat)
    for dy in (0, 1):
        for dx in (0, 1):
            r, c = top + dy, left + dx
            weight = (1 - (row - r).abs()) * (1 - (column - c).abs())
            weight = weight * ((r >= 0) & (r < height) & (c >= 0) & (c < width))  # a neighbour outside is black
            # A neighbour outside is read at the border, with weight 0, since `gather` needs an index that exists.
            source = (r.clamp(0, height - 1) * width + c.clamp(0, width - 1)).long().reshape(n, 1, -1)
            out = out + flat.gather(2, source.expand(-1, channels, -1)) * weight.to(x.dtype).reshape(n, 1, -1)
    return out.reshape(x.shape).clamp(0, 1)
