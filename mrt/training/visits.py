"""The examples of an epoch, in the order in which it visits them, and what is drawn for each of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mrt import checks
from mrt.data import Batch, balanced_order, order
from mrt.data.images import Images
from mrt.threats import noise
from mrt.training.settings import Settings

ATTACK = 4  # what these seeds are for


@dataclass(frozen=True, eq=False)
class Visits:
    """`index`: the examples; `crops`: their windows and flips; `seeds`: those of the attacks on them. The last two are
    None where they are drawn for each update."""

    epoch: int
    index: Tensor
    crops: tuple[Tensor, Tensor] | None
    seeds: Tensor | None

    @staticmethod
    def of_epoch(data: Images, settings: Settings, epoch: int) -> Visits:
        """Those of that epoch. What is drawn is drawn for all of them at once, where the images are: on a GPU a few
        launches an epoch, and nothing to send there in an update."""
        s, where = settings, data.x.device
        if s.labelled is not None:  # an epoch then repeats examples, each time with other draws
            balanced = balanced_order(data.pseudo, s.batch_size, s.labelled, seed=s.seed, epoch=epoch)
            return Visits(epoch, balanced.to(where), None, None)
        index = order(len(data), seed=s.seed, epoch=epoch).to(where)
        crops = s.crop.draw(index, seed=s.seed, epoch=epoch) if data.augment == "crop-flip" else None
        return Visits(epoch, index, crops, noise.seeds_of_index(index.to(data.device), s.seed, epoch, ATTACK))

    def at(self, part: slice) -> Visits:
        """Some of them."""
        crops = None if self.crops is None else (self.crops[0][part], self.crops[1][part])
        return Visits(self.epoch, self.index[part], crops, None if self.seeds is None else self.seeds[part])


def lay_out(batch: Batch, channels_last: bool, highest: int | None = None) -> Batch:
    """The batch as it lies in memory while it trains. On a GPU attacks need not look at its pixels, which are checked,
    nor for NaN, which the loop does; nor at its labels, none of which is above `highest` where that is given."""
    x, x_raw = batch.x, batch.x_raw
    if channels_last:
        x, x_raw = (t.contiguous(memory_format=torch.channels_last) for t in (x, x_raw))
    if x.is_cuda:
        checks.vouch(x, 0, 1)
        if highest is not None:
            checks.vouch(batch.y, 0, highest)
    return Batch(x, batch.y, batch.index, x_raw)
