"""What `quick` leaves of the affine sets of all pairs of threats, beside what it leaves of the union of the two.

    python -m benchmarks.affine_pairs --models FOLDER [--images 200] [--out benchmarks/results/FILE.json]

FOLDER as in `benchmarks.quick_strength`. An affine set holds both of its parts whole, so that an attack on it should
leave no more than the two threats together. Each figure is the percentage left.
"""

from __future__ import annotations

import argparse
import json
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mrt
from benchmarks.environment import environment
from benchmarks.quick_strength import of_others

MOTION = mrt.RotationTranslation(20, 2)
THREATS = {
    "mnist_cnn_a_adv": (MOTION, mrt.Linf(0.15), mrt.L2(1.5), mrt.L1(5.0)),
    "cifar_cnn_a_adv": (MOTION, mrt.Linf(2 / 255), mrt.L2(0.25), mrt.L1(3.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--images", default=200, type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    report = {"environment": environment(), "n": args.images, "rows": rows}
    for name, threats in THREATS.items():
        held = np.load(args.models / f"{name.split('_')[0]}_200.npz")
        x, y = torch.tensor(held["x"][: args.images]).float() / 255, torch.tensor(held["y"][: args.images])
        model, how = of_others(args.models, name), {"progress": False, "batch_size": args.images}
        stands = [mrt.evaluate(model, (x, y), "quick", threats=(threat,), **how).robust for threat in threats]
        for (first, left), (second, right) in combinations(zip(threats, stands, strict=True), 2):
            affine = mrt.evaluate(model, (x, y), "quick", threats=(mrt.Affine((first, second)),), **how).union
            row = {"network": name, "pair": f"{first!r} and {second!r}", "affine": 100 * affine}
            row["union"] = 100 * (left & right).double().mean().item()
            rows.append(row)
            print(f"{name} {row['pair']}: union {row['union']:.1f}, affine {row['affine']:.1f}", flush=True)
            if args.out:  # each figure as it comes
                args.out.write_text(json.dumps(report, indent=1) + "\n")
    worst = max(row["affine"] - row["union"] for row in rows)
    print(f"the affine set leaves {worst:+.1f} points more than the union at most")


if __name__ == "__main__":
    main()
