"""Rungs 5, 6 and 8: attack loops and steps alone, with their options and beside the peers."""

from __future__ import annotations

import statistics

import torch

from benchmarks import attack_loop, baselines
from benchmarks import kernels as alone
from benchmarks.attack_loop import Case, opened, opened_case, ratios, rows
from benchmarks.environment import Row, measured, seconds
from benchmarks.ladder.context import Context
from benchmarks.ladder.speeds import show, told
from mrt import kernels
from mrt.crafting.recorded_steps import recordings_of

ROUNDS = 3
LAYOUT = torch.channels_last
CASES = (
    ("preact", "msd-10", 128), ("preact", "pgd-10", 128), ("mnist", "msd-10", 128), ("preact", "msd-10", 1024),
    ("preact", "pgd-10", 1024), ("mnist", "slide-20", 128), ("preact", "apgd-20", 128), ("mnist", "pgd-10", 128),
    ("preact", "slide-20", 128), ("mnist", "apgd-20", 128), ("mnist", "msd-10", 1024), ("mnist", "pgd-10", 1024),
    ("preact", "apgd-20", 1024), ("mnist", "slide-20", 1024), ("preact", "slide-20", 1024), ("mnist", "apgd-20", 1024),
)  # fmt: skip
WITHOUT = ["compile", "float32 reuse"]
HOSTS = ["foolbox", "art", "pyautoattack"]
TOP = ("bf16 graph", "plain loop", "foolbox")
SHAPES = ((1024, 3072), (128, 3072), (128, 784), (256, 150528))
MOST_OVER_FLOOR = {(1024, 3072, "slide"), (1024, 3072, "msd")}


def attacks(context: Context) -> None:
    """Whole attacks, a case after another."""
    peak = context.peak()
    for name, attack, batch in CASES[:4] if context.tiny else CASES:
        attack, batch = (f"{attack.split('-')[0]}-2", 8) if context.tiny else (attack, batch)
        title = f"{name} {attack} x {batch}"
        if not context.enough(6 if not context.tiny else 1, title):
            continue
        with context.attempt(title):
            model = opened(name, context.place, LAYOUT, **context.narrow)
            case = opened_case(model, name, attack, batch, LAYOUT)
            measure(context, title, case, WITHOUT + (HOSTS if batch > 128 or context.tiny else []), peak)


def measure(context: Context, title: str, case: Case, without: list[str], peak: float | None) -> None:
    """One case's rows."""
    gflop, times = case.gflop(), measured(rows(case, without), 1 if context.tiny else ROUNDS, title)
    batch = len(case.x)
    each = {
        row: gflop["attack, reuse" if "reuse" in row else "attack"] for row in times if row.startswith(("float", "bf"))
    }
    found = told(times, batch, gflop | each, peak, case.recorded)
    show(title, found)
    for row, held in found.items():
        if isinstance(held, str):
            failed = {"passed": False} if held.startswith("failed") else {}
            if not held.startswith("left out"):
                context.record(f"{title}: {row}", None, "images/s", why=held, **failed)
            continue
        more = {key: value for key, value in held.items() if key != "images/s"}
        context.record(f"{title}: {row}", held["images/s"], "images/s", top=row in TOP and batch <= 128, **more)
    for pair, ratio in ratios(title, found, context.on_gpu).items():
        goal = {"goal": 10.0, "top": True} if "(at least 10)" in pair else {}
        context.record(pair, ratio, "times", **goal)


