"""What a person sees while an evaluation runs."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """A bar over attacks and one over the batches of the present one, on stderr; one line for each finished attack."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __enter__(self) -> Progress:
        if self.on:
            # Here, so that nobody pays for this import who shows no bar.
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            text = TextColumn("{task.description}")
            columns = (text, BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
            end = TextColumn("{task.fields[note]}")
            self.bars: Any = Bars(
                *columns, TimeRemainingColumn(), end, console=Console(file=sys.stderr), transient=True
            )
            self.attacks_task = self.bars.add_task("attacks", total=None, note="")
            self.batches_task = self.bars.add_task("starting", total=None, note="")
            self.images = 0  # that the present attack has sent through the model
            self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.on:
            self.bars.stop()

    def attack(self, label: str, number: int, count: int, batches: int) -> None:
        """Show that attack `number` of `count` begins, on so many batches."""
        if self.on:
            self.bars.update(self.attacks_task, completed=number, total=count)
            self.bars.reset(self.batches_task, description=label, total=batches, note="")
            self.images = 0

    def passed(self, images: int) -> None:
        """Show that so many images more went through the model: a sign of life within a long batch."""
        if self.on:
            self.images += images
            self.bars.update(self.batches_task, note=f"{self.images:,} model passes")

    def step(self) -> None:
        """Show that a batch is done."""
        if self.on:
            self.bars.advance(self.batches_task)

    def done(self, label: str, left: float) -> None:
        """Show that an attack is done, and the accuracy that it has left."""
        if self.on:
            self.bars.console.print(f"{label:32s} {100 * left:6.1f}% left", highlight=False)
