"""Do multi-norm strategies beat single norms and ART's rotation on the union, on the embedded digits?

    python -m benchmarks.union_digits --out runs/union [--radii A B] [--workers 2] [--result FILE] [--chosen FILE]

Every method gets GRID settings, of which union accuracy on 260 held-out training images decides (two seeds,
APGD-CE of 100 steps; test images are not looked at). Then three fresh seeds train on all 1300 and are judged on test
images by `mrt.evaluate(..., "quick")`: APGD-CE and APGD-T (9 targets), 100 steps, each norm; the first seed also by
AutoAttack's standard version on the first few images. All methods have 20 epochs of batch 64, Adam, and a rate that
rises over 30% and falls to zero. ART's trainer gets the same schedule, batch by batch. Killed, it goes on. --chosen
takes the settings that an earlier result file says were chosen, so that only the fresh seeds are trained and judged.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mrt
from benchmarks.environment import environment
from benchmarks.tasks import Task, run
from mrt.data import Images, order
from mrt.models import DigitsCNN
from mrt.processes import Processes
from mrt.training.validation import Validation, judge_held_out

RADII = {"A": (0.2, 0.7, 2.0), "B": (0.25, 0.8, 2.5)}
EPOCHS, BATCH, PEAK = 20, 64, 0.3
TUNING, FRESH = (100, 101), (11, 12, 13)
HELD, TEST, STANDARD = 260, 300, 100
RATES = (4e-3, 8e-3)
SPARSE, RATIO = (0.99, (1, 6)), (1.0, 1.4, 2.0)
GRID: dict[str, list[dict[str, Any]]] = {
    "linf": [{"lr": lr, "steps": k} for lr, k in itertools.product((2e-3, *RATES), (5, 10))],
    "l2": [{"lr": lr, "steps": k} for lr, k in itertools.product((2e-3, *RATES), (5, 10))],
    "l1": [{"lr": lr, "steps": 5, "keep": k} for lr, k in itertools.product((2e-3, *RATES), SPARSE)],
    "max": [{"lr": lr, "steps": 5, "keep": k} for lr, k in itertools.product((2e-3, *RATES), SPARSE)],
    "sat": [{"lr": lr, "steps": 5, "keep": k} for lr, k in itertools.product((2e-3, *RATES), SPARSE)],
    "msd": [{"lr": lr, "steps": 5, "ratio": r} for lr, r in itertools.product(RATES, RATIO)],
    "art rotation": [{"lr": lr, "steps": k} for lr, k in itertools.product((2e-3, *RATES), (5, 10))],
}


def union(radii: str) -> tuple[mrt.Linf, mrt.L2, mrt.L1]:
    linf, l2, l1 = RADII[radii]
    return mrt.Linf(linf), mrt.L2(l2), mrt.L1(l1)


def strategy(method: str, radii: str, steps: int, keep: Any = 0.99, ratio: float = 1.0, **mng: Any) -> Any:
    """By the names of the tables."""
    linf, l2, l1 = union(radii)
    slide = mrt.SLIDE(l1, steps=steps, keep=keep, best="last")
    if method == "msd":
        return mrt.MSDTraining((linf, l2, l1), steps=steps, keep=(1, 6), ratio=(1.0, 1.0, ratio))
    three = (linf, l2, slide)
    singles = {"linf": linf, "l2": l2, "l1": slide}
    if method in singles:
        return mrt.Adversarial(singles[method], steps=steps)
    if method == "sat+ac" or method.startswith("mng-ac"):
        kind = "plain" if method == "sat+ac" else "learned"
        return mrt.MNGAC(three, steps=steps, noise=kind, generator_optimizer="adam", **mng)
    return {"max": mrt.Worst, "sat": mrt.SAT}[method](three, steps=steps)


def train(method: str, radii: str, seed: int, data: Images, lr: float, **settings: Any) -> nn.Module:
    """The network after 20 epochs."""
    torch.manual_seed(seed)
    model = DigitsCNN()
    if method == "art rotation":
        return art_rotation(model, radii, seed, data, lr, settings["steps"])
    how: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "seed": seed, "progress": False}
    how |= {"optimizer": mrt.Adam(lr), "schedule": mrt.Triangular(PEAK)}
    return mrt.fit(model, strategy(method, radii, **settings), data, **how).model


def art_rotation(model: nn.Module, radii: str, seed: int, data: Images, lr: float, steps: int) -> nn.Module:
    """ART's AdversarialTrainer on its own three PGDs in turn, every example adversarial."""
    import numpy as np
    from art.attacks.evasion import ProjectedGradientDescent
    from art.defences.trainer import AdversarialTrainer
    from art.estimators.classification import PyTorchClassifier

    np.random.seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    total, shape = EPOCHS * -(-len(data) // BATCH), mrt.Triangular(PEAK)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: shape(min((i + 1) / total, 1.0)))
    host = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer=optimizer, clip_values=(0.0, 1.0), device_type="cpu"
    )
    norms = zip((np.inf, 2, 1), RADII[radii], strict=True)
    attacks = [
        ProjectedGradientDescent(
            host, norm=n, eps=e, eps_step=2.5 * e / steps, max_iter=steps, num_random_init=1, batch_size=BATCH,
            verbose=False,
        )
        for n, e in norms
    ]  # fmt: skip
    trainer = AdversarialTrainer(host, attacks=attacks, ratio=1.0)
    trainer.fit(data.x.numpy(), data.y.numpy(), batch_size=BATCH, nb_epochs=EPOCHS, scheduler=rate)
    return model.eval()


