"""`fit`, the front door of training: it checks what it was asked for, prepares the model and runs the loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LRScheduler

from mrt import checks
from mrt.crafting.model_failure import hint_at_dtype
from mrt.data import CropFlip
from mrt.data.images import Data
from mrt.data.stream import Stream
from mrt.fast import Fast
from mrt.inputs import device_of, load_weights, open_data
from mrt.processes import processes
from mrt.protocols import Stateful, Strategy
from mrt.stopping import noting_signals
from mrt.training.folder import BEST, RunFolder
from mrt.training.helpers import restore_generators
from mrt.training.loop import Loop
from mrt.training.optimizers import SGD, Adam
from mrt.training.progress import Progress
from mrt.training.restoring import restore
from mrt.training.schedules import Schedule
from mrt.training.settings import check_settings
from mrt.training.tensorboard import Board, need_tensorboard
from mrt.training.validation import Validation


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A training run that has ended. `ema`: the averaged weights, `best`: those of the best held-out union, if asked
    for. `state`: the strategy's own, if it has one: state.generator of a learned attack. `metrics`: a row per epoch.
    `finished`: it had ended before this call, which trained nothing."""

    model: nn.Module
    ema: nn.Module | None
    best: nn.Module | None
    state: Any
    metrics: list[dict[str, float]]
    path: Path | None
    finished: bool

    def __repr__(self) -> str:
        return f"Run({type(self.model).__name__}, path={self.path}, finished={self.finished}, last={self.metrics[-1]})"


def fit(
    model: nn.Module,
    strategy: Strategy | Stateful,
    data: Data | Stream,
    *,
    epochs: float | None = None,
    iterations: int | None = None,
    batch_size: int = 128,
    labelled: float | None = None,
    optimizer: SGD | Adam | torch.optim.Optimizer = SGD(),  # noqa: B008
    schedule: Schedule | LRScheduler | None = None,
    ema: float | None = None,
    clip: float | None = None,
    validation: Data | Validation | None = None,
    out: Path | str | None = None,
    checkpoint_every: int = 1000,
    tensorboard: bool = False,
    crop: CropFlip = CropFlip(),  # noqa: B008
    seed: int = 0,
    fast: Fast = Fast(),  # noqa: B008
    channels_last: bool = True,
    device: str | None = None,
    progress: bool = True,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    drop_last: bool = True,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Run:
    """Train `model` in place by what `strategy` says, for so many epochs or iterations; it ends in eval mode.

    `schedule` None is Triangular() for SGD(...) and Adam(...), nothing for a live torch optimizer; torch's schedulers
    step once an epoch (ReduceLROnPlateau by the loss), OneCycleLR and CyclicLR once an update. `ema` is the decay of an
    average of the weights (less at first); `clip` a bound on the gradient's norm; `validation` is judged under attack
    after each epoch and picks the best weights; `crop` is what augmented data get; `fast` also runs the training passes
    in bfloat16; with `channels_last`, the faster way, convolutions lie so in memory while they train. The rest of an
    epoch that does not fill a batch is left out unless `drop_last` is False. `loss`, a function of logits and labels,
    takes the place of the classifier's cross-entropy; `on_epoch` is called with each row of metrics. With `labelled`,
    that share of every batch is truly labelled and the rest is what `data.pseudo` marks. A `Stream` of data brings its
    own batches. The global random generators are set from `seed` and put back.

    With `out`, a folder, the same call goes on after a kill, to the bit on a CPU with as many threads, or finds the run
    finished; checkpoints are written every epoch and every so many updates. `info` is kept in config.json,
    `tensorboard` also writes the metrics there. Under torchrun the processes share each batch: `training.distributed`.
    """
    for name, value in (("progress", progress), ("channels_last", channels_last), ("tensorboard", tensorboard)):
        checks.flag(name, value)
    if tensorboard:
        need_tensorboard(out)
    if isinstance(data, Stream) and out is not None:
        raise ValueError("a run on a Stream cannot be resumed, so it has no folder; leave out= away")
    images = data if isinstance(data, Stream) else open_data(data)[0]
    images = images.to(device_of(model, device))
    asked: dict[str, Any] = {"batch_size": batch_size, "optimizer": optimizer, "schedule": schedule, "ema": ema}
    asked |= {"clip": clip, "validation": validation, "checkpoint_every": checkpoint_every, "crop": crop, "seed": seed}
    asked |= {"fast": fast, "channels_last": channels_last, "labelled": labelled, "loss": loss, "drop_last": drop_last}
    with processes() as team, restore_generators():
        settings = check_settings(model, strategy, images, epochs, iterations, team.count, **asked)
        folder = None if out is None else RunFolder(Path(out), team.first)
        lock = nullcontext() if folder is None else folder.lock()
        with lock, noting_signals(None if folder is None else folder.describe_kept, team.first) as signals:
            before = memory_format(model)
            if channels_last:  # on one CPU thread a step of Madry's CNN takes a sixth less time so (docs/decisions.md)
                model.to(memory_format=torch.channels_last)
            try:
                loop = Loop(model.train(), images, settings, team, folder)
                if folder is not None:  # written to only now that everything has been accepted
                    assert not isinstance(images, Stream)
                    folder.open(settings.config(model, images, info))
                restore(loop)
                finished = loop.index == settings.total
                shown = folder.path if folder is not None and tensorboard and team.first else None
                with (
                    Progress(progress and team.first, settings.total, loop.index) as bar,
                    Board(shown, loop.index, on_epoch if team.first else None) as board,
                ):
                    loop.run(bar, board, signals)
                team.gather(None)  # wait: the first process may still be writing the best weights
            except RuntimeError as error:
                hint = hint_at_dtype(model, str(error))
                if not hint:
                    raise
                raise checks.ModelFailed(f"the model cannot be trained: {checks.first_line(error)}{hint}") from error
            finally:  # however the run ends, since hosts' attacks stumble over channels last
                model.eval().to(memory_format=before)
            if loop.ema is not None:
                loop.ema.to(memory_format=before)
    path = None if folder is None else folder.path
    state = loop.strategy.eval() if isinstance(loop.strategy, nn.Module) else None
    return Run(model, loop.ema, best_model(loop), state, loop.ledger.rows, path, finished)


def memory_format(model: nn.Module) -> torch.memory_format:
    """Tell how the weights of the model's convolutions lie in memory."""
    unusual = [p for p in model.parameters() if p.ndim == 4 and not p.is_contiguous()]
    channels_last = bool(unusual) and all(p.is_contiguous(memory_format=torch.channels_last) for p in unusual)
    return torch.channels_last if channels_last else torch.contiguous_format


def best_model(loop: Loop) -> nn.Module | None:
    """Copy the model and give it the best held-out weights; None where nothing was held out."""
    if loop.settings.validation is None:
        return None
    best = copy.deepcopy(loop.model).eval()
    if loop.folder is None:
        best.load_state_dict(loop.ledger.best_weights)
        return best
    return load_weights(best, loop.folder.best(), str(loop.folder.path / BEST))
