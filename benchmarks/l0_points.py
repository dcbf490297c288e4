"""How few entries attacks on l0 change, on networks of others: adv-lib's beside ours and Foolbox's.

    python -m benchmarks.l0_points --models FOLDER [--images 60] [--passes 1000] [--seeds 0 1] [--out FILE.json]

FOLDER is that of `benchmarks.quick_strength`. The least count: the entries (channels apart) of the closest point that
an attack found to be misclassified, 0 for an image that is so as it is, infinity where it found none; its median, and
the percentage left at each of some counts. `passes` forward and back is what adv-lib's attacks may have. GreedyL0 does
not search for the closest point, and runs at each of those counts; Pointwise asks only forward, as often as it likes.
The passes that each took, per image, are in the file. "all" is the least that any of them found.
"""

from __future__ import annotations

import argparse
import itertools
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

NETWORKS = ("mnist_cnn_a_adv", "cifar_cnn_a_adv", "cifar_cnn_a_adv4")
COUNTS = (1, 2, 5, 10, 20, 40)


def battery(passes: int) -> tuple[mrt.Entry, ...]:
    """The attacks on l0 of the packages at hand; none of these has Sparse-RS or sPGD."""
    threat = mrt.L0(COUNTS[-1])

    def theirs(host: Any, name: str, attack: str, **settings: Any) -> mrt.Entry:
        return mrt.Entry(name, mrt.Foreign(host, attack, tuple(settings.items())), threat, distances=True)

    return (
        *(mrt.Entry("greedy", mrt.GreedyL0(mrt.L0(c)), mrt.L0(c), distances=True) for c in COUNTS),
        theirs("foolbox", "pointwise", "PointwiseAttack"),
        theirs("advlib", "sigma-zero", "sigma_zero", num_steps=passes),
        theirs("advlib", "fmn", "fmn", steps=passes),
        theirs("advlib", "pdpgd", "pdpgd", num_steps=passes, proximal_operator=23),
        theirs("advlib", "vfga", "vfga", max_iter=COUNTS[-1]),
    )


def row(distances: Tensor, **labels: Any) -> dict[str, Any]:
    """The median and the percentages left of these least counts (N,); no median where half were not found."""
    median = float(distances.quantile(0.5, interpolation="lower"))
    left = {str(count): 100 * float((distances > count).double().mean()) for count in COUNTS}
    return {**labels, "median": median if median < float("inf") else None, "left": left}


def judge(model: Any, x: Tensor, y: Tensor, passes: int, seed: int) -> list[dict[str, Any]]:
    """A row for each attack and one for all together."""
    options: dict[str, Any] = {"progress": False, "batch_size": len(x), "cascade": False, "seed": seed}
    found = mrt.evaluate(model, (x, y), battery(passes), **options)
    at_a_count = [label for label in found.distances if label.startswith("greedy")]
    searches = {label: [label] for label in found.distances if label not in at_a_count}
    rows = []
    for name, labels in {"greedy": at_a_count, **searches, "all": list(found.distances)}.items():
        made = [found.info["attacks"][label] for label in labels]
        images = max(int(found.ran[labels[0]].sum()), 1)
        cost = {key: round(sum(work[key] for work in made) / images, 1) for key in ("forward", "backward")}
        cost |= {key: sum(work[key] for work in made) for key in ("seconds", "failed")}
        rows.append(row(smallest([found.distances[label] for label in labels]), attack=name.partition("-l0")[0]) | cost)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--images", default=60, type=int)
    parser.add_argument("--passes", default=1000, type=int, help="forward and back, of adv-lib's attacks")
    parser.add_argument("--seeds", nargs="+", default=[0, 1], type=int)
    parser.add_argument("--only", nargs="+", default=NETWORKS, choices=NETWORKS, help="networks; all if left out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = []
    report = {"environment": environment(), "n": args.images, "passes": args.passes, "seeds": args.seeds, "rows": rows}
    for seed, name in itertools.product(args.seeds, args.only):
        held = np.load(args.models / f"{name.split('_')[0]}_200.npz")
        x, y = torch.tensor(held["x"][: args.images]).float() / 255, torch.tensor(held["y"][: args.images])
        for found in judge(of_others(args.models, name), x, y, args.passes, seed):
            rows.append({"model": name, "seed": seed, **found})
            left = ", ".join(f"{share:.0f}% at {count}" for count, share in found["left"].items())
            print(f"{name:17} seed {seed} {found['attack']:17} median {found['median']}, left {left}", flush=True)
        if args.out:  # each network as it comes
            args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
