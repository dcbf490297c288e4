"""Images a second of `mrt.evaluate` with the "quick" battery, with and without the cascade, plainly and with what its
attacks can use of `Fast`.

    python -m benchmarks.evaluation [--images 497] [--budget 0.2] [--out benchmarks/results/FILE.json]

DigitsCNN after a few epochs of SAT on the embedded digits, three balls, APGD-CE and targeted APGD in each. APGD has
nothing to reuse, which leaves compiled steps on a CPU, and on a GPU bfloat16, alone and with graphs; --compile adds the
compiled network there. Every row says how many steps were recorded as graphs. The union and the
passes that evaluate counted are printed beside; it judges in float32 without TF32 in any case. That the cascade changes
no column is shown by `benchmarks.evaluation_cascade`. Rows run one after another in every round; figures are medians.
CPU: one thread, process time. GPU: the clock. Every evaluation is a line of FILE.jsonl, beside --out FILE.json, as soon
as it is done.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks import baselines
from benchmarks.attack_loop import Table, show, told
from benchmarks.environment import Meter, Row, beside, default_device, environment, measured, seconds, strict
from benchmarks.evaluation_cascade import passes
from mrt.crafting.recorded_steps import recordings_of
from mrt.data import digits
from mrt.fast import Fast
from mrt.models import DigitsCNN
from mrt.protocols import Model, Rng

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


def battery(budget: float) -> mrt.evaluation.Battery:
    """`quick`. Where pyautoattack is missing noise joins: evaluate looks for gradient masking by AutoAttack's Square
    unless a battery has an attack without gradients."""
    quick = mrt.batteries.quick(UNION, budget=budget)
    noise = tuple(mrt.Entry("noise", Noise(ball), ball) for ball in UNION)
    return (*quick, *noise) if baselines.missing("pyautoattack") else quick


def options(device: torch.device, compile: bool) -> dict[str, Fast]:
    """What can be asked of these attacks there."""
    if device.type == "cpu":
        return {"": Fast(), ", compiled steps": Fast(compile=True)}
    more = {", bf16, compile": Fast("bfloat16", compile=True)} if compile else {}
    return {"": Fast(), ", bf16": Fast("bfloat16"), ", bf16, graph": Fast("bfloat16", graph=True)} | more


def row(
    name: str, reports: dict[str, mrt.Report], given: tuple[Any, ...], how: dict[str, Any], out: Path | None
) -> Row:
    """Seconds of an evaluation, whose report is kept under that name; each time is written down beside `out`."""
    device = next(given[0].parameters()).device

    def run() -> None:
        reports[name] = mrt.evaluate(*given, **how, progress=False)

    def timed() -> float:
        took = seconds(run, device)
        report = reports[name]
        report.info["recorded"] = recordings_of(given[0]) if how["fast"].graph else 0
        beside(out, row=name, seconds=took, images=report.n, union=report.union, recorded=report.info["recorded"])
        return took

    def made() -> Meter:
        run()
        return timed

    return made


def compared(found: Table, reports: dict[str, mrt.Report]) -> dict[str, float]:
    """Speeds over that without cascade; what the reports say joins the table."""
    speed = {name: row["images/s"] for name, row in found.items() if not isinstance(row, str)}
    ratios = {}
    for name, report in reports.items():
        found[name] |= {"union": report.union, "passes": passes(report)}  # type: ignore[operator]
        found[name] |= {key: report.info[key] for key in ("fast", "recorded")}  # type: ignore[operator]
        each, recorded = passes(report) / report.n, report.info["recorded"]
        print(f"  {name:26s} union {100 * report.union:5.1f}%, {each:7.1f} passes an image, {recorded} steps recorded")
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
    strict()
    warnings.filterwarnings("ignore", "gradient masking", UserWarning)  # of this network, which is not the subject
    result: dict[str, Any] = {"environment": environment(), "device": str(args.device), "n": args.images}
    battery_name = "quick" + (", and noise" if baselines.missing("pyautoattack") else "")
    result |= {"rounds": args.rounds, "budget": args.budget, "battery": battery_name}
    print(json.dumps(result, indent=1), "\ntraining", flush=True)
    model, data = trained(args.device, args.epochs), digits("test").take(args.images)
    reports: dict[str, mrt.Report] = {}
    rows: dict[str, Row] = {}
    for option, fast in options(args.device, args.compile).items():
        for kind in ("cascade", "no cascade"):
            name, how = f"{kind}{option}", {"cascade": kind == "cascade", "fast": fast}
            rows[name] = row(name, reports, (model, data, battery(args.budget)), how, args.out)
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
