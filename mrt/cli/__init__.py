"""The command line: `mrt demo`, `train`, `evaluate`, `report`; also `python -m mrt.cli`."""

from mrt.cli.main import main

__all__ = ["main"]
