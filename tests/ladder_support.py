"""A climb of the GPU ladder whose rungs break, for tests/test_gpu_ladder.py, which runs it in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import gpu_ladder
from benchmarks.ladder import climb, table
from benchmarks.ladder.context import Context


def climb_broken(out: str) -> None:
    """In a process of its own: rungs of which one kills itself, one hangs and one raises, and a real one."""

    def fine(context: Context) -> None:
        context.record(f"figure of rung {context.rung}", 1.0, "", goal=1, top=True)

    def killed(context: Context) -> None:
        fine(context)
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(context: Context) -> None:
        fine(context)
        subprocess.Popen(["sleep", "77.25"])
        time.sleep(900)

    def raises(context: Context) -> None:
        with context.attempt("half of it"):
            raise ValueError("a part that fails")
        fine(context)
        raise RuntimeError("the rest")

    def lacks(context: Context) -> None:
        with context.attempt("all of it"):
            raise ValueError("a part that fails")

    runs = {"fine": fine, "killed": killed, "hangs": hangs, "raises": raises, "lacks": lacks, "fine too": fine}
    rungs = [climb.Rung(n, name, 30 if name == "hangs" else 900, run) for n, (name, run) in enumerate(runs.items(), 10)]
    rungs += [climb.Rung(16, "too long", 50000, fine), climb.Rung(17, "what is left", 50000, fine, least=1)]
    rungs += [replace(rung, limit=900, least=0) for rung in gpu_ladder.rungs() if rung.number == 0]
    outcomes = climb.climb(rungs, climb.Settings("cpu", True, Path(out), Path(out) / "data", 20000))
    found = table.figures_of(Path(out))
    print("\n".join(table.shown(found, outcomes)))
    print(json.dumps([outcome.status for outcome in outcomes]))
