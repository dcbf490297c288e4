"""Every attack of ours that bears a host's name beside the host's own of that name, in a grid of networks and radii.

    python -m benchmarks.host_grid --models FOLDER [--images 200] [--seeds 3] [--out benchmarks/results/FILE.json]

FOLDER as in `benchmarks.quick_strength`. The two random networks show radii so large that an l1 attack which moves few
pixels cannot spend them. Both attacks of a cell get the same keywords: Foolbox's its defaults, ART's a step of a tenth
of the radius, and AutoPGD one start. A cell holds the percentage of images that the attack drives to the target, or off
their label, and keeps in the ball (up to 1e-5 of its radius), averaged over seeds. Lines print the host's, then ours.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Iterator
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

from benchmarks.environment import environment
from benchmarks.quick_strength import BALLS, of_others

FOOLBOX = {"LinfPGD": "linf", "L2PGD": "l2", "L1PGD": "l1", "SparseL1DescentAttack": "l1"}
ART = ("ProjectedGradientDescent", "AutoProjectedGradientDescent")
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
RADII: dict[str, dict[str, tuple[float, ...]]] = {
    "mnist_cnn_a_adv": {"linf": (0.05, 0.2, 0.3), "l2": (1.0, 3.0), "l1": (2.0, 10.0, 40.0)},
    "cifar_cnn_a_adv": {"linf": (2 / 255, 8 / 255), "l2": (0.25, 1.0), "l1": (2.0, 10.0, 40.0)},
    "random 1x16x16": {"linf": (0.02, 0.1), "l2": (0.3, 1.5), "l1": (5.0, 40.0)},
    "random 3x12x20": {"linf": (0.1, 0.3), "l2": (1.5, 4.0), "l1": (5.0, 57.0)},
}


def load_images(folder: Path, name: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The network of that name, its images and labels; a random network's labels are its own answers."""
    if not name.startswith("random"):
        held = np.load(folder / f"{name.split('_')[0]}_200.npz")
        return of_others(folder, name), torch.tensor(held["x"][:count]).float() / 255, torch.tensor(held["y"][:count])
    torch.manual_seed(0)
    shape = tuple(int(size) for size in name.split()[1].split("x"))
    net = nn.Sequential(nn.Conv2d(shape[0], 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5))
    x = torch.rand((count, *shape))
    with torch.no_grad():
        return net.eval(), x, net(x).argmax(1)


def make_cells(name: str) -> Iterator[tuple[str, str, str, float]]:
    """Yield host, class, norm and radius of every cell of that network."""
    for norm, radii in RADII[name].items():
        for eps in radii:
            yield from (("foolbox", kind, norm, eps) for kind, its in FOOLBOX.items() if its == norm)
            yield from (("art", kind, norm, eps) for kind in ART)


def attack_by_foolbox(library: Any, kind: str, model: nn.Module, x: Tensor, goal: Any, eps: float) -> Tensor:
    fmodel = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    found: Tensor = getattr(library, kind)()(fmodel, x, goal, epsilons=eps)[1]
    return found


def attack_by_art(
    library: Any, kind: str, model: nn.Module, x: Tensor, y: Tensor, norm: str, eps: float, targeted: bool
) -> Tensor:
    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    how: dict[str, Any] = {"input_shape": tuple(x.shape[1:]), "nb_classes": classes, "clip_values": (0, 1)}
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), device_type="cpu", **how)
    settings: dict[str, Any] = {"norm": ORDERS[norm], "eps": eps, "eps_step": eps / 10, "targeted": targeted}
    settings |= {"max_iter": 40, "batch_size": len(x), "verbose": False}
    settings |= {"nb_random_init": 1} if kind == ART[1] else {}
    return torch.from_numpy(getattr(library, kind)(classifier, **settings).generate(x.numpy(), y.numpy()))


def measure(model: nn.Module, x: Tensor, y: Tensor, cell: tuple[str, str, str, float], seeds: int) -> dict[str, Any]:
    """What the host's attack and ours reach, untargeted and to the next class, in percent."""
    host, kind, norm, eps = cell
    libraries = (foolbox.attacks, mrt_foolbox) if host == "foolbox" else (art.attacks.evasion, mrt_art)
    with torch.no_grad():
        clean = model(x)
    aims = {"untargeted": y, "targeted": (clean.argmax(1) + 1) % clean.shape[1]}
    ball, told = BALLS[norm](eps * (1 + 1e-5)), {}
    for aim, classes in aims.items():
        criteria = foolbox.criteria
        goal = criteria.Misclassification(y) if aim == "untargeted" else criteria.TargetedMisclassification(classes)
        told[aim] = [0.0, 0.0]
        for seed in range(seeds):
            for side, library in enumerate(libraries):
                torch.manual_seed(seed)
                np.random.seed(seed)
                if host == "foolbox":
                    found = attack_by_foolbox(library, kind, model, x, goal, eps)
                else:
                    found = attack_by_art(library, kind, model, x, classes, norm, eps, aim == "targeted")
                with torch.no_grad():
                    answers = model(found).argmax(1)
                reached = (answers != y) if aim == "untargeted" else (answers == classes)
                told[aim][side] += 100 * (reached & ball.contains(x, found)).double().mean().item() / seeds
    return {"host": host, "attack": kind, "norm": norm, "eps": eps, **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--images", default=200, type=int)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    report = {"environment": environment(), "n": args.images, "seeds": args.seeds, "rows": rows}
    for name in RADII:
        model, x, y = load_images(args.models, name, args.images)
        for cell in make_cells(name):
            row = {"network": name} | measure(model, x, y, cell, args.seeds)
            rows.append(row)
            cells = " ".join(f"{aim} {row[aim][0]:5.1f} {row[aim][1]:5.1f}" for aim in ("untargeted", "targeted"))
            print(
                f"{name:16} {row['host']:7} {row['attack']:28} {row['norm']:4} {row['eps']:<7.3g} {cells}", flush=True
            )
            if args.out:  # each figure as it comes
                args.out.write_text(json.dumps(report, indent=1) + "\n")
    behind = [row[aim][0] - row[aim][1] for row in rows for aim in ("untargeted", "targeted")]
    weaker = sum(gap > 1 for gap in behind)
    print(
        f"{len(behind)} cells: ours reaches more than a point less in {weaker}, {max(behind):.2f} points less at most"
    )


if __name__ == "__main__":
    main()