def compiled(context: Context) -> None:
    """The same attacks with the model compiled and without."""
    how = "bf16 graph" if context.on_gpu else "float32"
    for attack, batch in (("pgd-10", 128), ("msd-10", 128), ("msd-10", 1024)):  # one shape to compile, then two
        attack, batch = ("pgd-2", 8) if context.tiny else (attack, batch)
        title = f"preact {attack} x {batch}"
        if not context.enough(1 if context.tiny else 15 if attack == "pgd-10" else 25, f"{title}, compiled"):
            continue
        with context.attempt(f"{title}, compiled"):
            model = opened("preact", context.place, LAYOUT, **context.narrow)
            case, speed = opened_case(model, "preact", attack, batch, LAYOUT), dict[str, float]()
            for row in (how, f"{how} compile"):
                run, before = case.ours(attack_loop.named(row)), recordings_of(model)
                first = seconds(run, context.place)
                graph = {"recorded": recordings_of(model) > before} if "graph" in row else {}
                speed[row] = batch / statistics.median(seconds(run, context.place) for _ in range(ROUNDS))
                context.record(f"{title}: {row}, first call", first, "s")
                context.record(f"{title}: {row} (rung 8)", speed[row], "images/s", top=True, **graph)
            context.record(f"{title}: compiled / not", speed[f"{how} compile"] / speed[how], "times", top=True)


def steps(context: Context) -> None:
    """A step without the model, beside its plain twin and the floor of reading and writing each number once."""
    bandwidth = context.bandwidth()
    for n, entries in ((8, 784),) if context.tiny else SHAPES:
        names = ("slide", "msd") if entries > 20000 or context.tiny else ("slide", "msd", "l2", "linf", "slide clip")
        for name in names:
            if context.enough(1 if context.tiny else 4, f"{n}x{entries} {name}"):
                with context.attempt(f"{n}x{entries} {name}"):
                    step(context, name, n, entries, bandwidth)
    with context.attempt("Foolbox's SLIDE"):
        peers(context)


def step(context: Context, name: str, n: int, entries: int, bandwidth: float) -> None:
    """One case at one shape."""
    torch.manual_seed(0)
    found = alone.own(name, n, entries, context.place, False)
    times = measured({row: found[row] for row in ("kernel", "eager")}, 1 if context.tiny else ROUNDS, f"{n}x{entries}")
    floor = 1e6 * 4 * n * entries * (3 + len(alone.CASES[name])) / bandwidth
    title, us = f"{n}x{entries} {name}", dict[str, float]()
    for row, values in times.items():
        if isinstance(values, str):
            context.record(f"{title}: {row}", None, "us", why=values, passed=False)
        else:
            us[row] = statistics.median(values)
            context.record(f"{title}: {row}", us[row], "us", floor=floor, top=row == "kernel" and context.on_gpu)
    if "kernel" in us:
        most = {"at most": 2.0, "top": True} if (n, entries, name) in MOST_OVER_FLOOR else {}
        context.record(f"{title}: kernel / floor", us["kernel"] / floor, "times", **most)
    if len(us) == 2:
        context.record(f"{title}: eager / kernel", us["eager"] / us["kernel"], "times")


def peers(context: Context) -> None:
    """SLIDE's step, ours and Foolbox's, on a linear model whose own passes are taken off."""
    kernels.takes(torch.empty(1, device=context.device), True)
    n, entries = (8, 784) if context.tiny else (128, 3072)
    x, y = alone.images(n, entries, context.place), torch.arange(n, device=context.device) % 10
    few, many = (1, 3) if context.tiny else (alone.FEW, alone.MANY)
    wanted = ("model", "mrt.SLIDE", "mrt.SLIDE, fast", "foolbox l1")
    found: dict[str, Row] = {k: v for k, v in baselines.slopes(x, y, (alone.L1,), few, many).items() if k in wanted}
    times = measured(found, ROUNDS, "SLIDE's step")
    us = {row: statistics.median(values) for row, values in times.items() if not isinstance(values, str)}
    for row in wanted[1:]:
        value = us[row] - us["model"] if row in us else None
        context.record(f"{n}x{entries} SLIDE's step: {row}", value, "us", why=times[row] if value is None else "")
    if "foolbox l1" in us:
        goal = {"goal": 10.0} if context.on_gpu else {}
        ratio = (us["foolbox l1"] - us["model"]) / (us["mrt.SLIDE, fast"] - us["model"])
        context.record(f"{n}x{entries} SLIDE's step: Foolbox / ours", ratio, "times", top=True, **goal)
