"""All that `fit` was asked for, checked before anything is written or trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LRScheduler

from mrt import checks
from mrt.config import encode
from mrt.data import CropFlip
from mrt.data.batches import kinds
from mrt.data.images import Images
from mrt.data.stream import Stream
from mrt.fast import Fast
from mrt.protocols import Attack, Stateful
from mrt.records import fingerprint, identity, versions
from mrt.training.optimizers import SGD, Adam
from mrt.training.schedules import Schedule, Triangular
from mrt.training.validation import Validation, held_out_images


@dataclass(frozen=True, eq=False)
class Settings:
    """All settings of one run, checked. It has `total` updates, `per_epoch` of them an epoch.

    `held` are the held-out images, without augmentation and where the training images are, and `attacks` those that
    judge on them, by their names; both are empty without a validation.
    """

    strategy: Any
    optimizer: SGD | Adam | torch.optim.Optimizer
    schedule: Schedule | LRScheduler | None
    total: int
    per_epoch: int
    batch_size: int
    labelled: float | None
    ema: float | None
    clip: float | None
    validation: Validation | None
    held: Images | None
    attacks: dict[str, Attack]
    checkpoint_every: int
    crop: CropFlip
    seed: int
    fast: Fast
    channels_last: bool
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    drop_last: bool = True

    def optimizer_and_scheduler(self, model: nn.Module) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """Return the optimizer, and torch's scheduler if that is what decides on its rate, else None."""
        live = self.optimizer if isinstance(self.optimizer, torch.optim.Optimizer) else self.optimizer.make(model)
        return live, self.schedule if isinstance(self.schedule, LRScheduler) else None

    def config(self, model: nn.Module, data: Images, info: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what config.json holds: enough to notice that another call asks for another run."""
        plain = ("batch_size", "labelled", "ema", "clip", "checkpoint_every", "seed", "channels_last")
        settings = {"updates": self.total} | {name: getattr(self, name) for name in plain}
        settings |= {
            name: _describe(getattr(self, name)) for name in ("strategy", "optimizer", "schedule", "crop", "fast")
        }
        # Named only where they are not the usual ones, so that folders of earlier versions can be resumed.
        settings |= {} if self.drop_last else {"drop_last": False}
        settings |= {} if self.loss is cross_entropy else {"loss": _describe_loss(self.loss)}
        shapes = {name: list(p.shape) for name, p in model.named_parameters()}
        settings |= {"model": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())}
        tensors = [data.x, data.y]
        if self.labelled is not None and data.pseudo is not None:  # which labels are a model's decides on the batches
            tensors.append(data.pseudo)
        settings |= {"data": {"n": len(data), "augment": data.augment, "hash": fingerprint(*tensors)}}
        if self.validation is not None and self.held is not None:
            judges = {name: _describe(attack) for name, attack in self.attacks.items()}
            hashed = fingerprint(self.held.x, self.held.y)
            settings["validation"] = {"every": self.validation.every, "attacks": judges, "hash": hashed}
        # The names and shapes of a large model fill pages; a hash of them tells as well whether they have changed.
        shape_hash = fingerprint(torch.frombuffer(bytearray(repr(shapes).encode()), dtype=torch.uint8))
        return {**settings, "shapes": shape_hash, "info": dict(info or {}), "environment": versions()}


def check_settings(
    model: Any,
    strategy: Any,
    data: Images | Stream,
    epochs: float | None,
    iterations: int | None,
    count: int,
    **options: Any,
) -> Settings:
    """Return the settings, or raise a ValueError that names what was given and what is allowed.

    `count` is the number of processes, `options` are the other arguments of `fit`.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be an nn.Module, whose weights can be trained; got {type(model).__name__}")
    if isinstance(strategy, type) or not (callable(strategy) or isinstance(strategy, Stateful)):
        raise ValueError(f"strategy must be one such as Adversarial(Linf(0.3)), or a function; got {strategy!r}")
    if not isinstance(options.get("fast", Fast()), Fast):
        raise ValueError(f"fast must be a Fast(...); got {options['fast']!r}")
    batch = _check_batch_size(data, count, options)
    # Examples that fill no batch wait for another epoch's order: so every update weighs the same, processes get equal
    # parts, and BatchNorm never sees a batch of one. A stream's short last batch cannot be put off: it counts.
    drop_last, loss = options.get("drop_last", True), options.get("loss", cross_entropy)
    checks.flag("drop_last", drop_last)
    if not drop_last and (count > 1 or options["labelled"] is not None):
        raise ValueError("drop_last=False is for one process and no labelled= share: their batches are all of one size")
    if isinstance(loss, type) or not callable(loss):
        raise ValueError(f"loss must be a function of logits and labels, as cross_entropy is; got {loss!r}")
    per_epoch = len(data) // batch if drop_last and not isinstance(data, Stream) else -(-len(data) // batch)
    total = _check_length(epochs, iterations, per_epoch)
    if options["ema"] is not None and checks.number("ema", options["ema"], open_low=True, high=1) == 1:
        raise ValueError("ema must be a decay between 0 and 1, both excluded; got 1")
    if options["clip"] is not None:
        checks.number("clip", options["clip"], open_low=True)
    checks.count("seed", options["seed"], low=0)
    checks.count("checkpoint_every", options["checkpoint_every"])
    checks.flag("channels_last", options["channels_last"])
    validation = options.pop("validation")
    if validation is not None and not isinstance(validation, Validation):
        validation = Validation(validation)
    attacks = {} if validation is None else validation.attacks(strategy)
    judged = None if validation is None else held_out_images(validation.data, data)
    options |= {"batch_size": batch, "schedule": _check_schedule(options["optimizer"], options["schedule"])}
    return Settings(
        strategy=strategy,
        total=total,
        per_epoch=per_epoch,
        validation=validation,
        held=judged,
        attacks=attacks,
        **options,
    )


def _check_length(epochs: float | None, iterations: int | None, per_epoch: int) -> int:
    """Return the number of updates of the run, at least one, from epochs or iterations, of which one is given."""
    if (epochs is None) == (iterations is None):
        raise ValueError(f"give either epochs or iterations; got epochs={epochs!r}, iterations={iterations!r}")
    if iterations is None:
        return max(round(checks.number("epochs", epochs, open_low=True) * per_epoch), 1)
    return checks.count("iterations", iterations)


def _check_batch_size(data: Images | Stream, count: int, options: Mapping[str, Any]) -> int:
    """Return the size of a batch, which the processes can share, and which has room for both kinds of labels if
    `labelled` asks for them."""
    if isinstance(data, Stream):
        if count > 1 or options["labelled"] is not None:
            raise ValueError("a Stream is for one process and has no labelled= share: its batches are as they come")
        return data.batch_size
    batch = min(checks.count("batch_size", options["batch_size"]), len(data))
    if batch % count:
        raise ValueError(f"batch_size (here {batch}) must be a multiple of the {count} processes that share it")
    if options["labelled"] is not None:
        kinds(data.pseudo, batch, options["labelled"])
    return batch


def _check_schedule(optimizer: Any, schedule: Any) -> Schedule | LRScheduler | None:
    """Return the schedule, where None is a triangle for an optimizer made here, and stays None for a live one."""
    # Nobody wants the rate of SGD(...) or Adam(...) constant; that of a live optimizer is its owner's business.
    live = isinstance(optimizer, torch.optim.Optimizer)
    if not live and not isinstance(optimizer, (SGD, Adam)):
        raise ValueError(f"optimizer must be SGD(...), Adam(...) or a torch optimizer; got {optimizer!r}")
    if schedule is None:
        return None if live else Triangular()
    if isinstance(schedule, LRScheduler):
        if not live or schedule.optimizer is not optimizer:
            raise ValueError("a torch scheduler needs its own torch optimizer: pass that as optimizer=")
        if getattr(schedule, "mode", "min") == "max":
            raise ValueError("ReduceLROnPlateau is shown the mean loss, which is to fall: give it mode='min'")
        return schedule
    if isinstance(schedule, type) or not callable(schedule):
        raise ValueError(f"schedule must be one such as Triangular(), or a torch scheduler; got {schedule!r}")
    return schedule  # type: ignore[no-any-return]


def _describe_loss(loss: Any) -> dict[str, Any]:
    """Return a loss as JSON: its name, and what tells it from another of that name."""
    if isinstance(loss, partial):
        given = {"args": [repr(a) for a in loss.args], "keywords": {n: repr(v) for n, v in loss.keywords.items()}}
        return {**_describe_loss(loss.func), **given}
    described: dict[str, Any] = _describe(loss)
    if isinstance(loss, nn.Module):  # whose repr names neither weights nor smoothing
        public = {n: v for n, v in vars(loss).items() if not n.startswith("_") and n != "training"}
        described |= {"settings": {n: v for n, v in public.items() if isinstance(v, (bool, int, float, str))}}
        described |= {"tensors": fingerprint(*loss.state_dict().values(), *loss.buffers())}
    return described


def _describe(value: Any) -> Any:
    """Return the value as JSON: settings whole, live objects and functions by their names."""
    if value is None or (is_dataclass(value) and not isinstance(value, type)):
        try:
            return encode(value)
        except ValueError:  # it holds something live: a host's attack, say
            return {"live": identity(value)}
    if isinstance(value, torch.optim.Optimizer):
        return {"live": type(value).__name__, "defaults": {k: repr(v) for k, v in value.defaults.items()}}
    kind = value if hasattr(value, "__qualname__") else type(value)
    return {"live": f"{kind.__module__}:{kind.__qualname__}"}
