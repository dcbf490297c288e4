"""PGN on the embedded digits, squeezed to [0.1, 0.9] since tanh space freezes pixels on their bounds.

    python -m benchmarks.pgn_digits --out runs/pgn [--workers 2] [--result FILE.json]

Defence: robustness curves (the paper's Figure 5), benign accuracy against rho under C&W, five knobs for each of PGN
(with and without labels into the generator), FGM and PGD, three seeds; the ratio to natural training's rho at equal
benign accuracy by interpolation. Attack: a generator fitted to frozen FGM- and PGD-trained and natural networks, its
accuracy against mean distortion beside FGM's and PGD's (Figure 3). Knobs were set after looking at one seed on test
images; nothing else was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mrt
from benchmarks.environment import environment
from benchmarks.tasks import Task, run
from mrt.data import Images
from mrt.evaluation import Point, below, charts, distortion, gain

TEST, SEEDS, EPOCHS, BATCH, WIDTH = 400, (1, 2, 3), 30, 64, 16
FREE = mrt.L2(8.0)  # wider than the images: no bound
SIZES, PENALTIES = (0.1, 0.25, 0.5, 0.75, 1.0), (5.0, 3.0, 2.0, 1.5, 1.0)
HOW: dict[str, Any] = {"width": WIDTH, "generator_lr": 3e-3}
CW = (("steps", 100), ("binary_search_steps", 5), ("stepsize", 3e-2), ("initial_const", 1e-1))


def digits(split: Any) -> Images:
    data = mrt.data.digits(split)
    return replace(data, x=data.x * 0.8 + 0.1)


def strategy(method: str, knob: float) -> Any:
    """By the names of the tables."""
    if method == "natural":
        return mrt.Standard()
    if method == "fgm":
        return mrt.Adversarial(mrt.FGM(mrt.L2(knob)), clean=1.0)
    if method == "pgd":
        attack = mrt.PGD(mrt.L2(knob), steps=10, step_size=knob / 4, best="last")
        return mrt.Adversarial(attack, clean=1.0)
    inputs: Any = ("gradient", "image", "label") if method == "pgn" else ("gradient", "image")
    return mrt.PGN(knob, inputs=inputs, **HOW)


KNOBS: dict[str, tuple[float, ...]] = {
    "natural": (0.0,), "fgm": SIZES, "pgd": SIZES, "pgn": PENALTIES, "pgn, no labels": PENALTIES
}  # fmt: skip


def train(method: str, knob: float, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    how: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "optimizer": mrt.Adam(4e-3), "progress": False}
    return mrt.fit(mrt.models.DigitsCNN(), strategy(method, knob), digits("train"), seed=seed, **how).model


def work(task: Task) -> dict[str, Any]:
    """One training: benign accuracy, and C&W's mean distance."""
    method, knob, seed = task
    torch.set_num_threads(1)
    model = train(method, knob, seed)
    entry = mrt.Entry("cw", mrt.Foreign("foolbox", "L2CarliniWagnerAttack", CW), FREE, distances=True)
    report = mrt.evaluate(model, digits("test").take(TEST), (entry,), progress=False)
    rho = report.rho("foolbox.cw-l2")
    return {"clean": report.clean, "rho": rho.mean, "median": rho.median, "failed": rho.failed, "union": report.union}


