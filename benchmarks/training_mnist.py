"""One short honest run of every strategy on 5,000 MNIST images: clean, each threat, union, and whether they are masked.

    python -m benchmarks.training_mnist --data data --out runs/mnist [--result benchmarks/results/FILE.json]

Madry's CNN of width 16, 4 epochs of batch 64, Adam, PGD or SLIDE of 10 steps at (linf 0.3, l2 2, l1 10); one seed, far
from trained out: no ordering follows. The judge, on 200 test images: APGD-CE of 40 steps, then towards 2 targets. Then
HopSkipJump, which sees decisions alone, on 100 images that APGD left standing in linf (of the first 600, where there
are so many): what it breaks newly is masking. The same attack on the natural network shows that it has converged.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mrt
from benchmarks.environment import environment
from benchmarks.tasks import Task, run
from mrt.data import Images
from mrt.models import MadryCNN

UNION = LINF, L2, L1 = mrt.Linf(0.3), mrt.L2(2.0), mrt.L1(10.0)
STRATEGIES: dict[str, Any] = {
    "natural": mrt.Standard(),
    "linf": mrt.Adversarial(LINF),
    "l2": mrt.Adversarial(L2),
    "l1": mrt.Adversarial(L1),
    "rt": mrt.Adversarial(mrt.RotationTranslation()),
    "AVG": mrt.Average(UNION),
    "MAX": mrt.Worst(UNION),
    "alternate": mrt.Alternate(UNION),
    "MSD": mrt.MSDTraining(UNION, ratio=(1.0, 1.0, 1.4)),
    "SAT": mrt.SAT(UNION),
    "E-AT": mrt.EAT((LINF, L1)),
    "TRADES": mrt.TRADES(LINF),
}
EPOCHS, BATCH, RATE, WIDTH, IMAGES, SURVIVORS, STEPS = 4, 64, 2e-3, 16, 200, 100, 12
COLUMNS = ("clean", "linf", "l2", "l1", "union", "average")


def work(task: Task) -> dict[str, Any]:
    """Train, judge, look behind the mask."""
    name, folder, images = task
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    train, test = mrt.data.mnist(folder, "train").take(images), mrt.data.mnist(folder, "test")
    model, began = MadryCNN(width=WIDTH), time.process_time()
    how: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "optimizer": mrt.Adam(RATE), "progress": False}
    metrics = mrt.fit(model, STRATEGIES[name], train, **how).metrics
    row: dict[str, Any] = {"seconds": time.process_time() - began, "loss": metrics[-1]["loss"]}
    row |= {"passes per step": [metrics[-1]["forward"], metrics[-1]["backward"]]}
    entries = []
    for ball in UNION:
        entries.append(mrt.Entry("apgd-ce", mrt.APGD(ball, steps=40), ball))
        entries.append(mrt.Entry("apgd-t", mrt.APGD(ball, steps=40, loss="dlr", targets=2), ball))
    report = mrt.evaluate(model, test.take(IMAGES), tuple(entries), progress=False)
    row |= {"clean": report.clean, **report.threats, "union": report.union, "average": report.average}
    chosen = survivors(model, test.take(600), tuple(entries[:2]), natural=name == "natural")
    if len(chosen) < SURVIVORS:
        return row | {"hopskipjump": {"broken": 0, "of": 0, "survivors": len(chosen)}}
    jump = mrt.Entry("hopskipjump", mrt.Foreign("foolbox", "HopSkipJumpAttack", (("steps", STEPS),)), LINF)
    found = mrt.evaluate(model, chosen, (jump,), pool=train.take(1000), progress=False)
    effort = found.info["attacks"]["foolbox.hopskipjump-linf"]
    row["hopskipjump"] = {"broken": round((1 - found.union) * len(chosen)), "of": len(chosen)}
    row["hopskipjump"]["queries each"] = effort["forward"] / len(chosen)
    return row


def survivors(model: MadryCNN, test: Images, battery: tuple[mrt.Entry, ...], natural: bool) -> Images:
    """100 images that the battery leaves; of the natural network, where nothing stands, 100 that it classifies
    correctly, as a control."""
    found: list[Tensor] = []
    for rows in torch.arange(len(test)).split(200):
        part = test.take(rows)
        if natural:
            standing = model(part.float(torch.arange(len(part)))).argmax(1) == part.y
        else:
            standing = mrt.evaluate(model, part, battery, progress=False).robust
        found.append(rows[standing])
        if len(torch.cat(found)) >= SURVIVORS:
            break
    return test.take(torch.cat(found)[:SURVIVORS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    tasks = [(name, str(args.data), args.images) for name in STRATEGIES]
    rows = run(work, tasks, args.out / "rows.jsonl", args.workers)
    table = {name: rows[json.dumps(task)] for name, task in zip(STRATEGIES, tasks, strict=True)}
    print(f"{'':10s}" + "".join(f"{c:>9s}" for c in COLUMNS) + "   HopSkipJump newly breaks")
    for name, row in table.items():
        cells = "".join(f"{100 * row[c]:9.1f}" for c in COLUMNS)
        jump = row["hopskipjump"]
        told = f"{jump['broken']} of {jump['of']}" if jump["of"] else f"({jump['survivors']} survivors)"
        print(f"{name:10s}{cells}   {told}")
    if args.result:
        seen = {"training images": args.images, "test images": IMAGES, "seeds": 1, "epochs": EPOCHS}
        result = {"environment": environment(), **seen, "rows": table}
        args.result.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
