"""The steps of `rows.py` for CPU tensors: `rows.cpp`, compiled the first time that it is asked for.

C++ of our own and not torch.compile: 8 times faster than torch's operators one by one, where a compiled graph with a
fixed number of rounds gained 3; exact; compiled in 3 s once per machine rather than per shape; and without headers of a
framework.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import warnings
from pathlib import Path

import torch
from torch import Tensor

from mrt.kernels.library_cache import load_library, run_compiler

SOURCE = Path(__file__).with_name("rows.cpp")
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-fPIC", "-shared", "-pthread"),
    # Numbers are finite, and their sums may be taken in any order: else a loop is not made into vector instructions.
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only", "-fassociative-math"),
)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled steps, built once per processor and kept in the user's cache; None, with a warning, where that
    cannot be done."""
    paths = (shutil.which(name) for name in ("c++", "g++", "clang++"))
    compiler = shlex.split(os.environ.get("CXX", "")) or [path for path in paths if path][:1]  # CXX may hold options
    try:
        if not compiler:
            raise OSError("there is no c++, g++ or clang++, and CXX names none")

        def compile_to(path: Path) -> None:
            run_compiler([*compiler, *FLAGS, str(SOURCE), "-o", str(path)])

        return load_library(_name_library(compiler), compile_to)
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.stderr.strip()[-500:] if isinstance(error, subprocess.CalledProcessError) else error
        warnings.warn(
            f"attack steps on the CPU run uncompiled, since they could not be compiled: {reason}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _name_library(compiler: list[str]) -> str:
    """A file name that holds all that the library depends on: -march=native makes code that another processor may not
    run, and a home folder may be shared among machines."""
    processor = Path("/proc/cpuinfo").read_bytes() if Path("/proc/cpuinfo").exists() else b""
    features = [line for line in processor.splitlines() if line.startswith((b"flags", b"Features"))][:1]
    version = run_compiler([*compiler, "--version"]).encode()
    made_from = (SOURCE.read_bytes(), version, " ".join(FLAGS).encode(), *features)
    return f"rows-{hashlib.sha256(b'|'.join(made_from)).hexdigest()[:16]}.so"


def step_rows(
    grad: Tensor, x_adv: Tensor, x: Tensor, out: Tensor, eps: Tensor, size: Tensor, keep: Tensor, kinds: list[int]
) -> None:
    """What `rows.step_rows` does, on dense float32 tensors of the same layout; it writes to `out`."""
    steps = library()
    if steps is None:
        raise RuntimeError("the compiled steps are not there; ask `library()` first")
    rows = len(x)
    # Each number by its type in C: without one ctypes passes 32 bits, and cuts an address.
    floats = [ctypes.c_void_p(t.data_ptr()) for t in (grad, x_adv, x, out, eps, size)]
    steps.mrt_step_rows(
        *floats,
        ctypes.c_void_p(keep.data_ptr()),
        ctypes.c_int64(rows),
        ctypes.c_int64(x.numel() // rows),
        (ctypes.c_int32 * len(kinds))(*kinds),
        ctypes.c_int32(len(kinds)),
        ctypes.c_int32(torch.get_num_threads()),
    )
