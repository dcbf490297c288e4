"""`mrt demo`: seven ways of training on the embedded digits, one honest judge, a table and a page. No download."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import combinations
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
from mrt.files import read_rows
from mrt.models import DigitsCNN
from mrt.records import write_file
from mrt.strategies import MNGAC, SAT, Adversarial, MSDTraining, Standard, Worst
from mrt.threats import L1, L2, Linf
from mrt.training import Adam, Triangular, fit
from mrt.training.folder import METRICS

LINF, L2_, L1_ = UNION = (Linf(0.2), L2(0.7), L1(2.0))
# Five steps and twenty epochs keep the whole demo within three minutes on two cores.
STEPS, EPOCHS, BATCH, RATE, PEAK = 5, 20, 64, 8e-3, 0.3
PUBLISHED_RATE = 0.21  # of MNG-AC, whose look-ahead is a plain gradient step of that length; Adam's rates are smaller
QUERIES = 500  # of Square, for each image that still stands
SPARSE = SLIDE(L1_, steps=STEPS, keep=(1, 6), best="last")  # 1 to 6 of the 64 pixels
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
SINGLE, SEVERAL = ("linf only", "l2 only"), ("MAX", "SAT", "MNG-AC", "MSD")  # gains are over the better single one


def battery() -> Battery:
    """Return the attacks that judge: AutoAttack's APGD-CE and targeted APGD in full; on survivors Square, and
    Pointwise for l1."""
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
        # After a fork torch's threads may hang: each worker is a fresh interpreter.
        world = get_context("spawn")
        errors, waiting, running = world.SimpleQueue(), list(STRATEGIES), dict[str, Any]()
        with Bars(self) if self.progress and sys.stderr.isatty() else nullcontext() as bars:
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        name = waiting.pop()  # from the end, where the slow ones stand: they have to begin first
                        running[name] = world.Process(
                            target=run_worker, args=(name, self, os.getpid(), errors), daemon=True
                        )
                        running[name].start()
                    wait([process.sentinel for process in running.values()], timeout=0.5)  # so often the bars move
                    for name in [name for name, process in running.items() if process.exitcode is not None]:
                        if running.pop(name).exitcode:
                            raise ChildProcessError(errors.get() if not errors.empty() else f"{name}: its process died")
                        if self.progress:
                            say = print if bars is None else bars.bars.console.print
                            say(f"{name}: trained and judged after {time.time() - began:.0f} s")
                    if bars is not None:
                        bars.look([*waiting, *running])
            except KeyboardInterrupt as interrupt:
                interrupt.args = (f"the same command goes on from what {self.out} holds",)
                raise
            finally:  # when one fails, or the user has had enough, the others stop as well
                # At a signal that it could note each would finish its update, and tell of it.
                for process in running.values():
                    process.kill()
        self.print_results(time.time() - began)

    def folder(self, name: str) -> Path:
        """Return the run folder of the network of that name."""
        return self.out / name.replace(" ", "-")

    def read_metrics(self, name: str) -> list[dict[str, float]]:
        """Return the rows, one an epoch, that the network of that name has written so far."""
        path = self.folder(name) / METRICS
        return read_rows(path, "remove the folder of that network") if path.is_file() else []

    def print_results(self, took: float) -> None:
        """Print the table, what follows from it, and where the pictures are."""
        from rich.console import Console  # imported late: mrt's other commands start without it

        reports = [(name, Report.load(self.folder(name) / "judged")) for name in STRATEGIES]
        lines = [line for line in tables.table_lines(reports) if line.title in STRATEGIES]
        Console(width=None if sys.stdout.isatty() else 120).print(tables.comparison_table(lines))
        print(
            "Percent of test images still classified correctly. Each column is the worst of AutoAttack's APGD-CE and\n"
            f"APGD-T (9 targets, 100 steps) and, on survivors, Square ({QUERIES} queries) and for l1 Pointwise.\n"
            f"Union: the image withstands all three. {tables.legend(())}"
        )
        print(describe_tests(dict(reports)))
        seconds = {name: sum(row["seconds"] for row in self.read_metrics(name)) for name in STRATEGIES}
        times = ", ".join(f"{name} {spent:.0f}" for name, spent in seconds.items())
        print(f"Seconds of training: {times}; of everything: {took:.0f}.")
        path = self.out / "index.html"
        write_file(path, lambda file: file.write(page.render(reports).encode()))
        print(f"Tables and pictures: {path}")


def describe_tests(reports: Mapping[str, Report]) -> str:
    """Return what McNemar's paired tests say of the unions: gains over the better single norm, and which of the others
    differ among themselves. The order of a table is no finding."""
    best = max(SINGLE, key=lambda name: reports[name].union)
    over = {name: reports[best].compare(reports[name])["union"] for name in SEVERAL}
    gains = ", ".join(f"{name} {100 * (t.second - t.first):+.1f} (p = {t.p:.2g})" for name, t in over.items())
    tests = {(a, b): reports[a].compare(reports[b])["union"] for a, b in combinations(SEVERAL, 2)}
    # Bonferroni's: were all alike, at most one demo in twenty would tell any two of them apart.
    level = 0.05 / len(tests)
    apart = [f"{b} from {a} (p = {test.p:.2g})" for (a, b), test in tests.items() if test.p < level]
    return (
        f"Union over the better single norm ({best}, {100 * reports[best].union:.1f}), in points, by paired tests:\n"
        f"{gains}.\nAmong these {len(SEVERAL)} networks the tests ({len(tests)}, each at p < {level:.2g}) tell apart: "
        f"{', '.join(apart) or 'none'}."
    )


def run_worker(name: str, demo: Demo, parent: int, errors: Any) -> None:
    """Train and judge one of the networks in a process of its own, which ends with its parent."""

    def leave_with_parent() -> None:
        # A parent that is killed terminates nobody; its child then belongs to another process, and this is all that
        # the child can notice.
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    try:
        train_and_judge(name, demo)
    except Exception as error:  # whatever it is, the parent prints it as one line
        errors.put(f"{name}: {error}")
        sys.exit(1)


def train_and_judge(name: str, demo: Demo) -> None:
    """Train and judge one of the networks; what a killed demo has done already is not done again."""
    torch.set_num_threads(1)  # a core each
    torch.manual_seed(demo.seed)  # every network starts from the same weights
    settings: dict[str, Any] = {"epochs": demo.epochs, "batch_size": BATCH, "seed": demo.seed, "progress": False}
    settings |= {"optimizer": Adam(RATE), "schedule": Triangular(PEAK), "out": demo.folder(name)}
    run = fit(DigitsCNN(), STRATEGIES[name], digits("train"), **settings)
    options: dict[str, Any] = {"pool": digits("train"), "out": demo.folder(name) / "judged", "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they stand on the page
        evaluate(run.model, digits("test").take(min(demo.images, 497)), battery(), **options)  # there are 497


# The bars are read from the folders of the runs, so that neither `fit` nor `evaluate` needs a callback for them.
class Bars:
    """Shows a bar for each network, from what its folder holds so far."""

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
            trained = len(self.demo.read_metrics(name))
            judged = len(list((folder / "judged" / PARTS).glob("*.npz")))
            note = f"epoch {trained} of {self.demo.epochs}"
            if trained >= self.demo.epochs:
                note = f"attack {judged} of {self.attacks}"
            if name not in left:
                trained, judged, note = self.demo.epochs, self.attacks, "done"
            if folder.exists():
                self.bars.start_task(task)
            self.bars.update(task, completed=trained + judged, note=note if folder.exists() else "waiting")
