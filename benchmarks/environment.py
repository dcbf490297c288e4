"""What every result states beside its figures: the machine, how time is taken on it, and what it can do at best."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "foolbox",
    "adversarial-robustness-toolbox",
    "pyautoattack",
    "adv-lib",
    "attackbenchlib",
    "triton",
)
Meter = Callable[[], float]
"""What it measures, measured now."""
Row = Callable[[], Meter] | str
"""A meter, made and warmed up when it is needed; or why there is none."""
COMMIT = "MRT_COMMIT"
"""Where a copy of the tree without its history is told which commit it is."""


NOT_OURS = (  # (message, category, module) of warnings that are not ours to mend
    ("", DeprecationWarning, r"(foolbox|eagerpy|art|pyautoattack|git)\b"),
    ("invalid escape sequence|.is(?: not)?. with", SyntaxWarning, ""),  # in a host's file, at its first import
    ("Synchronization debug mode is a prototype", UserWarning, ""),  # said whenever it is switched on
    ("", UserWarning, r"torch\._(inductor|dynamo|functorch)\b"),
)


def strict() -> None:
    """From here on a warning is an error: what runs by another way than its name says must not end in a table."""
    warnings.simplefilter("error")
    for message, category, module in NOT_OURS:
        warnings.filterwarnings("ignore", message, category, module)


def noted(path: Path, figure: Mapping[str, Any]) -> None:
    """Append it to that file as a line of JSON that is on the disk when this returns."""
    line = (json.dumps(figure) + "\n").encode()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, line)
        os.fsync(file)
    finally:
        os.close(file)


def beside(out: Path | None, **figure: Any) -> None:
    """`noted` in FILE.jsonl beside --out FILE.json, which is written at the end only; nothing without one."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        noted(out.with_suffix(".jsonl"), figure)


def environment() -> dict[str, object]:
    """Hardware, versions, threads and commit."""
    return {
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **(_gpu() if torch.cuda.is_available() else {}),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "not installed": [name for name in PACKAGES if not _version(name)],
        "commit": _git("rev-parse", "HEAD") or os.environ.get(COMMIT) or f"unknown: no repository, and no {COMMIT}",
        "changes to mrt since": None if _git("rev-parse", "HEAD") is None else bool(_git("status", "--short", "mrt")),
    }


def default_device() -> torch.device:
    """The GPU where there is one. On a CPU the caller wants one thread."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def stopwatch(device: torch.device) -> Callable[[], float]:
    """Seconds so far: of processor time on a CPU; on a GPU by the clock, once all its work is done."""
    if device.type == "cpu":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of one call."""
    now = stopwatch(device)
    began = now()
    run()
    return now() - began


def meter(runs: Sequence[Callable[[], object]], device: torch.device, graph: bool = False) -> Meter:
    """Microseconds of one of these calls, which take turns.

    CPU: process time of twenty. GPU: the time between two events about as many turns as fill 5 ms, which were run
    before; with `graph`, replays of a CUDA graph of one turn. Every call's result is held until its turn ends, so that
    no two write to the same memory.
    """
    if device.type == "cpu":
        runs[0]()
        return lambda: 1e6 * seconds(lambda: [runs[0]() for _ in range(20)], device) / 20

    def turn() -> list[object]:
        return [run() for run in runs]

    go = captured(turn) if graph else turn
    milliseconds(go, 3)
    turns = max(1, math.ceil(5 / milliseconds(go, 3)))
    return lambda: 1000 * milliseconds(go, turns) / len(runs)


def milliseconds(go: Callable[[], object], turns: int) -> float:
    """Of one of so many turns, between two events of the GPU's stream."""
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    began.record()
    for _ in range(turns):
        go()
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended)) / turns


def captured(body: Callable[[], object]) -> Callable[[], object]:
    """The replay of a CUDA graph of it, recorded after three runs on the side."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    replay: Callable[[], object] = graph.replay
    return replay


def measured(rows: Mapping[str, Row], rounds: int, title: str) -> dict[str, list[float] | str]:
    """What each row's meter says in so many rounds, in which they run one after another; or why there is nothing. What
    fails when it is made is named as such and ends nothing else."""
    meters: dict[str, Meter] = {}
    found: dict[str, list[float] | str] = {}
    for number, (name, row) in enumerate(rows.items()):
        progress(f"{title}: warming up {number + 1} of {len(rows)}, {name}")
        found[name] = row if isinstance(row, str) else []
        try:
            meters |= {} if isinstance(row, str) else {name: row()}
        except Exception as error:
            found[name] = f"failed: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    for turn in range(rounds):
        progress(f"{title}: round {turn + 1} of {rounds}")
        for name, now in meters.items():
            found[name].append(now())  # type: ignore[union-attr]
    progress("")
    print(f"{title}: {rounds} rounds of {len(meters)} rows", flush=True)
    return found


def progress(text: str) -> None:
    """A line that the next one takes the place of, where somebody is watching."""
    if sys.stdout.isatty():
        print(f"\r{text[:100]:100s}", end="\r", flush=True)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second, read and written, of copying 1 GiB (a CPU, in one thread: 256 MiB); the best of ten."""
    source = torch.ones(2 ** (28 if device.type == "cuda" else 26), device=device)
    target = torch.zeros_like(source)
    return 2 * 4 * source.numel() / min(seconds(lambda: target.copy_(source), device) for _ in range(10))


def matmul_peak(device: torch.device) -> float:
    """FLOP per second of a bfloat16 product of two 8192 x 8192 matrices; the best of ten times five. For a GPU."""
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device=device) for _ in range(2))
    out = torch.empty_like(a)
    best = min(seconds(lambda: [torch.mm(a, b, out=out) for _ in range(5)], device) for _ in range(10))
    return 5 * 2 * 8192**3 / best


def _gpu() -> dict[str, object]:
    """What else tells two GPU machines apart, and the settings that the speed of a model's passes depends on."""
    held = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "gpu memory GiB": round(held.total_memory / 2**30, 1),
        "gpu capability": f"{held.major}.{held.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32 in convolutions, in products": [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32],
        "cudnn benchmark": torch.backends.cudnn.benchmark,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*command: str) -> str | None:
    """What git says; None where there is no git or no repository."""
    return _said("git", *command)


def _said(*command: str) -> str | None:
    """What a program says; None where there is none, or it fails."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def _processor() -> str:
    """The processor's own name on Linux, else what the platform says."""
    if platform.system() == "Linux":
        with open("/proc/cpuinfo") as info:
            names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
        if names:
            return f"{names[0]}, {len(names)} threads"
    return platform.processor() or platform.machine()
