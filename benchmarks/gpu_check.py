"""Does everything that a GPU is needed for do what it should there? `make gpu-check`, in under five minutes.

    python -m benchmarks.gpu_check [--device cuda] [--compile] [--out FILE.json]

Every kernel beside its float64 twin, attacks replayed from CUDA graphs beside plain ones, the error of bfloat16, and
a short training run with every fast option beside a plain one. It needs torch, triton and scikit-learn and installs
nothing. A failed check is named with its figure, the others go on, and the exit status is 1; warnings are errors. Each
figure is also a line of FILE.jsonl at once. On a CPU (--device cpu)
the same checks meet the compiled steps; there are no graphs and no bfloat16 there, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks.environment import beside, environment, strict
from benchmarks.ladder.replayed import final_losses, one_step
from mrt import kernels
from mrt.crafting.best import Best
from mrt.crafting.gradient import crafting, input_grad
from mrt.crafting.losses import ce
from mrt.crafting.recorded_steps import recordings_of
from mrt.data import digits
from mrt.models import DigitsCNN, PreActResNet18
from tests.kernels.support import BALLS, Rows, rows_of, twin

UNION = (mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0))
ATTACKS: dict[str, Any] = {
    "PGD": mrt.PGD(UNION[0], steps=10, best="last"),
    "PGD, best": mrt.PGD(UNION[1], steps=10),
    "SLIDE": mrt.SLIDE(UNION[2], steps=10),
    "MSD": mrt.MSD(UNION, steps=10),
    "APGD": mrt.APGD(UNION[0], steps=10),
}
LENGTHS = (1, 49, 784, 1000, 3072, 4096, 12288, 12289, 20000, 150528)
Check = Iterator[tuple[str, float, float]]
"""(what, the figure, what it may be at most)."""


def at(rows: Rows, device: str) -> Rows:
    """Those rows on that device."""
    x, x_adv, grad, keep = (t.to(device) for t in (rows.x, rows.x_adv, rows.grad, rows.keep))
    eps, size = ({k: t.to(device) for k, t in held.items()} for held in (rows.eps, rows.size))
    return Rows(x, x_adv, grad, keep, eps, size)


def steps(device: str, lengths: tuple[int, ...] = LENGTHS) -> Check:
    """The fused steps, and each alone, on rows on and off the chip."""
    for entries in lengths:
        for start in ("linf", "l1-exact"):
            rows = at(rows_of(entries, seed=entries, start=start), device)
            eps, size = (torch.stack([held[k] for k in BALLS]) for held in (rows.eps, rows.size))
            numbers = [kernels.KINDS[k] for k in BALLS]
            found = kernels.step_rows(rows.x_adv, rows.grad, rows.x, eps, size, rows.keep, numbers)
            gaps = []
            for c, kind in enumerate(BALLS):
                one = kernels.step_rows(
                    rows.x_adv, rows.grad, rows.x, eps[c : c + 1], size[c : c + 1], rows.keep, numbers[c : c + 1]
                )
                inside = BALLS[kind].scaled(rows.eps[kind]).contains(rows.x, found[c]).all()
                gap = (torch.stack([found[c], one[0]]) - twin(rows, kind)).abs().max()
                gaps.append(float(gap) if bool(inside) else torch.inf)  # what is no number is not inside
            yield f"steps from {start}, {entries} entries: error", max(gaps), 1e-5


def layouts(device: str, n: int = 1500) -> Check:
    """channels_last images, and a batch larger than the GPU runs at a time."""
    g = torch.Generator().manual_seed(0)
    x, x_adv, grad = (torch.rand(n, 3, 32, 32, generator=g).to(device) for _ in range(3))
    for name, layout in (("plain", torch.contiguous_format), ("channels_last", torch.channels_last)):
        given = [t.contiguous(memory_format=layout) for t in (x, x_adv, grad)]
        for ball in (mrt.Linf(0.03), mrt.L2(0.5), mrt.L1(12.0)):
            number = [kernels.KINDS[ball.kernel]]
            eps, keep = torch.full((1, n), ball.eps, device=device), torch.full((n,), 31, device=device)
            got = kernels.step_rows(given[1], given[2], given[0], eps, 0.2 * eps, keep, number)[0]
            want = ball.mover(x.double())(x_adv.double(), grad.double(), 0.2 * ball.eps, keep)
            yield f"{n} x 3072, {name}, {ball.name}: error", float((got - want).abs().max()), 1e-5


def choice(device: str) -> Check:
    """The pick among candidates and the winners' rows; on a GPU alone."""
    if device == "cpu":
        return
    g = torch.Generator().manual_seed(1)
    points, logits = (torch.rand(3, 129, *shape, generator=g).to(device) for shape in ((3, 20, 20), (10,)))
    y = (torch.arange(129) % 10).to(device)
    losses = torch.stack([ce(z, y) for z in logits])
    winner = losses.argmax(0)
    best = Best("loss").start_at(points[0])
    best.state = points[0].clone(), losses.amax(0) + torch.linspace(-1, 1, 129, device=device), y == 0
    before, better = best.point.clone(), losses.amax(0) > best.loss
    x_adv, loss, _, picked = kernels.pick_rows(points, logits, y, *best.state, False, False)
    want = points[winner, torch.arange(129, device=device)]
    yield "pick: another winner", float((picked != winner).sum()), 0
    yield "pick: another point", float((x_adv != want).sum()), 0
    yield "pick: error of the loss", float((loss - losses.amax(0)).abs().max()), 1e-5
    kept = torch.where(better[:, None, None, None], want, before)
    yield "pick: another best", float((best.point != kept).sum()), 0
    for kind in (torch.float32, torch.bfloat16, torch.bool, torch.int64):
        parts = [(9 * p).to(kind).contiguous(memory_format=torch.channels_last) for p in points]
        gap = kernels.gather_rows(parts, winner) != torch.stack(parts)[winner, torch.arange(129, device=device)]
        yield f"rows of the winners, {kind}: wrong", float(gap.sum()), 0


