"""How much accuracy our attacks leave, beside the peers' on the same networks, images and gradient steps.

    python -m benchmarks.mnist_models --data data --out runs/mnist
    python -m benchmarks.attack_strength --data data --models runs/mnist [--out benchmarks/results/FILE.json]

1. APGD with cross-entropy against pyautoattack's, in each norm, and the union of the two. pyautoattack against itself
with
   another seed is the control: what two runs of one attack differ by.
2. SLIDE against Foolbox's SparseL1Descent and ART's PGD and AutoPGD with norm 1.
3. Targeted SLIDE (next class) against Foolbox's and a float64 twin.
Every result is judged again here: a point outside ball or box counts as no success.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import mrt  # noqa: E402
from benchmarks.environment import environment  # noqa: E402
from benchmarks.mnist_models import load  # noqa: E402
from mrt.data import mnist  # noqa: E402
from mrt.protocols import Ball  # noqa: E402

APGD_STEPS, SLIDE_STEPS = 50, 40
APGD_BALLS = ((mrt.Linf(0.3), 1), (mrt.L2(2.0), 1), (mrt.L1(10.0), 5))  # and restarts: AutoAttack's own numbers
Row = dict[str, Any]


class Bench:
    """One network and its test images."""

    def __init__(self, name: str, model: nn.Module, x: Tensor, y: Tensor) -> None:
        self.name, self.model, self.x, self.y = name, model, x, y

    def stands(self, ball: Ball, x_adv: Tensor, target: Tensor | None = None) -> Tensor:
        """bool (N,): did the attack fail?"""
        with torch.no_grad():
            predicted = self.model(x_adv).argmax(1)
        reached = predicted != self.y if target is None else predicted == target
        return ~(reached & ball.contains(self.x, x_adv))

    def autoattack(self, ball: Ball, restarts: int, seed: int) -> Tensor:
        from pyautoattack.autopgd_base import APGDAttack

        norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[ball.name]
        attack = APGDAttack(
            self.model,
            n_iter=APGD_STEPS,
            norm=norm,
            n_restarts=restarts,
            eps=ball.eps,
            loss="ce",
            device="cpu",
            seed=seed,
        )
        found: Tensor = attack.perturb(self.x, self.y)
        return inside(ball, self.x, found)

    def foolbox(self, ball: Ball, target: Tensor | None = None) -> Tensor:
        import foolbox

        fmodel = foolbox.PyTorchModel(self.model, bounds=(0, 1), device="cpu")
        goal = (
            foolbox.criteria.Misclassification(self.y)
            if target is None
            else foolbox.criteria.TargetedMisclassification(target)
        )
        attack = foolbox.attacks.SparseL1DescentAttack(steps=SLIDE_STEPS)
        _, clipped, _ = attack(fmodel, self.x, goal, epsilons=ball.eps)
        return clipped

    def art(self, ball: Ball, auto: bool) -> Tensor:
        from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(
            self.model,
            loss=nn.CrossEntropyLoss(),
            input_shape=(1, 28, 28),
            nb_classes=10,
            clip_values=(0, 1),
            device_type="cpu",
        )
        settings = {"norm": 1, "eps": ball.eps, "max_iter": SLIDE_STEPS, "batch_size": 250, "verbose": False}
        labels = np.eye(10, dtype=np.float32)[self.y.numpy()]
        if auto:
            attack = AutoProjectedGradientDescent(
                classifier, eps_step=ball.eps / 5, loss_type="cross_entropy", nb_random_init=1, **settings
            )
        else:
            attack = ProjectedGradientDescentPyTorch(classifier, eps_step=ball.eps / 5, **settings)
        return inside(ball, self.x, torch.from_numpy(attack.generate(self.x.numpy(), labels)).float())


def inside(ball: Ball, x: Tensor, x_adv: Tensor) -> Tensor:
    """Peers overshoot by rounding: pulled back onto the set, so that they are not failed for that."""
    return ball.apply(x, ball.project(x_adv - x, x))


def twin(model: nn.Module, ball: Ball, x: Tensor, target: Tensor) -> Tensor:
    """Targeted SLIDE written plainly in float64: quantile, sort, bisection."""
    import copy

    net, x64, eps = copy.deepcopy(model).double(), x.double(), ball.eps
    delta, best, done = torch.zeros_like(x64), x64.clone(), torch.zeros(len(x), dtype=torch.bool)
    for step in range(SLIDE_STEPS + 1):
        point = (x64 + delta).clamp(0, 1).requires_grad_()
        out = net(point)
        (grad,) = torch.autograd.grad(-nn.functional.cross_entropy(out, target, reduction="sum"), point)
        hit = out.argmax(1) == target
        best, done = torch.where((hit & ~done)[:, None, None, None], point.detach(), best), done | hit
        if step == SLIDE_STEPS:
            break
        here = point.detach()
        stuck = ((here >= 1) & (grad > 0)) | ((here <= 0) & (grad < 0))
        size = grad.masked_fill(stuck, 0).abs().flatten(1)
        chosen = (size >= size.quantile(0.99, dim=1, keepdim=True)) & (size > 0)
        move = (grad.sign().flatten(1) * chosen / chosen.sum(1, keepdim=True).clamp(min=1)).view_as(x64)
        z = here - x64 + eps / 5 * move
        room = torch.where(z > 0, 1 - x64, x64).flatten(1)
        low, high = torch.zeros(len(x), 1, dtype=torch.float64), z.abs().flatten(1).amax(1, keepdim=True)
        fits = torch.minimum(z.abs().flatten(1), room).sum(1, keepdim=True) <= eps
        for _ in range(60):
            middle = (low + high) / 2
            over = torch.minimum((z.abs().flatten(1) - middle).clamp(min=0), room).sum(1, keepdim=True) > eps
            low, high = torch.where(over, middle, low), torch.where(over, high, middle)
        level = torch.where(fits, torch.zeros_like(high), high)
        delta = (z.sign().flatten(1) * torch.minimum((z.abs().flatten(1) - level).clamp(min=0), room)).view_as(x64)
    return best.float()


def apgd_rows(bench: Bench, seeds: int) -> list[Row]:
    rows = []
    for ball, restarts in APGD_BALLS:
        attack = mrt.APGD(ball, steps=APGD_STEPS, restarts=restarts)
        for seed in range(seeds):
            rng = torch.Generator().manual_seed(seed)
            ours = bench.stands(ball, attack(bench.model, bench.x, bench.y, rng=rng))
            theirs, again = (bench.stands(ball, bench.autoattack(ball, restarts, s)) for s in (seed, seed + 100))
            left = {"mrt": ours, "pyautoattack": theirs, "union": ours & theirs, "control union": theirs & again}
            rows.append(row(bench, "apgd", ball, seed, left))
    return rows


def slide_rows(bench: Bench, seeds: int) -> list[Row]:
    """Only ART's AutoPGD draws anything here; the others run once for all seeds."""
    rows = []
    for eps in (5.0, 10.0, 20.0):
        ball = mrt.L1(eps)
        fixed = {
            "mrt": bench.stands(ball, mrt.SLIDE(ball, steps=SLIDE_STEPS)(bench.model, bench.x, bench.y)),
            "foolbox": bench.stands(ball, bench.foolbox(ball)),
            "art pgd": bench.stands(ball, bench.art(ball, auto=False)),
        }
        for seed in range(seeds):
            np.random.seed(seed)
            torch.manual_seed(seed)
            auto = bench.stands(ball, bench.art(ball, auto=True))
            rows.append(row(bench, "slide", ball, seed, {**fixed, "art autopgd": auto}))
    return rows


