"""Seconds told as images a second, and shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

Table = dict[str, dict[str, Any] | str]
"""By row: its figures, or why there are none."""


def told(
    times: dict[str, list[float] | str],
    images: int,
    gflop: Mapping[str, float],
    peak: float | None,
    recorded: Mapping[str, bool] | None = None,
) -> Table:
    """From seconds, by row: images a second, and where GFLOP an image are given TFLOP/s and their share of the peak;
    whether steps were recorded, where a row asks for that."""
    found: Table = {}
    for name, values in times.items():
        if isinstance(values, str):
            found[name] = values
            continue
        speed, spread = images / statistics.median(values), [1000 * min(values), 1000 * max(values)]
        held: dict[str, Any] = {"images/s": speed, "ms": 1000 * images / speed, "range": spread}
        held |= {"recorded": recorded[name]} if recorded is not None and name in recorded else {}
        if name in gflop:
            held |= {"GFLOP an image": gflop[name], "TFLOP/s": speed * gflop[name] / 1e3}
            held |= {"share of peak": speed * gflop[name] / 1e3 / peak} if peak else {}
        found[name] = held
    return found


def show(title: str, found: Table) -> None:
    """Such a table."""
    print(title)
    for name, row in found.items():
        if isinstance(row, str):
            print(f"  {name:26s} {row}")
            continue
        done = f"{row['GFLOP an image']:9.3g} GFLOP each {row['TFLOP/s']:8.3f} TFLOP/s" if "TFLOP/s" in row else ""
        share = f"{100 * row['share of peak']:6.1f}% of peak" if "share of peak" in row else ""
        print(
            f"  {name:26s} {row['images/s']:11.1f} images/s {row['ms']:10.2f} ms {done} {share}"
            + ("" if row.get("recorded", True) else "  NOT RECORDED")
        )
