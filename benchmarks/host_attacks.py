"""SLIDE as Foolbox and ART users get it, against the hosts' own l1 attacks, on two networks for the embedded digits.

    python -m benchmarks.host_attacks [--images 300] [--rounds 7] [--result FILE.json]

All attacks are called as their hosts' users call them, with 20 gradient steps and whatever is default beside the radius
and, in ART, the norm, a step of 2.5 eps / 20 and one random start for AutoPGD. Foolbox's L1PGD and ART's AutoPGD, whose
default or given step is short, have a second row each with a better one. At 20 steps our two for Foolbox are one
attack under two names, so that their ratio of times shows the noise. All images are one batch. One network is trained
naturally, the other by MSD on the union of linf 0.2, l2 0.7 and l1 2.

Strength, from one run of fixed seed: percent of the images still classified well, and percent driven to the next class
by a targeted run. Each is counted on the raw results wherever they lie and, under "held", on the same results projected
exactly on ball and box, so that no attack gains by leaving its ball. The l1 norms, in float64, are those of the
untargeted run's raw results; "out" are raw results further away than eps (1 + 1e-6).

Time: CPU time of one thread for the whole untargeted call, the host's own checks before and after included, divided by
the steps. All attacks of a round run one after another, every other round in reverse order, and times are compared
within a round: a ratio is this attack's time by that of our SLIDE, or of ours of the same name, as median and quartiles
over the rounds. The model's own forward pass and input gradient run in the same rounds. The runs for strength warm up.
The hosts' backward passes also compute the gradients of the weights, which are not frozen, as in most users' scripts.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrt_foolbox  # before foolbox: where there is no git, foolbox alone does not import

import foolbox  # isort: skip
import art.attacks.evasion
import mrt_art
import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

import mrt
from benchmarks.attack_strength import inside
from benchmarks.environment import environment

STEPS, RADII, CLASSES = 20, (1.0, 2.0, 3.0, 4.0), 10
MSD = mrt.MSDTraining((mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0)), steps=5, keep=(1, 6), ratio=(1, 1, 1.4))
STRATEGIES = {"natural": mrt.Standard(), "msd": MSD}
HEAD = (
    f"{'':38s}{'left':>6s}{'held':>6s}{'mean l1':>9s}{'largest':>10s}{'out':>5s}{'target':>8s}{'held':>6s}{'out':>5s}"
    f"{'ms/step':>9s}   {'time / SLIDE':18s} time / same name"
)
Row = dict[str, Any]
Run = Callable[[float, bool], Tensor]  # from the radius, and whether targeted, to the raw result


def network(strategy: Any) -> nn.Module:
    torch.manual_seed(0)
    model, data = mrt.models.DigitsCNN(), mrt.data.digits("train")
    return mrt.fit(model, strategy, data, epochs=5, batch_size=64, optimizer=mrt.Adam(8e-3), progress=False).model


def foolbox_attacks(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Run]:
    fmodel = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    goals = foolbox.criteria.Misclassification(y), foolbox.criteria.TargetedMisclassification((y + 1) % CLASSES)

    def call(attack: Any) -> Run:
        return lambda eps, targeted: attack(fmodel, x, goals[targeted], epsilons=eps)[0]

    return {
        "mrt_foolbox.SLIDE": call(mrt_foolbox.SLIDE(steps=STEPS)),
        "mrt_foolbox.SparseL1DescentAttack": call(mrt_foolbox.SparseL1DescentAttack(steps=STEPS)),
        "foolbox.SparseL1DescentAttack": call(foolbox.attacks.SparseL1DescentAttack(steps=STEPS)),
        "foolbox.L1PGD": call(foolbox.attacks.L1PGD(steps=STEPS)),
        "foolbox.L1PGD, no start, long steps": call(
            foolbox.attacks.L1PGD(steps=STEPS, rel_stepsize=2.5 / STEPS, random_start=False)
        ),
    }


def art_attacks(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Run]:
    """An attack is made anew for every call, since the radius is its setting."""
    how: Row = {"input_shape": tuple(x.shape[1:]), "nb_classes": CLASSES, "clip_values": (0, 1)}
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), device_type="cpu", **how)
    images, labels = x.numpy(), (y.numpy(), ((y + 1) % CLASSES).numpy())
    shared: Row = {"max_iter": STEPS, "batch_size": len(x), "verbose": False}

    def call(kind: Any, **settings: Any) -> Run:
        def run(eps: float, targeted: bool) -> Tensor:
            own = {name: value for name, value in settings.items() if name != "share"}
            step = {"eps_step": settings.get("share", 2.5 / STEPS) * eps} if own else {}
            attack = kind(classifier, eps=eps, targeted=targeted, **shared, **own, **step)
            return torch.from_numpy(attack.generate(images, labels[targeted]))

        return run

    theirs = art.attacks.evasion
    return {
        "mrt_art.SLIDE": call(mrt_art.SLIDE),
        "mrt_art.ProjectedGradientDescent": call(mrt_art.ProjectedGradientDescent, norm=1),
        "art.ProjectedGradientDescent": call(theirs.ProjectedGradientDescent, norm=1),
        "mrt_art.AutoProjectedGradientDescent": call(mrt_art.AutoProjectedGradientDescent, norm=1, nb_random_init=1),
        "art.AutoProjectedGradientDescent": call(theirs.AutoProjectedGradientDescent, norm=1, nb_random_init=1),
        "art.AutoPGD, first step eps": call(theirs.AutoProjectedGradientDescent, norm=1, nb_random_init=1, share=1.0),
    }


HOSTS = {"foolbox": foolbox_attacks, "art": art_attacks}


def percent(model: nn.Module, x: Tensor, classes: Tensor) -> float:
    with torch.no_grad():
        return float(100 * (model(x).argmax(1) == classes).double().mean())


def strength(model: nn.Module, x: Tensor, y: Tensor, eps: float, run: Run) -> Row:
    """What one untargeted and one targeted run reach."""
    told: Row = {}
    for targeted, name, classes in ((False, "left", y), (True, "target", (y + 1) % CLASSES)):
        torch.manual_seed(0)
        np.random.seed(0)
        raw = run(eps, targeted)
        norms = (raw.double() - x.double()).abs().flatten(1).sum(1)
        told[name] = percent(model, raw, classes)
        told[f"{name}, held"] = percent(model, inside(mrt.L1(eps), x, raw), classes)
        told |= {f"{name}, mean l1": norms.mean().item(), f"{name}, largest l1": norms.max().item()}
        told[f"{name}, out"] = int((norms > eps * (1 + 1e-6)).sum())
    return told


def cost(model: nn.Module, x: Tensor, y: Tensor, eps: float, attacks: dict[str, Run], rounds: int) -> dict[str, Row]:
    """By attack: milliseconds per step, the model's own, quartiles of the ratios to SLIDE (the first) and to ours."""

    def bare(eps: float, targeted: bool) -> Tensor:
        for _ in range(STEPS):
            z = x.clone().requires_grad_()
            (grad,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y, reduction="sum"), z)
        return grad

    runs = {"model": bare, **attacks}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            began = time.process_time()
            runs[name](eps, False)
            times[name].append((time.process_time() - began) * 1e3 / STEPS)

    def ratios(name: str, other: str) -> list[float] | None:
        known = other in times and other != name
        return np.percentile(np.divide(times[name], times[other]), (25, 50, 75)).tolist() if known else None

    def told(name: str) -> Row:
        sides = {"time / SLIDE": ratios(name, next(iter(attacks))), "time / same name": ratios(name, f"mrt_{name}")}
        return {"ms": statistics.median(times[name]), "model ms": statistics.median(times["model"])} | sides

    return {name: told(name) for name in attacks}