def replays(device: str, with_compile: bool, names: Sequence[str] = tuple(ATTACKS)) -> Check:
    """One step beside the plain one from the same state, then whole attacks beside plain ones by the losses they reach,
    over batches of several sizes and weights that change. Points of whole attacks are not compared: one sign that
    rounding turns moves them apart."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    options: dict[str, dict[str, bool]] = {"graph": {"graph": True}, "graph, reuse": {"graph": True, "reuse": True}}
    if device == "cpu":
        options = {"compiled steps": {"compile": True}, "compiled steps, reuse": {"compile": True, "reuse": True}}
    elif with_compile:
        options["compile, graph"] = {"compile": True, "graph": True}
    for name, attack in ((name, ATTACKS[name]) for name in names):
        for how, flags in options.items():
            if "reuse" in how and not isinstance(attack, mrt.MSD):
                continue
            fast = mrt.Fast(**flags)  # type: ignore[arg-type]
            net = PreActResNet18(width=8).to(device).eval()
            yield (
                f"{name}, {how}: one step, share of pixels that differ",
                one_step(net, attack, fast, device),
                0.002,
            )
            yield f"{name}, {how}: gap of the final losses", final_losses(net, attack, fast, device), 0.02
            if device != "cpu":
                yield f"{name}, {how}: steps that were not recorded", float(recordings_of(net) == 0), 0


def trained(device: str, fast: mrt.Fast) -> nn.Module:
    """A short MSD training of the digits."""
    torch.manual_seed(0)
    net = DigitsCNN().to(device)
    strategy = mrt.MSDTraining((mrt.Linf(0.1), mrt.L2(0.5), mrt.L1(1.5)), steps=5)
    mrt.fit(net, strategy, digits("train"), epochs=12, batch_size=100, device=device, fast=fast, progress=False)
    return net


def union(net: nn.Module, device: str) -> float:
    """Per cent that withstand PGD and SLIDE in each of the balls it was trained with."""
    test = digits("test")
    x, y = test.x.to(device), test.y.to(device)
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    stands = torch.ones_like(y, dtype=torch.bool)
    for ball in (mrt.Linf(0.1), mrt.L2(0.5), mrt.L1(1.5)):
        x_adv = mrt.APGD(ball, steps=30)(net, x, y, rng=torch.arange(len(y), device=device))
        with torch.no_grad():
            stands &= net(x_adv).argmax(1) == y
    return 100 * float(stands.float().mean())


def training(device: str, with_compile: bool) -> Check:
    """Every option on beside none; and bfloat16 gradients beside float32 ones on what came out."""
    quick = mrt.Fast(compile=True, reuse=True)
    if device != "cpu":
        quick = mrt.Fast("bfloat16", compile=with_compile, graph=True, reuse=True)
    plain, fast = (trained(device, how) for how in (mrt.Fast(), quick))
    found = union(plain, device), union(fast, device)
    yield f"trained plainly ({found[0]:.1f} %) and fast ({found[1]:.1f} %): points apart", abs(found[0] - found[1]), 8
    yield "trained fast: share that falls", 1 - found[1] / 100, 0.6
    if device != "cpu":
        yield from autocast(plain, device)


def autocast(net: nn.Module, device: str) -> Check:
    """How far gradients through bfloat16 weights are from float32's."""
    test = digits("test")
    x, y = test.x[:200].to(device), test.y[:200].to(device)
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    grads: list[Tensor] = []
    for fast in (mrt.Fast(), mrt.Fast("bfloat16")):
        with crafting(net, fast=fast) as f:
            grads.append(input_grad(f, x, lambda z: ce(z.float(), y))[0].flatten(1))
    full, low = grads
    yield "bfloat16: share of gradients that vanish", float(((low == 0).all(1) & (full != 0).any(1)).float().mean()), 0
    yield "bfloat16: 1 - cosine", float(1 - torch.cosine_similarity(full, low).median()), 0.01
    yield "bfloat16: share of signs that differ", float((full.sign() != low.sign()).float().mean()), 0.05


