"""Rungs one after another, each in a process of its own that may die or hang without harm to the others.

The parent has imported everything and never touches the GPU, so a child is a fork: it pays for no import and can use
the GPU. It leads a group of processes, all of which are killed at its limit and when it ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.environment import strict
from benchmarks.ladder.context import LOG, Context

DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


MISSED = 3  # exit status of a rung that came to its end, but not to all its figures


@dataclass(frozen=True)
class Rung:
    """`limit` seconds at most; it is skipped where fewer than `least` are left, which by default is its limit."""

    number: int
    name: str
    limit: float
    run: Callable[[Context], None]
    least: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a rung ended: passed, failed, killed, skipped."""

    rung: Rung
    status: str
    seconds: float
    said: str = ""


@dataclass(frozen=True)
class Settings:
    """Of a climb. `data` is the folder in which the data sets appear."""

    device: str
    tiny: bool
    out: Path
    data: Path
    budget: float


def climb(rungs: Sequence[Rung], settings: Settings) -> list[Outcome]:
    """Every rung that still fits into the budget."""
    began, outcomes = time.monotonic(), list[Outcome]()
    settings.out.mkdir(parents=True, exist_ok=True)
    for rung in rungs:
        left = settings.budget - (time.monotonic() - began)
        if left < (rung.limit if rung.least is None else rung.least):
            outcomes.append(Outcome(rung, "skipped", 0.0, f"{left:.0f} s were left"))
        else:
            outcomes.append(_one(rung, settings, min(rung.limit, left)))
        last = outcomes[-1]
        text = f"rung {rung.number} ({rung.name}): {last.status}, {last.seconds:.1f} s {last.said}"
        print(text, flush=True)
        with open(settings.out / LOG, "a") as log:
            log.write(f"== {text}\n")
    return outcomes


def _one(rung: Rung, settings: Settings, limit: float) -> Outcome:
    """That rung in its child."""
    began = time.monotonic()
    context = Context(rung.number, settings.device, settings.tiny, settings.out, settings.data, began + limit)
    process: Any = get_context("fork").Process(target=_child, args=(rung, context), daemon=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: those of this process wait
        process.start()
    process.join(limit)
    ended = process.exitcode is not None
    _kill_group(process.pid)
    process.join(10)
    took = time.monotonic() - began
    if not ended:
        return Outcome(rung, "killed", took, f"at its limit of {limit:.0f} s")
    if process.exitcode == 0:
        return Outcome(rung, "passed", took)
    if process.exitcode == MISSED:
        return Outcome(rung, "failed", took, "with figures that could not be had")
    said = f"exit status {process.exitcode}"
    if process.exitcode < 0:
        said = f"died of {signal.Signals(-process.exitcode).name}"
    return Outcome(rung, "failed", took, said)


def _kill_group(leader: int) -> None:
    """What is left of it."""
    for kill in (os.killpg, os.kill):  # it may die before it leads a group
        try:
            kill(leader, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _child(rung: Rung, context: Context) -> None:
    """The child's whole life."""
    os.setsid()
    ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)  # a session of its own would outlive it on the GPU
    log = os.open(context.out / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 0
    try:
        print(f"\n== rung {rung.number}: {rung.name}, {context.left():.0f} s at most", flush=True)
        strict()
        rung.run(context)
        status = MISSED if context.failed else 0
    except BaseException as error:
        traceback.print_exc()
        context.record(f"rung {rung.number}", None, "", passed=False, error=repr(error)[:500])
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # no exit handlers: those of the parent are not ours, and others may wait for ever