def line(row: Row) -> str:
    ratios = [row["time / SLIDE"], row["time / same name"]]
    quartiles = [f"{q[1]:.2f} ({q[0]:.2f}-{q[2]:.2f})" if q else "" for q in ratios]
    return (
        f"{row['attack']:38s}{row['left']:6.1f}{row['left, held']:6.1f}{row['left, mean l1']:9.4f}"
        f"{row['left, largest l1']:10.6f}{row['left, out']:5d}{row['target']:8.1f}{row['target, held']:6.1f}"
        f"{row['target, out']:5d}{row['ms']:9.3f}   {quartiles[0]:18s} {quartiles[1]}".rstrip()
    )


def table(host: str, name: str, model: nn.Module, x: Tensor, y: Tensor, rounds: int) -> list[Row]:
    """A row for each attack and radius, printed as soon as the radius is done."""
    attacks, clean, rows = HOSTS[host](model, x, y), percent(model, x, y), []
    for eps in RADII:
        head = {"host": host, "network": name, "clean": clean, "eps": eps}
        found = {attack: strength(model, x, y, eps, run) for attack, run in attacks.items()}
        times = cost(model, x, y, eps, attacks, rounds)
        made = [head | {"attack": attack} | found[attack] | times[attack] for attack in attacks]
        own = f"{made[0]['model ms']:.3f} ms for the model's own pass and gradient"
        print(f"\n{host}, {name} network, {clean:.1f}% clean, eps {eps:g}; {own}\n{HEAD}")
        print("\n".join(map(line, made)), flush=True)
        rows += made
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=300, type=int)
    parser.add_argument("--rounds", default=7, type=int)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("art").setLevel(logging.ERROR)
    test, rows = mrt.data.digits("test").take(args.images), []
    models = {name: network(strategy) for name, strategy in STRATEGIES.items()}
    for host in HOSTS:
        for name, model in models.items():
            rows += table(host, name, model, test.x, test.y, args.rounds)
    if args.result:
        head = {"environment": environment(), "images": len(test), "steps": STEPS, "rounds": args.rounds}
        args.result.write_text(json.dumps(head | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
