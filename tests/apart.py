"""Programs in processes of their own, each a fork of one that has imported torch, mrt and the hosts and run nothing.

Importing them takes some seconds of every process, a fork nothing. Whatever must be seen from the first import on needs
`subprocess` instead.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ALL_QUERIES = 0
"""Of the random search with which an evaluation looks for gradient masking, as users have it; set by conftest.py."""
QUERIES = 20
"""Of the random search with which an evaluation looks for gradient masking, where that is not what a test is about."""

FEWER = """if True:
    import mrt, mrt.data, mrt.evaluation.reliability
    mrt.evaluation.reliability.QUERIES = 20
    try:
        import pyautoattack
        from tests.apart import in_few_steps
        pyautoattack.AutoAttack.__init__ = in_few_steps(pyautoattack.AutoAttack.__init__)
    except ModuleNotFoundError:
        pass  # a program may stand in a folder of its own, without the tests

    def digits(split="train", of=mrt.data.digits):
        return of(split).take(320)

    def evaluate(model, data, battery="quick", *, of=mrt.evaluate, **how):
        shorter = {"budget": 0.03} if isinstance(battery, str) else {}
        return of(model, data, battery, **{**how, **shorter})

    mrt.data.digits, mrt.evaluate = digits, evaluate
"""
"""What may stand before a program of a user's: it calls the same functions, on fewer images and with fewer steps."""


def in_few_steps(made: Callable[..., None]) -> Callable[..., None]:
    """The constructor of AutoAttack, which asks for 100 steps of its gradient attacks, asking for 10."""

    @wraps(made)
    def shorter(self: Any, *given: Any, **how: Any) -> None:
        made(self, *given, **how)
        for part in (self.apgd, self.apgd_targeted, self.fab):
            part.n_iter = part.n_iter_orig = 10  # the second is what APGD divides among its radii in l1

    return shorter


class Program:
    """A program that runs. Its output lies in two files until it has ended."""

    def __init__(self, code: str, *arguments: object, cwd: Path = ROOT, paths: tuple[Path, ...] = ()) -> None:
        folder = Path(tempfile.mkdtemp(dir=_folder()))
        self._said = [folder / name for name in ("out", "err")]
        request = {"code": code, "arguments": [str(a) for a in arguments], "cwd": str(cwd)}
        request |= {"paths": [str(path) for path in paths], "files": [str(path) for path in self._said]}
        self.pid = int(_ask({"start": request}))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal, as soon as it has one."""
        if self.returncode is None:
            answer = _ask({"wait": self.pid, "how": os.WNOHANG})
            self.returncode = None if answer is None else int(answer)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> int:
        """Until it has ended; what takes longer than 900 seconds hangs."""
        end = time.monotonic() + 900
        while self.poll() is None:
            assert time.monotonic() < end, f"it hangs: {self.output}"
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    @property
    def output(self) -> str:
        return self._said[0].read_text("utf-8") if self._said[0].is_file() else ""

    @property
    def errors(self) -> str:
        return self._said[1].read_text("utf-8") if self._said[1].is_file() else ""


def module(name: str) -> str:
    """The code of `python -m name`."""
    return f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"


def script(path: Path) -> str:
    """The code of `python path`."""
    return f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')"


def team(code: str, folder: Path, *arguments: object) -> list[Program]:
    """Two programs of one code, joined as processes of one group, as torchrun would have; each finds its `rank`."""
    join = f"""if True:
        import os, sys, torch.distributed as dist
        rank = int(sys.argv.pop())
        os.environ["RANK"] = str(rank)
        store = {str(Path(tempfile.mkdtemp(dir=folder)) / "store")!r}
        dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
    """
    return [Program(f"{join}\n{code}", *arguments, rank) for rank in range(2)]


@lru_cache
def _folder() -> str:
    """Of what the programs say."""
    return tempfile.mkdtemp(prefix="apart-")


@lru_cache
def _parent() -> subprocess.Popen[str]:
    """The process that forks, one for each process of tests. It ends with it."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GIT_PYTHON_REFRESH": "quiet"}
    command = [sys.executable, "-m", "tests.apart"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=-1, stdout=-1, text=True, bufsize=1)


def end() -> None:
    """Of the process that forks, where there is one."""
    if _parent.cache_info().currsize:
        _parent().communicate()
        shutil.rmtree(_folder())
        _parent.cache_clear()
        _folder.cache_clear()


def _ask(request: dict[str, Any]) -> Any:
    parent = _parent()
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.write(json.dumps(request) + "\n")
    return json.loads(parent.stdout.readline())


def _serve() -> str:
    """In the process that forks: answers each line; in a fork it returns the program that is to run there."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    # The hosts, and not our adapters: that these are imported when they are needed is for a program to show.
    import art.attacks.evasion
    import art.estimators.classification
    import foolbox  # noqa: F401
    import pyautoattack  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    import mrt.cli  # noqa: F401
    from mrt.evaluation import reliability

    del art
    torch.set_num_threads(1)
    reliability.QUERIES = QUERIES
    gc.collect()
    gc.freeze()  # else the first collection in a fork would go through all imports, and copy their memory
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], request["how"])
            answers.write(json.dumps(os.waitstatus_to_exitcode(status) if pid else None) + "\n")
            continue
        wanted = request["start"]
        pid = os.fork()
        if pid:
            answers.write(f"{pid}\n")
            continue
        answers.close()
        files = [os.devnull, *wanted["files"]]
        for number, (file, mode) in enumerate(zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
            os.dup2(os.open(file, mode | os.O_CREAT, 0o644), number)
        os.chdir(wanted["cwd"])
        sys.path[:0] = wanted["paths"]
        sys.argv[1:] = wanted["arguments"]
        return str(wanted["code"])
    os._exit(0)


if __name__ == "__main__":
    exec(compile(_serve(), "<program>", "exec"), {"__name__": "__main__"})
