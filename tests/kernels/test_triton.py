"""mrt/kernels/rows.py, long_rows.py, winners.py, sizes.py, by in_interpreter.py and ahead_of_time.py: The Triton
kernels, each way in a process of its own: Triton decides at import whether it interprets."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrt import kernels

HERE = Path(__file__).parent
NEEDED = pytest.mark.skipif(not kernels.has_triton(), reason="there is no Triton here; torch brings it on Linux")


@NEEDED
@pytest.mark.parametrize(("tests", "interpret"), [("in_interpreter.py", "1"), ("ahead_of_time.py", "0")])
def test_the_kernels(tests: str, interpret: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": interpret}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / tests)]
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_importing_the_kernels_needs_no_triton() -> None:
    """As on macOS and Windows."""
    code = "import sys; sys.modules['triton'] = None; import mrt.kernels; print('triton.language' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=HERE.parents[1], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@NEEDED
def test_a_kernel_stays_where_it_can_run() -> None:
    """On a machine without a GPU nothing asks Triton for its driver."""
    import torch

    assert importlib.util.find_spec("triton") is not None
    assert not kernels.takes(torch.rand(2, 3), compiled=False)