def run(checks: Callable[[], Check], out: Path | None = None) -> list[dict[str, Any]]:
    """Its rows, printed and written beside `out` as they come. What it raises is a row that failed."""
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    try:
        for name, figure, most in checks():
            rows.append({"check": name, "figure": figure, "at most": most, "passed": figure <= most})
            said = "ok    " if figure <= most else "FAILED"
            print(f"{said} {name:80s} {figure:10.2g}  (at most {most:g})", flush=True)
            beside(out, **rows[-1])
    except Exception as error:
        rows.append({"check": repr(error)[:500], "figure": None, "at most": None, "passed": False})
        print(f"FAILED {error!r}", flush=True)
        beside(out, **rows[-1])
    print(f"       {time.perf_counter() - began:.0f} s", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="torch.compile the models too: minutes")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device = str(args.device)
    if device != "cpu" and not torch.cuda.is_available():
        sys.exit("there is no GPU here, or this torch has no CUDA; --device cpu checks what a CPU can")
    if not kernels.takes(torch.empty(1, device=device), compiled=True):
        sys.exit("there are no kernels here: a GPU needs Triton, a CPU a C++ compiler")
    strict()
    print(json.dumps(environment(), indent=1))
    beside(args.out, environment=environment())
    checks = (
        lambda: steps(device),
        lambda: layouts(device),
        lambda: choice(device),
        lambda: replays(device, args.compile),
        lambda: training(device, args.compile),
    )
    rows = [row for check in checks for row in run(check, args.out)]
    if device == "cpu":
        print("not checked on a CPU: Triton kernels, CUDA graphs, bfloat16")
    if args.out:
        args.out.write_text(json.dumps({"environment": environment(), "checks": rows}, indent=1) + "\n")
    failed = sum(not row["passed"] for row in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
