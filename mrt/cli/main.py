"""From what was typed to a command that runs, and what the user got wrong as one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from mrt.cli import train_options
from mrt.cli.demo import Demo
from mrt.cli.evaluate import Compare, Evaluate

Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[train_options.RepeatRun, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Compare, tyro.conf.subcommand("report")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's exit status; what the user got wrong is one line on stderr."""
    sys.path.insert(0, os.getcwd())  # where package.module:factory may be
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _shown
    try:
        command: Any = train_options.parse_command(given[1:]) if given[:1] == ["train"] else None
        if command is None:
            command = tyro.cli(Command, prog="mrt", args=given)
        command.run()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here if it has --out", file=sys.stderr)
        return 130
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _shown(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Our own warnings stand under the table already."""
    if category is not UserWarning:
        print(f"{category.__name__}: {message}", file=sys.stderr)
