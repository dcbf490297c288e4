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

# What a draw is for: tags of its seed, so that an epoch's order and its crops are independent. `batches` has more.
ORDER, CROP = 0, 1


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
    return _crop_flip_unchecked(x, offsets.to(x.device), flips.to(x.device), pad, mode)


def _crop_flip_unchecked(x: Tensor, offsets: Tensor, flips: Tensor, pad: int, mode: Mode) -> Tensor:
    """What `crop_flip` returns, for arguments that are known to be right and on the device of x."""
    # No padded image is made. For every row and column of the result: where in x does it come from? Rows are
    # (N, 1, H, 1) and columns (N, 1, 1, W); a flip reads the columns backwards.
    height, width = x.shape[-2:]
    column = torch.arange(width, device=x.device)
    column = torch.where(flips[:, None], width - 1 - column, column)
    columns = (offsets[:, 1:] - pad + column)[:, None, None, :]
    rows = (offsets[:, :1] - pad + torch.arange(height, device=x.device))[:, None, :, None]
    window = x.take_along_dim(_reflect(rows, height), 2).take_along_dim(_reflect(columns, width), 3)
    if mode == "reflect":
        return window
    return window.masked_fill((rows < 0) | (rows >= height) | (columns < 0) | (columns >= width), 0)


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
        # Tags 0 and 1 are the row and the column of the corner, 2 is the flip.
        corners = [noise.integers(noise.fold(seeds, axis), 0, 2 * self.pad) for axis in (0, 1)]
        flips = (noise.uniform(noise.fold(seeds, 2), 1)[:, 0] < 0.5) & self.flip
        return torch.stack(corners, 1), flips

    def __call__(self, x: Tensor, index: Tensor, *, seed: int, epoch: int) -> Tensor:
        """The images `x`, which are the examples `index`, augmented."""
        return self.apply(x, *self.draw(index, seed=seed, epoch=epoch))

    def apply(self, x: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
        """The images `x`, augmented by what `draw` has drawn for them."""
        # Offsets are not looked at here, since `draw` is known to keep to their range, and a look waits for a GPU.
        _require_padding(self.pad, self.mode, *x.shape[-2:])
        return _crop_flip_unchecked(x, offsets.to(x.device), flips.to(x.device), self.pad, self.mode)


def _require_padding(pad: int, mode: Mode, *sides: int) -> None:
    """Raise ValueError unless an image with those sides can be padded like that (without sides: any image)."""
    choice("mode", mode, get_args(Mode))
    count("pad", pad, low=0)
    if mode == "reflect" and any(pad >= side for side in sides):
        raise ValueError(f"a reflected pad must be below both sides of the image, {sides}; got {pad}")


def _reflect(position: Tensor, side: int) -> Tensor:
    """Positions reflected into [0, side). What is more than one reflection away comes out at 0: zero padding may be so
    wide, and overwrites it."""
    # |p| reflects at 0, and the same from the other end at side - 1; neither repeats the border's pixel.
    reflected = (side - 1) - ((side - 1) - position.abs()).abs()
    return reflected.clamp(min=0)


MSD_CROP = CropFlip()  # the default of whatever draws batches
