"""Images a second of `mrt.evaluate` with the "quick" battery, with and without the cascade, plainly and with what its
attacks can use of `Fast`.

    python -m benchmarks.evaluation [--images 497] [--budget 0.2] [--out benchmarks/results/FILE.json]

DigitsCNN after a few epochs of SAT on the embedded digits, three balls, APGD-CE and targeted APGD in each. APGD is not
recorded as a graph and has nothing to reuse, which leaves compiled steps on a CPU, and on a GPU bfloat16; --compile
adds the compiled network there (evaluate wraps it anew for every batch, so every batch compiles). The union and the
passes that evaluate counted are printed beside; it judges in float32 in any case. That the cascade changes no column is
shown by `benchmarks.evaluation_cascade`. Rows run one after another in every round; figures are medians. CPU: one
thread, process time. GPU: the clock.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks import baselines
from benchmarks.attack_loop import Table, show, told
from benchmarks.environment import Meter, Row, default_device, environment, measured, seconds
from benchmarks.evaluation_cascade import passes
from mrt.data import digits
from mrt.models import DigitsCNN
from mrt.protocols import Fast, Model, Rng

UNION = (mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0))


def trained(device: torch.device, epochs: int) -> nn.Module:
    """The network to judge."""
    torch.manual_seed(0)
    model = DigitsCNN().to(device)
    how: dict[str, Any] = {"epochs": epochs, "batch_size": 64, "optimizer": mrt.Adam(8e-3), "progress": False}
    mrt.fit(model, mrt.SAT(UNION, steps=5), digits("train"), **how)
    return model


@dataclass(frozen=True)
class Noise:
    """A random point of the ball: an attack without gradients."""

    threat: Any

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        found: Tensor = self.threat.apply(x, self.threat.sample(x, rng))
        with torch.no_grad():
            model(found)  # evaluate counts as attacks what asks the model
        return found


def battery(budget: float, fast: Fast) -> mrt.evaluation.Battery:
    """`quick`, its attacks run so. Where pyautoattack is missing noise joins: evaluate looks for gradient masking by
    AutoAttack's Square unless a battery has an attack without gradients."""
    entries: Any = mrt.batteries.quick(UNION, budget=budget)
    quick = tuple(replace(entry, attack=replace(entry.attack, fast=fast)) for entry in entries)
    noise = tuple(mrt.Entry("noise", Noise(ball), ball) for ball in UNION)
    return (*quick, *noise) if baselines.missing("pyautoattack") else quick


def options(device: torch.device, compile: bool) -> dict[str, Fast]:
    """What can be asked of these attacks there."""
    if device.type == "cpu":
        return {"": Fast(), ", compiled steps": Fast(compile=True)}
    more = {", bf16, compile": Fast("bfloat16", compile=True)} if compile else {}
    return {"": Fast(), ", bf16": Fast("bfloat16")} | more


def row(name: str, reports: dict[str, mrt.Report], given: tuple[Any, ...], cascade: bool, device: torch.device) -> Row:
    """Seconds of an evaluation, whose report is kept under that name."""

    def run() -> None:
        reports[name] = mrt.evaluate(*given, cascade=cascade, progress=False)

    def made() -> Meter:
        run()
        return partial(seconds, run, device)

    return made


def compared(found: Table, reports: dict[str, mrt.Report]) -> dict[str, float]:
    """Speeds over that without cascade; what the reports say joins the table."""
    speed = {name: row["images/s"] for name, row in found.items() if not isinstance(row, str)}
    ratios = {}
    for name, report in reports.items():
        found[name] |= {"union": report.union, "passes": passes(report)}  # type: ignore[operator]
        print(
            f"  {name:26s} union {100 * report.union:5.1f}%, {passes(report) / len(report.robust):7.1f} passes an image"
        )
        if passes(report) and name != "no cascade":
            ratios[f"{name} / no cascade"] = speed[name] / speed["no cascade"]
        elif not passes(report):
            print(f"  {name}: no ratio, as evaluate counted no passes, and so looked for no gradient masking either")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=default_device())
    parser.add_argument("--images", default=497, type=int)
    parser.add_argument("--budget", default=0.2, type=float, help="of the battery's 100 steps")
    parser.add_argument("--epochs", default=10, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--compile", action="store_true", help="the network, too, on a GPU")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(torch.get_num_threads() if args.device.type == "cuda" else 1)
    warnings.simplefilter("ignore")  # doubts about the network, which is not the subject
    result: dict[str, Any] = {"environment": environment(), "device": str(args.device), "n": args.images}
    battery_name = "quick" + (", and noise" if baselines.missing("pyautoattack") else "")
    result |= {"rounds": args.rounds, "budget": args.budget, "battery": battery_name}
    print(json.dumps(result, indent=1), "\ntraining", flush=True)
    model, data = trained(args.device, args.epochs), digits("test").take(args.images)
    reports: dict[str, mrt.Report] = {}
    rows: dict[str, Row] = {}
    for option, fast in options(args.device, args.compile).items():
        for kind in ("cascade", "no cascade"):
            name, given = f"{kind}{option}", (model, data, battery(args.budget, fast))
            rows[name] = row(name, reports, given, kind == "cascade", args.device)
    found = told(measured(rows, args.rounds, "quick"), len(data), {}, None)
    show(f"{battery_name}, {len(data)} images, {UNION}", found)
    ratios = compared(found, reports)
    result |= {"rows": found, "ratios": ratios}
    for name, value in ratios.items():
        print(f"{name:44s} {value:6.2f}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
