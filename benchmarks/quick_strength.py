"""What the `quick` battery leaves, beside AutoAttack's standard version, on networks of others and of our own.

    python -m benchmarks.quick_strength --models FOLDER [--own runs/mnist] [--out benchmarks/results/FILE.json]

FOLDER holds the state dicts mnist_cnn_a_adv.pt, cifar_cnn_a_adv.pt and cifar_cnn_a_adv4.pt of alpha-beta-CROWN's public
repository (complete_verifier/models/sdp) and 200 test images of each data set, mnist_200.npz and cifar_200.npz (x uint8
NCHW, y int64). --own is the folder of `benchmarks.mnist_models`.

One threat: both run APGD with cross-entropy and targeted APGD, with AutoAttack's numbers of steps and restarts. In l1
`quick` aims at nine wrong classes, AutoAttack's standard version at five. The union, of the middle radius of each norm:
`quick` beside AutoAttack's whole standard list, FAB and Square included, once for each norm. A point of AutoAttack's
outside ball or box, beyond rounding, counts as no success. Each figure is the percentage left. Passes are forward ones,
in thousands, each seed's; seconds are CPU time of one thread, of all seeds together. A run that was cut off goes on
where its result file ends. --again judges the rows of other commits once more by `quick`; AutoAttack's figures stay.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import mrt  # noqa: E402
from benchmarks.environment import environment  # noqa: E402
from benchmarks.mnist_models import load  # noqa: E402
from mrt.evaluation.judge import CountedModel  # noqa: E402
from mrt.protocols import Ball  # noqa: E402

RADII: dict[str, dict[str, tuple[float, ...]]] = {
    "mnist": {"linf": (0.1, 0.2, 0.3), "l2": (1.0, 2.0, 3.0), "l1": (3.0, 6.0, 10.0)},
    "cifar": {"linf": (1 / 255, 2 / 255, 4 / 255), "l2": (0.1, 0.25, 0.5), "l1": (1.5, 3.0, 6.0)},
}
BALLS: dict[str, Any] = {"linf": mrt.Linf, "l2": mrt.L2, "l1": mrt.L1}
NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
SEEDS = {"l1": 3, "linf": 1, "l2": 1, "union": 1}
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of CIFAR-10, in 255ths, as these networks were trained


class Normalized(nn.Module):
    """A network behind the normalisation that it was trained with."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) / 255)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) / 255)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net((x - self.mean) / self.std)
        return logits


