"""What a person sees while a model trains."""

from __future__ import annotations

import math
import sys
from typing import Any

COUNTS = ("epoch", "step", "loss", "lr", "forward", "backward", "seconds", "seconds_judging")  # no accuracies


class Progress:
    """A line for each epoch, on stderr; on a terminal also a bar over all updates with the loss and the time left."""

    def __init__(self, on: bool, total: int, done: int) -> None:
        self.on, self.total, self.began = on, total, done
        self.drawn = on and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        if self.drawn:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            text, bar, count = TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn()
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self.bars: Any = Bars(text, bar, count, *times, console=Console(file=sys.stderr), transient=True)
            self.task = self.bars.add_task("training", total=self.total, completed=self.began)
            self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.drawn:
            self.bars.stop()

    def update(self, epoch: float, loss: float) -> None:
        """An update is done."""
        if self.drawn:
            known = "" if math.isnan(loss) else f", loss {loss:.4f}"  # a GPU's first loss is still under way
            self.bars.update(self.task, advance=1, description=f"epoch {epoch:.2f}{known}")

    def judging(self) -> None:
        """The held-out images are being attacked."""
        if self.drawn:
            self.bars.update(self.task, description="judging held-out images")

    def epoch(self, row: dict[str, float]) -> None:
        """A row of metrics is done."""
        if self.on:
            told = "".join(f"  {name} {100 * share:.1f}" for name, share in row.items() if name not in COUNTS)
            head = f"epoch {row['epoch']:g}  loss {row['loss']:.4f}  lr {row['lr']:.2g}  {row['seconds']:.1f} s"
            if self.drawn:
                self.bars.console.print(head + told, highlight=False, markup=False)
            else:
                print(head + told, file=sys.stderr, flush=True)
