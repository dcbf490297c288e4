"""Metrics for TensorBoard, where people have it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any


def need_tensorboard(out: Path | str | None) -> None:
    """ValueError unless there is a folder to write to and something to write with."""
    if out is None:
        raise ValueError("tensorboard=True needs a run folder, out=")
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("tensorboard=True needs the tensorboard package: pip install tensorboard")


class Board:
    """Each column of the metrics as a curve over updates, in FOLDER/tensorboard; nothing without a folder. What a
    broken run drew beyond `step` is taken back."""

    def __init__(self, folder: Path | None, step: int) -> None:
        self.folder, self.step = folder, step

    def __enter__(self) -> Board:
        if self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            make: Any = SummaryWriter
            self.writer = make(str(self.folder / "tensorboard"), purge_step=self.step + 1)
        return self

    def __exit__(self, *error: object) -> None:
        if self.folder is not None:
            self.writer.close()

    def epoch(self, row: dict[str, float]) -> None:
        """A row of metrics is done."""
        if self.folder is not None:
            for name, value in row.items():
                self.writer.add_scalar(name, value, int(row["step"]))
            self.writer.flush()
