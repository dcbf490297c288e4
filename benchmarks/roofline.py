"""What attack steps and training updates should cost on a GPU at best, counted without one.

    python -m benchmarks.roofline [--models mnist preact] [--out benchmarks/results/DATE_predicted.json]

The operations of a recorded step, and of a whole update of `mrt.fit`, are listed on a pretended CUDA device
(tests/pretend.py) for two small batches; bytes and floating-point operations grow linearly with the batch. An operation
takes the longest of its bytes at the card's copy bandwidth, its FLOPs at the rate of a large bfloat16 product (half of
it for float32, as TF32), and LAUNCH; real kernels reach about REACHED of that. The host needs HOST for each launch and
replay; an update takes the longer of both. What is left out: caches, cuDNN's algorithms, clocks that fall under load.

The ladder (`benchmarks.gpu_ladder`) writes these figures beside what it measures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import mrt
from benchmarks.attack_loop import MODELS
from benchmarks.environment import environment
from mrt.crafting.model_copy import copies_of
from mrt.fast import Fast
from mrt.protocols import Step
from tests.pretend import HOSTED, Gpu, pretending

# Bytes and bfloat16 FLOPs a second of such cards, measured elsewhere with a large copy and a large product.
CARDS = {"H100": (3.0e12, 790e12), "H200": (4.3e12, 790e12)}
LAUNCH, HOST, REACHED = 1.8e-6, 4e-6, 0.8  # assumed, until the ladder has measured
SMALL = (2, 3)  # images
OPTIONS = {
    "float32 graph": Fast(graph=True),
    "bf16 graph": Fast("bfloat16", graph=True),
    "bf16 graph reuse": Fast("bfloat16", graph=True, reuse=True),
}
ATTACKS = (("preact", "pgd-10"), ("preact", "msd-10"), ("preact", "slide-20"), ("preact", "apgd-20"))
ATTACKS += (("mnist", "pgd-10"), ("mnist", "msd-10"), ("mnist", "slide-20"), ("mnist", "apgd-20"))
TRAININGS = (("preact", "pgd", 10), ("preact", "msd", 10), ("mnist", "msd", 100), ("mnist", "pgd", 40))
BATCHES = {"preact": (128, 512, 1024), "mnist": (100, 128, 1024)}


@dataclass(frozen=True)
class Cost:
    """Of one operation."""

    name: str
    moved: float  # bytes
    flops: float
    low: bool  # in bfloat16


def cost(run: Any, args: Any, kwargs: Any, out: Any) -> Cost:
    """What that operation reads, writes and computes."""
    name = str(getattr(run, "_schema", run).name if hasattr(run, "_schema") else getattr(run, "__name__", run))
    name = name.split("::")[-1].lstrip("_")
    given, made = tensors((args, kwargs)), tensors(out)
    moved, flops = float(sum(t.nbytes for t in given + made)), 0.0
    if name == "convolution":
        flops = 2.0 * made[0].numel() * args[1][0].numel()
    elif name == "convolution_backward":
        grad, x, weight, wanted = *args[:3], args[10]
        passes = int(wanted[0]) + int(wanted[1])
        flops, moved = (
            2.0 * grad.numel() * weight[0].numel() * passes,
            passes * (grad.nbytes + x.nbytes + weight.nbytes),
        )
    elif name in ("mm", "addmm"):
        a, b = args[-2:]
        flops = 2.0 * a.shape[0] * a.shape[1] * b.shape[1]
    low = bool(given) and given[0].dtype == torch.bfloat16
    return Cost(name, moved, flops, low)


def tensors(value: Any) -> list[Tensor]:
    """All in there."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for one in value for t in tensors(one)] if isinstance(value, (list, tuple)) else []


def at_batch(small: list[Cost], large: list[Cost], n: int) -> list[Cost]:
    """The same operations on n images, from those on SMALL."""
    if [c.name for c in small] != [c.name for c in large]:
        raise ValueError("another batch has other operations")
    share = (n - SMALL[0]) / (SMALL[1] - SMALL[0])
    return [
        Cost(a.name, a.moved + share * (b.moved - a.moved), a.flops + share * (b.flops - a.flops), a.low)
        for a, b in zip(small, large, strict=True)
    ]


def seconds(costs: Iterable[Cost], card: str) -> float:
    """On that card, at REACHED of the ideal."""
    bandwidth, peak = CARDS[card]
    ideal = sum(max(LAUNCH, c.moved / bandwidth, c.flops / (peak if c.low else peak / 2)) for c in costs)
    return ideal / REACHED


def convolution(*given: Any) -> Tensor:
    """What a convolution answers, in shape; its values cost nothing and take a CPU minutes in bfloat16."""
    shape: Any = torch.ops.aten.convolution(*(t.to("meta") if isinstance(t, Tensor) else t for t in given))
    return torch.zeros_like(shape, device="cpu")


def convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *given: Any) -> tuple[Tensor | None, ...]:
    """Likewise, its gradients."""
    made = (x, weight, weight[:, 0, 0, 0])
    return tuple(torch.ones_like(t) if wanted else None for t, wanted in zip(made, given[-1], strict=True))


def network(name: str) -> nn.Module:
    model: nn.Module = MODELS[name][0]()
    return model.to("cuda").eval()


