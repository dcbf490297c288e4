"""Fifteen minutes of a GPU as figures: checks, profile, speeds and trainings, rung by rung. `make gpu-ladder`.

    python -m benchmarks.gpu_ladder [--only 0 1 2] [--from 5] [--to 10] [--budget 460] [--out FOLDER] [--pack .gpu]
    python -m benchmarks.gpu_ladder --device cpu --tiny

Rungs: 0 the machine, 1 kernels beside twins, 2 life of graphs, 3 replays, a short training and rows of every length,
4 profile, 5 attack loops, 6 projected steps without a model, 7 training, 8 compiled models, 9 MNIST as published,
10 CIFAR-10-JPEG.

Each rung is a process of its own with its limit in seconds; one that dies or hangs costs only itself, one that no
longer fits into the budget is skipped. Every figure is a line of FOLDER/results.jsonl at once, all output goes to
FOLDER/log.txt, weights lie beside; 8 files at most. What `make gpu-pack` packed is unpacked first, to a temporary
folder. The exit status is 0 if nothing failed and no goal was missed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.ladder import pack

RUNGS = 11
NEEDS_DATA = {0, 9, 10}
LIMIT = 900.0  # seconds of a rung that is tiny, which only a hang exceeds


def rungs() -> list[Any]:
    """All of them, with a GPU's seconds at most. To be called once: it imports what they need."""
    from benchmarks.ladder import checks, life, loops, profiled, trainings, updates
    from benchmarks.ladder.climb import Rung

    return [
        Rung(0, "the machine", 15, checks.opening),
        Rung(1, "kernels beside twins", 25, checks.smoke),
        Rung(2, "life of graphs", 40, life.run),
        Rung(3, "replays, training, every length", 90, checks.everything),
        Rung(4, "profile", 25, profiled.run),
        Rung(5, "attack loops", 80, loops.attacks),
        Rung(6, "steps alone", 45, loops.steps),
        Rung(7, "training", 60, updates.run),
        Rung(8, "compiled", 60, loops.compiled),
        Rung(9, "MNIST as published", 220, trainings.mnist, least=40),
        Rung(10, "CIFAR-10-JPEG", 3600, trainings.cifar, least=60),
    ]


def stopped(process: Any) -> None:
    """Ends the unpacking, if it still goes on."""
    if process is not None and process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="small networks and few steps: does it run?")
    numbers: dict[str, Any] = {"type": int, "choices": range(RUNGS), "metavar": "N"}
    parser.add_argument("--only", nargs="+", help="these rungs", **numbers)
    parser.add_argument("--from", dest="first", default=0, help="this rung and those after it", **numbers)
    parser.add_argument("--to", dest="last", default=RUNGS - 1, help="this rung and those before it", **numbers)
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds for everything (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"), help="%(default)s")
    parser.add_argument("--pack", type=Path, default=Path(".gpu"), help="%(default)s")
    args = parser.parse_args()
    if args.budget <= 0:
        parser.error(f"--budget must be a number of seconds above 0; got {args.budget:g}")
    if args.first > args.last:
        parser.error(f"no rung is from {args.first} and to {args.last}")
    if args.device == "cuda" and not a_gpu_is_here():
        parser.exit(1, "there is no GPU here; --device cpu --tiny shows that the ladder runs\n")
    return args


def a_gpu_is_here() -> bool:
    """Asked of a process of its own: whoever opens a GPU cannot fork any more."""
    if shutil.which("nvidia-smi"):
        return b"GPU 0" in subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout
    command = [sys.executable, "-c", "import torch; raise SystemExit(not torch.cuda.is_available())"]
    return subprocess.run(command, capture_output=True).returncode == 0


def main() -> None:
    began, args = time.monotonic(), arguments()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a question about GPUs must not open one before a fork
    held = Path(tempfile.mkdtemp(prefix="ladder-"))
    wanted = [n for n in range(RUNGS) if args.first <= n <= args.last and (args.only is None or n in args.only)]
    unpacking = None
    try:
        packed = pack.software(args.pack, held) if args.pack.is_dir() else []
        if args.pack.is_dir() and NEEDS_DATA & set(wanted):
            unpacking = pack.data_in_background(args.pack, held / "data")
        importlib.import_module("torch._dynamo")  # which torch imports late; so that no rung pays for it
        status = climbed(args, wanted, held / "data", began)
        print(f"{time.monotonic() - began:.0f} s in all; packages unpacked: {', '.join(packed) or 'none'}", flush=True)
    finally:
        stopped(unpacking)
        shutil.rmtree(held, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nothing that a library leaves running may hold up the end


def climbed(args: argparse.Namespace, wanted: list[int], data: Path, began: float) -> int:
    """The exit status, after the table."""
    from benchmarks.ladder import climb, table

    since = table.size(args.out)
    left = args.budget - (time.monotonic() - began)
    settings = climb.Settings(args.device, args.tiny, args.out, data, left)
    chosen = [rung for rung in rungs() if rung.number in wanted]
    if args.tiny:  # on a machine of any speed
        chosen = [replace(rung, limit=max(rung.limit, LIMIT), least=0) for rung in chosen]
    outcomes = climb.climb(chosen, settings)
    figures = table.figures_of(args.out, since)
    table.cut(args.out)
    print("\n".join(table.shown(figures, outcomes)), flush=True)
    return 0 if table.good(figures, outcomes) else 1


if __name__ == "__main__":
    main()
