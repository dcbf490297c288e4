"""What a GPU machine without a network needs besides the tree, in one folder that git ignores: `make gpu-pack`.

    python -m benchmarks.gpu_pack --data FOLDER --triton PYTHON [--out .gpu]

`site.tar.xz`: the hosts' packages, without tests and example weights. MNIST's files and cifar10-jpeg.tar.xz, copied
from --data. `triton.tar.xz`: our kernels compiled for sm_90 by the Triton of the interpreter --triton, which must be of
the release that the GPU machine has. Under 60 MB in all, or it fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from benchmarks.ladder.pack import CACHE, CIFAR, SITE

PACKAGES = (
    "foolbox", "eagerpy", "adversarial-robustness-toolbox", "pyautoattack", "multiprocess", "dill", "tyro",
    "docstring-parser", "typeguard", "shtab", "gitpython", "gitdb", "smmap",
)  # fmt: skip
FOR = ("--python-version", "3.12", "--implementation", "cp", "--only-binary=:all:")  # the GPU machine's Python
WEIGHTS = (".pt", ".h5")
MOST = 60e6
TRITON = "3.6"


def data_files(data: Path) -> list[Path]:
    """The data sets in that folder, or the end of the program in one line."""
    found = sorted(data.glob("MNIST/raw/*-ubyte.gz")) or sorted(data.glob("*-ubyte.gz"))
    if len(found) != 4 or not (data / CIFAR).is_file():
        sys.exit(f"{data} must hold MNIST/raw/*-ubyte.gz, four of them, and {CIFAR}: make gpu-pack DATA=FOLDER")
    return [*found, data / CIFAR]


def of_gpu_machines(python: str) -> None:
    """The end of the program in one line unless that interpreter has the Triton that is there."""
    command = [python, "-c", "import triton; print(triton.__version__)"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"--triton must name a Python that has Triton {TRITON}: {error}")
    if not said.startswith(TRITON):
        sys.exit(f"--triton must name a Python that has Triton {TRITON}, the GPU machine's; {python} has {said}")


def wanted(name: str) -> bool:
    """Is that file of a wheel needed?"""
    path = Path(name)
    return "tests" not in path.parts[:-1] and not (name.startswith("examples/") or path.suffix in WEIGHTS)


def site(out: Path) -> None:
    """The packages, unzipped and packed again."""
    with tempfile.TemporaryDirectory() as held:
        wheels, target = Path(held) / "wheels", Path(held) / "site"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *FOR, "-d", str(wheels), *PACKAGES]
        subprocess.run(command, check=True)
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as zipped:
                zipped.extractall(target, [name for name in zipped.namelist() if wanted(name)])
        packed(target, out / SITE)


def kernels(python: str, out: Path) -> None:
    """The compiled kernels."""
    with tempfile.TemporaryDirectory() as held:
        path = os.pathsep.join([".", "adapters"])
        how = os.environ | {"TRITON_CACHE_DIR": held, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        subprocess.run([python, "-m", "benchmarks.triton_cache"], check=True, env=how)
        packed(Path(held), out / CACHE)


def packed(folder: Path, archive: Path) -> None:
    """The folder's contents, owned by nobody in particular."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w:xz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--triton", required=True, help="an interpreter whose Triton is the GPU machine's")
    parser.add_argument("--out", default=Path(".gpu"), type=Path)
    args = parser.parse_args()
    files = data_files(args.data)
    of_gpu_machines(args.triton)
    args.out.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, args.out / file.name)
    site(args.out)
    kernels(args.triton, args.out)
    sizes = {path.name: path.stat().st_size for path in sorted(args.out.iterdir())}
    for name, size in sizes.items():
        print(f"{size / 1e6:8.2f} MB  {name}")
    print(f"{sum(sizes.values()) / 1e6:8.2f} MB  in all")
    if sum(sizes.values()) > MOST:
        sys.exit(f"{args.out} is larger than {MOST / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
