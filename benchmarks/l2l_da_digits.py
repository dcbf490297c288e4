"""L2L-DA on the embedded digits: as a defence, with its ablations, and as an attack.

    python -m benchmarks.l2l_da_digits --out runs/l2l-da [--workers 2] [--result FILE.json]

Defence: linf 0.15, every method from the same trained network, as many updates, Adam 4e-3 with a triangle, clip 1;
three seeds (the ablations: the first); the paper's columns on held-out images (its generator attack fitted to each
classifier, 10 latents) beside APGD's, and the lowest of them all. Attack: a generator of 10 steps fitted to a
PGD-trained and to a natural network, its mean largest loss in 10 attempts over the iterations beside PGD's (the paper's
Figure 2), as numbers and as a chart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks.environment import environment
from benchmarks.tasks import Task, run
from mrt.evaluation import loss_path
from mrt.evaluation.report import charts

BALL = mrt.Linf(0.15)
TEST, SEEDS, WIDTH, STEPS, UPDATES, BATCH = 200, (1, 2, 3), 16, 5, 400, 64
GENERATOR_UPDATES, FIGURE_UPDATES = 400, 800
L2L: dict[str, Any] = {"width": WIDTH, "steps": STEPS}
METHODS: dict[str, Any] = {
    "plain": mrt.Standard(),
    "pgd": mrt.Adversarial(mrt.PGD(BALL, steps=STEPS, step_size=BALL.eps / 2, best="last"), clean=1.0),
    "l2l*": mrt.L2LDA.star(BALL, width=WIDTH),
    "l2l-da": mrt.L2LDA(BALL, **L2L),
}
ABLATIONS: dict[str, Any] = {
    "R no, D no": mrt.L2LDA(BALL, recursive=False, diversity=0.0, **L2L),
    "R no": mrt.L2LDA(BALL, recursive=False, **L2L),
    "D no": mrt.L2LDA(BALL, diversity=0.0, **L2L),
    "y no": mrt.L2LDA(BALL, labels=False, **L2L),
    "delta no": mrt.L2LDA(BALL, see_delta=False, **L2L),
    "delta no, y no": mrt.L2LDA(BALL, see_delta=False, labels=False, **L2L),
}


def trained(strategy: Any, seed: int) -> mrt.Run:
    """From a network that was trained on clean images first."""
    torch.manual_seed(seed)
    model, data = mrt.models.DigitsCNN(), mrt.data.digits("train")
    how: dict[str, Any] = {"batch_size": BATCH, "optimizer": mrt.Adam(4e-3), "seed": seed, "progress": False}
    mrt.fit(model, mrt.Standard(), data, epochs=8, **how)
    return mrt.fit(model, strategy, data, iterations=UPDATES, clip=1.0, **how)


def fitted(model: nn.Module, generator: Any, seed: int, updates: int = GENERATOR_UPDATES) -> Any:
    """That generator's attack on the model."""
    torch.manual_seed(seed)
    made, how = generator(), {"batch_size": BATCH, "seed": seed, "progress": False}
    return mrt.fit_generator(made, model, mrt.data.digits("train"), BALL, iterations=updates, **how)


def generators() -> dict[str, Any]:
    shape = (1, 8, 8)
    return {
        "l2l-da": lambda: mrt.generators.L2LGenerator(shape, 10, **L2L),
        "advgan": lambda: mrt.generators.AdvGAN(shape, 10),
        "gap": lambda: mrt.generators.GAP(shape, 10, width=WIDTH),
    }


def battery(model: nn.Module, seed: int, learned: bool) -> mrt.evaluation.Battery:
    """The paper's columns, and APGD's."""
    entries = list(mrt.batteries.l2l_da((BALL,)))
    entries += mrt.batteries.quick((BALL,))
    for name, make in generators().items() if learned else ():
        attack = mrt.GeneratorAttack(fitted(model, make, seed).generator, BALL, samples=10 if name == "l2l-da" else 1)
        entries.append(mrt.Entry(name, attack, BALL))
    return tuple(entries)


