"""What an update of adversarial training costs, in two parts.

    python -m benchmarks.training_step [--parts trainer strategies] [--rounds 15] [--out benchmarks/results/FILE.json]
    python -m benchmarks.training_step --models mnist preact --batch 128 [--without compile] [--peak 790]     (a GPU)

trainer: `mrt.fit` beside a loop written by hand and ART's trainer: Madry's CNN, PGD-10, batch 128. One CPU thread,
process CPU time, images of noise (the cost does not depend on what is on them). In each round every row trains the same
network on the same two batches, one row after the other, in an order that changes; figures are medians over the rounds
of the ratio within a round. Passes of the model are counted by hooks.

strategies: one update of each strategy, called as the training loop calls it, with a network of its own: plainly and
with every option of `Fast` that the device has; beside ART's AdversarialTrainerMadryPGD and the operations of the
published MSD scheme (`baselines.published_msd`). SAT's is the mean over its three norms. Rows run one after another in
every round; figures are medians, ratios are of medians; FLOPs are counted by torch's formulas in an update on four
images. Ours and the published scheme have channels last, ART has what its users give it. CPU: one thread, process time.
GPU: the clock; shares are of --peak, or of a product of two 8192 x 8192 matrices in bfloat16 in this run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from benchmarks import baselines
from benchmarks.attack_loop import MODELS, opened
from benchmarks.baselines import published_msd as plain
from benchmarks.environment import Row, beside, default_device, environment, matmul_peak, measured, seconds, strict
from benchmarks.ladder.speeds import Table, show, told
from benchmarks.step_cost import counted, number_drawn
from mrt.crafting.recorded_steps import recordings_of
from mrt.fast import Fast
from mrt.models import MadryCNN
from mrt.protocols import Step
from mrt.threats import noise
from mrt.training.helpers import count_passes as passing

EPS, STEP, STEPS, BATCH, BATCHES, LR = 0.3, 0.075, 10, 128, 2, 0.05
CPU = {"": Fast(), ", fast": Fast(compile=True, reuse=True)}
GPU = {"": Fast(), ", fast": Fast("bfloat16", graph=True, reuse=True)}
GPU[", fast, compile"] = Fast("bfloat16", graph=True, reuse=True, compile=True)
ASKED = {"mnist": 5, "preact": 3}  # times the published scheme's speed, on a GPU
Train = Callable[[nn.Module, Tensor, Tensor], None]
Rows = tuple[dict[str, Row], dict[str, float], dict[str, bool]]


def ours(model: nn.Module, x: Tensor, y: Tensor, channels_last: bool = True) -> None:
    """mrt.fit, as a user calls it; and with convolutions that lie in memory as the other rows' do."""
    attack = mrt.PGD(mrt.Linf(EPS), steps=STEPS, step_size=STEP, best="last")
    sgd = mrt.SGD(LR, momentum=0.9, weight_decay=0.0)
    how = {"epochs": 1, "batch_size": BATCH, "progress": False, "channels_last": channels_last}
    mrt.fit(model, mrt.Adversarial(attack), (x, y), optimizer=sgd, **how)  # type: ignore[arg-type]


