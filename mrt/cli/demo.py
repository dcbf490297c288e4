"""`mrt demo`: seven ways of training on the embedded digits, one honest judge, a table and a page. No download."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from mrt import checks
from mrt.attacks import SLIDE
from mrt.data import digits
from mrt.evaluation import Entry, Foreign, Report, evaluate
from mrt.evaluation.battery import Battery
from mrt.evaluation.report import page, tables
from mrt.evaluation.store import PARTS
from mrt.models import DigitsCNN
from mrt.records import write_file
from mrt.strategies import MNGAC, SAT, Adversarial, MSDTraining, Standard, Worst
from mrt.threats import L1, L2, Linf
from mrt.training import Adam, Triangular, fit
from mrt.training.folder import METRICS

LINF, L2_, L1_ = UNION = (Linf(0.2), L2(0.7), L1(2.0))
STEPS, EPOCHS, BATCH, RATE, PEAK = 5, 20, 64, 8e-3, 0.3
PUBLISHED_RATE = 0.21  # of MNG-AC, whose look-ahead is a plain gradient step of that length; Adam's rates are smaller
QUERIES = 500  # of Square, for each image that still stands
SPARSE = SLIDE(L1_, steps=STEPS, keep=(1, 6), best="last")  # 1 to 6 of 64 pixels, as MSD's 5 to 20 of 784
STRATEGIES: dict[str, Any] = {
    "natural": Standard(),
    "linf only": Adversarial(LINF, steps=STEPS),
    "l2 only": Adversarial(L2_, steps=STEPS),
    "MAX": Worst((LINF, L2_, SPARSE), steps=STEPS),
    "SAT": SAT((LINF, L2_, SPARSE), steps=STEPS),
    "MNG-AC": MNGAC(
        (LINF, L2_, SPARSE), steps=STEPS, beta=4.0, generator_optimizer="adam", look_ahead=PUBLISHED_RATE / RATE
    ),
    "MSD": MSDTraining(UNION, steps=STEPS, keep=(1, 6), ratio=(1.0, 1.0, 1.4)),
}
SINGLE, SEVERAL = ("linf only", "l2 only"), ("MAX", "SAT", "MNG-AC", "MSD")


def battery() -> Battery:
    """AutoAttack's APGD-CE and targeted APGD in full; on survivors Square, and Pointwise for l1."""
    entries = []
    for ball in UNION:
        entries += [Entry(part, Foreign("autoattack", part), ball) for part in ("apgd-ce", "apgd-t")]
        entries.append(Entry("square", Foreign("autoattack", "square", (("queries", QUERIES),)), ball))
    return (*entries, Entry("pointwise", Foreign("foolbox", "PointwiseAttack"), L1_))