def work(task: Task) -> dict[str, Any]:
    """One training and its columns."""
    method, seed = task
    torch.set_num_threads(1)
    strategy = (METHODS | ABLATIONS)[method]
    found = trained(strategy, seed)
    test = mrt.data.digits("test").take(TEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        columns = battery(found.model, seed, method in METHODS)
        report = mrt.evaluate(found.model, test, columns, cascade=False, progress=False)
    seconds = sum(row["seconds"] for row in found.metrics)
    return {"clean": report.clean, **report.attacks, "min": report.minimum, "union": report.union, "seconds": seconds}


def as_attack(seed: int) -> dict[str, Any]:
    """Figure 2: the loss over iterations, on a PGD-trained and on a natural network."""
    test, result = mrt.data.digits("test").take(TEST), {}
    for name in ("pgd", "plain"):
        model = trained(METHODS[name], seed).model
        ten = {"width": WIDTH, "steps": 10}
        made = fitted(model, partial(mrt.generators.L2LGenerator, (1, 8, 8), 10, **ten), seed, FIGURE_UPDATES)
        star = fitted(model, lambda: mrt.generators.L2LStar((1, 8, 8), 10, width=WIDTH), seed)
        attacks: dict[str, Any] = {
            "l2l-da": made,
            "pgd": mrt.PGD(BALL, steps=10, step_size=BALL.eps / 4, random_start=True, best="last"),
            "l2l*": star,
        }
        paths = {a: loss_path(attack, model, test.x, test.y, attempts=10) for a, attack in attacks.items()}
        result[name] = {a: {"mean": path.mean.tolist(), "std": path.std.tolist()} for a, path in paths.items()}
        strongest = mrt.PGD(BALL, steps=10, step_size=BALL.eps / 4, restarts=10, random_start=True, best="loss")
        x_adv = strongest(model, test.x, test.y, rng=torch.arange(TEST))
        result[name]["pgd, 10 restarts, best of path"] = float(loss_of(model, x_adv, test.y))
        result[name]["share of pgd"] = result[name]["l2l-da"]["mean"][-1] / result[name]["pgd"]["mean"][-1]
    return result


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return nn.functional.cross_entropy(model(x), y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/l2l-da"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    figure = as_attack(SEEDS[0])
    for name, paths in figure.items():
        series = {
            a: list(zip(range(99), p["mean"], p["std"], strict=False)) for a, p in paths.items() if isinstance(p, dict)
        }
        svg = charts.lines(f"attacks on the {name} network", "iteration", "largest loss of 10 attempts", series)
        (args.out / f"loss-{name}.svg").write_text(svg)
        print(name, json.dumps({a: p["mean"] if isinstance(p, dict) else p for a, p in paths.items()}))
    seeds = {m: SEEDS if m in METHODS else SEEDS[:1] for m in METHODS | ABLATIONS}
    rows = run(work, [(m, s) for m in seeds for s in seeds[m]], args.out / "rows.jsonl", args.workers)
    table = {m: [rows[json.dumps((m, s))] for s in seeds[m]] for m in seeds}
    for m, each in table.items():
        told = {c: f"{100 * statistics.mean(r[c] for r in each):.1f}" for c in each[0] if c != "seconds"}
        print(f"{m:15s}", told, "min", [round(100 * r["min"], 1) for r in each])
    for m in table:
        gains = [100 * (a["min"] - b["min"]) for a, b in zip(table["l2l-da"], table[m], strict=False)]
        print(f"l2l-da over {m}, min: {statistics.mean(gains):+.1f}, worst {min(gains):+.1f}")
    if args.result:
        settings = {"test": TEST, "seeds": SEEDS, "updates": UPDATES, "generator updates": GENERATOR_UPDATES} | L2L
        settings["figure updates"] = FIGURE_UPDATES
        result = {"environment": environment(), "settings": settings, "rows": table, "figure 2": figure}
        args.result.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
