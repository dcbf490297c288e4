"""`make test-matrix`: a wheel of this tree, in empty environments of every interpreter at hand, with the oldest
packages that setup.cfg admits (floor) and with those that pip takes today (newest).

In each: every module imports, the README's code runs, `mrt` trains, evaluates and reports from the shell, and, once the
extra `test` is installed as well, tests/cli passes. A table is printed in the form of docs/versions.md.

Standard library only, because it runs before anything is installed. MATRIX="3.11 3.13-floor" names versions, with one
end or with both; PIP_ARGS goes to pip; TMPDIR says where the environments live, of which there is one at a time.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
ENDS = {"floor": ("-c", str(ROOT / "tests" / "versions" / "floor.txt")), "newest": ()}
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "mrt", "adapters")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*")
SHELL = (
    "mrt train sat --threats linf=0.2 l2=0.7 l1=2.0 --images 96 --iterations 3 --steps 2 --model-settings width=4 "
    "--augment crop-flip --pad 1 --mode zero --out run",
    "mrt train msd --help",
    "mrt evaluate run/model.pt --threats linf=0.2 l2=0.7 l1=2.0 --images 24 --budget 0.05 --out judged",
    "mrt report judged --out page.html",
)
COLUMNS = ("Python", "packages", "result", "modules", "shell commands", "tests/cli", "seconds", "with")


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
            shutil.copytree(source, copy / source.name, ignore=LEFT_OUT)
        elif source.is_file():
            shutil.copy(source, copy)
    wheels = folder / "wheel"
    command = [python, "-m", "pip", "wheel", "-q", "--no-deps", *pip_args, "-w", str(wheels), str(copy)]
    subprocess.run(command, check=True, cwd=folder)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def find_interpreters() -> dict[str, str]:
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


def parse_combinations(words: list[str]) -> list[tuple[str, str]]:
    """[("3.13", "floor"), ("3.13", "newest")] for 3.13, and one of these for 3.13-floor; ValueError for other words."""
    pairs = []
    for word in words:
        version, _, end = word.partition("-")
        if version not in VERSIONS or end not in ("", *ENDS):
            raise ValueError(f"MATRIX names versions, 3.13, 3.13-floor or 3.13-newest for example; got {word!r}")
        pairs += [(version, name) for name in ENDS if end in ("", name)]
    return pairs


def count_tests(output: str) -> str:
    """What the last line of pytest's output says: "99 passed, 1 skipped" of "99 passed, 1 skipped in 3.21s"."""
    return ", ".join(re.findall(r"\d+ [a-z]+(?=,| in)", output.strip().rpartition("\n")[2]))


class Trial:
    """One environment, and what was seen in it so far, by the names of the table's columns."""

    def __init__(self, python: str, end: str, folder: Path) -> None:
        self.seen: dict[str, str] = {}
        self.end, self.folder, self.bin = end, folder, folder / "venv" / "bin"
        self.python = str(self.bin / "python")
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)

    def run(self, *command: str, check: bool = True, **how: object) -> subprocess.CompletedProcess[str]:
        """The finished command, which saw nothing of this tree; CalledProcessError where it failed."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": "1", "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run(command, check=check, cwd=self.elsewhere, env=environment, text=True, **how)  # type: ignore[call-overload, no-any-return]

    def install(self, *what: str) -> None:
        pip_args = shlex.split(os.environ.get("PIP_ARGS", ""))
        self.run(self.python, "-m", "pip", "install", "-q", *pip_args, *ENDS[self.end], *what)

    def steps(self) -> Iterator[str]:
        """Do all that there is to do, and before each step say its name."""
        yield "install"
        wheel = build_wheel(self.python, self.folder)
        self.install(str(wheel))
        yield "smoke"
        shutil.copy(__file__, self.elsewhere / "smoke.py")
        smoked = self.run(self.python, "-I", "smoke.py", "--smoke", stdout=subprocess.PIPE).stdout.strip()
        self.seen["modules"], _, self.seen["with"] = smoked.rpartition("\n")[2].partition(" ")
        yield "README"
        (self.elsewhere / "readme.py").write_text(readme_code(), "utf-8")
        self.run(self.python, "-I", "readme.py")
        for number, command in enumerate(SHELL, 1):
            yield command
            self.run(*shlex.split(command))
            self.seen["shell commands"] = str(number)
        yield "install the tests"
        self.install(f"{wheel}[test]")
        yield "tests/cli"
        self.run_tests()

    def run_tests(self) -> None:
        """The command line's tests, in a copy that holds neither mrt nor the adapters: they see the wheel's."""
        for name in ("tests", "examples"):
            shutil.copytree(ROOT / name, self.elsewhere / name, ignore=LEFT_OUT)
        shutil.copy(ROOT / "setup.cfg", self.elsewhere)
        command = [self.python, "-m", "pytest", "-q", "-n", str(min(os.cpu_count() or 1, 4)), "tests/cli"]
        done = self.run(*command, check=False, stdout=subprocess.PIPE)
        print(done.stdout, flush=True)
        self.seen["tests/cli"] = count_tests(done.stdout)
        done.check_returncode()


def try_combination(python: str, end: str) -> dict[str, str]:
    """What the table says of one environment: "passed", or at which step it failed, and what was counted until then."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mrt-matrix-", ignore_cleanup_errors=True) as folder:
        trial, step, result = Trial(python, end, Path(folder)), "", "passed"
        try:
            for step in trial.steps():
                print(f"== {step}", flush=True)
        except subprocess.CalledProcessError:
            result = f"failed: {step}"
    return {**trial.seen, "result": result, "seconds": f"{time.monotonic() - start:.0f}"}


def smoke() -> None:
    """In the new environment: every module imports, every export exists, an attack stays in its threat, hosts load.

    Prints how many modules there were, and the versions of what the wheel asks for.
    """
    import importlib
    import pkgutil
    from importlib import metadata

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
    asked = [re.split(r"[^\w.-]", need)[0] for need in metadata.requires("mrt-robust") or () if "extra" not in need]
    print(len(names), ", ".join(f"{name} {metadata.version(name)}" for name in asked))


def main() -> int:
    """0 if every combination asked for passed, else 1."""
    found = find_interpreters()
    wanted = parse_combinations(os.environ.get("MATRIX", "").split() or list(found))
    rows = []
    for version, end in wanted:
        print(f"== Python {version}, {end}: {found.get(version, 'not found')}", flush=True)
        seen = try_combination(found[version], end) if version in found else {"result": "not found"}
        rows.append({"Python": version, "packages": end, **seen})
    for cells in [COLUMNS, ["---"] * len(COLUMNS), *([row.get(name, "-") for name in COLUMNS] for row in rows)]:
        print("|", " | ".join(cells), "|")
    return 0 if rows and all(row["result"] == "passed" for row in rows) else 1


if __name__ == "__main__":
    if "--smoke" in sys.argv:
        smoke()
    else:
        sys.exit(main())
