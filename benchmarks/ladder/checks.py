"""Rungs 0, 1 and 3: what the machine is, and whether everything does there what it should."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import torch

from benchmarks import gpu_check
from benchmarks.environment import environment
from benchmarks.ladder.context import Context
from mrt import kernels

SMOKE = (784, 3072, 20000)
QUERY = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu,ecc.mode.current"


def opening(context: Context) -> None:
    """Card, driver, versions, commit."""
    held = environment()
    context.record("card", str(held["gpu"] or held["processor"]), "", top=True)
    context.record("commit", str(held["commit"]), "", top=True)
    context.record("environment", None, "", environment=held)
    context.record(
        "fused steps",
        float(kernels.takes(torch.empty(1, device=context.device), True)),
        "there or not",
        goal=1,
        top=True,
    )
    if context.on_gpu:
        with context.attempt("nvidia-smi"):
            command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            context.record("nvidia-smi", said, QUERY)
            context.record("driver", said.split(", ")[1], "", top=True)


def followed(context: Context, name: str, checks: Callable[[], gpu_check.Check]) -> None:
    """Those checks as figures, and how many of them failed."""
    failed = 0
    with context.attempt(name):
        for what, figure, most in checks():
            context.record(what, figure, "", **{"at most": most, "passed": figure <= most})
            failed += not figure <= most
            if context.left() < 3:
                context.record(f"{name}: the rest", None, "", skipped="no time left")
                break
        context.record(f"{name}: failed checks", failed, "", top=True, **{"at most": 0})


def smoke(context: Context) -> None:
    """Each kernel beside its twin at three lengths, and what the card can do at best."""
    context.bandwidth()
    context.peak()
    followed(
        context, "kernels beside twins", lambda: gpu_check.steps(context.device, SMOKE[: 1 if context.tiny else 3])
    )
    followed(context, "layouts", lambda: gpu_check.layouts(context.device, 60 if context.tiny else 1500))
    followed(context, "choice", lambda: gpu_check.choice(context.device))


def everything(context: Context) -> None:
    """What `gpu_check` checks: replays first, which matter most, then training, then rows of every length."""
    device, names = context.device, ("PGD",) if context.tiny else tuple(gpu_check.ATTACKS)
    followed(context, "replays", lambda: gpu_check.replays(device, False, names))
    if not context.tiny:
        followed(context, "training", lambda: gpu_check.training(device, False))
    lengths = (49,) if context.tiny else gpu_check.LENGTHS
    followed(context, "every length beside twins", lambda: gpu_check.steps(device, lengths))
