"""Runs tests on copies of the tree of which each has one broken line: what tests/mutants.py lists.

Each run is a fork of this process, which has imported torch and the hosts and nothing of ours, since importing them
takes longer than most mutants live. The unbroken tree goes first; from it is known how long each test takes, and a
mutant meets the short ones first.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("mrt", "adapters", "tests", "examples", "docs", "benchmarks", "setup.cfg", "pyproject.toml", "Makefile")
HANG = 900  # seconds, which no file of tests takes as it stands
PATIENCE = 4  # times what it takes unbroken, and a minute more, is what it may take on a mutant
MEMORY = 8 << 30  # bytes, which no test needs: a mutant of a limit may ask for all there is
FOREIGN = 70  # the exit status of a run that imported mrt from elsewhere

Mutant = tuple[str, str, str, str]  # file under mrt/ or adapters/, line, its replacement, tests


class Order:
    """A plugin of pytest: short tests first; it writes down how long each takes, and which one fails."""

    def __init__(self, times: dict[str, float], found: Path) -> None:
        self.times, self.found = times, found
        self.taken: dict[str, float] = {}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.times.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.taken[report.nodeid] = self.taken.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = report.nodeid

    def pytest_sessionfinish(self) -> None:
        self.found.write_text(json.dumps({"times": self.taken, "failed": self.failed}), "utf-8")


@dataclass
class Tree:
    """A copy of the tree, in which one line at a time is broken."""

    folder: Path
    broken: dict[Path, str] = field(default_factory=dict)  # the unbroken text of the file that is broken

    @staticmethod
    def copied(folder: Path) -> Tree:
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(ROOT / name, folder / name)
        for page in ROOT.glob("*.md"):
            shutil.copy(page, folder / page.name)
        return Tree(folder)

    def write(self, path: Path, text: str) -> None:
        path.write_text(text, "utf-8")
        Path(cache_from_source(str(path))).unlink(missing_ok=True)  # bytecode is told apart by seconds and size alone

    def break_line(self, mutant: Mutant) -> None:
        path = self.folder / (mutant[0] if mutant[0].startswith("adapters/") else f"mrt/{mutant[0]}")
        text = path.read_text("utf-8")
        if text.count(mutant[1]) != 1:
            raise SystemExit(f"{mutant[0]} holds {mutant[1]!r} {text.count(mutant[1])} times; a mutant needs it once")
        self.broken[path] = text
        self.write(path, text.replace(mutant[1], mutant[2]))

    def mend(self) -> None:
        for path, text in self.broken.items():
            self.write(path, text)
        self.broken.clear()


@dataclass
class Run:
    """Pytest in a fork, on one file of tests."""

    tree: Tree
    tests: str
    mutant: Mutant | None  # None: the unbroken tree
    times: dict[str, float]
    began: float = field(default_factory=time.monotonic)
    pid: int = 0

    def start(self) -> Run:
        if self.mutant:
            self.tree.break_line(self.mutant)
        self.found.unlink(missing_ok=True)
        self.pid = os.fork()
        if not self.pid:
            self._child()
        return self

    @property
    def hangs(self) -> bool:
        """Has it taken longer than it can need?"""
        unbroken = sum(taken for test, taken in self.times.items() if test.startswith(f"tests/{self.tests}::"))
        return time.monotonic() - self.began > (min(60 + PATIENCE * unbroken, HANG) if self.mutant else HANG)

    @property
    def found(self) -> Path:
        return self.tree.folder / "found.json"

    @property
    def said(self) -> Path:
        return self.tree.folder / "said.txt"

    def _child(self) -> None:
        status = 99
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            os.chdir(self.tree.folder)
            here = [str(self.tree.folder), str(self.tree.folder / "adapters")]
            sys.path[:] = here + [path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "adapters"))]
            for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                del sys.modules[name]
            os.environ |= {"PYTHONPATH": os.pathsep.join(here), "HYPOTHESIS_PROFILE": "first"}
            os.environ |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}  # the first for in_interpreter.py
            for number in (1, 2):
                os.dup2(os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
            # Their assertions are rewritten all the same, whichever modules this process has imported.
            quiet = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
            order = Order(self.times, self.found)
            status = int(pytest.main(["-x", "-q", *quiet, f"tests/{self.tests}"], plugins=[order]))
            ours = getattr(sys.modules.get("mrt"), "__file__", None)
            if ours is not None and not Path(ours).is_relative_to(self.tree.folder):
                print(f"mrt was imported from {ours}")
                status = FOREIGN
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def ended(self, status: int | None) -> dict[str, Any]:
        """What the run found, after its exit with `status`; None: it hangs and is killed."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what its tests have left, if they have left anything
        for here in Path("/proc").glob("[0-9]*/cwd"):  # and what has left their group, where it can be seen
            with suppress(OSError):
                if here.resolve().is_relative_to(self.tree.folder):
                    os.kill(int(here.parent.name), signal.SIGKILL)
        if status is None:
            os.waitpid(self.pid, 0)
        self.tree.mend()
        if status not in (None, 0, 1):
            raise SystemExit(f"pytest ended with {status} on {self.mutant}:\n{self.said.read_text('utf-8')[-4000:]}")
        found = json.loads(self.found.read_text("utf-8")) if self.found.is_file() else {"times": {}, "failed": ""}
        found["noticed"] = status != 0
        return {**found, "seconds": round(time.monotonic() - self.began, 1)}


