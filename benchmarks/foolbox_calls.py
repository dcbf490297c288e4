"""What a call costs under Foolbox's names beside Foolbox's own classes: processor time of one thread, the least of
several rounds in turn.

    PYTHONPATH=.:adapters python -m benchmarks.foolbox_calls [--compile] [--out benchmarks/results/FILE.json]

Two networks: one layer behind a pooling, which costs so little that the attack alone is measured, and a network with
two convolutions. One step shows what a call costs, eleven what the steps cost.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import mrt_foolbox
import torch
from torch import nn

import mrt
from benchmarks.environment import environment

import foolbox  # isort: skip - after mrt_foolbox, which keeps it quiet where there is no git

SHAPES = (((1, 8, 8), 64), ((3, 32, 32), 32), ((3, 224, 224), 8))
RADII = {"LinfPGD": 0.03, "L2PGD": 1.0, "L1PGD": 12.0, "SparseL1DescentAttack": 12.0}
ROUNDS = 7


def make_network(kind: str, shape: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    if kind == "one layer":
        net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(shape[0] * 16, 10))
    else:
        net = nn.Sequential(
            nn.Conv2d(shape[0], 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip
    return net.eval()


def measure(name: str, net: nn.Module, shape: tuple[int, int, int], n: int, steps: int, fast: mrt.Fast) -> list[float]:
    """Return the milliseconds of the host's call and of ours."""
    fmodel, x = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), torch.rand(n, *shape)
    host: Any = foolbox.attacks
    attacks = [getattr(host, name)(steps=steps), getattr(mrt_foolbox, name)(steps=steps, fast=fast)]
    y = fmodel(x).argmax(-1)
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for attack, spent in zip(attacks, times, strict=True):
            start = time.process_time()
            attack(fmodel, x, y, epsilons=RADII[name])
            spent.append(1000 * (time.process_time() - start))
    return [round(min(spent), 2) for spent in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="our steps as compiled ones")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    report = {"environment": environment(), "compiled": args.compile, "rounds": ROUNDS, "rows": rows}
    for shape, n in SHAPES:
        for kind in ("one layer", "two convolutions"):
            net = make_network(kind, shape)
            for name in RADII:
                for steps in (1, 11):
                    host, ours = measure(name, net, shape, n, steps, mrt.Fast(compile=args.compile))
                    row = {"network": kind, "images": n, "shape": shape, "attack": name, "steps": steps}
                    rows.append(row | {"host ms": host, "ours ms": ours, "ratio": round(ours / host, 2)})
                    what = f"{kind}, {n} x {shape} {name} {steps} steps"
                    print(f"{what:66} host {host:8.1f} ms  ours {ours:8.1f} ms  ratio {ours / host:.2f}", flush=True)
                    if args.out:  # each figure as it comes
                        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
