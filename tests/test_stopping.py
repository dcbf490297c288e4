"""mrt/stopping.py: Which signals are noted, whose handlers are left alone, and what is said at the end."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from typing import Any

import pytest

from mrt.stopping import SIGNALS, Stopped, noting_signals
from tests import apart


def kept() -> str:
    return "something is kept"


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_ends_the_program_on_the_way_out(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = handlers()
    with pytest.raises(Stopped) as stopped, noting_signals(kept, speaks=True) as noted:
        noted.stop_if_asked()
        signal.raise_signal(number)
        assert noted.number == number
    assert stopped.value.code == 128 + number and isinstance(stopped.value, SystemExit)
    assert handlers() == before == [signal.SIG_DFL] * 3
    assert capfd.readouterr().err == f"stopped by {signal.Signals(number).name}; something is kept\n"


def test_of_several_processes_one_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped), noting_signals(kept, speaks=False):
        signal.raise_signal(signal.SIGHUP)
    assert capfd.readouterr().err == ""


def test_handlers_are_put_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="mine"), noting_signals(kept, speaks=True):
        raise ValueError("mine")
    assert handlers() == [signal.SIG_DFL] * 3


@pytest.mark.parametrize("mine", [signal.SIG_IGN, lambda number, frame: None])
def test_the_users_own_handlers_are_left_alone(mine: Any) -> None:
    """And with SIG_IGN those of nohup."""
    signal.signal(signal.SIGHUP, mine)
    try:
        with noting_signals(kept, speaks=True) as noted:
            signal.raise_signal(signal.SIGHUP)
            assert noted.number == 0 and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) == mine
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux tells of handlers in C")
def test_a_handler_in_c_is_left_alone() -> None:
    with open(os.devnull, "w") as nothing:
        faulthandler.register(signal.SIGUSR1, nothing)
        try:
            with noting_signals(kept, speaks=True) as noted:
                signal.raise_signal(signal.SIGUSR1)
                assert noted.number == 0
        finally:
            faulthandler.unregister(signal.SIGUSR1)


def test_where_nothing_is_kept_or_in_a_thread_signals_do_what_they_do() -> None:
    found = []

    def look(kept: Any) -> None:
        with noting_signals(kept, speaks=True):
            found.append(handlers())

    look(None)
    thread = threading.Thread(target=look, args=(kept,))
    thread.start()
    thread.join()
    assert found == [[signal.SIG_DFL] * 3] * 2


def test_a_closed_terminal_is_not_written_to() -> None:
    """As when a connection breaks off: what is said then goes to nobody, and the run is kept."""
    code = """if True:
        import os, pty, signal, sys
        from mrt.stopping import noting_signals
        outside, inside = pty.openpty()
        os.dup2(inside, 2)
        os.close(inside)
        with noting_signals(lambda: "", True):
            os.close(outside)
            signal.raise_signal(signal.SIGHUP)
            print("a line of a progress bar", file=sys.stderr, flush=True)
            print("kept")"""
    program = apart.Program(code)
    assert program.wait() == 129 and program.output == "kept\n"


@pytest.mark.parametrize(("how", "says"), [(kept, "something is kept"), (None, "nothing was kept: give --out")])
def test_a_keyboard_interrupt_says_what_was_kept(how: Any, says: str) -> None:
    with pytest.raises(KeyboardInterrupt, match=says), noting_signals(how, speaks=True):
        raise KeyboardInterrupt


def test_a_fork_ends_as_it_always_did() -> None:
    """A worker that brings data, say, whose parent ends it by SIGTERM."""
    code = """if True:
        import os, signal, sys, time
        from mrt.stopping import noting_signals
        with noting_signals(lambda: "", True):
            ready, ends = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(ends, b".")
                time.sleep(20)
                os._exit(7)
            os.read(ready, 1)
            os.kill(child, signal.SIGTERM)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"""
    program = apart.Program(code)
    assert program.wait() == 0 and program.output == "-15\n", program.errors