def by_hand(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """The shortest loop that does the work: frozen weights while the attack runs, gradients of the input alone."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    for rows in torch.randperm(len(x)).split(BATCH):
        clean, labels = x[rows], y[rows]
        model.eval().requires_grad_(False)
        x_adv = (clean + EPS * (2 * torch.rand_like(clean) - 1)).clamp(0, 1)
        for _ in range(STEPS):
            x_adv.requires_grad_()
            (grad,) = torch.autograd.grad(cross_entropy(model(x_adv), labels, reduction="sum"), x_adv)
            moved = x_adv.detach() + STEP * grad.sign()
            x_adv = torch.max(torch.min(moved, clean + EPS), clean - EPS).clamp(0, 1)
        model.train().requires_grad_(True)
        optimizer.zero_grad()
        cross_entropy(model(x_adv), labels).backward()
        optimizer.step()


def art(attack_batch: int | None) -> Train:
    """AdversarialTrainerMadryPGD; its attack works in batches of 32 unless told otherwise."""
    return baselines.art_trainer(mrt.Linf(EPS), STEP, STEPS, BATCH, LR, attack_batch)


ROWS: dict[str, Train] = {
    "mrt.fit": ours,
    "mrt.fit, contiguous": lambda model, x, y: ours(model, x, y, channels_last=False),
    "by hand": by_hand,
    "ART as shipped": art(None),
    f"ART, attack batch {BATCH}": art(BATCH),
}


class Updates:
    """A network that is trained, an update at each call; SAT's are three, of another norm each."""

    def __init__(self, name: str, strategy: Any, fast: Fast, batch: int, device: torch.device) -> None:
        self.model, self.strategy, self.fast = opened(name, device, torch.channels_last).train(), strategy, fast
        x = torch.rand(batch, *MODELS[name][1], device=device)
        self.x, self.y = x.contiguous(memory_format=torch.channels_last), torch.arange(batch, device=device) % 10
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.seeds = noise.seeds_of_index(torch.arange(batch), 0).to(device)
        drawn = {number_drawn(seed): seed for seed in range(60)}
        self.shared = list(drawn.values()) if isinstance(strategy, mrt.SAT) else [0]

    def __call__(self) -> None:
        for seed in self.shared:
            step = Step(0, 10, 0.0, 1e-3, self.x, self.seeds, seed, self.fast, lambda tensor: tensor)
            with torch.autocast(self.x.device.type, torch.bfloat16, enabled=self.fast.precision == "bfloat16"):
                loss = self.strategy(self.model, self.x, self.y, step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()

    def published(self) -> None:
        """An update of the published MSD scheme instead."""
        strategy = self.strategy
        plain.update(self.model, self.optimizer, self.x, self.y, strategy.threats, strategy.steps)

    def gflop(self) -> float:
        """An update's, an image."""
        self()  # what is done once for a network is no part of it
        return counted(self) / len(self.x) / len(self.shared) / 1e9


def strategy_rows(name: str, batch: int, steps: int, device: torch.device) -> Rows:
    """Seconds of an update; GFLOP of one an image where that is known; whether a graph, once made, is recorded."""
    union = MODELS[name][2]
    strategies = {"adversarial": mrt.Adversarial(union[0], steps=steps), "msd": mrt.MSDTraining(union, steps=steps)}
    strategies |= {k: of(union, steps=steps) for k, of in (("sat", mrt.SAT), ("max", mrt.Worst), ("avg", mrt.Average))}
    rows, gflop, recorded = dict[str, Row](), {"published msd": 0.0}, dict[str, bool]()

    def row(run: Callable[[], object], updates: int = 1, name: str = "") -> Row:
        def made() -> Callable[[], float]:
            run()
            if isinstance(run, Updates) and run.fast.graph:
                recorded[name] = recordings_of(run.model) > 0
            return lambda: seconds(run, device) / updates

        return made

    for title, strategy in strategies.items():
        for label, fast in (GPU if device.type == "cuda" else CPU).items():
            each = Updates(name, strategy, fast, batch, device)
            rows[f"{title}{label}"] = row(each, len(each.shared), f"{title}{label}")
            gflop[f"{title}{label}"] = Updates(name, strategy, Fast(reuse=fast.reuse), 4, device).gflop()
    each, few = (Updates(name, strategies["msd"], Fast(), n, device) for n in (batch, 4))
    rows["published msd"], x = row(each.published), each.x.contiguous()
    gflop["published msd"] = counted(few.published) / 4e9
    for label, attack_batch in (("ART as shipped", None), ("ART, whole batches", batch)):
        train = baselines.art_trainer(union[0], 2.5 * union[0].eps / steps, steps, batch, LR, attack_batch)
        network = opened(name, device, torch.contiguous_format).train()
        rows[label] = baselines.missing("art") or row(partial(train, network, x, each.y))
    return rows, gflop, recorded


def ratios(found: Table, name: str, on_gpu: bool) -> dict[str, float]:
    """How many times as long the first takes, with what is asked for in the name."""
    fast = [label for label in (GPU if on_gpu else CPU) if label]
    pairs = [(title, f"{title}{label}", "") for title in ("adversarial", "msd", "sat", "max", "avg") for label in fast]
    asked = f" (at least {ASKED[name]})" if on_gpu and name in ASKED else ""
    pairs += [("published msd", f"msd{label}", asked if label else "") for label in ("", *fast)]
    for host in ("ART as shipped", "ART, whole batches"):
        pairs += [(host, f"adversarial{label}", " (at least 4)" if on_gpu and label else "") for label in ("", *fast)]
    time = {row: value["ms"] for row, value in found.items() if not isinstance(value, str)}
    return {f"{name}: {a} / {b}{said}": time[a] / time[b] for a, b, said in pairs if a in time and b in time}


def strategies(args: argparse.Namespace) -> dict[str, Any]:
    """The second part, for every network."""
    on_gpu = args.device.type == "cuda"
    matmul = matmul_peak(args.device) / 1e12 if on_gpu else None
    batch, steps = args.batch or (128 if on_gpu else 32), args.steps or (10 if on_gpu else 5)
    report: dict[str, Any] = {"device": str(args.device), "batch": batch, "steps": steps}
    report |= {"matmul TFLOP/s": matmul, "peak TFLOP/s": args.peak or matmul, "networks": {}, "ratios": {}}
    for name in args.models or (["mnist", "preact"] if on_gpu else ["mnist"]):
        rows, gflop, recorded = strategy_rows(name, batch, steps, args.device)
        rows = {n: "left out by --without" if any(w in n for w in args.without) else row for n, row in rows.items()}
        title = f"{name}, an update with {steps} steps on {batch} images"
        times = measured(rows, args.rounds, title)
        found = report["networks"][name] = told(times, batch, gflop, args.peak or matmul, recorded)
        beside(args.out, network=name, rows=found)
        show(title, found)
        report["ratios"] |= ratios(found, name, on_gpu)
    print("\n".join(f"{name:66s} {value:6.2f}" for name, value in report["ratios"].items()))
    return report


def trainer(rounds: int, width: int) -> dict[str, Any]:
    """The first part."""
    x, y = torch.rand(BATCH * BATCHES, 1, 28, 28), torch.arange(BATCH * BATCHES) % 10
    none = baselines.missing("art")
    names = [name for name in ROWS if none is None or not name.startswith("ART")]
    order, seconds, passes = names.copy(), {name: list[float]() for name in names}, {}
    for number in range(-1, rounds):  # one to warm up
        random.Random(number).shuffle(order)
        for name in order:
            torch.manual_seed(0)
            model, sums = MadryCNN(width=width), {"forward": 0, "backward": 0}
            if number < 0:
                with passing(model, sums):
                    ROWS[name](model, x, y)
                passes[name] = {key: count / BATCHES for key, count in sums.items()}
                continue
            began = time.process_time()
            ROWS[name](model, x, y)
            seconds[name].append(time.process_time() - began)
    result: dict[str, Any] = {"passes per step": passes} | ({"ART": none} if none else {})
    for name in names:
        ratios = [a / b for a, b in zip(seconds[name], seconds["mrt.fit"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        each = 1000 * statistics.median(seconds[name]) / BATCHES
        result[name] = {"ms per step": each, "over mrt.fit": middle, "quartiles": [low, high]}
        print(
            f"{name:22s} {each:8.0f} ms a step   {middle:5.3f} times mrt.fit ({low:.3f} to {high:.3f})   "
            f"passes {passes[name]['forward']:g} + {passes[name]['backward']:g}"
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("trainer", "strategies"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--width", type=int, default=32, help="of the trainer part's network")
    parser.add_argument("--device", type=torch.device, default=default_device())
    parser.add_argument("--models", nargs="+", choices=list(MODELS))
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--without", nargs="+", default=[], help="words; rows that hold one are left out")
    parser.add_argument("--peak", type=float, help="TFLOP/s")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    strict()
    on_gpu = args.device.type == "cuda"
    torch.set_num_threads(torch.get_num_threads() if on_gpu else 1)
    result: dict[str, Any] = {"environment": environment(), "rounds": args.rounds}
    print(json.dumps(result, indent=1))
    parts = args.parts or (["strategies"] if on_gpu else ["trainer", "strategies"])
    result |= trainer(args.rounds, args.width) if "trainer" in parts else {}
    result |= {"strategies": strategies(args)} if "strategies" in parts else {}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
