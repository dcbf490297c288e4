"""Images a second of whole attacks: what each of `Fast(...)` gives, beside a loop written plainly and the peers'.

    python -m benchmarks.attack_loop [--models mnist preact wrn] [--attacks pgd-10 msd-50] [--batch 128 1024]
        [--without compile art] [--peak 790] [--out benchmarks/results/FILE.json]

Networks have random weights and BatchNorm statistics of noise, images are noise, labels are what the network answers:
what a pass costs depends on none of that. PGD (linf) and SLIDE return the end of their path, as in training and as the
peers do, MSD its best point. `plain loop` is eager float32 with the parameters' gradients computed as well; for MSD the
published scheme. Ours and the plain loop have channels last (--layout), the hosts what their users give them.

FLOPs are counted by torch's formulas in an eager attack on four images, with and without reuse. Shares of peak are of
--peak in TFLOP/s, or on a GPU of a product of two 8192 x 8192 matrices in bfloat16 in this run, float32 rows too. All
rows of a round run one after another; figures are medians over the rounds, ratios of medians. CPU: one thread, process
time. GPU: the clock, from idle to idle; graphs are recorded and models compiled before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks import baselines
from benchmarks.baselines import Run
from benchmarks.baselines import published_msd as plain
from benchmarks.environment import Row, beside, default_device, environment, matmul_peak, measured, seconds, strict
from benchmarks.ladder.speeds import Table, show, told
from benchmarks.step_cost import counted
from mrt.crafting.gradient import crafting, input_grad
from mrt.crafting.recorded_steps import recordings_of
from mrt.fast import Fast
from mrt.models import MadryCNN, PreActResNet18, WideResNet

MNIST = (mrt.Linf(0.3), mrt.L2(2.0), mrt.L1(10.0))
CIFAR = (mrt.Linf(8 / 255), mrt.L2(0.5), mrt.L1(12.0))
MODELS: dict[str, tuple[Callable[..., nn.Module], tuple[int, int, int], plain.Union]] = {
    "mnist": (MadryCNN, (1, 28, 28), MNIST),
    "preact": (PreActResNet18, (3, 32, 32), CIFAR),
    "wrn": (WideResNet, (3, 32, 32), CIFAR),
}
ATTACKS = {
    "cuda": ("pgd-10", "slide-20", "msd-10", "msd-50", "apgd-20"),
    "cpu": ("pgd-5", "slide-5", "msd-5", "apgd-5"),
}
PLAIN = ("float32", "float32 compile", "float32 graph", "bf16", "bf16 graph", "bf16 graph compile")
REUSE = ("float32 reuse", "float32 reuse compile", "bf16 graph reuse", "bf16 graph reuse compile")
OURS = ("float32", "bf16")
PAIRS = [  # rows whose speed is compared; with reuse an MSD step has 4 passes, without 5
    *(("float32 graph", "float32"), ("bf16 graph", "bf16"), ("bf16 graph compile", "bf16 graph")),
    *(("float32 compile", "float32"), ("float32 reuse", "float32"), ("float32 reuse compile", "float32 compile")),
    *(("bf16 graph reuse", "bf16 graph"), ("bf16 graph reuse compile", "bf16 graph compile")),
    *(("fastest", other) for other in ("float32", "plain loop", "foolbox", "art", "pyautoattack")),
]


@dataclass(frozen=True, eq=False)
class Case:
    """An attack on a network. `labels` are the network's own answers; `recorded` says by row whether its first run left
    a recording."""

    kind: str
    steps: int
    union: plain.Union
    model: nn.Module
    x: Tensor
    labels: Tensor
    recorded: dict[str, bool] = field(default_factory=dict)

    def ours(self, fast: Fast) -> Run:
        """Our attack of that kind."""
        linf, _, l1 = self.union
        attacks: dict[str, Any] = {
            "pgd": lambda: mrt.PGD(linf, steps=self.steps, best="last", fast=fast),
            "slide": lambda: mrt.SLIDE(l1, steps=self.steps, best="last", fast=fast),
            "msd": lambda: mrt.MSD(self.union, steps=self.steps, fast=fast),
            "apgd": lambda: mrt.APGD(linf, steps=self.steps, fast=fast),
        }
        return partial(attacks[self.kind](), self.model, self.x, self.labels)

    def by_hand(self) -> object:
        """The same loop as one would first write it."""
        linf, _, l1 = self.union
        if self.kind == "msd":
            return plain.attack(self.model, self.x, self.labels, self.union, self.steps)
        delta, keep = torch.zeros_like(self.x), max(1, self.x[0].numel() // 100)
        for _ in range(self.steps):
            grad = plain.full_grad(self.model, self.x + delta, self.labels)
            if self.kind == "pgd":
                delta = plain.linf_step(self.x, delta, grad, linf.eps, 2.5 * linf.eps / self.steps)
            else:
                delta = plain.l1_step(self.x, delta, grad, l1.eps, l1.eps / 5, keep)
        return self.x + delta

    def gflop(self) -> dict[str, float]:
        """An image: of the network forward, F, and to the input, B_in; of our attack, plainly and with reuse, and of
        the loop by hand."""
        few = replace(self, x=self.x[:4], labels=self.labels[:4])

        def there_and_back() -> None:
            with crafting(few.model) as f:
                input_grad(f, few.x, lambda logits: logits.sum(1))

        runs: dict[str, Run] = {"F": lambda: few.model(few.x), "F + B_in": there_and_back, "attack": few.ours(Fast())}
        runs |= {"attack, reuse": few.ours(Fast(reuse=True))} if self.kind == "msd" else {}
        runs |= {} if self.kind == "apgd" else {"plain loop": few.by_hand}
        for run in runs.values():
            run()  # what is done once for a network is no part of it
        return {name: counted(run) / len(few.x) / 1e9 for name, run in runs.items()}


def named(row: str) -> Fast:
    """What a row's name says."""
    graph, compile, reuse = (word in row.split() for word in ("graph", "compile", "reuse"))
    return Fast("bfloat16" if "bf16" in row else "float32", graph=graph, compile=compile, reuse=reuse)


