"""Random crop and flip, for a whole batch at once."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mrt.checks import choice, count
from mrt.data.checks import require_below
from mrt.threats import noise

Mode = Literal["reflect", "zero"]

ORDER, CROP = 0, 1  # what a draw is for


def crop_flip(x: Tensor, offsets: Tensor, flips: Tensor, *, pad: int = 4, mode: Mode = "reflect") -> Tensor:
    """`x` (N, C, H, W), padded by `pad` on every side, cut back to (H, W) at `offsets`, then mirrored where `flips`.

    `offsets`, int64 (N, 2), is the window's top left corner in the padded image, row and column in [0, 2 pad]; `flips`,
    bool (N,), is left to right. `mode`: what lies outside, the image reflected at its border pixels (which are not
    repeated) or zeros. No loop over images; any dtype. Offsets on a GPU are checked there, which waits for it.
    """
    height, width = x.shape[-2:]
    _require_padding(pad, mode, height, width)
    if offsets.shape != (len(x), 2) or flips.shape != (len(x),) or flips.dtype != torch.bool:
        got = f"{tuple(offsets.shape)} and {flips.dtype} {tuple(flips.shape)}"
        raise ValueError(f"for {len(x)} images offsets must be ({len(x)}, 2) and flips bool ({len(x)},), got {got}")
    require_below("offsets", offsets, 2 * pad + 1)
    return _cut(x, offsets.to(x.device), flips.to(x.device), pad, mode)


def _cut(x: Tensor, offsets: Tensor, flips: Tensor, pad: int, mode: Mode) -> Tensor:
    """`crop_flip` of what is known to be right and on the device of x."""
    height, width = x.shape[-2:]
    column = torch.arange(width, device=x.device)
    column = torch.where(flips[:, None], width - 1 - column, column)
    columns = (offsets[:, 1:] - pad + column)[:, None, None, :]
    rows = (offsets[:, :1] - pad + torch.arange(height, device=x.device))[:, None, :, None]
    cut = x.take_along_dim(_inside(rows, height), 2).take_along_dim(_inside(columns, width), 3)
    if mode == "reflect":
        return cut
    return cut.masked_fill((rows < 0) | (rows >= height) | (columns < 0) | (columns >= width), 0)


@dataclass(frozen=True)
class CropFlip:
    """`crop_flip` with offsets and flips drawn for each example from (seed, epoch, its index in the data set).

    The defaults are MSD's (reflected border of 4). MNG-AC, PGN and L2L-DA: `CropFlip(4, mode="zero")`, the last without
    `flip` on MNIST. T&B: `CropFlip(2, mode="zero")`.
    """

    pad: int = 4
    _: KW_ONLY
    mode: Mode = "reflect"
    flip: bool = True

    def __post_init__(self) -> None:
        _require_padding(self.pad, self.mode)

    def draw(self, index: Tensor, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """(offsets, flips) of the examples `index`: uniform corners, a fair coin (or no flip at all)."""
        seeds = noise.seeds_of_index(index, seed, epoch, CROP)
        corners = [noise.integers(noise.fold(seeds, axis), 0, 2 * self.pad) for axis in (0, 1)]
        flips = (noise.uniform(noise.fold(seeds, 2), 1)[:, 0] < 0.5) & self.flip
        return torch.stack(corners, 1), flips

    def __call__(self, x: Tensor, index: Tensor, *, seed: int, epoch: int) -> Tensor:
        """The images `x`, which are the examples `index`, augmented."""
        return self.apply(x, *self.draw(index, seed=seed, epoch=epoch))

    def apply(self, x: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
        """The images `x`, augmented by what `draw` has drawn for them."""
        _require_padding(self.pad, self.mode, *x.shape[-2:])
        return _cut(x, offsets.to(x.device), flips.to(x.device), self.pad, self.mode)


def _require_padding(pad: int, mode: Mode, *sides: int) -> None:
    choice("mode", mode, get_args(Mode))
    count("pad", pad, low=0)
    if mode == "reflect" and any(pad >= side for side in sides):
        raise ValueError(f"a reflected pad must be below both sides of the image, {sides}; got {pad}")


def _inside(position: Tensor, side: int) -> Tensor:
    """Positions reflected into [0, side); more than one reflection away (zero padding fills those) at the border."""
    reflected = (side - 1) - ((side - 1) - position.abs()).abs()
    return reflected.clamp(min=0)


MSD_CROP = CropFlip()
