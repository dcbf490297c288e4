"""Compiled libraries in the user's cache. To load a library is to run it, and one that was cut off ends the process by
a signal that nothing can catch: so only a whole file that nobody else can have written is loaded."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

COMPILER_SECONDS = 300.0  # for a compiler that takes 3; one that waits for a licence or a dead disk waits for ever
BUILDING = "building-"  # how the folder of a build that is under way is called

Make = Callable[[Path], None]  # writes the library to that path


def load_library(name: str, make: Make) -> ctypes.CDLL:
    """The library of that name from the user's cache, made there first where it is missing, broken or somebody else's;
    where the cache cannot be used, made for this process alone."""
    try:
        return _load_from(_open_cache(), name, make)
    except (OSError, RuntimeError) as error:  # there is no home, nothing can be written there, or it is not safe
        warnings.warn(
            f"the attack steps are compiled for this process alone, since they cannot be kept: {error}",
            RuntimeWarning,
            stacklevel=3,
        )
        with tempfile.TemporaryDirectory() as private:  # what is loaded stays when its file has gone
            return _load_from(Path(private), name, make)


def _open_cache() -> Path:
    """The folder of libraries, cleared of what killed builds have left. PermissionError if others may write there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mrt-robust"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(
            f"{folder} is somebody else's, or others may write there (chmod 700 mends a folder of yours)"
        )
    for left in folder.glob(f"{BUILDING}*"):
        with suppress(FileNotFoundError):  # its build has ended, or another process sweeps as well
            if time.time() - left.stat().st_mtime > COMPILER_SECONDS + 60:  # a living build would have been ended
                shutil.rmtree(left, ignore_errors=True)
    return folder


def run_compiler(command: list[str]) -> str:
    """What the command prints; TimeoutExpired when it has not ended after COMPILER_SECONDS."""
    # In a session of its own, since a compiler is a driver of others, which outlive it unless all are ended together.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as compiler:
        try:
            output, errors = compiler.communicate(timeout=COMPILER_SECONDS)
        except BaseException:  # Ctrl-C, too, of which another session hears nothing
            os.killpg(compiler.pid, signal.SIGKILL)
            raise
    if compiler.returncode:
        raise subprocess.CalledProcessError(compiler.returncode, command, output, errors)
    return output


def _load_from(folder: Path, name: str, make: Make) -> ctypes.CDLL:
    path = folder / name
    if not _is_whole(path):
        _build(path, make)
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # whole, and of another system with the same home
        _build(path, make)
        return ctypes.CDLL(str(path))


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _is_whole(path: Path) -> bool:
    """Whether the library and its checksum are there, nobody else's, and agree."""
    try:
        written = _checksum_path(path).read_text("ascii")
        private = _is_private(path) and _is_private(_checksum_path(path))
        return private and written == hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def _is_private(path: Path) -> bool:
    """Whether nobody but this user, and root, who may do anything, can have written it."""
    status = os.stat(path)
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022


def _build(path: Path, make: Make) -> None:
    """Make the library under another name and move it there when it is on the disk, since others may be making it
    too. Its checksum goes first: a kill in between leaves two that disagree, which is mended by the next build."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=BUILDING) as aside:
        built = Path(aside) / path.name
        make(built)
        checksum = _checksum_path(built)
        checksum.write_text(hashlib.sha256(built.read_bytes()).hexdigest(), "ascii")
        for file in (built, checksum):
            file.chmod(0o600)  # by the umask its group could write it
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        checksum.replace(_checksum_path(path))
        built.replace(path)
