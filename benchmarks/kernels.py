"""What the row kernels cost: one projected step of the balls, and MSD's three proposals, without the model.

    python -m benchmarks.kernels [--device cpu] [--compile] [--out benchmarks/results/FILE.json]

Rows are the kernel (Triton, in a graph, on a GPU; compiled C++ on a CPU), its plain twin `ball.mover`, torch.compile of
that (--compile, GPU), pyautoattack's projection alone, and a step of our SLIDE and of the peers' attacks on a linear
model: the slope between 5 and 25 steps less the model's own passes, measured in the same rounds. Of MSD, which no peer
has, it is the sum of their three norms' steps. Points are ten steps away from images of which a tenth each is black and
white, gradients are noise, an l1 step moves 1% of the entries. "choice too" adds what MSD does next with given logits.
The floor is reading and writing each number once, 16 bytes an entry, 24 for MSD, at the bandwidth of a large copy in
this run; it is no bound on a CPU, whose cache holds small batches.

All rows of a round run one after another, shape by shape; figures are medians over the rounds, ratios are of medians.
CPU: one thread, process time. GPU: CUDA events about replays of a graph, where the row says so, or eager calls, for 5
ms or more, after warming up; calls take turns on copies of the batch, 256 MiB or more of them, so that L2 holds nothing
of one when its turn comes again. Peers on a GPU: the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mrt
from benchmarks import baselines
from benchmarks.environment import Row, beside, copy_bandwidth, default_device, environment, measured, meter, strict
from mrt import kernels
from mrt.attacks import sparsity
from mrt.crafting.best import Best
from mrt.crafting.losses import Goal, ce

LINF, L2, L1 = mrt.Linf(8 / 255), mrt.L2(0.5), mrt.L1(12.0)
CASES: dict[str, tuple[Any, ...]] = {
    "slide": (L1,),
    "slide clip": (mrt.L1(12.0, projection="clip"),),
    "l2": (L2,),
    "linf": (LINF,),
    "msd": (LINF, L2, L1),
}
SHAPES = {"cuda": "1024x3072 128x3072 128x784 256x12288 256x150528", "cpu": "128x3072 128x784"}
GOALS = {"1024x3072 slide": 20, "1024x3072 msd": 30, "128x784 slide": 6, "256x150528 slide": 1000}  # us on a GPU
PAIRS = (  # what is divided by what, and the goal on a CPU
    *((case, "kernel", "eager", "at most 0.6" if case in ("slide", "msd") else "") for case in CASES),
    *((case, "kernel", other, "") for case in CASES for other in ("eager, graph", "torch.compile, graph", "floor")),
    *(("slide", "kernel", other, "below 1") for other in ("pyautoattack's projection", "foolbox", "art")),
    ("slide", "mrt.SLIDE, fast", "mrt.SLIDE", "at most 0.6"),
    *(("slide", "mrt.SLIDE, fast", host, "below 1") for host in ("foolbox", "art")),
    ("msd", "kernel, choice too", "eager, choice too", "at most 0.6"),
    *(("msd", "kernel, choice too", host, "below 1") for host in ("foolbox", "art")),
)
FEW, MANY, PEERS_UP_TO = 5, 25, 1024 * 3072  # steps; entries of a batch, beyond which Foolbox takes minutes
Run = Callable[[], Any]
Figures = dict[str, float | str]  # by row: microseconds of a step of the whole batch, or why there are none


@dataclass(frozen=True, eq=False)
class Batch:
    """Where a step begins."""

    x: Tensor
    x_adv: Tensor
    grad: Tensor
    keep: Tensor


def size(ball: Any) -> float:
    return baselines.STEP[ball.name] * float(ball.eps)


def images(rows: int, entries: int, device: torch.device) -> Tensor:
    """Noise in three square channels where that is possible, a tenth of it 0 and a tenth 1."""
    channels = 3 if 3 * math.isqrt(entries // 3) ** 2 == entries else 1
    side = math.isqrt(entries // channels)
    return torch.rand(rows, channels, side, side, device=device).mul_(1.25).sub_(0.125).clamp_(0, 1)


def batch(balls: tuple[Any, ...], rows: int, entries: int, device: torch.device) -> Batch:
    """Ten steps from the images, each in another of the balls."""
    x = images(rows, entries, device)
    keep = sparsity.draw_counts(0.99, entries, torch.zeros(rows, dtype=torch.int64, device=device))
    x_adv, grad = x, torch.randn_like(x)
    for step in range(10):
        ball = balls[step % len(balls)]
        x_adv = ball.mover(x)(x_adv, grad, size(ball), keep)
    return Batch(x, x_adv, torch.randn_like(x), keep)


def fused(balls: tuple[Any, ...], at: Batch) -> Run:
    """The kernel, through its operator. ValueError if it is not its twin."""
    kinds = [kernels.KINDS[ball.kernel] for ball in balls]
    radii, sizes = (
        torch.tensor(values, device=at.x.device)[:, None].expand(-1, len(at.x)).contiguous()
        for values in ([float(ball.eps) for ball in balls], [size(ball) for ball in balls])
    )
    run: Run = partial(torch.ops.mrt.step_rows, at.x_adv, at.grad, at.x, radii, sizes, at.keep, kinds)
    far = max(float((mine - twin).abs().max()) for mine, twin in zip(run(), eager(balls, at)(), strict=True))
    if far > 1e-4:
        raise ValueError(f"the kernel is {far:.1e} away from its twin")
    return run


def eager(balls: tuple[Any, ...], at: Batch) -> Run:
    """Plain torch, a ball at a time."""
    moves = [(ball.mover(at.x), size(ball)) for ball in balls]
    return lambda: [move(at.x_adv, at.grad, length, at.keep) for move, length in moves]


def inductor(balls: tuple[Any, ...]) -> Callable[[Batch], Run]:
    """torch.compile of the same, once for all batches."""

    def steps(x: Tensor, x_adv: Tensor, grad: Tensor, keep: Tensor) -> list[Tensor]:
        return [ball.mover(x)(x_adv, grad, size(ball), keep) for ball in balls]

    compiled = torch.compile(steps, dynamic=False)

    def make(at: Batch) -> Run:
        torch._dynamo.reset()  # else it gives up in silence after the eighth of these functions
        return partial(compiled, at.x, at.x_adv, at.grad, at.keep)

    return make


def choosing(make: Callable[[Batch], Run], at: Batch) -> Run:
    """The proposals, and what MSD makes of them: their losses, the largest, the best so far."""
    propose, labels = make(at), torch.zeros(len(at.x), dtype=torch.int64, device=at.x.device)
    logits, goal = torch.randn(3, len(at.x), baselines.CLASSES, device=at.x.device), Goal(ce, labels)
    best = Best("loss").start_at(at.x)
    return lambda: best.pick(propose(), logits, goal)


def projection(at: Batch) -> Run:
    """pyautoattack's, of the same l1 step."""
    step = size(L1) * L1.steepest(at.grad, at.x_adv - at.x, at.x, at.keep)
    return baselines.autoattack_projection(L1, at.x, at.x_adv - at.x + step)


