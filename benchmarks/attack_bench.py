"""Attacks of `mrt` in AttackBench's form (PyPI attackbenchlib, Cinà et al. 2025), and a local run of it beside its own.

    python -m benchmarks.attack_bench --models FOLDER [--images 20] [--budget 400] [--out FILE.json]

FOLDER is that of `benchmarks.quick_strength`. AttackBench counts the passes forward and back of each image, asks the
model nothing beyond the budget, and keeps the closest misclassified point that the model was ever shown. Optimality is
1 where no attack here came closer to any image. Nothing is sent anywhere, and its tracker, wandb, is not needed.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import mrt
from benchmarks.environment import environment
from benchmarks.quick_strength import of_others
from mrt.evaluation.batteries import smallest
from mrt.protocols import Attack, Ball

RADII = {"mnist": {"linf": 0.2, "l2": 2.0, "l1": 6.0}, "cifar": {"linf": 4 / 255, "l2": 0.25, "l1": 3.0}}
BALLS: dict[str, Any] = {"linf": mrt.Linf, "l2": mrt.L2, "l1": mrt.L1}
OWN = {"linf": ("fmn", "apgd", "fab"), "l2": ("fmn", "apgd", "fab", "superdeepfool"), "l1": ("fmn", "apgd", "fab")}


def entered(name: str, make: Callable[[Ball], Attack], radii: dict[str, float]) -> Callable[..., Tensor]:
    """An attack of ours as AttackBench calls one, untargeted: for the ball of the norm that it asks for."""

    def attack(model: Any, inputs: Tensor, labels: Tensor, threat_model: str) -> Tensor:
        made = make(BALLS[threat_model](radii[threat_model]))
        return getattr(made, "closest", made)(model, inputs, labels)  # of Smallest: the closest point, wherever it lies

    attack._attackbench_name, attack._attackbench_lib = name, "mrt"  # type: ignore[attr-defined]
    return attack


def ours(norm: str, radii: dict[str, float], budget: int) -> list[Callable[..., Tensor]]:
    """Our attacks in that norm."""
    makers: dict[str, Callable[[Any], Any]] = {  # a step is a pass forward and one back; of MSD three forward
        "APGD": lambda ball: mrt.APGD(ball, steps=budget // 2, best="loss"),
        "MSD": lambda ball: mrt.MSD(tuple(BALLS[n](eps) for n, eps in radii.items()), steps=budget // 4),
        "Smallest": lambda ball: smallest((ball,), budget=budget / 2000)[0].attack,
    }
    makers |= {"SLIDE": lambda ball: mrt.SLIDE(ball, steps=budget // 2)} if norm == "l1" else {}
    return [entered(name, make, radii) for name, make in makers.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--images", default=20, type=int)
    parser.add_argument("--budget", default=400, type=int, help="passes forward plus passes back, of each image")
    parser.add_argument("--only", nargs="+", default=["mnist_cnn_a_adv", "cifar_cnn_a_adv"], help="networks")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    sys.modules.setdefault("wandb", MagicMock())
    import attackbench
    import attackbench.attacks as own

    warnings.filterwarnings("ignore")
    rows = []
    for name in args.only:
        radii, held = RADII[name.split("_")[0]], np.load(args.models / f"{name.split('_')[0]}_200.npz")
        x, y = torch.tensor(held["x"][: args.images]).float() / 255, torch.tensor(held["y"][: args.images])
        data = DataLoader(TensorDataset(x, y), batch_size=len(x))
        for norm in BALLS:
            attacks = [*ours(norm, radii, args.budget), *(getattr(own, attack) for attack in OWN[norm])]
            found = []
            for attack in attacks:
                more = {"epsilon": radii[norm]} if attack in (own.apgd, own.fab) else {}
                more |= {"steps": args.budget // 2} if attack is own.fmn else {}  # else 1000, of a longer schedule
                net = of_others(args.models, name)  # AttackBench leaves a hook on it
                found.append(attackbench.run_attack(net, data, attack, norm, query_budget=args.budget, **more))
            titles = [f"{a._attackbench_lib}.{a._attackbench_name}" for a in attacks]
            scores = attackbench.compare_attacks_optimality(found, norm, titles)["optimality_scores"]
            for title, result in zip(titles, found, strict=True):
                far = float(np.quantile(result["distances"][norm], 0.5, method="lower"))
                row = {"model": name, "norm": norm, "attack": title, "median": far if far < np.inf else None}
                row |= {"optimality": scores[title], "failed batches": sum(result["batch_failures"])}
                row |= {key: float(np.mean(result[key])) for key in ("num_forwards", "num_backwards", "adv_success")}
                rows.append(row)
                print(f"{name:16} {norm:4} {title:21} median {far:.4g} optimality {scores[title]:.3f}", flush=True)
        report = {"environment": environment(), "n": args.images, "budget": args.budget, "radii": RADII, "rows": rows}
        if args.out:  # each network as it comes
            args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
