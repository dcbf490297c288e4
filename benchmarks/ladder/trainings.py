"""Rungs 9 and 10: trainings as published, their weights, and a quick look at what they withstand."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks import published_runs
from benchmarks.ladder.context import Context
from benchmarks.ladder.pack import FAILED, NPZ
from benchmarks.ladder.watched import Watched, clock, pace
from mrt.crafting.recorded_steps import recordings_of
from mrt.data import Images
from mrt.fast import Fast
from mrt.models import MadryCNN, PreActResNet18
from mrt.protocols import Step

FAST = Fast("bfloat16", graph=True)  # without reuse, which must show first what it gains
LOOKED_AT = 1000  # test images
LOOK = {"mnist": 10.0, "cifar": 45.0}  # seconds kept for the look
PER_FILE = 15 * 2**20  # bytes of weights
PAPER_S_UNION = 58.4  # per cent, MNIST, under the paper's own attacks
MNIST_RUN = 150.0  # seconds at most, MSD as published


def mnist(context: Context) -> None:
    """MSD in the time there is, and then linf and SAT where there is time for all of it."""
    train, test = data(context, "mnist")
    setup = published_runs.MNIST
    for name, steps, seconds in (("msd", 100, 0.0), ("linf", 40, 30.0), ("sat", 40, 40.0)):
        if context.enough(seconds, f"MNIST {name}"):
            with context.attempt(f"MNIST {name}"):
                kind = published_runs.strategy(name, replace(setup, steps=2 if context.tiny else steps))
                net = MadryCNN(**context.narrow).to(context.place)
                least = 1 if name == "msd" else setup.epochs
                took = trained(context, f"mnist-{name}", net, kind, setup, train, least)
                if name == "msd" and took:
                    context.record(
                        "MNIST MSD as published", took, "s for 15 epochs", top=True, **{"at most": MNIST_RUN}
                    )
                look(context, f"mnist-{name}", net, setup.balls, test, False)
        if context.tiny:
            return


def cifar(context: Context) -> None:
    """MSD-10 for as many epochs as there is time for."""
    train, test = data(context, "cifar")
    setup = replace(published_runs.CIFAR10, steps=2) if context.tiny else published_runs.CIFAR10
    net = PreActResNet18(**context.narrow).to(context.place)
    trained(context, "cifar-msd", net, published_runs.strategy("msd", setup), setup, train)
    look(context, "cifar-msd", net, setup.balls, test, True)


def data(context: Context, name: str) -> tuple[Images, Images]:
    """Training and test images, waited for while they are being unpacked; noise in a tiny run that has none."""
    path = context.data / (NPZ if name == "cifar" else "MNIST/raw/train-labels-idx1-ubyte")
    if not context.data.is_dir() and not context.tiny:
        raise RuntimeError("there are no data: `make gpu-pack DATA=FOLDER` packs them, --pack says where they are")
    while not path.is_file() and not context.tiny:
        if (context.data / FAILED).is_file():
            raise RuntimeError(f"the data could not be unpacked: {(context.data / FAILED).read_text()}")
        if context.left() < 10:
            raise RuntimeError(f"{path.name} did not appear in time; is it in the pack?")
        time.sleep(0.2)
    if not path.is_file():
        context.record(f"{name}: images", "noise: nothing was packed", "")
        shape = (1, 28, 28) if name == "mnist" else (3, 32, 32)
        noise = Images(torch.rand(48, *shape), torch.arange(48) % 10, tuple("0123456789"))
        return noise, noise.take(16)
    if name == "mnist":
        train, test = (mrt.data.mnist(context.data, split) for split in ("train", "test"))
    else:
        train, test = mrt.data.npz(path, "train", augment="crop-flip"), mrt.data.npz(path, "test")
    return (train.take(48), test.take(16)) if context.tiny else (train, test)


def trained(
    context: Context, name: str, net: nn.Module, kind: Any, setup: Any, images: Images, least: int = 1
) -> float | None:
    """Trains for all the epochs that a few updates say there is time for, so that its schedule ends; seconds of the
    whole, or None where there was no time for every epoch of the published run. RuntimeError where there is none for
    `least`."""
    fast, began = FAST if context.on_gpu else Fast(), clock(context.place)
    batch = 16 if context.tiny else setup.batch
    how: dict[str, Any] = {"batch_size": batch, "optimizer": setup.optimizer}
    throwaway = type(net)(**context.narrow).to(context.place)
    each, recorded = pace(throwaway, kind, images, fast, (1, 2) if context.tiny else (8, 16), **how)
    per_epoch = each * (len(images) // batch)
    room = context.left() - LOOK[name.split("-")[0]]
    epochs = 1 if context.tiny else min(setup.epochs, math.floor(room / (1.03 * per_epoch)))
    context.record(f"{name}: epochs there is time for", epochs, f"of {setup.epochs}", seconds_an_epoch=per_epoch)
    if epochs < (1 if context.tiny else least):
        raise RuntimeError(f"an epoch takes {per_epoch:.0f} s; {room:.0f} s are left")
    stamps = [clock(context.place)]

    def at_epoch(model: nn.Module, step: Step) -> None:
        if step.index and step.index % (len(images) // batch) == 0:
            ended(model)

    def ended(model: nn.Module) -> None:
        stamps.append(clock(context.place))
        graph = {"recorded": recordings_of(model) > 0} if fast.graph else {}
        context.record(f"{name}: epoch {len(stamps) - 1}", stamps[-1] - stamps[-2], "s", **graph)
        save(context, name, model)

    watched = Watched(kind, {None: at_epoch})
    settings = how | {"schedule": setup.schedule, "device": context.device, "fast": fast, "progress": False}
    mrt.fit(net, watched, images, epochs=epochs, **settings)
    ended(net)
    whole = stamps[-1] - stamps[0]
    context.record(f"{name}: training of {epochs} epochs", whole, "s", top=True, with_pace=stamps[-1] - began)
    return whole if epochs == setup.epochs else None


def save(context: Context, name: str, net: nn.Module) -> None:
    """The weights in bfloat16, in as many files as bring each below PER_FILE."""
    parts: list[dict[str, Tensor]] = [{}]
    for key, value in net.state_dict().items():
        low = value.detach().cpu().contiguous()
        low = low.to(torch.bfloat16) if low.is_floating_point() else low
        if parts[-1] and sum(t.nbytes for t in parts[-1].values()) + low.nbytes > PER_FILE:
            parts.append({})
        parts[-1][key] = low
    for number, part in enumerate(parts, 1):
        path = context.out / f"{name}{f'-{number}' if len(parts) > 1 else ''}.pt"
        held: Path = path.with_suffix(".part")
        torch.save(part, held)
        held.replace(path)


def look(context: Context, name: str, net: nn.Module, balls: Any, test: Images, targeted: bool) -> None:
    """Per cent that APGD leaves of LOOKED_AT test images, by norm and in all of them; `targeted`: on what is still
    standing the form towards classes, too. Its attacks run as fast as training's, judged in float32."""
    count, steps = (16, 2) if context.tiny else (LOOKED_AT, 100)
    forms: dict[str, dict[str, Any]] = {"apgd-ce": {}, "apgd-t": {"loss": "dlr", "targets": 9}}
    wanted = [form for form in forms if form == "apgd-ce" or targeted and not context.tiny]
    battery = tuple(
        mrt.Entry(form, mrt.APGD(ball, steps=steps, **forms[form]), ball) for form in wanted for ball in balls
    )
    began, fast = clock(context.place), FAST if context.on_gpu else Fast()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report's own, which are recorded below
        report = mrt.evaluate(
            net, test.take(count), battery, device=context.device, fast=fast, batch_size=500, progress=False
        )
    took = clock(context.place) - began
    for column, left in report.threats.items():
        context.record(f"{name}: {column} by APGD", 100 * left, "%", steps=steps, n=count)
    more: dict[str, Any] = {"n": count, "warnings": report.warnings}
    more |= {"paper": PAPER_S_UNION} if name == "mnist-msd" and not context.tiny else {}
    context.record(f"{name}: clean", 100 * report.clean, "%", top=True)
    context.record(f"{name}: union by APGD", 100 * report.union, "%", top=True, **more)
    forms_told = " and ".join(wanted)
    context.record(f"{name}: {forms_told} on {count} images", took, "s", top=targeted, for_10000=took * 10_000 / count)