def own(case: str, rows: int, entries: int, device: torch.device, compile: bool) -> dict[str, Row]:
    """The rows of the operation alone."""
    balls, gpu = CASES[case], device.type == "cuda"
    moved = 4 * rows * entries * (3 + len(balls))
    copies = max(3, min(2**31 // moved, max(10, 2**28 // moved))) if gpu else 1
    batches = [batch(balls, rows, entries, device) for _ in range(copies)]

    def row(make: Callable[[Batch], Run], graph: bool = False) -> Row:
        return lambda: meter([make(at) for at in batches], device, graph)

    plain, kernel = partial(eager, balls), partial(fused, balls)
    there = kernels.takes(batches[0].x, True)
    found: dict[str, Row] = {"kernel": row(kernel, gpu) if there else "no triton" if gpu else "no C++ compiler"}
    found |= {"eager": row(plain)}
    if gpu:
        found["eager, graph"] = row(plain, True)
        found["torch.compile, graph"] = row(inductor(balls), True) if compile else "left out: ask for it by --compile"
    if case == "msd":
        found["kernel, choice too"] = row(partial(choosing, kernel), gpu) if there else found["kernel"]
        found["eager, choice too"] = row(partial(choosing, plain))
    if case == "slide":
        found["pyautoattack's projection"] = baselines.missing("pyautoattack") or row(projection)
    return found


def measure(rows: int, entries: int, device: torch.device, rounds: int, compile: bool) -> dict[str, list[float] | str]:
    """Microseconds of a step by round of "case: row", and of "loop: row"."""
    found = {f"{c}: {name}": row for c in CASES for name, row in own(c, rows, entries, device, compile).items()}
    x, y = images(rows, entries, device), torch.arange(rows, device=device) % baselines.CLASSES
    for name, row in baselines.slopes(x, y, (LINF, L2, L1), FEW, MANY).items():
        found[f"loop: {name}"] = row if rows * entries <= PEERS_UP_TO else "left out: minutes"
    return measured(found, rounds, f"{rows}x{entries}")


def figures(times: dict[str, list[float] | str], rows: int, entries: int, bandwidth: float) -> dict[str, Figures]:
    """Medians by case and row, the model's own passes taken off the loops; every case with its floor."""
    table: dict[str, Figures] = {}
    for name, values in times.items():
        case, row = name.split(": ", 1)
        table.setdefault(case, {})[row] = values if isinstance(values, str) else statistics.median(values)
    loop = table.pop("loop")
    for case, balls in CASES.items():
        table[case]["floor"] = 1e6 * 4 * rows * entries * (3 + len(balls)) / bandwidth
        for host in ("foolbox", "art"):
            table[case][host] = alone([loop[f"{host} {ball.name}"] for ball in balls], loop["model"])
    for name in ("mrt.SLIDE", "mrt.SLIDE, fast"):
        table["slide"][name] = alone([loop[name]], loop["model"])
    return table


def alone(steps: list[float | str], model: float | str) -> float | str:
    """The sum of these steps without the model's passes; or why there is none."""
    numbers = [value for value in (*steps, model) if not isinstance(value, str)]
    if len(numbers) <= len(steps):
        return next(value for value in (*steps, model) if isinstance(value, str))
    return sum(numbers[:-1]) - len(steps) * numbers[-1]


def ratios(table: dict[str, Figures], shape: str, on_gpu: bool) -> dict[str, float]:
    """Of what was measured, with what is asked for in the name."""
    found = {}
    for case, row, other, asked in PAIRS:
        above, below = table[case].get(row), table[case].get(other)
        if isinstance(above, float) and isinstance(below, float):
            found[f"{shape} {case}: {row} / {other}{'' if on_gpu or not asked else f' ({asked})'}"] = above / below
    for name, goal in GOALS.items():
        value = table[name.split()[1]]["kernel"]
        if on_gpu and name.split()[0] == shape and isinstance(value, float):
            found[f"{name}: kernel / goal of {goal} us (at most 1)"] = value / goal
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=default_device())
    parser.add_argument("--shapes", nargs="+", help="rows x entries, such as 128x3072")
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--compile", action="store_true", help="torch.compile of the plain steps too: minutes (GPU)")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    strict()
    torch.set_num_threads(torch.get_num_threads() if args.device.type == "cuda" else 1)
    torch.manual_seed(0)
    bandwidth = copy_bandwidth(args.device)
    report: dict[str, Any] = {"environment": environment(), "device": str(args.device), "rounds": args.rounds}
    report |= {"copy GB/s": bandwidth / 1e9, "us a step": {}, "ratios": {}, "by round": {}}
    print(json.dumps(report["environment"], indent=1), f"\ncopy {bandwidth / 1e9:.0f} GB/s; n = {args.rounds} rounds")
    for shape in args.shapes or SHAPES[args.device.type].split():
        rows, entries = (int(number) for number in shape.split("x"))
        times = measure(rows, entries, args.device, args.rounds, args.compile)
        table = figures(times, rows, entries, bandwidth)
        report["us a step"][shape], report["by round"][shape] = table, times
        beside(args.out, shape=shape, rounds=times)
        report["ratios"] |= ratios(table, shape, args.device.type == "cuda")
        for case, name, value in ((case, *each) for case, row in table.items() for each in row.items()):
            said = value if isinstance(value, str) else f"{value:10.1f} us   {value / rows:8.3f} us an example"
            print(f"{shape:11s} {case:11s} {name:26s} {said}")
    print("\n".join(f"{name:72s} {value:7.3f}" for name, value in report["ratios"].items()))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
