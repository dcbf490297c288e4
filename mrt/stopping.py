"""How a run that is kept in a folder ends on a signal: where it can be gone on with, and not at once. Schedulers send
SIGTERM or SIGUSR1 some seconds before they kill, and a terminal that is closed sends SIGHUP."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Stopped(SystemExit):
    """The end of a program whose run has kept what it had done when signal `number` came. Its status is 128 plus that
    number, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class NotedSignals:
    """The `number` of the latest signal that has asked this process to end; 0 so far."""

    def __init__(self) -> None:
        self.number, self.process = 0, os.getpid()
        self.terminals = [file for file in (1, 2) if os.isatty(file)]

    def note(self, number: int, frame: FrameType | None) -> None:
        """Be the handler of that signal."""
        if os.getpid() != self.process:  # a fork, of data for instance, which keeps nothing: it ends as it always did
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        for file in self.terminals:
            if not os.isatty(file):  # it was closed: to write there would be an error before all is kept
                with open(os.devnull, "w") as nobody:
                    os.dup2(nobody.fileno(), file)
        self.number = number

    def stop_if_asked(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.number:
            raise Stopped(self.number)


@contextmanager
def noting_signals(kept: Callable[[], str] | None, speaks: bool) -> Iterator[NotedSignals]:
    """Note the signals that come while inside, for whoever is inside to stop at a good moment; Stopped on the way out
    if nobody did. `kept` says what was kept and how to go on, which is printed if this process `speaks`, and is what a
    KeyboardInterrupt says. Where nothing is kept (None), in threads, and where the user has a handler of her own,
    signals do what they always do."""
    noted = NotedSignals()
    alone = threading.current_thread() is threading.main_thread()  # Python allows no other to set handlers
    ours = [number for number in SIGNALS if kept is not None and alone and not _has_handler(number)]
    for number in ours:
        signal.signal(number, noted.note)
    try:
        yield noted
        noted.stop_if_asked()
    except Stopped as stopped:
        if speaks and kept is not None:
            with suppress(OSError):  # the terminal may have gone, which the signal then says
                print(f"stopped by {signal.Signals(stopped.number).name}; {kept()}", file=sys.stderr, flush=True)
        raise
    except KeyboardInterrupt as interrupt:
        interrupt.args = ("nothing was kept: give --out (out=) a folder" if kept is None else kept(),)
        raise
    finally:  # last, so that a second signal does not cut short what is said of the first
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _has_handler(number: int) -> bool:
    """Whether a handler of the user's stands for that signal, or the signal is ignored, as nohup does."""
    if signal.getsignal(number) is not signal.SIG_DFL:
        return True
    # Python knows nothing of handlers in C, such as faulthandler.register's; Linux does.
    status = Path("/proc/self/status")
    caught = [line for line in status.read_text().splitlines() if line.startswith("SigCgt:")] if status.exists() else []
    return bool(caught) and bool(int(caught[0].split()[1], 16) >> (number - 1) & 1)
