"""Which examples an update sees, in which form, and the seeds of the noise for each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from mrt.data import Batch, Stream, gather
from mrt.data.images import Images
from mrt.processes import Processes
from mrt.threats import noise
from mrt.training.settings import Settings
from mrt.training.visits import ATTACK, Visits, lay_out

SHARED = 5  # the purpose of the seed that all processes share: streams of other purposes are independent of it


class Feed:
    """The batches of a run. Each is a function of the settings and the number of its update alone, so that an epoch can
    be entered in the middle and any number of processes sees the same examples."""

    def __init__(self, data: Images | Stream, settings: Settings, team: Processes) -> None:
        self.data, self.settings, self.team = data, settings, team
        self.visits: Visits | None = None  # of the epoch at hand
        self.highest_label = None if isinstance(data, Stream) else int(data.y.max())

    def batch(self, index: int) -> Batch:
        """Make this process's part of the batch of update `index`."""
        s = self.settings
        if isinstance(self.data, Stream):
            return lay_out(self.data.batch(index), s.channels_last)
        if self.visits is None or self.visits.epoch != index // s.per_epoch:
            self.visits = Visits.of_epoch(self.data, s, index // s.per_epoch)
        mine = self.visits.at(self.part(index))
        visit = self.visit(index)
        batch = gather(self.data, mine.index, seed=s.seed, epoch=visit, crop=s.crop, drawn=mine.crops)
        return lay_out(batch, s.channels_last, self.highest_label)

    def part(self, index: int) -> slice:
        """Where in the epoch's order this process's examples of that update stand. Processes take turns, example by
        example, so that their parts are of equal size whatever the batch holds."""
        size, start = self.settings.batch_size, index % self.settings.per_epoch * self.settings.batch_size
        return slice(start + self.team.rank, start + size, self.team.count)

    def visit(self, index: int) -> int:
        """Tell this visit of an example from its others: by the epoch, or by the update where an epoch repeats
        examples, which then must not have the same noise twice."""
        return index // self.settings.per_epoch if self.settings.labelled is None else index

    def seeds(self, index: int, batch: Batch) -> Tensor:
        """Give each example of the batch a seed for its attacks, int64 (N,)."""
        if self.visits is not None and self.visits.seeds is not None:
            return self.visits.seeds[self.part(index)]
        return noise.seeds_of_index(batch.index, self.settings.seed, self.visit(index), ATTACK)

    def shared_seed(self, index: int) -> int:
        """Make the seed that is the same on all processes and another in every update: SAT's one draw for a batch."""
        return int(noise.seeds_of_index(torch.tensor([index]), self.settings.seed, 0, SHARED))
