"""A paper's training run on real data, inside a time limit, judged and set beside the published row.

    python -m benchmarks.published_runs mnist --run msd --data data --out benchmarks/results/FILE.json
    python -m benchmarks.published_runs cifar10 --run sat --data data/cifar10-jpeg.npz --seconds 540

One run a command, complete in itself: `mnist` trains Madry's CNN for 15 epochs (MSD of 100 steps, the authors'
lengths), `cifar10` PreActResNet-18 at (8/255, 0.5, 12) for as many epochs, 50 at most, as a few timed updates say there
is time for. Beside --out FILE.json the weights, a state dict, lie in FILE.pt as soon as the training has ended. The
file itself is written then, and again after each battery.

The judge, on so many test images: AutoAttack's parts (mnist), APGD-CE and its targeted form (cifar10, and where
AutoAttack is not installed); with --battery also the MSD paper's own on 200, where Foolbox is installed. bfloat16 and
graphs are on where there is a GPU, compiled steps on a CPU; --plain turns them off, --reuse adds the reuse of forward
passes. Warnings are errors, but for the evaluator's, which are kept with its figures.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import mrt
from benchmarks import baselines
from benchmarks.environment import environment, strict
from mrt.data import Images
from mrt.models import MadryCNN, PreActResNet18
from mrt.protocols import Ball, Step
from mrt.recipes.published import PUBLISHED
from mrt.records import write_file

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


def per_update(kind: Any, images: Images, net: nn.Module, settings: dict[str, Any]) -> float:
    """Seconds of an update: between two stamps of the clock within one training, once it has compiled and recorded what
    it will. `net` is thrown away."""
    device, stamps = torch.device(settings["device"]), list[float]()

    def stamped(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Any:
        if step.index in (WARM_UP, WARM_UP + TIMED):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            stamps.append(time.perf_counter())
        return kind(model, x, y, step)

    mrt.fit(net, stamped, images, iterations=WARM_UP + TIMED + 1, progress=False, **settings)
    return (stamps[1] - stamps[0]) / TIMED


def train(net: nn.Module, name: str, setup: Setup, images: Images, how: dict[str, Any], seconds: float) -> int:
    """Trains for as many epochs as there is time for; how many that were."""
    kind, settings = strategy(name, setup), {"batch_size": setup.batch, "optimizer": setup.optimizer, **how}
    began = time.perf_counter()
    per_epoch = per_update(kind, images, type(net)().to(how["device"]), settings) * (len(images) // setup.batch)
    left = seconds - (time.perf_counter() - began)
    epochs = min(setup.epochs, int(max(left, 0) / per_epoch))
    print(f"{per_epoch:.1f} s an epoch: {epochs} of {setup.epochs} epochs in the {left:.0f} s left", flush=True)
    if epochs < 1:
        raise SystemExit(f"an epoch takes {per_epoch:.0f} s, and of {seconds:.0f} s the timing has left {left:.0f}")
    mrt.fit(net, kind, images, epochs=epochs, schedule=setup.schedule, **settings)
    return epochs


def batteries(setup: Setup, images: int, paper: bool) -> dict[str, int | str]:
    """By name, how many images each judges; or why it does not."""
    chosen = setup.judge if setup.judge == "quick" or not baselines.missing("pyautoattack") else "quick"
    found: dict[str, int | str] = {} if chosen == setup.judge else {setup.judge: "left out: no pyautoattack"}
    found[chosen] = images
    if paper:
        found["msd"] = "left out: no foolbox" if baselines.missing("foolbox") else min(images, 200)
    return found


def judged(net: nn.Module, test: Images, battery: str, how: dict[str, Any]) -> dict[str, Any]:
    """That battery's figures, and what the evaluator says against them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # its doubts, which are kept below
        report = mrt.evaluate(net, test, battery, **how)
    print(report, flush=True)
    figures = {"n": report.n, "clean": report.clean, **report.threats, "union": report.union}
    return figures | {"judged in": report.info["judged in"], "warnings": report.warnings}


def keep(out: Path | None, result: dict[str, Any], net: nn.Module | None = None) -> None:
    """What is known so far, whole, in that file; with `net` its weights beside it first."""
    if out is None:
        return
    if net is not None:
        weights = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
        write_file(out.with_suffix(".pt"), lambda file: torch.save(weights, file))
    write_file(out, lambda file: file.write((json.dumps(result, indent=1) + "\n").encode()))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_set", choices=["mnist", "cifar10"])
    parser.add_argument("--run", required=True, choices=["msd", "linf", "sat", "max", "avg"])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--seconds", default=420.0, type=float, help="for training")
    parser.add_argument("--images", default=1000, type=int, help="to judge")
    parser.add_argument("--train-images", type=int, help="fewer than there are, for a trial")
    parser.add_argument("--steps", type=int, help="of an attack; fewer for a trial")
    parser.add_argument("--budget", default=1.0, type=float, help="of a battery; below 1 for a trial")
    parser.add_argument("--battery", action="store_true", help="also the MSD paper's battery, on 200 images")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--reuse", action="store_true", help="of forward passes, by MSD")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    args = options()
    strict()
    setup, device = (MNIST if args.data_set == "mnist" else CIFAR10), "cuda" if torch.cuda.is_available() else "cpu"
    setup = replace(setup, steps=args.steps or setup.steps)
    train_set, test = loaded(args.data_set, args.data)
    train_set = train_set.take(args.train_images or len(train_set))
    quick = mrt.Fast("bfloat16", graph=True) if device == "cuda" else mrt.Fast(compile=True)
    fast = replace(mrt.Fast() if args.plain else quick, reuse=args.reuse)
    torch.manual_seed(args.seed)
    net = (MadryCNN() if args.data_set == "mnist" else PreActResNet18()).to(device)
    began = time.perf_counter()
    epochs = train(net, args.run, setup, train_set, {"fast": fast, "device": device, "seed": args.seed}, args.seconds)
    table, names = setup.rows
    row = dict(PUBLISHED[table].rows).get(names.get(args.run, ""))
    published = None if row is None else dict(zip(PUBLISHED[table].columns, row, strict=True))
    result: dict[str, Any] = {
        "environment": environment(), "data": args.data_set, "run": args.run, "fast": repr(fast), "seed": args.seed,
        "epochs": epochs, "of": setup.epochs, "steps": setup.steps, "training images": len(train_set),
        "seconds": time.perf_counter() - began, "published": published or "no such row", "judged": {},
    }  # fmt: skip
    keep(args.out, result, net)
    how: dict[str, Any] = {"threats": setup.balls, "budget": args.budget, "pool": train_set, "device": device}
    for battery, count in batteries(setup, args.images, args.battery).items():
        found = count if isinstance(count, str) else judged(net, test.take(count), battery, how | {"seed": args.seed})
        result["judged"][battery] = found
        keep(args.out, result)
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=1))


if __name__ == "__main__":
    main()
