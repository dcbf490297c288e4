"""What a call costs under Foolbox's names beside Foolbox's own classes: processor time of one thread, the least of
several rounds in turn, on a network so small that the attack is what is measured.

    PYTHONPATH=.:adapters python -m benchmarks.foolbox_calls [--compile]
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import mrt_foolbox
import torch
from torch import nn

import mrt

import foolbox  # isort: skip - after mrt_foolbox, which keeps it quiet where there is no git

SHAPES = (((1, 8, 8), 64), ((3, 32, 32), 32), ((3, 224, 224), 8))
RADII = {"LinfPGD": 0.03, "L2PGD": 1.0, "L1PGD": 12.0, "SparseL1DescentAttack": 12.0}
ROUNDS = 7


def measure(name: str, shape: tuple[int, int, int], n: int, steps: int, fast: mrt.Fast) -> list[float]:
    """Return the milliseconds of the host's call and of ours."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(shape[0] * 16, 10)).eval()
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
    return [min(spent) for spent in times]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="our steps as compiled ones")
    compiled = parser.parse_args().compile
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for shape, n in SHAPES:
        for name in RADII:
            for steps in (1, 11):
                host, ours = measure(name, shape, n, steps, mrt.Fast(compile=compiled))
                what = f"{n} x {shape} {name} {steps} steps"
                print(f"{what:50} host {host:7.1f} ms  ours {ours:7.1f} ms  ratio {ours / host:.2f}", flush=True)