def import_foreign() -> None:
    """What the tests import of others. An import of ours would be shared by all forks, and none would be broken."""
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    import art.attacks.evasion
    import art.defences.trainer
    import art.estimators.classification
    import foolbox  # noqa: F401
    import hypothesis  # noqa: F401
    import pyautoattack  # noqa: F401
    import rich.console
    import scipy.special
    import sklearn.datasets  # noqa: F401
    import torch

    del art, rich, scipy
    torch.set_num_threads(1)
    loaded = [name for name in sys.modules if name.partition(".")[0] == "mrt"]
    assert not loaded, loaded
    gc.collect()
    gc.freeze()


def run_all(runs: Sequence[tuple[str, Mutant | None]], trees: list[Tree], times: dict[str, float]) -> Any:
    """Yields (tests, mutant, what was found) of each (tests, mutant), in the order in which they end."""
    queue, free, running = list(reversed(runs)), list(trees), dict[int, Run]()
    try:
        while queue or running:
            while queue and free:
                tests, mutant = queue.pop()
                run = Run(free.pop(), tests, mutant, times).start()
                running[run.pid] = run
            pid, status = os.waitpid(-1, os.WNOHANG)
            ended: list[tuple[int, int | None]] = []
            if pid in running:
                ended = [(pid, os.waitstatus_to_exitcode(status))]
            ended += [(p, None) for p, run in running.items() if p != pid and run.hangs]
            for number, code in ended:
                run = running.pop(number)
                yield run.tests, run.mutant, run.ended(code)
                free.append(run.tree)
            if not ended:
                time.sleep(0.02)
    finally:
        for number in running:
            os.killpg(number, signal.SIGKILL)


def main(mutants: Sequence[Mutant], log: Path | None) -> int:
    """The exit status: 0 if every mutant was noticed. What `log` holds already is not run again."""
    known = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log and log.is_file() else []
    times = {test: taken for entry in known if not entry["mutant"] for test, taken in entry["times"].items()}
    done = {(entry["tests"], *entry["mutant"]): bool(entry["noticed"]) for entry in known}
    found_before = [done[key] for m in mutants if (key := (m[3], *m[:3])) in done]
    survivors = found_before.count(False)
    import_foreign()
    with tempfile.TemporaryDirectory() as folder:
        trees = []
        for number in range(os.cpu_count() or 1):
            (Path(folder) / str(number)).mkdir()
            trees.append(Tree.copied(Path(folder) / str(number)))
        whole = [(tests, None) for tests in sorted({m[3] for m in mutants}) if (tests,) not in done]
        todo = [(m[3], m) for m in mutants if (m[3], *m[:3]) not in done]
        for tests, mutant, found in (x for runs in (whole, todo) for x in run_all(runs, trees, times)):
            if mutant is None and found["noticed"]:
                print(f"the unbroken tree fails {found['failed']}; mend that first")
                return 1
            times |= {} if mutant else found["times"]
            if mutant:
                survivors += not found["noticed"]
                word = "killed  " if found["noticed"] else "SURVIVED"
                print(f"{word}  {mutant[0]}: {mutant[1].strip()} -> {mutant[2].strip()}", flush=True)
            if log:
                entry = {"tests": tests, "mutant": mutant[:3] if mutant else [], **found}
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry if not mutant else {**entry, "times": {}}) + "\n")
    print(f"{len(mutants) - survivors} passed, {survivors} failed")
    return int(survivors > 0)