def of_others(folder: Path, name: str) -> nn.Module:
    """alpha-beta-CROWN's CNN-A of that name."""
    colours, entries = (1, 1568) if name.startswith("mnist") else (3, 2048)
    net = nn.Sequential(
        nn.Conv2d(colours, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(entries, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    net.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return (net if colours == 1 else Normalized(net)).eval()


def judge_by_quick(model: nn.Module, x: Tensor, y: Tensor, balls: tuple[Ball, ...], seed: int) -> tuple[float, int]:
    """Percent that `quick` leaves, and forward passes."""
    options: dict[str, Any] = {"progress": False, "batch_size": len(x), "seed": seed}
    report = mrt.evaluate(model, (x, y), "quick", threats=balls, **options)
    return 100 * report.union, sum(work["forward"] for work in report.info["attacks"].values())


def judge_by_autoattack(
    model: nn.Module, x: Tensor, y: Tensor, balls: tuple[Ball, ...], seed: int
) -> tuple[float, int]:
    """Percent that AutoAttack's standard version leaves, and forward passes: of one ball its two APGD attacks, of
    several the whole list in each."""
    from pyautoattack import AutoAttack

    counted = CountedModel(model).eval()
    with torch.no_grad():
        left = model(x).argmax(1) == y
    for ball in balls:
        peer = AutoAttack(counted, norm=NORMS[ball.name], eps=ball.eps, seed=seed, device="cpu")
        if len(balls) == 1:
            peer.attacks_to_run = ["apgd-ce", "apgd-t"]
        found = peer.run_standard_evaluation(x, y, batch_size=len(x))
        found = found[0] if isinstance(found, tuple) else found
        with torch.no_grad():
            left &= model(ball.apply(x, ball.project(found - x, x))).argmax(1) == y
    return 100 * left.double().mean().item(), counted.forwards


JUDGES = {"quick": judge_by_quick, "autoattack": judge_by_autoattack}


def choose_balls(data: str, norm: str) -> list[tuple[Ball, ...]]:
    """The sets of threats that are judged: each radius of the norm, or for the union the middle one of every norm."""
    if norm == "union":
        return [tuple(make(RADII[data][name][1]) for name, make in BALLS.items())]
    return [(BALLS[norm](eps),) for eps in RADII[data][norm]]


def measure(
    row: dict[str, Any], judges: list[str], model: nn.Module, x: Tensor, y: Tensor, balls: tuple[Ball, ...], seeds: int
) -> dict[str, Any]:
    """What the judges leave, at every seed, written into the row."""
    for name in judges:
        judge = JUDGES[name]
        began = time.process_time()
        found = [judge(model, x, y, balls, seed) for seed in range(seeds)]
        row.setdefault("left", {})[name] = [round(left, 2) for left, _ in found]
        row.setdefault("thousand passes", {})[name] = [round(passes / 1000) for _, passes in found]
        row.setdefault("seconds", {})[name] = round(time.process_time() - began, 1)
    row["excess"] = round(float(np.mean(row["left"]["quick"]) - np.mean(row["left"]["autoattack"])), 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--own", type=Path, help="networks of benchmarks.mnist_models, judged as well")
    parser.add_argument("--images", default=200, type=int)
    parser.add_argument("--norms", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--only", nargs="+", help="networks, by name; all if left out")
    parser.add_argument("--again", action="store_true", help="judge rows of other commits once more by quick")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    models: dict[str, tuple[str, nn.Module]] = {
        name: (name.split("_")[0], of_others(args.models, name))
        for name in ("mnist_cnn_a_adv", "cifar_cnn_a_adv", "cifar_cnn_a_adv4")
    }
    if args.own:
        models |= {f"own_{name}": ("mnist", load(args.own / f"{name}.pt")) for name in ("linf", "msd")}
    report: dict[str, Any] = {"environment": environment(), "n": args.images, "seeds": SEEDS, "rows": []}
    if args.out and args.out.exists():
        before = json.loads(args.out.read_text())
        report["rows"] = [{"commit": before["environment"]["commit"], **row} for row in before["rows"]]
    rows: list[dict[str, Any]] = report["rows"]
    known = {(row["model"], row["threats"]): row for row in rows}
    commit = report["environment"]["commit"]
    for norm in args.norms:
        for name, (data, model) in models.items():
            held = np.load(args.models / f"{data}_200.npz")
            x, y = torch.tensor(held["x"][: args.images]).float() / 255, torch.tensor(held["y"][: args.images])
            for balls in choose_balls(data, norm):
                threats = ", ".join(f"{ball.name} {ball.eps:.4g}" for ball in balls)
                row = known.get((name, threats), {"model": name, "norm": norm, "threats": threats})
                stale = args.again and row.get("commit") != commit
                if ("left" in row and not stale) or (args.only and name not in args.only):
                    continue
                judges = ["quick"] if "left" in row else list(JUDGES)
                if "left" not in row:
                    rows.append(row)
                measure(row, judges, model, x, y, balls, SEEDS[norm])
                row["commit"] = commit
                left, passes = row["left"], row["thousand passes"]
                found = "; ".join(f"{judge} {left[judge]} with {passes[judge][0]}k passes" for judge in JUDGES)
                print(f"{name:16} {threats}: {found}; {row['excess']:+.2f}", flush=True)
                if args.out:  # each figure as it comes
                    args.out.write_text(json.dumps(report, indent=1) + "\n")
        excesses = [row["excess"] for row in rows if row["norm"] == norm]
        if excesses:
            print(f"{norm}: quick leaves {np.mean(excesses):+.2f} points more on average, {max(excesses):+.2f} at most")


if __name__ == "__main__":
    main()
