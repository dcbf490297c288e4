"""One process at a time writes to a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrt.records import writing

LOCK = ".lock"


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there, while inside. ValueError if a live process holds it already."""
    # A lock of the system's and not the mere presence of a file: a killed process leaves nothing behind.
    with writing(path / LOCK):
        path.mkdir(parents=True, exist_ok=True)
        # Not through a link, which would have a file elsewhere overwritten; and nothing that one could wait for.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened = os.open(path / LOCK, flags, 0o666)
    with os.fdopen(opened, "r+b", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().decode(errors="replace").strip() or "unknown"
            ended = owner.isdigit() and not Path("/proc", owner).exists() and Path("/proc/self").exists()
            state = "which has ended and has left a child that is alive" if ended else "which is alive"
            raise ValueError(f"{path} is in use by process {owner}, {state}") from None
        with writing(path / LOCK):
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
        yield
