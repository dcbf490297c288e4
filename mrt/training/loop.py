"""The only training loop. It knows nothing of the strategy that it runs. Which examples an update sees is in `feed`;
what is added up and written down after each epoch is in `ledger`."""

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
from mrt.crafting.undefined import warn_once
from mrt.data import Batch, Images, Stream
from mrt.processes import Processes
from mrt.protocols import Stateful, Step
from mrt.stopping import NotedSignals, Stopped
from mrt.training.distributed import Together
from mrt.training.feed import Feed
from mrt.training.folder import RunFolder
from mrt.training.helpers import LateNumbers, check_loss, copy_images, count_passes, seed_everything, update_average
from mrt.training.ledger import Ledger, weights_are_finite
from mrt.training.progress import Progress
from mrt.training.settings import Settings
from mrt.training.tensorboard import Board
from mrt.weights import within_bounds

BY_UPDATE = (OneCycleLR, CyclicLR)  # the torch schedulers that count updates; all others count epochs


class Loop:
    """A training run as it goes along: everything that changes from update to update."""

    def __init__(
        self, model: nn.Module, data: Images | Stream, settings: Settings, team: Processes, folder: RunFolder | None
    ) -> None:
        self.model, self.settings, self.team, self.folder = model, settings, team, folder
        self.index = 0  # the number of the next update
        self.feed = Feed(data, settings, team)
        self.together = Together(team, data.device)
        self.together.copy_from_first(model)
        self.optimizer, self.scheduler = settings.optimizer_and_scheduler(model)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]  # times the schedule's factor
        self.ema = None if settings.ema is None else copy.deepcopy(model).eval().requires_grad_(False)
        self.ledger = Ledger(settings, team, folder, model if self.ema is None else self.ema)
        self.late = LateNumbers()
        self.strategy: Any = settings.strategy
        if isinstance(self.strategy, Stateful):
            seed_everything(settings.seed, 0, 0)  # the same on every process, so that all begin with the same state
            batch = self.feed.batch(0)
            self.strategy = within_bounds(self.strategy.start, model, batch.x, batch.y)
            self.together.copy_from_first(self.strategy)

    def run(self, bar: Progress, board: Board, signals: NotedSignals) -> None:
        """Make every update that is left, with rows of metrics and checkpoints; Stopped after one if a signal came."""
        settings, ledger = self.settings, self.ledger
        with count_passes(self.model, ledger.sums), copy_images(self.model), warn_once():
            while self.index < settings.total:
                began = time.perf_counter()
                self.update()
                self.index, done = self.index + 1, self.index + 1 == settings.total
                signal = 0 if self.folder is None else self.team.largest(signals.number)  # so that all stop at once
                ended = done or self.index % settings.per_epoch == 0
                saved = self.folder is not None and (ended or signal > 0 or self.index % settings.checkpoint_every == 0)
                # A row or a checkpoint waits for the losses that are still under way on the GPU; other updates do not.
                self.add_losses(self.late.all() if ended or saved else self.late.arrived())
                ledger.sums["seconds"] += time.perf_counter() - began
                bar.update(self.index / settings.per_epoch, ledger.loss)
                row = self.end_epoch(done, bar) if ended else None
                if self.folder is not None and saved:
                    self.check_weights()  # a checkpoint must be something that can be resumed
                    self.folder.save(self.state_dict())
                if row is not None:  # shown when it is safe, since there may be nobody left to show it to
                    bar.epoch(row)
                    board.epoch(row)
                if signal:
                    raise Stopped(signal)

    def update(self) -> None:
        """Train on one batch: a step of the optimizer after each of the strategy's losses."""
        # Global generators (dropout, a strategy's own draws) follow from the seed and the update's number alone, so
        # that a resumed run draws what an undisturbed one does and no random state has to be saved.
        seed_everything(self.settings.seed, self.index + 1, self.team.rank)
        self.set_rate()
        batch = self.feed.batch(self.index)
        self.model.train()
        try:
            values = [self.descend(loss) for loss in self.losses(batch, self.step(batch))]
        except checks.NoNumbers as error:  # an attack was the first to notice
            raise self.diverged("the model answers NaN") from error
        if not values:
            raise ValueError("the strategy returned no loss at all; it must return a scalar, or an iterator of scalars")
        if isinstance(self.scheduler, BY_UPDATE):
            self.scheduler.step()
        if self.ema is not None:
            # The average begins short: with the full decay it would consist of the first weights for a long time.
            update_average(self.ema, self.model, min(self.settings.ema or 0.0, (1 + self.index) / (10 + self.index)))
        self.late.put(self.index, values)

    def set_rate(self) -> None:
        """Give each group of parameters its learning rate of this update, as `schedules` says."""
        schedule = self.settings.schedule
        if schedule is not None and not isinstance(schedule, LRScheduler):
            factor = float(schedule((self.index + 0.5) / self.settings.total))
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor

    def step(self, batch: Batch) -> Step:
        """Tell the strategy what it may want to know of this update."""
        done, rate = self.index / self.settings.per_epoch, float(self.optimizer.param_groups[0]["lr"])
        seeds, shared = self.feed.seeds(self.index, batch), self.feed.shared_seed(self.index)
        s, mean = self.settings, self.together.mean
        last = self.index + 1 == s.total or (self.index + 1) % s.per_epoch == 0
        return Step(self.index, s.total, done, rate, batch.x_raw, seeds, shared, s.fast, mean, s.loss, last)

    def losses(self, batch: Batch, step: Step) -> Iterator[Tensor]:
        """Ask the strategy for its losses one after the other, each under autocast, and check them. A strategy that
        gives several is asked for the next one only after the step that the one before it led to."""
        autocast = self.settings.fast.precision == "bfloat16"
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=autocast):
            answer = self.strategy(self.model, batch.x, batch.y, step)
        losses = answer if isinstance(answer, Iterator) else iter([answer])
        while True:
            with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=autocast):
                loss = next(losses, None)
            if loss is None:
                return
            yield check_loss(loss)

    def descend(self, loss: Tensor) -> float | Tensor:
        """Take one step down that loss. FloatingPointError before the weights change if it is no number; on a GPU,
        which is not waited for, the next update says so (and no checkpoint is written before)."""
        self.model.zero_grad(set_to_none=True)  # parameters that the optimizer does not train, too
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        mean_loss = self.together.average(self.model, self.trained, loss)
        value = mean_loss if mean_loss.is_cuda else float(mean_loss)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.diverged(f"the loss is {value}")
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        self.optimizer.step()
        return value

    def add_losses(self, arrived: list[tuple[int, list[float]]]) -> None:
        """Add the losses of earlier updates, (number of the update, losses), to the sums, if they are numbers."""
        for index, values in arrived:
            mean = sum(values) / len(values)
            if not math.isfinite(mean):
                raise self.diverged(f"the loss is {mean}", index)
            self.ledger.add_loss(mean)

    def end_epoch(self, done: bool, bar: Progress) -> dict[str, float]:
        """Write the epoch's row of metrics, and move the schedulers that count epochs."""
        self.check_weights()
        row = self.ledger.end_epoch(self.index, float(self.optimizer.param_groups[0]["lr"]), done, bar)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(row["loss"])
        elif self.scheduler is not None and not isinstance(self.scheduler, BY_UPDATE):
            self.scheduler.step()
        return row

    def check_weights(self) -> None:
        """FloatingPointError if the weights are no finite numbers any more."""
        if not weights_are_finite(self.model):
            raise self.diverged("the weights are no finite numbers any more")

    def diverged(self, what: str, index: int | None = None) -> FloatingPointError:
        """The error to raise where update `index` (None: the one at hand) leaves nothing that one could go on from."""
        return self.ledger.diverged(what, self.index if index is None else index, self.optimizer.param_groups[0]["lr"])

    @property
    def parts(self) -> dict[str, Any]:
        """What has a state of its own, by its name in a checkpoint."""
        parts = {"weights": self.model, "ema": self.ema, "strategy": self.strategy, "optimizer": self.optimizer}
        return {n: p for n, p in {**parts, "schedule": self.scheduler}.items() if hasattr(p, "state_dict")}

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint holds. Random states are not in it: see `update`."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        return {**states, "step": self.index, "rates": self.rates, **self.ledger.state_dict()}
