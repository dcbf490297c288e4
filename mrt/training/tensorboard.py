"""Metrics for TensorBoard, which is not installed with mrt."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any


def need_tensorboard(out: Path | str | None) -> None:
    """Raise a ValueError unless there is a folder to write to and something to write with."""
    if out is None:
        raise ValueError("tensorboard=True needs a run folder, out=")
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("tensorboard=True needs the tensorboard package: pip install tensorboard")


class Board:
    """Draws each column of the metrics as a curve over updates, in FOLDER/tensorboard; nothing without a folder.

    `step` is the number of updates that are done when it begins; `told` is called with each row as well.
    """

    def __init__(self, folder: Path | None, step: int, told: Callable[[dict[str, float]], None] | None = None) -> None:
        self.folder, self.step, self.told = folder, step, told

    def __enter__(self) -> Board:
        if self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            make: Any = SummaryWriter  # torch gives it no types
            # What a killed run drew beyond its last checkpoint is taken back: it will be drawn again.
            self.writer = make(str(self.folder / "tensorboard"), purge_step=self.step + 1)
        return self

    def __exit__(self, *error: object) -> None:
        if self.folder is not None:
            self.writer.close()

    def epoch(self, row: dict[str, float]) -> None:
        """Draw the row of metrics of an epoch that has ended."""
        if self.told is not None:
            self.told(dict(row))
        if self.folder is not None:
            for name, value in row.items():
                self.writer.add_scalar(name, value, int(row["step"]))
            self.writer.flush()  # a person watches while it trains