def attack(name: str, kind: str, steps: int, fast: Fast) -> Any:
    """As `benchmarks.attack_loop` times it."""
    linf, _, l1 = MODELS[name][2]
    made: dict[str, Callable[[], Any]] = {
        "pgd": lambda: mrt.PGD(linf, steps=steps, best="last", fast=fast),
        "slide": lambda: mrt.SLIDE(l1, steps=steps, best="last", fast=fast),
        "msd": lambda: mrt.MSD(MODELS[name][2], steps=steps, fast=fast),
        "apgd": lambda: mrt.APGD(linf, steps=steps, fast=fast),
    }
    return made[kind]()


def recorded_step(model: nn.Module, made: Any, name: str, n: int) -> list[Cost]:
    """The operations of the attack's step as a graph holds them."""
    made(model, torch.rand(n, *MODELS[name][1]).to("cuda"), torch.arange(n).to("cuda") % 10)
    return [cost(*entry) for entry in tape_of(model)]


def tape_of(model: nn.Module) -> list[tuple[Any, Any, Any, Any]]:
    """Of the model's latest recording."""
    recording: Any = next(reversed(copies_of(model)[-1].recordings.values()))
    tape: list[tuple[Any, Any, Any, Any]] = recording.replay.__self__.tape
    return tape


class Listed:
    """A strategy, the operations of whose second update, with what the loop does around it, are listed."""

    def __init__(self, gpu: Gpu, strategy: Any) -> None:
        self.gpu, self.strategy = gpu, strategy
        self.costs, self.replays, self.plain = list[Cost](), 0.0, gpu.launched

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Any:
        if step.index == 1:
            self.gpu.counts.replays, self.gpu.launched = 0.0, self._launched  # type: ignore[method-assign]
        if step.index == 2:
            self.replays, self.gpu.launched = self.gpu.counts.replays, self.plain  # type: ignore[method-assign]
        return self.strategy(model, x, y, step)

    def _launched(self, run: Any, args: Any, kwargs: Any, out: Any) -> None:
        self.costs.append(cost(run, args, kwargs, out))
        self.plain(run, args, kwargs, out)


def update(gpu: Gpu, name: str, kind: str, steps: int, fast: Fast, n: int) -> tuple[list[Cost], list[Cost], float]:
    """(the single operations of an update, those of a recorded step, how often it is replayed)."""
    union = MODELS[name][2]
    strategy: Any = mrt.MSDTraining(union, steps=steps) if kind == "msd" else mrt.Adversarial(union[0], steps=steps)
    listed, model = Listed(gpu, strategy), network(name)
    x, y = torch.rand(4 * n, *MODELS[name][1]), torch.arange(4 * n) % 10
    how: dict[str, Any] = {"batch_size": n, "optimizer": mrt.SGD(1e-3), "channels_last": False, "progress": False}
    mrt.fit(model, listed, (x, y), iterations=3, fast=fast, device="cuda", **how)
    return listed.costs, [cost(*entry) for entry in tape_of(model)], listed.replays


def predicted(models: list[str]) -> dict[str, dict[str, float]]:
    """By the names that the ladder gives its figures: images a second, and microseconds of a step, on each card."""
    found: dict[str, dict[str, float]] = {}
    stand_ins = {"convolution": convolution, "convolution_backward": convolution_backward}
    with pretending() as gpu, patch.dict(HOSTED, stand_ins):
        for name, label in ATTACKS:
            kind, steps = label.split("-")
            for option, fast in OPTIONS.items():
                if name not in models or "reuse" in option and kind != "msd":
                    continue
                made = attack(name, kind, 2, fast)
                ops = [recorded_step(network(name), made, name, n) for n in SMALL]
                for n in BATCHES[name]:
                    step = at_batch(*ops, n)
                    times = {card: seconds(step, card) for card in CARDS}
                    found[f"{name} {kind} x {n}: {option}, a step (us)"] = {c: 1e6 * t for c, t in times.items()}
                    whole = {card: n / (int(steps) * t) for card, t in times.items()}
                    found[f"{name} {label} x {n}: {option}"] = whole
                print(name, label, option, len(ops[0]), "operations a step", flush=True)
        for name, kind, steps in TRAININGS:
            for option in ("bf16 graph", "bf16 graph reuse") if kind == "msd" else ("bf16 graph",):
                if name in models:
                    found |= trained(gpu, name, kind, steps, option)
                    print(name, kind, steps, option, flush=True)
    return found


def trained(gpu: Gpu, name: str, kind: str, steps: int, option: str) -> dict[str, dict[str, float]]:
    """Images a second of `mrt.fit`. The steps of an attack all cost the same, so two are listed."""
    listed = [update(gpu, name, kind, 2, OPTIONS[option], n) for n in SMALL]
    replays = listed[0][2] + steps - 2
    found = {}
    for n in BATCHES[name]:
        single = at_batch(listed[0][0], listed[1][0], n)
        step = at_batch(listed[0][1], listed[1][1], n)
        times = {
            card: max(seconds(single, card) + replays * seconds(step, card), HOST * (len(single) + replays))
            for card in CARDS
        }
        title = f"training {name} {kind}-{steps} x {n}: fit, {option}"
        found[title] = {card: n / t for card, t in times.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("mnist", "preact"), default=["mnist", "preact"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    found = predicted(args.models)
    for name, row in found.items():
        unit = "" if name.endswith("(us)") else "images/s"
        print(f"{name:60s}" + "".join(f"{card} {value:10.3g} {unit}   " for card, value in row.items()))
    if args.out:
        report = {"environment": environment(), "cards": CARDS, "reached": REACHED, "predicted": found}
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
