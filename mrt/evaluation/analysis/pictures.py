"""Rows of images as one picture (MNG-AC, Figure 5)."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mrt import checks
from mrt.evaluation.report.page import MAGNIFIED

if TYPE_CHECKING:
    from PIL import Image

LEAST, GAP = 48, 4  # pixels: an image's shorter side, and the space around it


def sheet(rows: Mapping[str, Tensor], noise: Collection[str] = ()) -> bytes:
    """A PNG: for each name a row of its images (N, 1 or 3, H, W), enlarged by whole pixels to at least 48.

    Images are in [0, 1]. Rows named in `noise` are changes of any size and sign: grey is 0, and each image's largest
    change is half way to black or white. Names are drawn in a font that has few letters beyond Latin ones.
    """
    if not isinstance(rows, Mapping) or not rows:
        raise ValueError(f"rows must be a non-empty mapping from names to images; got {rows!r}")
    for name in noise:
        checks.choice("noise", name, tuple(rows))
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()
    tiles_of = {name: [_tile(image) for image in _as_images(name, x, name in noise)] for name, x in rows.items()}
    boxes = [font.getbbox(name) for name in rows]
    left = math.ceil(max(box[2] for box in boxes)) + 2 * GAP  # where images begin, right of the longest name
    width = left + max(sum(tile.width + GAP for tile in tiles) for tiles in tiles_of.values())
    height = GAP + sum(tiles[0].height + GAP for tiles in tiles_of.values())
    page = Image.new("RGB", (width, height), "white")
    draw, y = ImageDraw.Draw(page), GAP
    for (name, tiles), box in zip(tiles_of.items(), boxes, strict=True):
        draw.text((GAP, y + (tiles[0].height - box[3]) / 2), name, fill="black", font=font)
        for i, tile in enumerate(tiles):
            page.paste(tile, (left + i * (tile.width + GAP), y))
        y += tiles[0].height + GAP
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _as_images(name: str, x: Tensor, noise: bool) -> Tensor:
    """The row of that name as images in [0, 1]; ValueError for what is none."""
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] not in (1, 3) or x.numel() == 0:
        description = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"row {name!r} must be images (N, 1 or 3, H, W); got {description}")
    if not noise:
        checks.images(f"row {name!r}", x)
        return x
    if not bool(x.isfinite().all()):
        raise ValueError(f"row {name!r} must be finite numbers; got NaN or infinity")
    # Each by its own largest change: the perturbations of an l1 and an linf ball differ by orders of magnitude.
    return 0.5 + MAGNIFIED * x / x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)


def _tile(image: Tensor) -> Image.Image:
    """One image (C, H, W) as a picture, enlarged."""
    from PIL import Image

    pixels = (image.detach().cpu() * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).numpy()
    # By whole pixels, so that no pixel is smeared over its neighbours: an l0 change is one square.
    times = max(1, math.ceil(LEAST / min(pixels.shape[:2])))
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(times, 0).repeat(times, 1)))
