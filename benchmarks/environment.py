"""What every result states beside its figures."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("torch", "torchvision", "numpy", "foolbox", "adversarial-robustness-toolbox", "pyautoattack", "triton")


def environment() -> dict[str, object]:
    """Hardware, versions, threads and commit."""
    return {
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's own name on Linux, else what the platform says."""
    if platform.system() == "Linux":
        with open("/proc/cpuinfo") as info:
            names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
        if names:
            return f"{names[0]}, {len(names)} threads"
    return platform.processor() or platform.machine()