def work(task: Task) -> dict[str, Any]:
    """One training and its judgement."""
    return judged_training(task, train, FRESH[:1])


def judged_training(task: Task, train: Callable[..., nn.Module], standard_seeds: tuple[int, ...]) -> dict[str, Any]:
    """The row of a task: held-out unions for tuning, else test images; AutoAttack where the seed asks for it."""
    phase, radii, method, seed, settings = task
    torch.set_num_threads(1)
    data, held = mrt.data.digits("train"), None
    if phase != "test":
        visits = order(len(data), seed=7, epoch=0)
        data, held = data.take(visits[HELD:]), data.take(visits[:HELD])
    began = time.process_time()
    model = train(method, radii, seed, data, **{k: _tuple(v) for k, v in json.loads(settings).items()})
    row: dict[str, Any] = {"seconds": time.process_time() - began}
    if held is not None:
        attacks: dict[str, mrt.protocols.Attack] = Validation(held, union(radii), steps=100).attacks(None)
        if phase == "tune, targets too":
            attacks |= {f"{t.name}, targets": mrt.APGD(t, steps=30, loss="dlr", targets=5) for t in union(radii)}
        return row | judge_held_out(model, held, attacks, 0, Processes())
    test = mrt.data.digits("test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = mrt.evaluate(model, test.take(TEST), "quick", threats=union(radii), progress=False)
        row |= {"clean": report.clean, **report.threats, "union": report.union, "average": report.average}
        row["warnings"] = report.warnings
        if seed in standard_seeds:
            standard = mrt.evaluate(model, test.take(STANDARD), "standard", threats=union(radii), progress=False)
            row["standard"] = {"n": STANDARD, "clean": standard.clean, **standard.threats, "union": standard.union}
            row["quick on those"] = float(report.robust[:STANDARD].double().mean())
    return row


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "sd": statistics.stdev(values), "least": min(values)}


def choose(
    radii: str,
    grid: dict[str, list[dict[str, Any]]],
    out: Path,
    workers: int,
    phase: str,
    work: Callable[[Task], dict[str, Any]],
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The held-out union of every setting, and each method's best setting."""
    told = {m: [json.dumps(g) for g in settings] for m, settings in grid.items()}
    open_ones = {m: settings for m, settings in told.items() if len(settings) > 1}
    tasks = [(phase, radii, m, seed, g) for m, settings in open_ones.items() for g in settings for seed in TUNING]
    rows = run(work, tasks, out / "rows.jsonl", workers)
    scores = {
        m: {g: statistics.mean(rows[json.dumps((phase, radii, m, s, g))]["union"] for s in TUNING) for g in settings}
        for m, settings in open_ones.items()
    }
    return scores, {m: max(scores[m], key=scores[m].__getitem__) if m in scores else told[m][0] for m in grid}


def study(
    radii: str,
    grid: dict[str, list[dict[str, Any]]],
    out: Path,
    workers: int,
    phase: str = "tune",
    work: Callable[[Task], dict[str, Any]] = work,
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Tune every method that has a choice, unless an `earlier` study did, then train and judge each on the fresh seeds;
    prints the table."""
    if earlier is not None:
        scores, best = earlier["held-out scores"], {m: earlier["chosen"][m] for m in grid}
    else:
        scores, best = choose(radii, grid, out, workers, phase, work)
    rows = run(work, [("test", radii, m, s, best[m]) for m in grid for s in FRESH], out / "rows.jsonl", workers)
    table = {m: [rows[json.dumps(("test", radii, m, s, best[m]))] for s in FRESH] for m in grid}
    print(f"{radii} {RADII[radii]}, union in percent, {len(FRESH)} seeds, {TEST} test images")
    for m, each in table.items():
        cells = "  ".join(
            f"{c} {100 * statistics.mean(r[c] for r in each):.1f}" for c in ("clean", "linf", "l2", "l1", "average")
        )
        s = spread([100 * r["union"] for r in each])
        print(f"{m:13s} {cells}  union {s['mean']:.1f} ± {s['sd']:.1f}  {best[m]}")
    return {"held-out scores": scores, "chosen": best, "rows": table}


def over(table: dict[str, Any], method: str, others: tuple[str, ...], column: str = "union") -> dict[str, float]:
    """The method's points over the best of the others, seed by seed."""
    best = [max(table[m][i][column] for m in others) for i in range(len(FRESH))]
    return spread([100 * (r[column] - b) for r, b in zip(table[method], best, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/union"))
    parser.add_argument("--radii", nargs="+", default=["A", "B"], choices=list(RADII))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--chosen", type=Path, help="an earlier result file whose settings are taken")
    args = parser.parse_args()
    earlier = json.loads(args.chosen.read_text()) if args.chosen else {}
    result: dict[str, Any] = {"environment": environment(), "n": TEST, "seeds": FRESH, "tuning seeds": TUNING}
    for radii in args.radii:
        found = study(radii, GRID, args.out, args.workers, earlier=earlier.get(f"{radii} {RADII[radii]}"))
        table, gains = found["rows"], {}
        for m in ("msd", "max", "sat"):
            gains[m] = {
                "over the best single norm of each seed": over(table, m, ("linf", "l2", "l1")),
                "over ART's rotation": over(table, m, ("art rotation",)),
            }
        result[f"{radii} {RADII[radii]}"] = found | {"gains": gains}
        print(json.dumps(gains, indent=1))
    if args.result:
        args.result.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
