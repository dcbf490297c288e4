"""What every network checks: its own settings when it is made, and the images before it computes."""

from __future__ import annotations

from torch import Tensor

from mrt.checks import count

Shape = tuple[int, int, int]  # channels, height, width


def require_positive(**counts: int) -> None:
    """Raise ValueError unless every named count is an integer of at least 1."""
    for name, value in counts.items():
        count(name, value)


def require_images(x: Tensor, shape: Shape) -> None:
    """Raise ValueError unless `x` is a batch, of any size, of images of `shape`.

    Pixel range and dtype are not looked at: the first would wait for the device, the second is free (a network may run
    in half precision).
    """
    if tuple(x.shape[1:]) != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"this network takes images of shape (N, {wanted}), got {tuple(x.shape)}")
