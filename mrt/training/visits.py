"""The order in which an epoch visits the examples, and what is drawn for each of them."""

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
    """The examples `index` of an epoch, in order, the windows and flips `crops` of these images, and the `seeds` of the
    attacks on them. The last two are None where they are drawn for each update."""

    epoch: int
    index: Tensor
    crops: tuple[Tensor, Tensor] | None
    seeds: Tensor | None

    @staticmethod
    def of_epoch(data: Images, settings: Settings, epoch: int) -> Visits:
        """Return the visits of that epoch, with all that is drawn for them."""
        # Drawn for all of them at once, where the images are: on a GPU these are a few launches an epoch, and there is
        # nothing to send there in an update.
        s, where = settings, data.x.device
        if s.labelled is not None:  # an epoch then repeats examples, so that draws by epoch would repeat as well
            balanced = balanced_order(data.pseudo, s.batch_size, s.labelled, seed=s.seed, epoch=epoch)
            return Visits(epoch, balanced.to(where), None, None)
        index = order(len(data), seed=s.seed, epoch=epoch).to(where)
        crops = s.crop.draw(index, seed=s.seed, epoch=epoch) if data.augment == "crop-flip" else None
        return Visits(epoch, index, crops, noise.seeds_of_index(index.to(data.device), s.seed, epoch, ATTACK))

    def at(self, part: slice) -> Visits:
        """Return the visits of this part of the epoch, such as one update's."""
        crops = None if self.crops is None else (self.crops[0][part], self.crops[1][part])
        return Visits(self.epoch, self.index[part], crops, None if self.seeds is None else self.seeds[part])


def lay_out(batch: Batch, channels_last: bool, highest: int | None = None) -> Batch:
    """Return the batch as it lies in memory while it trains, its values vouched for on a GPU.

    No label is above `highest`, where that is given.
    """
    x, x_raw = batch.x, batch.x_raw
    if channels_last:  # the faster layout for convolutions: a quarter of a step of Madry's CNN on one CPU thread
        x, x_raw = (t.contiguous(memory_format=torch.channels_last) for t in (x, x_raw))
    # Attacks check what they are given, for which the host would wait for the GPU. These pixels have been checked, NaN
    # is noticed by the loop, and the labels are the data's own.
    if x.is_cuda:
        checks.vouch(x, 0, 1)
        if highest is not None:
            checks.vouch(batch.y, 0, highest)
    return Batch(x, batch.y, batch.index, x_raw)
