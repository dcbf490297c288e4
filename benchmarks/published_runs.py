"""A paper's training run on real data, inside a time limit, judged and set beside the published row.

    python -m benchmarks.published_runs mnist --run msd --data data --out benchmarks/results/FILE.json
    python -m benchmarks.published_runs cifar10 --run sat --data data/cifar10-jpeg.npz --seconds 540

One run a command, complete in itself: `mnist` trains Madry's CNN for 15 epochs (MSD of 100 steps, the authors'
lengths), `cifar10` PreActResNet-18 at (8/255, 0.5, 12) for as many epochs, 50 at most, as a few timed updates say there
is time for. The judge, on so many test images: AutoAttack's parts (mnist), APGD-CE and its targeted form (cifar10);
with --battery also the MSD paper's own on 200. Every fast option is on where there is a GPU; --plain turns them off.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import mrt
from benchmarks.environment import environment
from mrt.data import Images
from mrt.models import MadryCNN, PreActResNet18
from mrt.protocols import Ball
from mrt.recipes.published import PUBLISHED

WARM_UP = 20  # updates that are not timed: compilation, recording
TIMED = 20


@dataclass(frozen=True)
class Setup:
    """A data set's share of a run."""

    balls: tuple[Ball, ...]
    steps: int
    ratio: tuple[float, ...]
    epochs: int
    batch: int
    optimizer: mrt.SGD | mrt.Adam
    schedule: mrt.Triangular | mrt.Piecewise
    judge: str
    rows: tuple[str, dict[str, str]]  # the paper's table, and the names of its rows


MNIST = Setup(
    (mrt.Linf(0.3), mrt.L2(2.0), mrt.L1(10.0)),
    100,
    (0.01 / 0.0075, 0.1 / 0.05, 0.8 / 0.25),  # lengths of 0.01, 0.1 and 0.8 beside 2.5 eps / 100
    15,
    100,
    mrt.Adam(1e-3),
    mrt.Triangular(),
    "standard",
    ("msd-mnist", {"msd": "MSD", "linf": "P linf", "max": "MAX", "avg": "AVG"}),
)
CIFAR10 = Setup(
    (mrt.Linf(8 / 255), mrt.L2(0.5), mrt.L1(12.0)),
    10,
    (1.0, 1.0, 1.0),
    50,
    128,
    mrt.SGD(0.1),
    mrt.Piecewise(((0, 0), (0.4, 1), (0.8, 0.05), (1, 0))),
    "quick",
    ("msd-cifar10", {"msd": "MSD", "linf": "P linf", "max": "MAX", "avg": "AVG"}),
)


def strategy(name: str, setup: Setup) -> Any:
    """The strategy of that name on the data set's balls. `ratio` is that of lengths for setup's own number of steps."""
    kinds: dict[str, Any] = {
        "msd": lambda: mrt.MSDTraining(setup.balls, steps=setup.steps, ratio=setup.ratio),
        "linf": lambda: mrt.Adversarial(setup.balls[0], steps=setup.steps),
        "sat": lambda: mrt.SAT(setup.balls, steps=setup.steps),
        "max": lambda: mrt.Worst(setup.balls, steps=setup.steps),
        "avg": lambda: mrt.Average(setup.balls, steps=setup.steps),
    }
    return kinds[name]()


def loaded(name: str, data: Path) -> tuple[Images, Images]:
    """Training and test images."""
    if name == "mnist":
        return mrt.data.mnist(data, "train"), mrt.data.mnist(data, "test")
    arrays = np.load(data)
    parts = [
        Images(torch.from_numpy(arrays[f"x_{part}"]), torch.from_numpy(arrays[f"y_{part}"]).long(), tuple("0123456789"),
               augment="crop-flip" if part == "train" else "none")
        for part in ("train", "test")
    ]  # fmt: skip
    return parts[0], parts[1]


def train(net: nn.Module, name: str, setup: Setup, images: Images, how: dict[str, Any], seconds: float) -> float:
    """Trains for as many epochs as there is time for; how many that were."""
    kind, settings = strategy(name, setup), {"batch_size": setup.batch, "optimizer": setup.optimizer, **how}
    began = time.perf_counter()
    throwaway = type(net)().to(how["device"])
    mrt.fit(throwaway, kind, images, iterations=WARM_UP, progress=False, **settings)
    started = time.perf_counter()
    mrt.fit(throwaway, kind, images, iterations=TIMED, progress=False, **settings)
    per_epoch = (time.perf_counter() - started) / TIMED * (len(images) // setup.batch)
    epochs = min(setup.epochs, int((seconds - (time.perf_counter() - began)) / per_epoch))
    print(f"{per_epoch:.1f} s an epoch: {epochs} of {setup.epochs} epochs in {seconds:.0f} s", flush=True)
    if epochs < 1:
        raise SystemExit(f"an epoch takes {per_epoch:.0f} s, more than the {seconds:.0f} s there are")
    mrt.fit(net, kind, images, epochs=epochs, schedule=setup.schedule, **settings)
    return epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_set", choices=["mnist", "cifar10"])
    parser.add_argument("--run", required=True, choices=["msd", "linf", "sat", "max", "avg"])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--seconds", default=420.0, type=float, help="for training")
    parser.add_argument("--images", default=1000, type=int, help="to judge")
    parser.add_argument("--train-images", type=int, help="fewer than there are, for a trial")
    parser.add_argument("--steps", type=int, help="of an attack; fewer for a trial")
    parser.add_argument("--battery", action="store_true", help="also the MSD paper's battery, on 200 images")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    setup, device = (MNIST if args.data_set == "mnist" else CIFAR10), "cuda" if torch.cuda.is_available() else "cpu"
    setup = replace(setup, steps=args.steps or setup.steps)
    train_set, test = loaded(args.data_set, args.data)
    train_set = train_set.take(args.train_images or len(train_set))
    quick = mrt.Fast("bfloat16", graph=True, reuse=True) if device == "cuda" else mrt.Fast(compile=True)
    fast = mrt.Fast() if args.plain else quick
    torch.manual_seed(args.seed)
    net = (MadryCNN() if args.data_set == "mnist" else PreActResNet18()).to(device)
    began = time.perf_counter()
    how = {"fast": fast, "device": device, "seed": args.seed}
    epochs = train(net, args.run, setup, train_set, how, args.seconds)
    took, judged = time.perf_counter() - began, {}
    reports = {setup.judge: args.images} | ({"msd": 200} if args.battery else {})
    for battery, count in reports.items():
        judge: dict[str, Any] = {"threats": setup.balls, "pool": train_set, "device": device, "seed": args.seed}
        report = mrt.evaluate(net, test.take(count), battery, **judge)
        print(report, flush=True)
        judged[battery] = {"n": report.n, "clean": report.clean, **report.threats, "union": report.union}
    table, names = setup.rows
    row = dict(PUBLISHED[table].rows).get(names.get(args.run, ""))
    published = None if row is None else dict(zip(PUBLISHED[table].columns, row, strict=True))
    result = {
        "environment": environment(), "data": args.data_set, "run": args.run, "fast": repr(fast), "seed": args.seed,
        "epochs": epochs, "of": setup.epochs, "steps": setup.steps, "training images": len(train_set), "seconds": took,
        "judged": judged, "published": published or "no such row",
    }  # fmt: skip
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
