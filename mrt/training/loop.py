"""The only training loop. It knows nothing of the strategy it runs."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from mrt import checks
from mrt.data import Batch, Stream, gather
from mrt.data.images import Images
from mrt.processes import Processes
from mrt.protocols import Stateful, Step
from mrt.threats import noise
from mrt.training.distributed import Together
from mrt.training.folder import RunFolder
from mrt.training.helpers import LateNumbers, count_passes, seed_everything, update_average
from mrt.training.progress import Progress
from mrt.training.settings import Settings
from mrt.training.tensorboard import Board
from mrt.training.validation import judge_held_out
from mrt.training.visits import ATTACK, Visits, lay_out

SHARED = 5  # what seeds are for
BY_UPDATE = (OneCycleLR, CyclicLR)  # torch schedulers that count updates; the others count epochs


class Loop:
    """A training run as it goes along."""

    def __init__(
        self, model: nn.Module, data: Images | Stream, settings: Settings, team: Processes, folder: RunFolder | None
    ) -> None:
        self.model, self.data, self.settings, self.team, self.folder = model, data, settings, team, folder
        self.together = Together(team, data.device)
        self.together.copy_from_first(model)
        self.optimizer, self.scheduler = settings.optimizer_and_scheduler(model)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.ema = None if settings.ema is None else copy.deepcopy(model).eval().requires_grad_(False)
        self.visits: Visits | None = None
        self.late = LateNumbers()
        self.index, self.rows, self.loss = 0, list[dict[str, float]](), math.nan  # the latest loss that is known
        self.best, self.best_weights = -1.0, dict[str, Tensor]()
        self.highest = None if isinstance(data, Stream) else int(data.y.max())  # of the labels
        self.sums = {"loss": 0.0, "updates": 0, "forward": 0, "backward": 0, "seconds": 0.0}
        self.strategy: Any = settings.strategy
        if isinstance(self.strategy, Stateful):
            seed_everything(settings.seed, 0, 0)  # the same state on every process
            batch = self.batch()
            self.strategy = self.strategy.start(model, batch.x, batch.y)
            self.together.copy_from_first(self.strategy)

    def run(self, bar: Progress, board: Board) -> None:
        """Every update that is left."""
        with count_passes(self.model, self.sums):
            while self.index < self.settings.total:
                began = time.perf_counter()
                self.update()
                self.index += 1
                done = self.index == self.settings.total
                ended = done or self.index % self.settings.per_epoch == 0
                saved = self.folder is not None and (ended or self.index % self.settings.checkpoint_every == 0)
                self.add_losses(self.late.all() if ended or saved else self.late.arrived())
                self.sums["seconds"] += time.perf_counter() - began
                bar.update(self.index / self.settings.per_epoch, self.loss)
                if ended:
                    row = self.end_epoch(bar, done)
                    bar.epoch(row)
                    board.epoch(row)
                if self.folder is not None and saved:
                    self.check_weights()
                    self.folder.save(self.state_dict())

    @property
    def parts(self) -> dict[str, Any]:
        """What has a state of its own, by its name in a checkpoint."""
        parts = {"weights": self.model, "ema": self.ema, "strategy": self.strategy, "optimizer": self.optimizer}
        return {n: p for n, p in {**parts, "schedule": self.scheduler}.items() if hasattr(p, "state_dict")}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds. Random states are not in it: every update sets them from the seed and its number."""
        held = {name: part.state_dict() for name, part in self.parts.items()}
        plain = {"step": self.index, "rows": len(self.rows), "best": self.best, "sums": dict(self.sums)}
        return {**held, **plain, "rates": self.rates}

    def update(self) -> None:
        """One batch: the strategy's loss or losses, and a step of the optimizer after each."""
        seed_everything(self.settings.seed, self.index + 1, self.team.rank)
        schedule = self.settings.schedule
        if schedule is not None and not isinstance(schedule, LRScheduler):
            factor = float(schedule((self.index + 0.5) / self.settings.total))
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
        batch = self.batch()
        self.model.train()
        try:
            values = [self.descend(loss) for loss in self.losses(batch, self.step(batch))]
        except checks.NoNumbers as error:  # an attack noticed first
            raise FloatingPointError(self.diverged("the model answers NaN", self.index)) from error
        if not values:
            raise ValueError("the strategy returned no loss at all; it must return a scalar, or an iterator of scalars")
        if isinstance(self.scheduler, BY_UPDATE):
            self.scheduler.step()
        if self.ema is not None:
            update_average(self.ema, self.model, min(self.settings.ema or 0.0, (1 + self.index) / (10 + self.index)))
        self.late.put(self.index, values)

    def add_losses(self, found: list[tuple[int, list[float]]]) -> None:
        """The losses of earlier updates, by their numbers: into the sums, if they are numbers."""
        for index, values in found:
            for value in values:
                if not math.isfinite(value):
                    raise FloatingPointError(self.diverged(f"the loss is {value}", index))
            self.loss = sum(values) / len(values)
            self.sums["loss"] += self.loss
            self.sums["updates"] += 1

    def batch(self) -> Batch:
        """This process's part of the next batch."""
        s = self.settings
        if isinstance(self.data, Stream):
            return lay_out(self.data.batch(self.index), s.channels_last)
        if self.visits is None or self.visits.epoch != self.index // s.per_epoch:
            self.visits = Visits.of_epoch(self.data, s, self.index // s.per_epoch)
        part = self.visits.at(self.part)
        batch = gather(self.data, part.index, seed=s.seed, epoch=self.visit, crop=s.crop, drawn=part.crops)
        return lay_out(batch, s.channels_last, self.highest)

    @property
    def part(self) -> slice:
        """Of an epoch's visits, this process's in the next update."""
        size, start = self.settings.batch_size, self.index % self.settings.per_epoch * self.settings.batch_size
        return slice(start + self.team.rank, start + size, self.team.count)

    @property
    def visit(self) -> int:
        """Tells this visit of an example from its others: the epoch, or the update where an epoch repeats examples."""
        return self.index // self.settings.per_epoch if self.settings.labelled is None else self.index

    def seeds(self, batch: Batch) -> Tensor:
        """Of the attacks, one for each example of this update's batch."""
        if self.visits is not None and self.visits.seeds is not None:
            return self.visits.seeds[self.part]
        return noise.seeds_of_index(batch.index, self.settings.seed, self.visit, ATTACK)

    def step(self, batch: Batch) -> Step:
        """What the strategy is told."""
        s, here = self.settings, torch.tensor([self.index])
        return Step(
            index=self.index,
            total=s.total,
            epoch=self.index / s.per_epoch,
            lr=float(self.optimizer.param_groups[0]["lr"]),
            x_raw=batch.x_raw,
            seeds=self.seeds(batch),
            shared_seed=int(noise.seeds_of_index(here, s.seed, 0, SHARED)),
            fast=s.fast,
            mean=self.together.mean,
        )

    def losses(self, batch: Batch, step: Step) -> Iterator[Tensor]:
        """One after the other, each made in autocast and checked."""
        low = self.settings.fast.precision == "bfloat16"
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=low):
            found = self.strategy(self.model, batch.x, batch.y, step)
        if not isinstance(found, Iterator):
            found = iter([found])
        while True:
            with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=low):
                loss = next(found, None)
            if loss is None:
                return
            if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
                given = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
                detached = " without a gradient" if isinstance(loss, Tensor) and not loss.requires_grad else ""
                raise ValueError(f"a strategy must return a scalar that depends on the weights; got {given}{detached}")
            yield loss

    def descend(self, loss: Tensor) -> float | Tensor:
        """One step down. FloatingPointError before the weights change if there is no number to descend; on a GPU, which
        is not waited for, with the next update (no checkpoint is written before)."""
        self.model.zero_grad(set_to_none=True)  # also what the optimizer does not train
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        shared = self.together.average(self.model, self.trained, loss)
        value = shared if shared.is_cuda else float(shared)
        if isinstance(value, float) and not math.isfinite(value):
            raise FloatingPointError(self.diverged(f"the loss is {value}", self.index))
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        self.optimizer.step()
        return value

    def diverged(self, what: str, index: int) -> str:
        """An error's text."""
        rate, kept = self.optimizer.param_groups[0]["lr"], ""
        if self.folder is not None and self.folder.load() is not None:
            kept = f"; the last good checkpoint is in {self.folder.path}"
        return (
            f"{what} at update {index} (epoch {index / self.settings.per_epoch:.2f}, lr {rate:.3g}): "
            f"look at the strategy and the model; a lower rate, a warm-up or clip= may help{kept}"
        )

    def end_epoch(self, bar: Progress, done: bool) -> dict[str, float]:
        """A row of metrics, with held-out accuracy if it is time, and the best weights by its union."""
        s, sums = self.settings, self.sums
        self.check_weights()
        row: dict[str, float] = {"epoch": self.index / s.per_epoch, "step": self.index}
        row |= {"loss": sums["loss"] / sums["updates"], "lr": float(self.optimizer.param_groups[0]["lr"])}
        row |= {key: sums[key] / sums["updates"] for key in ("forward", "backward")}
        row["seconds"] = sums["seconds"]
        if (
            s.validation is not None
            and s.held is not None
            and (done or round(self.index / s.per_epoch) % s.validation.every == 0)
        ):
            bar.judging()
            row |= self.judge(s.held)
        self.rows.append(row)
        if self.folder is not None:
            self.folder.append(row)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(row["loss"])
        elif self.scheduler is not None and not isinstance(self.scheduler, BY_UPDATE):
            self.scheduler.step()
        self.sums.update(loss=0.0, updates=0, forward=0, backward=0, seconds=0.0)
        return row

    def judge(self, held: Images) -> dict[str, float]:
        """Held-out accuracies; the weights are kept if their union is the best so far."""
        began, s = time.perf_counter(), self.settings
        found = judge_held_out(self.judged_model, held, s.attacks, s.seed, self.team)
        if found["union"] > self.best:
            self.best = found["union"]
            self.keep_best()
        return found | {"seconds_judging": time.perf_counter() - began}

    @property
    def judged_model(self) -> nn.Module:
        """The averaged weights where there are any."""
        return self.model if self.ema is None else self.ema

    def keep_best(self) -> None:
        weights = self.judged_model.state_dict()
        if self.folder is not None:
            self.folder.save_best(weights)
        else:
            self.best_weights = {name: value.detach().clone() for name, value in weights.items()}

    def check_weights(self) -> None:
        """FloatingPointError if they are no numbers any more."""
        held = (t for t in self.model.state_dict().values() if isinstance(t, Tensor) and t.is_floating_point())
        if not all(bool(t.isfinite().all()) for t in held):
            raise FloatingPointError(self.diverged("the weights are no finite numbers any more", self.index))
