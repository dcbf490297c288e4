"""How close to the image `Smallest` finds a misclassified point, beside hosts' searches at about as many passes.

    python -m benchmarks.closest_points --models FOLDER [--images 100] [--out benchmarks/results/FILE.json]

FOLDER is that of `benchmarks.quick_strength`. In each norm: the median distance (an image that is misclassified as it
is counts as 0, one without a point as infinity), the passes forward and back for each image, and the optimality of
AttackBench (Cinà et al. 2024): 1 minus the area between the attack's curve of accuracy over radius and that of the best
distance that any attack here found for each image, as a share of the area between the latter and no attack at all.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

import mrt  # noqa: E402
from benchmarks.environment import environment  # noqa: E402
from benchmarks.quick_strength import of_others  # noqa: E402
from mrt.evaluation.report.metrics import smallest  # noqa: E402
from mrt.protocols import Ball  # noqa: E402

RADII: dict[str, dict[str, Ball]] = {  # where the search begins
    "mnist": {"linf": mrt.Linf(0.2), "l2": mrt.L2(2.0), "l1": mrt.L1(6.0)},
    "cifar": {"linf": mrt.Linf(4 / 255), "l2": mrt.L2(0.25), "l1": mrt.L1(3.0)},
}
FMN = {"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack"}
BB = {"linf": "LinfinityBrendelBethgeAttack", "l2": "L2BrendelBethgeAttack", "l1": "L1BrendelBethgeAttack"}


def battery(ball: Ball, steps: int) -> tuple[mrt.Entry, ...]:
    """Ours and the hosts' searches in that ball's norm, each of about `steps` passes forward and back."""

    def theirs(host: Any, name: str, attack: str, **settings: Any) -> mrt.Entry:
        return mrt.Entry(name, mrt.Foreign(host, attack, tuple(settings.items())), ball, distances=True)

    entries = [
        *mrt.batteries.smallest((ball,), budget=steps / 1000),
        theirs("foolbox", "fmn", FMN[ball.name], steps=steps),
        theirs("foolbox", "bb", BB[ball.name], steps=steps),
        theirs("autoattack", "fab-t", "fab-t", steps=max(steps // 18, 5)),  # two passes a step, for nine classes
    ]
    if ball.name == "l2":
        entries.append(theirs("foolbox", "ddn", "DDNAttack", steps=steps))
    if ball.name == "l1":
        searches = {"binary_search_steps": 9, "steps": max(steps // 9, 1), "decision_rule": "L1"}
        entries.append(theirs("foolbox", "ead", "EADAttack", **searches))
    return tuple(entries)


def optimality(distances: Tensor, best: Tensor, clean: float) -> float:
    """1 where the distances (N,) are the best known; 0 where nothing was found. The area under a curve of accuracy up
    to a radius is the mean of the distances, each cut off there."""
    finite = best[best.isfinite()]
    reach = float(finite.max())
    lost = float(distances.clamp(max=reach).mean() - best.clamp(max=reach).mean())
    return 1 - lost / (clean * reach - float(best.clamp(max=reach).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--images", default=100, type=int)
    parser.add_argument("--steps", default=1000, type=int, help="passes forward and back that each search may have")
    parser.add_argument("--norms", nargs="+", default=list(FMN), choices=list(FMN))
    parser.add_argument("--only", nargs="+", help="networks, by name; all if left out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = []
    report = {"environment": environment(), "n": args.images, "steps": args.steps, "rows": rows}
    for name in args.only or ("mnist_cnn_a_adv", "cifar_cnn_a_adv", "cifar_cnn_a_adv4"):
        data, model = name.split("_")[0], of_others(args.models, name)
        held = np.load(args.models / f"{data}_200.npz")
        x, y = torch.tensor(held["x"][: args.images]).float() / 255, torch.tensor(held["y"][: args.images])
        for norm in args.norms:
            entries = battery(RADII[data][norm], args.steps)
            options: dict[str, Any] = {"progress": False, "batch_size": len(x), "cascade": False, "pool": (x, y)}
            found = mrt.evaluate(model, (x, y), entries, **options)
            best = smallest(list(found.distances.values()))
            for label, distances in found.distances.items():
                work = found.info["attacks"][label]
                row: dict[str, Any] = {"model": name, "norm": norm, "attack": label}
                median = float(distances.quantile(0.5, interpolation="lower"))
                row |= {"median": median if median < float("inf") else None}  # JSON has no infinity
                row |= {"optimality": optimality(distances, best, found.clean)}
                row |= {key: work[key] / max(int(found.ran[label].sum()), 1) for key in ("forward", "backward")}
                row |= {"seconds": work["seconds"], "failed": work["failed"]}
                rows.append(row)
                passes = f"{row['forward']:.0f}+{row['backward']:.0f} passes"
                figures = f"median {median:.5g} optimality {100 * row['optimality']:.1f}%"
                print(f"{name:18} {label:18} {figures} {passes}", flush=True)
                if args.out:  # each figure as it comes
                    args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
