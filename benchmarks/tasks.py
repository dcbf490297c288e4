"""Long lists of work on several processes, a line of results each as it ends; killed, the list goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

Task = tuple[Any, ...]


def done(path: Path) -> dict[str, dict[str, Any]]:
    """What has a row already, by the task as JSON."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {json.dumps(key): row for key, row in map(json.loads, lines)}


def run(work: Callable[[Task], dict[str, Any]], tasks: Sequence[Task], path: Path, workers: int) -> dict[str, Any]:
    """Every task that has no row yet; `work` must be a module's function."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = done(path)
    left = [t for t in tasks if json.dumps(t) not in known]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool, path.open("a") as file:
        for n, (task, row) in enumerate(zip(left, pool.map(work, left), strict=True), 1):
            file.write(json.dumps([task, row]) + "\n")
            file.flush()
            print(f"{n}/{len(left)} {' '.join(map(str, task))}: union {100 * row['union']:.1f}", flush=True)
    return done(path)