@dataclass
class Demo:
    """Train a small network on the embedded digits in seven ways and compare what they withstand.

    Natural training, training against one norm, and MAX, SAT, MNG-AC and MSD against all three: two to three minutes
    on two cores. Writes a page of tables and pictures. Killed, the same command goes on.
    """

    out: Path = Path("runs/demo")
    images: int = 200
    """Test images to judge on."""
    epochs: int = EPOCHS
    workers: int | None = None
    """Models that train at the same time, a core each; as many as there are cores if left out."""
    seed: int = 0
    progress: bool = True

    def run(self) -> None:
        checks.count("images", self.images)
        checks.count("epochs", self.epochs)
        began = time.time()
        workers = min(checks.count("workers", self.workers or os.cpu_count() or 1), len(STRATEGIES))
        print(f"Training seven networks on 1300 digits, {self.epochs} epochs each, {workers} at a time.", flush=True)
        world = get_context("spawn")
        errors, waiting, running = world.SimpleQueue(), list(STRATEGIES), dict[str, Any]()
        with Bars(self) if self.progress and sys.stderr.isatty() else nullcontext() as bars:
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        name = waiting.pop()  # the slow ones stand last
                        running[name] = world.Process(
                            target=worker, args=(name, self, os.getpid(), errors), daemon=True
                        )
                        running[name].start()
                    wait([process.sentinel for process in running.values()], timeout=0.5)
                    for name in [name for name, process in running.items() if process.exitcode is not None]:
                        if running.pop(name).exitcode:
                            raise ChildProcessError(errors.get() if not errors.empty() else f"{name}: its process died")
                        if self.progress:
                            say = print if bars is None else bars.bars.console.print
                            say(f"{name}: trained and judged after {time.time() - began:.0f} s")
                    if bars is not None:
                        bars.look([*waiting, *running])
            finally:
                for process in running.values():
                    process.terminate()
        self.tell(time.time() - began)

    def folder(self, name: str) -> Path:
        """Of that model."""
        return self.out / name.replace(" ", "-")

    def rows(self, name: str) -> list[dict[str, float]]:
        """What that model's metrics hold so far."""
        path = self.folder(name) / METRICS
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def tell(self, took: float) -> None:
        """The table, what follows from it, and where the pictures are."""
        from rich.console import Console

        reports = [(name, Report.load(self.folder(name) / "judged")) for name in STRATEGIES]
        lines = [line for line in tables.table_lines(reports) if line.title in STRATEGIES]
        Console(width=None if sys.stdout.isatty() else 120).print(tables.comparison_table(lines))
        print(
            "Percent of test images still classified correctly. Each column is the worst of AutoAttack's APGD-CE and\n"
            f"APGD-T (9 targets, 100 steps) and, on survivors, Square ({QUERIES} queries) and for l1 Pointwise.\n"
            "Union: the image withstands all three."
        )
        union = {name: 100 * report.union for name, report in reports}
        best = max(SINGLE, key=union.__getitem__)
        gains = ", ".join(f"{name} {union[name] - union[best]:+.1f}" for name in SEVERAL)
        print(f"Union over the better single norm ({best}, {union[best]:.1f}): {gains} points.")
        times = ", ".join(f"{name} {sum(row['seconds'] for row in self.rows(name)):.0f}" for name in STRATEGIES)
        print(f"Seconds of training: {times}; of everything: {took:.0f}.")
        path = self.out / "index.html"
        write_file(path, lambda file: file.write(page.render(reports).encode()))
        print(f"Tables and pictures: {path}")


def worker(name: str, demo: Demo, parent: int, errors: Any) -> None:
    """`one` in a process of its own, which ends with its parent."""

    def leave_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    try:
        one(name, demo)
    except Exception as error:  # told by the parent, whatever it is
        errors.put(f"{name}: {error}")
        sys.exit(1)


def one(name: str, demo: Demo) -> None:
    """Train and judge one of the networks."""
    torch.set_num_threads(1)
    torch.manual_seed(demo.seed)
    how: dict[str, Any] = {"epochs": demo.epochs, "batch_size": BATCH, "seed": demo.seed, "progress": False}
    how |= {"optimizer": Adam(RATE), "schedule": Triangular(PEAK), "out": demo.folder(name)}
    run = fit(DigitsCNN(), STRATEGIES[name], digits("train"), **how)
    judge: dict[str, Any] = {"pool": digits("train"), "out": demo.folder(name) / "judged", "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they stand on the page
        evaluate(run.model, digits("test").take(min(demo.images, 497)), battery(), **judge)


class Bars:
    """A bar for each network, from what its folder holds so far."""

    def __init__(self, demo: Demo) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:10s}"), BarColumn(30), TextColumn("{task.fields[note]}"))
        self.bars = Progress(*columns, TimeElapsedColumn(), console=Console(file=sys.stderr), transient=True)
        self.demo, self.attacks = demo, len(battery())
        total = demo.epochs + self.attacks
        self.tasks = {name: self.bars.add_task(name, total=total, note="", start=False) for name in STRATEGIES}

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def look(self, left: Sequence[str]) -> None:
        """Move the bars; those that are not `left` are done."""
        for name, task in self.tasks.items():
            folder = self.demo.folder(name)
            trained = len(self.demo.rows(name))
            judged = len(list((folder / "judged" / PARTS).glob("*.npz")))
            note = f"epoch {trained} of {self.demo.epochs}"
            if trained >= self.demo.epochs:
                note = f"attack {judged} of {self.attacks}"
            if name not in left:
                trained, judged, note = self.demo.epochs, self.attacks, "done"
            if folder.exists():
                self.bars.start_task(task)
            self.bars.update(task, completed=trained + judged, note=note if folder.exists() else "waiting")
