"""What a person sees while a model trains."""

from __future__ import annotations

import math
import sys
from typing import Any

# Columns of the metrics that are no accuracies; all others are, and are shown in percent.
COUNTS = ("epoch", "step", "loss", "lr", "forward", "backward", "seconds", "seconds_judging")


class Progress:
    """Prints a line for each epoch on stderr; on a terminal also a bar over all updates with the loss and the time
    left."""

    def __init__(self, on: bool, total: int, done: int) -> None:
        self.on, self.total, self.began = on, total, done
        self.drawn = on and sys.stderr.isatty()  # in a log file a bar is a thousand lines

    def __enter__(self) -> Progress:
        if self.drawn:
            # Imported late: `import mrt` does without it.
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
        """Show that an update is done, in which epoch, and the latest loss that is known."""
        if self.drawn:
            known = "" if math.isnan(loss) else f", loss {loss:.4f}"  # a GPU's first loss is still under way
            self.bars.update(self.task, advance=1, description=f"epoch {epoch:.2f}{known}")

    def judging(self) -> None:
        """Show that the held-out images are being attacked."""
        if self.drawn:
            self.bars.update(self.task, description="judging held-out images")

    def epoch(self, row: dict[str, float]) -> None:
        """Print the line of an epoch that has ended, from its row of metrics."""
        if self.on:
            accuracies = "".join(f"  {name} {100 * share:.1f}" for name, share in row.items() if name not in COUNTS)
            head = f"epoch {row['epoch']:g}  loss {row['loss']:.4f}  lr {row['lr']:.2g}  {row['seconds']:.1f} s"
            if self.drawn:  # above the bar, which a plain print would break
                self.bars.console.print(head + accuracies, highlight=False, markup=False)
            else:
                print(head + accuracies, file=sys.stderr, flush=True)
