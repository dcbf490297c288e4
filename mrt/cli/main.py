"""Runs the command that was typed, and prints what the user got wrong as one line."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from mrt.checks import printable
from mrt.cli import train_options
from mrt.cli.demo import Demo
from mrt.cli.evaluate import Compare, Evaluate
from mrt.cli.repeat_run import RepeatRun
from mrt.stopping import Stopped

Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[RepeatRun, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Compare, tyro.conf.subcommand("report")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; what the user got wrong is one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    try:
        # The options of `mrt train` depend on the words themselves (the strategy, its attack, the optimizer), which
        # tyro cannot express; all other commands have fixed ones.
        command: Any = train_options.parse_command(words[1:]) if words[:1] == ["train"] else None
        if command is None:
            command = tyro.cli(Command, prog="mrt", args=words)
        command.run()
    except KeyboardInterrupt as interrupt:  # which says what was kept, if it came while something could be
        if os.environ.get("RANK", "0") == "0":  # of several processes the first speaks
            print("; ".join(["interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return 130  # as shells report a command that SIGINT has ended
    except Stopped as stopped:  # which has said so
        return 128 + stopped.number
    # What mrt raises for bad input, for files that are missing, and for a training that diverged; anything else is a
    # bug, whose traceback is wanted.
    except BrokenPipeError:  # who reads what is printed, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
    """Print a warning in place of Python's own way of showing it, which adds the line of code that raised it."""
    if category is not UserWarning:  # our own stand under the table already
        print(f"{category.__name__}: {printable(str(message))}", file=sys.stderr)
