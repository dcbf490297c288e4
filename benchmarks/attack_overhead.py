"""What an attack step costs beyond the model's own passes, on a linear 3072 -> 10 model, batch 128, one CPU thread.

    python -m benchmarks.attack_overhead [--out benchmarks/results/FILE.json]

A step is the slope between 5 and 25 steps; the model's own forward and input gradient, measured in the same rounds, are
subtracted. All rows of a round run one after another, so that the machine's other load meets them alike; figures are
medians over the rounds, each the mean of three repeats, in microseconds per example and step, and ratios of those
medians. ART works in numpy and PyTorch, Foolbox in PyTorch; both are called as their users call them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import mrt  # noqa: E402
from benchmarks.environment import environment  # noqa: E402
from mrt.crafting.best import Best

BATCH, ENTRIES, CLASSES = 128, 3072, 10
FEW, MANY = 5, 25
LINF, L2, L1 = mrt.Linf(8 / 255), mrt.L2(0.5), mrt.L1(12.0)
Run = Callable[[int], object]


def clock(run: Callable[[], object]) -> float:
    """Process CPU time of one call, microseconds per example."""
    began = time.process_time()
    run()
    return (time.process_time() - began) * 1e6 / BATCH


def ours(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Run]:
    """Our three single-norm attacks and MSD, by number of steps."""

    def call(attack: Callable[[int], mrt.PGD | mrt.SLIDE | mrt.MSD]) -> Run:
        return lambda steps: attack(steps)(model, x, y)

    return {
        "mrt linf": call(lambda n: mrt.PGD(LINF, steps=n, step_size=0.003, random_start=False)),
        "mrt l2": call(lambda n: mrt.PGD(L2, steps=n, step_size=0.05, random_start=False)),
        "mrt slide": call(lambda n: mrt.SLIDE(L1, steps=n, step_size=1.0, random_start=False)),
    }


def foolbox_peers(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Run]:
    """Foolbox's attacks of the same three sets."""
    import foolbox

    fmodel = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attacks = foolbox.attacks

    def call(make: Callable[[int], Any], eps: float) -> Run:
        return lambda steps: make(steps).run(fmodel, x, foolbox.criteria.Misclassification(y), epsilon=eps)

    return {
        "foolbox linf": call(lambda n: attacks.LinfPGD(steps=n, abs_stepsize=0.003, random_start=False), LINF.eps),
        "foolbox l2": call(lambda n: attacks.L2PGD(steps=n, abs_stepsize=0.05, random_start=False), L2.eps),
        "foolbox l1": call(lambda n: attacks.SparseL1DescentAttack(steps=n, abs_stepsize=1.0), L1.eps),
    }


def art_peers(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Run]:
    """ART's PGD of the same three sets."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    logging.getLogger("art").setLevel(logging.ERROR)
    classifier = PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=CLASSES,
        clip_values=(0, 1),
        device_type="cpu",
    )
    images, labels = x.numpy(), np.eye(CLASSES, dtype=np.float32)[y.numpy()]

    def call(norm: float, eps: float, step: float) -> Run:
        def run(steps: int) -> object:
            attack = ProjectedGradientDescentPyTorch(
                classifier, norm=norm, eps=eps, eps_step=step, max_iter=steps, batch_size=BATCH, verbose=False
            )
            return attack.generate(images, labels)

        return run

    return {
        "art linf": call(np.inf, LINF.eps, 0.003),
        "art l2": call(2, L2.eps, 0.05),
        "art l1": call(1, L1.eps, 1.0),
    }


def candidates(x: Tensor) -> dict[str, Callable[[], object]]:
    """The three projected steps alone: each by itself, and as MSD makes them from one point and picks from them."""
    grad, keep = torch.randn_like(x), torch.full((BATCH,), 31)
    x_adv = mrt.MSD((LINF, L2, L1), steps=20)(
        nn.Sequential(nn.Flatten(), nn.Linear(ENTRIES, CLASSES)), x, torch.zeros(BATCH).long()
    )
    steps = [(LINF.mover(x), 0.003), (L2.mover(x), 0.05), (L1.mover(x), 1.0)]

    losses, standing = torch.rand(3, BATCH), torch.zeros(BATCH, dtype=torch.bool)

    def together() -> Tensor:
        winner = Best("loss")
        for (move, size), loss in zip(steps, losses, strict=True):
            winner.offer(move(x_adv, grad, size, keep), loss, standing)
        return winner.point

    singles = {
        f"step {ball.name}": (lambda m=move, s=size: m(x_adv, grad, s, keep))
        for ball, (move, size) in zip((LINF, L2, L1), steps, strict=True)
    }
    return {**singles, "msd candidates": together}


def measure(rounds: int) -> dict[str, list[float]]:
    """Microseconds per example (and step) by row and round."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(ENTRIES, CLASSES)).eval()
    x, y = torch.rand(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    loops = {**ours(model, x, y), **foolbox_peers(model, x, y), **art_peers(model, x, y)}
    alone = candidates(x)

    def bare() -> None:
        z = x.clone().requires_grad_()
        torch.autograd.grad(nn.functional.cross_entropy(model(z), y, reduction="sum"), z)

    times: dict[str, list[float]] = {name: [] for name in ("model", *loops, *alone)}
    for turn in range(rounds + 1):
        for name, run in loops.items():
            slopes = [clock(lambda: run(MANY)) - clock(lambda: run(FEW)) for _ in range(3)]  # noqa: B023
            times[name].append(sum(slopes) / len(slopes) / (MANY - FEW))
        for name, op in {"model": bare, **alone}.items():
            times[name].append(clock(lambda: [op() for _ in range(60)]) / 60)  # noqa: B023
        print(f"\rround {turn} of {rounds}", end="", flush=True)
    print()
    return {name: values[1:] for name, values in times.items()}  # the first warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    times = measure(args.rounds)
    median = {name: statistics.median(values) for name, values in times.items()}
    cost = {n: m - median["model"] if n.split()[0] in ("mrt", "foolbox", "art") else m for n, m in median.items()}
    ratios = {
        "slide / foolbox l1 (at most 0.5)": cost["mrt slide"] / cost["foolbox l1"],
        "slide / art l1 (at most 1.0)": cost["mrt slide"] / cost["art l1"],
        "linf / faster peer (at most 0.6)": cost["mrt linf"] / min(cost["foolbox linf"], cost["art linf"]),
        "l2 / faster peer (at most 0.6)": cost["mrt l2"] / min(cost["foolbox l2"], cost["art l2"]),
        "msd / sum of single steps (at most 1.1)": cost["msd candidates"]
        / sum(cost[f"step {b.name}"] for b in (LINF, L2, L1)),
    }
    for name, value in cost.items():
        print(
            f"{name:16s} {value:8.1f} us   ({min(times[name]):.1f} to {max(times[name]):.1f} with the model's passes)"
        )
    for name, value in ratios.items():
        print(f"{name:42s} {value:.2f}")
    if args.out:
        report = {
            "environment": environment(),
            "rounds": args.rounds,
            "us_per_example_and_step": cost,
            "ratios": ratios,
        }
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