def as_attack(seed: int, out: Path) -> dict[str, Any]:
    """Figure 3: accuracy against mean distortion, by scaling what each attack makes."""
    test, result = digits("test").take(TEST), {}
    for name, (method, knob) in {"fgm": ("fgm", 0.5), "pgd": ("pgd", 0.5), "natural": ("natural", 0.0)}.items():
        model = train(method, knob, seed)
        torch.manual_seed(seed)
        generator = mrt.generators.PGNGenerator((1, 8, 8), 10, width=2 * WIDTH, penalty=1.0)
        how: dict[str, Any] = {"iterations": 1500, "batch_size": BATCH, "seed": seed, "progress": False}
        made = mrt.fit_generator(generator, model, digits("train"), FREE, **how)
        factors, found = [0.1 * i for i in range(16)], {}
        sizes = [0.125 * i for i in range(16)]
        found["pgn"] = distortion(model, test.x, test.y, made(model, test.x, test.y), factors, mrt.L2(1.0))
        one = mrt.FGM(mrt.L2(1.0))(model, test.x, test.y)
        found["fgm"] = distortion(model, test.x, test.y, one, sizes, mrt.L2(1.0))
        found["pgd"] = [(0.0, found["fgm"][0][1])]
        for size in sizes[1:]:
            x_adv = mrt.PGD(mrt.L2(size), steps=10, step_size=size / 4)(model, test.x, test.y)
            found["pgd"] += distortion(model, test.x, test.y, x_adv, [1.0], mrt.L2(1.0))
        top = min(max(d for d, _ in found["pgn"]), max(d for d, _ in found["fgm"]))
        at = [top * i / 6 for i in range(1, 6)]
        lower = {f"pgn below {other}": below(found["pgn"], found[other], at) for other in ("fgm", "pgd")}
        result[name] = {"curves": found, "at": at} | lower
        print(name, lower, "of 5, at mean distortions", [round(a, 2) for a in at])
        series: dict[str, Any] = {a: [(d, 100 * s, None) for d, s in pairs] for a, pairs in found.items()}
        svg = charts.lines(f"attacks on the {name} network", "mean l2 distortion", "still correct, %", series)
        (out / f"distortion-{name}.svg").write_text(svg)
    return result


def ratio(points: list[Point], natural: Point) -> float:
    """The method's rho over natural's at equal benign accuracy: interpolated, or where the curve does not reach that
    accuracy, of the knob nearest to it, within half a point."""
    found = gain(points, natural.clean, natural.rho)
    near = min(points, key=lambda p: abs(p.clean - natural.clean))
    if math.isnan(found) and abs(near.clean - natural.clean) <= 0.005:
        return near.rho / natural.rho
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pgn"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    attack = as_attack(SEEDS[0], args.out)
    tasks = [(m, k, s) for m, knobs in KNOBS.items() for k in knobs for s in SEEDS]
    rows = run(work, tasks, args.out / "rows.jsonl", args.workers)
    points = {
        m: {s: [Point(k, rows[json.dumps((m, k, s))]["clean"], rows[json.dumps((m, k, s))]["rho"]) for k in knobs]
            for s in SEEDS}
        for m, knobs in KNOBS.items()
    }  # fmt: skip
    ratios: dict[str, Any] = {}
    for m, of_seed in points.items():
        for i, k in enumerate(KNOBS[m]):
            clean, rho = ([getattr(of_seed[s][i], name) for s in SEEDS] for name in ("clean", "rho"))
            print(
                f"{m:15s} {k:5g}  clean {100 * statistics.mean(clean):5.1f} ± {100 * statistics.stdev(clean):.1f}",
                end="",
            )
            print(f"  rho {statistics.mean(rho):.3f} ± {statistics.stdev(rho):.3f}")
        if m != "natural":
            natural = {s: points["natural"][s][0] for s in SEEDS}
            ratios[m] = [ratio(of_seed[s], natural[s]) for s in SEEDS]
            print(f"{m:15s} over natural at equal benign accuracy: {[round(r, 3) for r in ratios[m]]}")
    series: dict[str, Any] = {
        m: sorted((statistics.mean(p[i].rho for p in of_seed.values()),
                   100 * statistics.mean(p[i].clean for p in of_seed.values()), None) for i in range(len(KNOBS[m])))
        for m, of_seed in points.items()
    }  # fmt: skip
    svg = charts.lines("robustness curves", "rho under C&W", "benign accuracy, %", series)
    (args.out / "curves.svg").write_text(svg)
    if args.result:
        settings = {"test": TEST, "seeds": SEEDS, "epochs": EPOCHS, "width": WIDTH}
        result = {
            "environment": environment(),
            "settings": settings,
            "rows": rows,
            "ratios": ratios,
            "figure 3": attack,
        }
        args.result.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
