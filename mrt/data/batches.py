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

# What a draw is for, as ORDER and CROP are: the walk through truly labelled examples, the walk through pseudo-labelled
# ones, and the places in a batch.
TRUE, PSEUDO, PLACES = 7, 8, 9


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
    return noise.seeds_of_index(torch.arange(count), seed, epoch, ORDER).argsort()


def balanced_order(pseudo: Tensor | None, batch_size: int, labelled: float, *, seed: int, epoch: int) -> Tensor:
    """The examples of an epoch's N // batch_size batches, int64 on the host: each stretch of `batch_size` holds
    round(labelled * batch_size) truly labelled ones and pseudo-labelled ones otherwise, in random places.

    `pseudo`, bool (N,), tells the two kinds apart. Each kind is walked through in a random order of its own, then in
    another, and so on through all epochs: of one kind, no example is ever more than one visit ahead of another.
    """
    mask, true = kinds(pseudo, batch_size, labelled)
    updates = len(mask) // batch_size
    rows = []  # of each kind (updates, number of them in a batch)
    for kind, each, purpose in ((~mask, true, TRUE), (mask, batch_size - true, PSEUDO)):
        examples = kind.nonzero().squeeze(1)
        # An epoch goes on where the one before it stopped, which is known without having walked there.
        walk = _walk(len(examples), epoch * updates * each, updates * each, seed, purpose)
        rows.append(examples[walk].view(updates, each))
    # So far each batch has its true labels first. Several processes take every second or third place of a batch: in
    # random places each of them gets its share of both kinds.
    batch = torch.cat(rows, 1)
    keys = noise.seeds_of_index(torch.arange(batch.numel()), seed, epoch, PLACES).view_as(batch)
    return batch.gather(1, keys.argsort(1)).flatten()


def kinds(pseudo: Tensor | None, batch_size: int, labelled: float) -> tuple[Tensor, int]:
    """What a balanced order needs to know of the two kinds of examples: (`pseudo` on the host, the number of truly
    labelled examples in each batch). A ValueError if there cannot be both kinds in every batch."""
    if checks.number("labelled", labelled, open_low=True, high=1) == 1:
        raise ValueError("labelled must be a share between 0 and 1, both excluded; got 1")
    true = round(labelled * checks.count("batch_size", batch_size))
    if not 0 < true < batch_size:
        raise ValueError(
            f"labelled={labelled} of a batch of {batch_size} is {true} truly labelled and {batch_size - true} "
            "pseudo-labelled examples; each batch must hold at least one of both"
        )
    if pseudo is None or pseudo.dtype != torch.bool or pseudo.ndim != 1:
        description = "None" if pseudo is None else f"{pseudo.dtype} {tuple(pseudo.shape)}"
        raise ValueError(f"labelled needs data with a pseudo mask, bool of shape (N,); got {description}")
    count = int(pseudo.sum())
    if count in (0, len(pseudo)):
        raise ValueError(f"labelled needs examples of both kinds; got {count} pseudo-labelled ones of {len(pseudo)}")
    return pseudo.cpu(), true


def _walk(n: int, start: int, count: int, seed: int, purpose: int) -> Tensor:
    """Places start .. start + count - 1 of an endless walk: a random permutation of 0 .. n - 1, then another, ..."""
    # The permutations number first .. last - 1 are those that this stretch touches. Each sorts random numbers that
    # belong to its own places in the walk.
    first, last = start // n, -(-(start + count) // n)
    keys = noise.seeds_of_index(torch.arange(first * n, last * n), seed, 0, purpose).view(last - first, n)
    return keys.argsort(1).flatten()[start - first * n :][:count]


def gather(
    data: Images,
    index: Tensor,
    *,
    seed: int,
    epoch: int,
    crop: CropFlip = MSD_CROP,
    drawn: tuple[Tensor, Tensor] | None = None,
    device: torch.device | str | None = None,
) -> Batch:
    """The examples `index` (int64, best where `data.x` is) as a batch, augmented as `data.augment` says: by what `crop`
    draws for them, or has `drawn` before.

    An example's augmentation depends on (seed, epoch, its index) alone, so a batch may be cut into shards, or an epoch
    entered in the middle, and every example is what it would have been. `device` is where the batch goes, None for
    where the data live (better: move those once, with `data.to`).
    """
    target = data.device if device is None else torch.device(device)
    x_raw = data.float(index).to(target)
    x = x_raw
    if data.augment == "crop-flip":
        if drawn is None:
            drawn = crop.draw(index, seed=seed, epoch=epoch)
        x = crop.apply(x_raw, *drawn)
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
    # Generators, so that a batch is made when it is asked for.
    stretches = (visits[start : start + batch_size] for start in range(0, len(data), batch_size))
    return (gather(data, index, seed=seed, epoch=epoch, crop=crop, device=device) for index in stretches)