def targeted_rows(bench: Bench) -> list[Row]:
    rows, target = [], (bench.y + 1) % 10
    for eps in (10.0, 20.0, 30.0):
        ball = mrt.L1(eps)
        attack = mrt.SLIDE(ball, steps=SLIDE_STEPS)
        left = {
            "mrt": bench.stands(ball, attack(bench.model, bench.x, bench.y, target=target), target),
            "twin": bench.stands(ball, twin(bench.model, ball, bench.x, target), target),
            "foolbox": bench.stands(ball, bench.foolbox(ball, target), target),
        }
        rows.append(row(bench, "targeted slide", ball, 0, {k: ~v for k, v in left.items()}))
    return rows


def row(bench: Bench, what: str, ball: Ball, seed: int, masks: dict[str, Tensor]) -> Row:
    """One line of the table, printed as soon as it is known: percent of the images in each mask."""
    percent = {name: round(100 * mask.float().mean().item(), 1) for name, mask in masks.items()}
    print(f"{what:15s} {bench.name:8s} {ball.name:4s} {ball.eps:<5g} seed {seed}  ", percent, flush=True)
    return {"what": what, "model": bench.name, "norm": ball.name, "eps": ball.eps, "seed": seed, "percent": percent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw")
    parser.add_argument("--models", default="runs/mnist", type=Path)
    parser.add_argument("--images", default=1000, type=int)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument(
        "--parts", nargs="+", default=["slide", "targeted", "apgd"], choices=["slide", "targeted", "apgd"]
    )
    parser.add_argument("--networks", nargs="+", default=["natural", "linf"], choices=["natural", "linf"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("art").setLevel(logging.ERROR)
    data, began, rows = mnist(args.data, "test").take(args.images), time.time(), []
    x, y = data.float(torch.arange(len(data))), data.y
    parts: dict[str, Callable[[Bench], list[Row]]] = {
        "slide": lambda b: slide_rows(b, args.seeds),
        "targeted": targeted_rows,
        "apgd": lambda b: apgd_rows(b, args.seeds),
    }
    for part in args.parts:
        for name in args.networks:
            rows += parts[part](Bench(name, load(args.models / f"{name}.pt"), x, y))
    apgd = [r["percent"] for r in rows if r["what"] == "apgd"]
    if apgd:
        excess = float(np.mean([p["mrt"] - p["pyautoattack"] for p in apgd]))
        print(
            f"APGD leaves {excess:+.2f} points more than pyautoattack's, on average; {time.time() - began:.0f} s in all"
        )
    if args.out:
        report = {
            "environment": environment(),
            "n": args.images,
            "apgd_steps": APGD_STEPS,
            "slide_steps": SLIDE_STEPS,
            "rows": rows,
        }
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
