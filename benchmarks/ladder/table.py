"""What is printed at the end of a climb, and the size of what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ladder.climb import Outcome
from benchmarks.ladder.context import LOG, RESULTS

LINES = 28  # of figures
FAILURES = 8  # by name
MOST = 15 * 2**20  # bytes of the log


def size(out: Path) -> int:
    """Bytes of figures that are there already."""
    path = out / RESULTS
    return path.stat().st_size if path.is_file() else 0


def figures_of(out: Path, since: int = 0) -> list[dict[str, Any]]:
    """Every figure that was written from that byte on."""
    path = out / RESULTS
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_bytes()[since:].decode().splitlines()]


def shown(figures: Sequence[dict[str, Any]], outcomes: Sequence[Outcome]) -> list[str]:
    """The table's lines, 30 at most: figures with a goal first, then others that are to be shown, in the order of the
    rungs; what failed; how the rungs ended."""
    failed = [f["what"] for f in figures if f.get("passed") is False]
    asked = [f for f in figures if f.get("top") and f["value"] is not None]
    first = [f for f in asked if "goal" in f or "at most" in f][:LINES]
    chosen = first + [f for f in asked if not any(f is other for other in first)][: LINES - len(first)]
    lines = [_line(f) for f in figures if any(f is other for other in chosen)]
    names = ", ".join(failed[:FAILURES]) + (f" and {len(failed) - FAILURES} more" if len(failed) > FAILURES else "")
    passed = sum(f.get("passed") is True for f in figures)
    lines.append(f"figures: {len(figures)}; passed {passed}, failed {len(failed)}{': ' if failed else ''}{names}")
    ended = {
        s: [str(o.rung.number) for o in outcomes if o.status == s] for s in ("passed", "failed", "killed", "skipped")
    }
    lines.append("rungs: " + "; ".join(f"{status} {' '.join(held) or '-'}" for status, held in ended.items()))
    return lines


def good(figures: Sequence[dict[str, Any]], outcomes: Sequence[Outcome]) -> bool:
    """Did everything pass that was not skipped?"""
    return not any(f.get("passed") is False for f in figures) and all(
        o.status in ("passed", "skipped") for o in outcomes
    )


def cut(out: Path) -> None:
    """The log without its middle, if it is too long to be brought home."""
    path = out / LOG
    if path.is_file() and path.stat().st_size > MOST:
        text = path.read_bytes()
        path.write_bytes(text[: MOST // 2] + b"\n...\n" + text[-MOST // 2 :])


def _line(figure: dict[str, Any]) -> str:
    value = figure["value"]
    said = f"{value:12.4g}" if isinstance(value, (int, float)) else str(value)
    asked = f"at least {figure['goal']:g}" if "goal" in figure else ""
    asked = f"at most {figure['at most']:g}" if "at most" in figure else asked
    mark = {"True": "ok", "False": "MISSED"}.get(str(figure.get("passed")), "") if asked or "passed" in figure else ""
    beside = f"(predicted {figure['predicted']:.4g})" if figure.get("predicted") is not None else ""
    return (
        f"{figure['rung']:2d} {figure['what'][:72]:72s} {said[:40]} {figure['unit']} {beside} {asked} {mark}".rstrip()
    )
