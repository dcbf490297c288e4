"""One epoch of a data set, batch by batch, in an order that is a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mrt import checks
from mrt.data.augment import MSD_CROP, ORDER, CropFlip
from mrt.data.images import Images
from mrt.threats import noise


@dataclass(frozen=True, eq=False)
class Batch:
    """`x` as the model trains on it, `x_raw` before augmentation (the same tensor if there is none), labels `y`, and
    `index`, each example's position in the data set. All on one device, `x` float32 in [0, 1]."""

    x: Tensor
    y: Tensor
    index: Tensor
    x_raw: Tensor


def order(count: int, *, seed: int, epoch: int, shuffle: bool = True) -> Tensor:
    """The permutation of 0 .. count - 1 in which an epoch visits its examples (int64, on the host).

    Examples are sorted by random numbers of their own: the order needs no generator and touches none.
    """
    if not shuffle:
        return torch.arange(count)
    return noise.of_index(torch.arange(count), seed, epoch, ORDER).argsort()


def gather(
    data: Images,
    index: Tensor,
    *,
    seed: int,
    epoch: int,
    crop: CropFlip = MSD_CROP,
    device: torch.device | str | None = None,
) -> Batch:
    """The examples `index` (int64, best on the host) as a batch, augmented as `data.augment` says.

    An example's augmentation depends on (seed, epoch, its index) alone, so a batch may be cut into shards, or an epoch
    entered in the middle, and every example is what it would have been. `device` is where the batch goes, None for
    where the data live (better: move those once, with `data.to`).
    """
    target = data.device if device is None else torch.device(device)
    x_raw = data.float(index).to(target)
    x = crop(x_raw, index, seed=seed, epoch=epoch) if data.augment == "crop-flip" else x_raw
    here = index.to(data.device)
    return Batch(x, data.y[here].to(target), here.to(target), x_raw)


def batches(
    data: Images,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    crop: CropFlip = MSD_CROP,
    device: torch.device | str | None = None,
) -> Iterator[Batch]:
    """All of `data` once, `batch_size` examples at a time, the last batch smaller if need be.

    Each batch is `gather` of the next stretch of `order`, which see for what is guaranteed.
    """
    checks.count("batch_size", batch_size)
    visits = order(len(data), seed=seed, epoch=epoch, shuffle=shuffle)
    stretches = (visits[start : start + batch_size] for start in range(0, len(data), batch_size))
    return (gather(data, index, seed=seed, epoch=epoch, crop=crop, device=device) for index in stretches)
