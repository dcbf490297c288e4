"""A cache of the Triton kernels compiled for sm_90 where there is no GPU, so that a GPU machine need not compile them.

    TRITON_CACHE_DIR=FOLDER python -m benchmarks.triton_cache [--quick]

It calls the launching functions of `mrt.kernels.ops` with tensors of this machine's memory and stops each launch once
its kernel is compiled: Triton asks only for their types and for their addresses modulo 16, which are those of a GPU's
tensors. A cache serves the same release of Triton; another one compiles anew and nothing is wrong.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

from mrt.kernels import KINDS, ops
from mrt.kernels.sizes import L1_EXACT, L2, LINF

SM = 90
ROWS = 7  # any number: no kernel depends on it
LENGTHS = (784, 3072, 20000, 64, 12288, 150528)
CHECKED = (1, 49, 1000, 4096, 12289)  # which the checks of a GPU meet besides
ALONE = {"linf": LINF, "l2": L2, "l1": L1_EXACT}
Task = tuple[Any, ...]


class _Target:
    """What Triton asks of a driver before it compiles."""

    launcher_cls = utils = None

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", SM, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def map_python_to_cpp_type(self, kind: str) -> str:
        return kind


def _stopped(kernel: Any, grid: Any) -> Callable[..., Any]:
    """What `kernel[grid]` is here: it compiles and does not launch."""
    return lambda *args, **how: kernel.run(*args, grid=grid, warmup=True, **how)


def prepare() -> None:
    """In this process Triton compiles for SM and launches nothing."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    driver.set_active(_Target())
    JITFunction.__getitem__ = _stopped


def step(entries: int, kinds: tuple[int, ...], place: int) -> None:
    """A fused step. `place`: which of several balls' radii it gets, since a slice may lie at an odd address."""
    x, out = torch.zeros(ROWS, entries), torch.zeros(len(kinds) * ROWS, entries)
    numbers = torch.zeros(place + len(kinds), ROWS)[place:]
    ops.launch_step(x, x, x, out, numbers, numbers, torch.ones(ROWS, dtype=torch.int64), list(kinds))


def pick(entries: int, classes: int, targeted: bool, reached_first: bool) -> None:
    """The choice among three candidates."""
    points, logits = torch.zeros(3, ROWS, entries), torch.zeros(3, ROWS, classes)
    aim, loss, reached = torch.zeros(ROWS).long(), torch.zeros(ROWS), torch.zeros(ROWS, dtype=torch.bool)
    ops.launch_pick(points, logits, aim, points[0].clone(), loss, reached, targeted, reached_first)


def gather(entries: int, kind: torch.dtype) -> None:
    """The winners' rows."""
    part: Tensor = torch.zeros(ROWS, entries, dtype=kind)
    ops.launch_gather([part] * 3, torch.zeros(ROWS).long())


def tasks(quick: bool) -> Iterator[Task]:
    """Everything that the ladder launches; `quick` for a trial."""
    lengths = (784,) if quick else LENGTHS
    every = tuple(KINDS.values())
    for entries in (*lengths, *(() if quick else CHECKED)):
        yield step, entries, every, 0
        for place, kind in enumerate(every):
            yield step, entries, (kind,), place
            yield step, entries, (kind,), 0
    for entries in lengths:
        yield step, entries, tuple(ALONE.values()), 0
        yield from ((pick, entries, 10, targeted, first) for targeted in (False, True) for first in (False, True))
    yield pick, 1200, 10, False, False  # `gpu_check.choice`
    for entries in (16, 10, 1):  # as many as 16 divides, others, and one
        yield from ((gather, entries, kind) for kind in (torch.float32, torch.bfloat16, torch.bool, torch.int64))


def done(task: Task) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    task[0](*task[1:])
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few kernels, for a trial")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    import triton

    began, todo = time.perf_counter(), list(dict.fromkeys(tasks(args.quick)))
    with get_context("spawn").Pool(args.processes, prepare) as pool:
        took = list(pool.imap_unordered(done, todo, 1))
    compiled = sum(seconds > 0.05 for seconds in took)
    print(
        f"Triton {triton.__version__}, sm_{SM}: {len(took)} launches, {compiled} of them compiled, "
        f"{time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
