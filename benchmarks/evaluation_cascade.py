"""What the cascade saves, and that it changes no column: one battery on one set of images with the cascade on and off.

    python -m benchmarks.mnist_models --data data --out runs/mnist
    python -m benchmarks.evaluation_cascade --data data --models runs/mnist [--out benchmarks/results/FILE.json]

Our attacks must agree to the example. AutoAttack's Square draws per batch, so its control is itself with another seed.
Passes are images through the model, forward plus backward.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mrt
from benchmarks.environment import environment
from benchmarks.mnist_models import load
from mrt.data import Images, mnist

THREATS = (mrt.Linf(0.3), mrt.L2(2.0), mrt.L1(10.0))


def battery(budget: float) -> mrt.evaluation.Battery:
    """`quick`, then Square, for each threat."""
    queries = max(round(1000 * budget), 10)
    squares = [mrt.Entry("square", mrt.Foreign("autoattack", "square", (("queries", queries),)), t) for t in THREATS]
    return (*mrt.batteries.quick(THREATS, budget=budget), *squares)


def passes(report: mrt.Report) -> int:
    """Forward and backward, over all attacks."""
    return int(sum(work["forward"] + work["backward"] for work in report.info["attacks"].values()))


def compare(name: str, model: nn.Module, data: Images, budget: float) -> dict[str, Any]:
    """Cascade on, off, and off with another seed."""
    entries = battery(budget)
    on = mrt.evaluate(model, data, entries, progress=True)
    off = mrt.evaluate(model, data, entries, cascade=False)
    again = mrt.evaluate(model, data, entries, cascade=False, seed=1)
    rows = []
    for label in on.masks:
        ran = on.ran[label]
        rows.append(
            {
                "attack": label,
                "saw with cascade": int(ran.sum()),
                "differ with and without cascade": int((on.masks[label] != off.masks[label])[ran].sum()),
                "differ between seeds": int((off.masks[label] != again.masks[label])[ran].sum()),
            }
        )
    own = [label for label in on.masks if not label.startswith("aa.")]
    assert all(torch.equal(on.masks[a][on.ran[a]], off.masks[a][on.ran[a]]) for a in own)
    return {
        "network": name,
        "n": len(data),
        "threats, cascade on": on.threats,
        "threats, cascade off": off.threats,
        "union on, off, off with another seed": [on.union, off.union, again.union],
        "examples of the union that differ": int((on.robust != off.robust).sum()),
        "passes on": passes(on),
        "passes off": passes(off),
        "saved": 1 - passes(on) / passes(off),
        "attacks": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw")
    parser.add_argument("--models", default="runs/mnist", type=Path)
    parser.add_argument("--images", default=1000, type=int)
    parser.add_argument("--budget", default=0.2, type=float, help="of the battery's steps and queries")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of masking, on the undefended network: not the subject here
    data = mnist(args.data, "test").take(args.images)
    rows = [compare(name, load(args.models / f"{name}.pt"), data, args.budget) for name in ("natural", "linf")]
    text = json.dumps({"environment": environment(), "budget": args.budget, "results": rows}, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
