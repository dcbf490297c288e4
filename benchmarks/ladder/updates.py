"""Rung 7: images a second of `mrt.fit` itself, beside ART's trainer, a plain loop and the published MSD scheme."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks import baselines
from benchmarks.attack_loop import MODELS, opened
from benchmarks.baselines import published_msd as plain
from benchmarks.environment import seconds
from benchmarks.ladder.context import Context
from benchmarks.ladder.watched import noise_set, pace
from benchmarks.training_step import Updates
from mrt.fast import Fast

LR = 1e-3
CASES = (  # by what matters most
    ("preact", "msd", 10, 128), ("preact", "pgd", 10, 128), ("mnist", "msd", 100, 100), ("preact", "msd", 10, 1024),
    ("preact", "pgd", 10, 1024), ("mnist", "pgd", 40, 100), ("preact", "msd", 10, 512), ("preact", "pgd", 10, 512),
)  # fmt: skip
OPTIONS = {
    "bf16 graph": Fast("bfloat16", graph=True),
    "float32": Fast(),
    "bf16 graph reuse": Fast("bfloat16", graph=True, reuse=True),
}
GOALS = {("preact", "published"): 3.0, ("mnist", "published"): 5.0, ("preact", "ART"): 4.0, ("mnist", "ART"): 4.0}
SHARE = 0.3  # of the peak, PreActResNet-18 in bfloat16
EPOCH = 50_000, 7.0  # images, and seconds at most for PGD-10 on PreActResNet-18
Speeds = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A network trained against an attack."""

    name: str
    kind: str
    steps: int
    batch: int

    @property
    def title(self) -> str:
        return f"training {self.name} {self.kind}-{self.steps} x {self.batch}"

    def strategy(self) -> Any:
        union = MODELS[self.name][2]
        if self.kind == "msd":
            return mrt.MSDTraining(union, steps=self.steps)
        return mrt.Adversarial(union[0], steps=self.steps)


def run(context: Context) -> None:
    """Every case, the first ones beside others' ways too."""
    peak = context.peak()
    for number, given in enumerate(CASES[:3] if context.tiny else CASES):
        case = Case(*given[:2], 2, 8) if context.tiny else Case(*given)
        if not context.enough(1 if context.tiny else 5, case.title):
            continue
        with context.attempt(case.title):
            speeds = ours(context, case, peak)
            if number < 3 or case.kind == "pgd" and case.batch == 100:
                speeds |= others(context, case)
            for other in ("plain loop", "published", "ART"):
                if other in speeds and "bf16 graph" in speeds:
                    goal = {"goal": GOALS[case.name, other]} if (case.name, other) in GOALS else {}
                    goal = goal if context.on_gpu else {}
                    ratio = speeds["bf16 graph"] / speeds[other]
                    context.record(f"{case.title}: bf16 graph / {other}", ratio, "times", top=True, **goal)


def network(context: Context, name: str, layout: torch.memory_format = torch.channels_last) -> nn.Module:
    return opened(name, context.place, layout, **context.narrow).train()


def ours(context: Context, case: Case, peak: float | None) -> Speeds:
    """Images a second of `mrt.fit`, by option."""
    found, shape = Speeds(), MODELS[case.name][1]
    for label, fast in OPTIONS.items():
        if "reuse" in label and case.kind != "msd" or "bf16" in label and not context.on_gpu:
            continue
        title = f"{case.title}: fit, {label}"
        if not context.enough(2, title):
            continue
        with context.attempt(title):
            model, data = network(context, case.name), noise_set(shape, case.batch, context.place)
            few = 10 if case.batch <= 128 else 5
            updates = (1, 2) if context.tiny else (few, 2 * few)
            how = {"batch_size": case.batch, "optimizer": mrt.SGD(LR)}
            each, recorded = pace(model, case.strategy(), data, fast, updates, **how)
            speed = found[label] = case.batch / each
            more: dict[str, Any] = {"ms": 1000 * each} | ({"recorded": recorded} if fast.graph else {})
            context.record(title, speed, "images/s", top=label == "bf16 graph", **more)
            if peak is not None and label != "float32":
                share = speed * gflop(context, case, fast.reuse) / 1e3 / peak
                goal = {"goal": SHARE} if case.name == "preact" and "reuse" not in label else {}
                goal |= {"top": True} if case.kind == "msd" and case.batch in (128, 1024) else {}
                context.record(f"{title}: share of peak", share, "", **goal)
            if (case.name, case.kind, case.batch, label) == ("preact", "pgd", 1024, "bf16 graph"):
                context.record(
                    "PGD-10 epoch, PreActResNet-18", EPOCH[0] / speed, "s", top=True, **{"at most": EPOCH[1]}
                )
    return found


def gflop(context: Context, case: Case, reuse: bool) -> float:
    """Of an update, an image."""
    return Updates(case.name, case.strategy(), Fast(reuse=reuse), 4, context.place).gflop()


def others(context: Context, case: Case) -> Speeds:
    """Images a second of a loop written plainly (PGD) or of the published scheme (MSD), and of ART's trainer (PGD)."""
    found, (x, y) = Speeds(), noise_set(MODELS[case.name][1], case.batch, context.place)
    x, y = x[: case.batch].contiguous(memory_format=torch.channels_last), y[: case.batch]
    model = network(context, case.name)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    union = MODELS[case.name][2]
    rows: dict[str, Callable[[], None]] = {
        "published": partial(plain.update, model, optimizer, x, y, union, case.steps),
        "plain loop": partial(plain_update, model, optimizer, x, y, union[0], case.steps),
    }
    row = "published" if case.kind == "msd" else "plain loop"
    with context.attempt(f"{case.title}: {row}"):
        rows[row]()
        limit, times = time.monotonic() + 3, list[float]()
        while len(times) < 3 or len(times) < 10 and time.monotonic() < limit:
            times.append(seconds(rows[row], context.place))
        found[row] = case.batch / statistics.median(times)
        context.record(f"{case.title}: {row}", found[row], "images/s", top=True)
    if case.kind == "pgd" and baselines.missing("art") is None and not context.tiny:
        with context.attempt(f"{case.title}: ART"):
            size = 2.5 * union[0].eps / case.steps
            train = baselines.art_trainer(union[0], size, case.steps, case.batch, LR, case.batch)
            contiguous, model = x.contiguous(), network(context, case.name, torch.contiguous_format)
            train(model, contiguous, y)
            found["ART"] = (
                2
                * case.batch
                / seconds(partial(train, model, torch.cat([contiguous] * 2), torch.cat([y] * 2)), context.place)
            )
            context.record(f"{case.title}: ART", found["ART"], "images/s", top=True)
    return found


def plain_update(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, ball: mrt.Linf, steps: int
) -> None:
    """PGD training as one would first write it: the attack's backward passes fill the weights' gradients as well."""
    delta = torch.empty_like(x).uniform_(-ball.eps, ball.eps)
    delta = torch.min(torch.max(delta, -x), 1 - x)
    for _ in range(steps):
        grad = plain.full_grad(model, x + delta, y)
        delta = plain.linf_step(x, delta, grad, ball.eps, 2.5 * ball.eps / steps)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x + delta), y).backward()
    optimizer.step()
