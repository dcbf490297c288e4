"""What a run adds up and writes down: a row of metrics for each epoch, and the best held-out weights."""

from __future__ import annotations

import math
import time
from typing import Any

from torch import Tensor, nn

from mrt.data.images import Images
from mrt.processes import Processes
from mrt.training.folder import RunFolder, digest_rows
from mrt.training.progress import Progress
from mrt.training.settings import Settings
from mrt.training.validation import judge_held_out


class Ledger:
    """The sums of the epoch at hand, the rows of those that are over, and the best held-out union so far.
    `judged_model` is what held-out images are shown to: the averaged weights where there are any."""

    def __init__(self, settings: Settings, team: Processes, folder: RunFolder | None, judged_model: nn.Module) -> None:
        self.settings, self.team, self.folder, self.judged_model = settings, team, folder, judged_model
        self.rows = list[dict[str, float]]()
        self.loss = math.nan  # the latest that is known
        self.best, self.best_weights = -1.0, dict[str, Tensor]()  # below any union, so that the first one is better
        self.sums = {"loss": 0.0, "updates": 0, "forward": 0, "backward": 0, "seconds": 0.0}

    def add_loss(self, loss: float) -> None:
        """Count one more update, whose mean loss was this."""
        self.loss = loss
        self.sums["loss"] += loss
        self.sums["updates"] += 1

    def end_epoch(self, index: int, rate: float, done: bool, bar: Progress) -> dict[str, float]:
        """Turn the sums into a row of metrics, with held-out accuracies if it is time to judge, and begin anew."""
        s, sums = self.settings, self.sums
        row: dict[str, float] = {"epoch": index / s.per_epoch, "step": index}
        row |= {"loss": sums["loss"] / sums["updates"], "lr": rate}
        row |= {key: sums[key] / sums["updates"] for key in ("forward", "backward")}
        row["seconds"] = sums["seconds"]
        if s.validation is not None and s.held is not None:
            epochs = round(index / s.per_epoch)
            if done or epochs % s.validation.every == 0:
                bar.judging()
                row |= self.judge(s.held)
        self.rows.append(row)
        if self.folder is not None:
            self.folder.append(row)
        self.sums.update(loss=0.0, updates=0, forward=0, backward=0, seconds=0.0)
        return row

    def judge(self, held_out: Images) -> dict[str, float]:
        """Measure the held-out accuracies; the weights are kept if their union is the best so far."""
        began = time.perf_counter()
        shares = judge_held_out(self.judged_model, held_out, self.settings.attacks, self.settings.seed, self.team)
        if shares["union"] > self.best:
            self.best = shares["union"]
            self.keep_best()
        return shares | {"seconds_judging": time.perf_counter() - began}

    def keep_best(self) -> None:
        """Keep the judged weights: in the run's folder, or in memory where there is none."""
        weights = self.judged_model.state_dict()
        if self.folder is not None:
            self.folder.save_best(weights)
        else:
            self.best_weights = {name: value.detach().clone() for name, value in weights.items()}

    def diverged(self, what: str, index: int, rate: float) -> FloatingPointError:
        """Put into words what went wrong in update `index`, at that learning rate, and what may help."""
        kept = ""
        if self.folder is not None and self.folder.load() is not None:
            kept = f"; the last good checkpoint is in {self.folder.path}"
        return FloatingPointError(
            f"{what} at update {index} (epoch {index / self.settings.per_epoch:.2f}, lr {rate:.3g}): "
            f"look at the strategy and the model; a lower rate, a warm-up or clip= may help{kept}"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it. The rows are in a file of their own; only their number and digest are."""
        return {"rows": len(self.rows), "digest": digest_rows(self.rows), "best": self.best, "sums": dict(self.sums)}

    def load_state_dict(self, state: dict[str, Any], rows: list[dict[str, float]]) -> None:
        """Go on from there, after those rows."""
        self.rows, self.best = rows, state["best"]
        self.sums.update(state["sums"])


def weights_are_finite(model: nn.Module) -> bool:
    """Tell whether every floating-point weight and buffer of the model is a finite number."""
    tensors = (t for t in model.state_dict().values() if isinstance(t, Tensor) and t.is_floating_point())
    return all(bool(t.isfinite().all()) for t in tensors)