def opened(name: str, device: torch.device, layout: torch.memory_format, **how: Any) -> nn.Module:
    """The network, BatchNorm's statistics being those of 64 images of noise; `how` is it made, say with which width."""
    torch.manual_seed(0)
    make, shape, _ = MODELS[name]
    model: nn.Module = make(**how).to(device).to(memory_format=layout)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for momentum in (1.0, 0.1):
        for norm in norms:
            norm.momentum = momentum
        with torch.no_grad():
            model.train(momentum == 1)(torch.rand(64, *shape, device=device))
    return model


def opened_case(model: nn.Module, name: str, attack: str, batch: int, layout: torch.memory_format) -> Case:
    """That attack, `kind-steps`, on a batch of noise."""
    kind, steps = attack.split("-")
    x = torch.rand(batch, *MODELS[name][1], device=next(model.parameters()).device).contiguous(memory_format=layout)
    with torch.no_grad():
        labels = torch.cat([model(part).argmax(1) for part in x.split(128)])
    return Case(kind, int(steps), MODELS[name][2], model, x, labels)


def rows(case: Case, without: list[str]) -> dict[str, Row]:
    """All that is to be measured: seconds of an attack."""

    def row(run: Run, name: str = "") -> Row:
        def made() -> Callable[[], float]:
            before = recordings_of(case.model)
            run()
            if "graph" in name.split():
                case.recorded[name] = recordings_of(case.model) > before
            return partial(seconds, run, case.x.device)

        return made

    found: dict[str, Row] = {}
    for name in (*PLAIN, *(REUSE if case.kind == "msd" else ())):
        fast = named(name)
        if not case.x.is_cuda and (fast.graph or fast.precision == "bfloat16"):
            found[name] = "left out on a CPU: no CUDA graphs, no tensor cores"
        else:
            found[name] = row(case.ours(fast), name)
    found["plain loop"] = "not written for apgd" if case.kind == "apgd" else row(case.by_hand)
    ball = case.union[2 if case.kind == "slide" else 0]
    for host, run in baselines.peers(case.kind, ball, case.model, case.x, case.labels, case.steps).items():
        found[host] = run if isinstance(run, str) else row(run)
    return {name: "left out by --without" if any(w in name for w in without) else r for name, r in found.items()}


def ratios(case: str, found: Table, on_gpu: bool) -> dict[str, float]:
    """Of images a second, with what is asked for in the name."""
    speed = {name: row["images/s"] for name, row in found.items() if not isinstance(row, str)}
    speed["fastest"] = max((value for name, value in speed.items() if name.startswith(OURS)), default=0.0)
    asked = {"foolbox": " (at least 10)"} if on_gpu and " slide" in case else {}
    known = [(a, b) for a, b in PAIRS if a in speed and b in speed]
    return {f"{case}: {a} / {b}{asked.get(b, '')}": speed[a] / speed[b] for a, b in known}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=default_device())
    parser.add_argument("--models", nargs="+", choices=list(MODELS))
    parser.add_argument("--attacks", nargs="+")
    parser.add_argument("--batch", nargs="+", type=int, help="128; on a CPU 32")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--without", nargs="+", default=[], help="words; rows that hold one are left out")
    parser.add_argument("--layout", default="channels_last", choices=("channels_last", "contiguous_format"))
    parser.add_argument("--cudnn-benchmark", action="store_true")
    parser.add_argument("--peak", type=float, help="TFLOP/s")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    strict()
    on_gpu, layout = args.device.type == "cuda", getattr(torch, args.layout)
    torch.backends.cudnn.benchmark = args.cudnn_benchmark
    torch.set_num_threads(torch.get_num_threads() if on_gpu else 1)
    matmul = matmul_peak(args.device) / 1e12 if on_gpu else None
    report: dict[str, Any] = {"environment": environment(), "device": str(args.device), "rounds": args.rounds}
    report |= {"layout": args.layout, "matmul TFLOP/s": matmul, "peak TFLOP/s": args.peak or matmul}
    print(json.dumps(report, indent=1))
    report |= {"cases": {}, "ratios": {}}
    for name in args.models or (list(MODELS) if on_gpu else ["mnist"]):
        for batch, attack in product(args.batch or [128 if on_gpu else 32], args.attacks or ATTACKS[args.device.type]):
            model, title = opened(name, args.device, layout), f"{name} {attack} x {batch}"  # no other case's recordings
            case = opened_case(model, name, attack, batch, layout)
            gflop, times = case.gflop(), measured(rows(case, args.without), args.rounds, title)
            each = {
                row: gflop["attack, reuse" if "reuse" in row else "attack"] for row in times if row.startswith(OURS)
            }
            found = told(times, batch, gflop | each, args.peak or matmul, case.recorded)
            report["cases"][title] = {"GFLOP an image": gflop, "rows": found}
            report["ratios"] |= ratios(title, found, on_gpu)
            beside(args.out, case=title, **report["cases"][title])
            show(f"{title}   GFLOP an image: F {gflop['F']:.3g}, F + B_in {gflop['F + B_in']:.3g}", found)
    for name, value in report["ratios"].items():
        print(f"{name:60s} {value:7.2f}")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
