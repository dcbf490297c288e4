"""The Triton kernels compiled for GPUs that need not be there: they compile, spill nothing, and need no more registers
than when they were last looked at. A process of its own, without the interpreter:

    python -m pytest tests/kernels/ahead_of_time.py [--capture=no to see the table]
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="Triton comes with torch on Linux")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.backends.nvidia.compiler import get_ptxas  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from mrt.kernels import KINDS, long_rows, rows, sizes, winners  # noqa: E402

assert os.environ.get("TRITON_INTERPRET") != "1", "see the docstring"

STEPS: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in KINDS} | {"msd": ("linf", "l2", "l1-exact")}
LENGTHS = (49, 784, 3072, 12288, 150528)
BESIDE_MSD = ("l1", "l2-exact")  # what msd does not hold
CASES: tuple[tuple[str, int, int], ...] = (  # (step, length, sm): msd at every length, the others where it is tightest
    *(("msd", entries, 90) for entries in LENGTHS),
    *(("msd", entries, 80) for entries in (3072, 150528)),
    *((step, 3072, 90) for step in KINDS),
    *((step, entries, 90) for step in BESIDE_MSD for entries in (12288, 150528)),
)
# Registers of a thread, by release of Triton and step: (sm_80, sm_90) for each of LENGTHS.
REGISTERS: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {
    "3.6": {
        "linf": ((21, 21), (32, 32), (34, 34), (34, 32), (32, 32)),
        "l2": ((24, 25), (40, 40), (48, 48), (53, 58), (37, 40)),
        "l2-exact": ((26, 28), (47, 47), (60, 62), (56, 58), (40, 41)),
        "l1": ((32, 32), (48, 50), (64, 63), (64, 63), (73, 79)),
        "l1-exact": ((29, 29), (48, 56), (64, 64), (63, 63), (73, 79)),
        "msd": ((32, 32), (48, 54), (64, 64), (63, 63), (64, 64)),
    },
    "3.9": {
        "linf": ((21, 21), (32, 32), (34, 34), (34, 32), (32, 32)),
        "l2": ((25, 25), (32, 40), (48, 40), (43, 43), (40, 40)),
        "l2-exact": ((27, 25), (38, 43), (56, 57), (46, 51), (40, 40)),
        "l1": ((30, 30), (54, 48), (64, 63), (64, 63), (40, 40)),
        "l1-exact": ((27, 27), (50, 51), (64, 71), (57, 56), (40, 40)),
        "msd": ((32, 32), (47, 48), (64, 64), (64, 63), (48, 42)),
    },
}


def compiled(kernel: Any, types: dict[str, str], constants: dict[str, Any], warps: int, sm: int) -> tuple[int, int]:
    """(registers, bytes spilled) of the kernel for that kind of GPU. Pointers are aligned, as torch's are."""
    signature = types | dict.fromkeys(constants, "constexpr")
    aligned = [i for i, (name, kind) in enumerate(signature.items()) if kind[0] == "*" or name == "d"]
    attributes = {(i,): [["tt.divisibility", 16]] for i in aligned}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": warps, "enable_fp_fusion": True}
    ptx = triton.compile(source, target=GPUTarget("cuda", sm, 32), options=options).asm["ptx"]
    target = re.search(r"\.target (sm_\w+)", ptx)
    assert target is not None
    path = Path(os.environ["TRITON_CACHE_DIR"]) / "kernel.ptx"
    path.write_text(ptx)
    command = [get_ptxas(sm).path, "-v", f"--gpu-name={target[1]}", str(path), "-o", os.devnull]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    text = said.stdout + said.stderr
    used, spilled = re.search(r"Used (\d+) registers", text), re.search(r"(\d+) bytes spill stores", text)
    assert used is not None and spilled is not None, text
    return int(used[1]), int(spilled[1])


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))


def resources(step: str, entries: int, sm: int) -> tuple[int, int]:
    """Of that step for rows of that length, launched as `ops.launch_step` would."""
    kinds = tuple(KINDS[kind] for kind in STEPS[step])
    pointers = ("grad_ptr", "x_adv_ptr", "x_ptr", "out_ptr", "eps_ptr", "size_ptr")
    types = dict.fromkeys(pointers, "*fp32") | {"keep_ptr": "*i64", "rows": "i32", "d": "i32"}
    constants: dict[str, Any] = {"KINDS": kinds, "COUNT": len(kinds)}
    if entries > sizes.ON_CHIP:
        return compiled(long_rows.step_long_rows, types, constants | {"CHUNK": sizes.CHUNK}, 8, sm)
    parts, each, warps = sizes.layout(entries)
    return compiled(rows.step_rows, types, constants | {"PARTS": parts, "EACH": each}, warps, sm)


@pytest.mark.parametrize(("step", "entries", "sm"), CASES)
def test_a_step_fits_into_registers(step: str, entries: int, sm: int) -> None:
    used, spilled = resources(step, entries, sm)
    print(f"\n{step} {entries} on sm_{sm}: {used} registers, {spilled} bytes spilled")
    assert entries > sizes.ON_CHIP or not spilled
    release = ".".join(triton.__version__.split(".")[:2])
    if release not in REGISTERS:
        pytest.skip(f"nobody has looked at the registers that Triton {release} needs")
    known = REGISTERS[release][step][LENGTHS.index(entries)][sm == 90]
    assert abs(used - known) <= 0.25 * known, f"{used} registers, {known} when last looked at"


def test_the_choice_among_candidates_compiles() -> None:
    types = {
        "points_ptr": "*fp32", "logits_ptr": "*fp32", "aim_ptr": "*i64", "out_ptr": "*fp32", "loss_ptr": "*fp32",
        "reached_ptr": "*i1", "winner_ptr": "*i64", "best_ptr": "*fp32", "best_loss_ptr": "*fp32",
        "best_reached_ptr": "*i1", "rows": "i32", "d": "i32", "classes": "i32",
    }  # fmt: skip
    constants = {"COUNT": 3, "TARGETED": False, "REACHED_FIRST": True, "CLASSES": 16, "CHUNK": 1024}
    assert compiled(winners.pick_rows, types, constants, 4, 90)[1] == 0
    for kind in ("fp32", "bf16", "i1", "i64"):
        types = dict.fromkeys(("a_ptr", "b_ptr", "c_ptr", "winner_ptr", "out_ptr"), f"*{kind}") | {"winner_ptr": "*i64"}
        assert compiled(winners.gather_rows, types | {"d": "i32"}, {"CHUNK": 1024}, 4, 90)[1] == 0
