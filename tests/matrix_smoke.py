"""`make test-matrix`: a wheel of this tree, in an empty environment of every interpreter at hand, runs the README.

Standard library only, because it runs before anything is installed. MATRIX="3.11 3.12" names versions; PIP_ARGS goes
to pip: PIP_ARGS="torch==2.6.0 torchvision==0.21.0" tries the oldest torch. TMPDIR says where the environments live.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "mrt", "adapters")


def code_of(page: Path) -> str:
    """The python blocks of a document, in order, as one script."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    if not blocks:
        raise ValueError(f"{page} has no ```python block")
    return "\n".join(blocks)


def readme_code() -> str:
    """That of the README."""
    return code_of(ROOT / "README.md")


def build_wheel(python: str, folder: Path, *pip_args: str) -> Path:
    """A wheel built from a copy, so that no build/ folder of this tree leaks into it, and none is left behind."""
    copy = folder / "source"
    copy.mkdir()
    for source in (ROOT / name for name in SOURCES):
        if source.is_dir():
            shutil.copytree(source, copy / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy(source, copy)
    wheels = folder / "wheel"
    command = [python, "-m", "pip", "wheel", "-q", "--no-deps", *pip_args, "-w", str(wheels), str(copy)]
    subprocess.run(command, check=True, cwd=folder)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def interpreters() -> dict[str, str]:
    """The first working interpreter of each version: on PATH, then among pyenv's."""
    found: dict[str, str] = {}
    for version in VERSIONS:
        pyenv = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
        for python in filter(None, [shutil.which(f"python{version}"), *map(str, pyenv)]):
            ask = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            answer = subprocess.run(ask, capture_output=True, text=True, check=False)  # a pyenv shim may refuse
            if answer.stdout.strip() == version:
                found.setdefault(version, python)
    return found


def try_interpreter(python: str, folder: Path) -> str:
    """The torch version with which the README and the smoke test ran; CalledProcessError where they did not."""
    pip_args = shlex.split(os.environ.get("PIP_ARGS", ""))
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    env_python = str(folder / "venv" / "bin" / "python")
    wheel = build_wheel(env_python, folder)
    subprocess.run([env_python, "-m", "pip", "install", *pip_args, str(wheel)], check=True, cwd=folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "readme.py").write_text(readme_code(), "utf-8")
    shutil.copy(__file__, elsewhere / "smoke.py")
    subprocess.run([env_python, "-I", "readme.py"], check=True, cwd=elsewhere)
    smoked = [env_python, "-I", "smoke.py", "--smoke"]
    return subprocess.run(smoked, check=True, cwd=elsewhere, stdout=subprocess.PIPE, text=True).stdout.split()[-1]


def smoke() -> None:
    """In the new environment: every module imports, every export exists, an attack stays in its threat, hosts load."""
    import importlib
    import pkgutil

    import torch

    import mrt
    from mrt.attacks import PGD
    from mrt.threats import Linf

    names = ["mrt", *(module.name for module in pkgutil.walk_packages(mrt.__path__, "mrt."))]
    for module in map(importlib.import_module, names):
        for export in getattr(module, "__all__", ()):
            getattr(module, export)
    x, y, threat = torch.rand(4, 1, 8, 8), torch.arange(4), Linf(0.1)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    assert threat.contains(x, PGD(threat, steps=3)(model, x, y)).all()
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"  # foolbox asks for a git executable
    for host in ("foolbox", "art.attacks.evasion", "pyautoattack"):
        importlib.import_module(host)
    print(torch.__version__)


def main() -> int:
    """0 if every interpreter asked for passed, else 1."""
    found = interpreters()
    wanted = os.environ.get("MATRIX", "").split() or list(found)
    rows = []
    for version in wanted:
        start, torch_version, result = time.monotonic(), "-", "not found"
        if version in found:
            print(f"== Python {version}: {found[version]}", flush=True)
            with tempfile.TemporaryDirectory(prefix="mrt-matrix-", ignore_cleanup_errors=True) as folder:
                try:
                    torch_version, result = try_interpreter(found[version], Path(folder)), "passed"
                except subprocess.CalledProcessError as error:
                    result = "failed: " + shlex.join(str(part) for part in error.cmd)[-60:]
        rows.append((version, torch_version, result, f"{time.monotonic() - start:.0f} s"))
    for row in [("python", "torch", "result", "time"), *rows]:
        print("{:8} {:14} {:64} {}".format(*row))
    return 0 if rows and all(row[2] == "passed" for row in rows) else 1


if __name__ == "__main__":
    if "--smoke" in sys.argv:
        smoke()
    else:
        sys.exit(main())
