"""Odd uses of a host's attack, each on the host's own class and on ours of the same name, and what became of both.

A use is a function of a `Side`; what it returns, or raises, is put in one line, and two lines are compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eagerpy as ep
import torch
from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """What became of a use: its `text`; what of it a script would notice (`form`); how many images were fooled."""

    text: str
    form: str
    fooled: int | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Row:
    """A use, and what the host and we make of it."""

    use: str
    host: Outcome
    ours: Outcome

    @property
    def verdict(self) -> str:
        """ "same", "both refuse", "ours runs", "ours refuses", or "differs": both run, but a script would notice."""
        if self.ours.error is not None:
            return "ours refuses" if self.host.error is None else "both refuse"
        if self.host.error is not None:
            return "ours runs"
        weaker = self.host.fooled is not None and (self.ours.fooled or 0) < self.host.fooled - 1
        return "differs" if weaker or self.host.form != self.ours.form else "same"


def watch(use: Callable[[Any], Any], side: Any) -> Outcome:
    """Run the use, and describe what came out."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = use(side)
        except Exception as error:  # whatever it is, it is what is looked for
            line = " ".join(str(error).split())
            return Outcome(f"{type(error).__name__}: {line}"[:150], "error", error=error)
    fooled = None
    if isinstance(result, tuple) and len(result) == 3 and isinstance(raw_of(result[2]), Tensor):
        fooled = int(raw_of(result[2]).sum())
    form = describe(result)
    return Outcome(form if fooled is None else f"{form}, {fooled} fooled", form, fooled)


def raw_of(value: Any) -> Any:
    return value.raw if isinstance(value, ep.Tensor) else value


def describe(value: Any) -> str:
    """Kinds, shapes and types, and of other values what they say."""
    if isinstance(value, tuple) and len(value) == 3 and not isinstance(value[0], (int, float, str)):
        return f"raw {describe(value[0])}, success {describe(value[2])}"
    if isinstance(value, (list, tuple)) and value and isinstance(raw_of(value[0]), Tensor):
        return f"{type(value).__name__} of {len(value)} {describe(value[0])}"
    raw = raw_of(value)
    if isinstance(raw, Tensor):
        kind = "ep " if raw is not value else ""
        odd = "" if raw.dtype == torch.bool or bool(raw.isfinite().all()) else " NaN"
        grad = " grad" if raw.requires_grad else ""
        return f"{kind}{str(raw.dtype).removeprefix('torch.')} {tuple(raw.shape)}{odd}{grad}"
    return repr(value)


def name(row: Row) -> str:
    """The use without the class that it is made of."""
    return row.use.rpartition(": ")[2]


def unexplained(rows: list[Row], known: dict[str, str]) -> list[Row]:
    """The rows in which a script would notice a difference that is not in the list, or an error that is none of its
    own kind, or longer than a line."""
    return [
        row
        for row in rows
        if (row.verdict in ("differs", "ours refuses") and name(row) not in known)
        or (row.ours.error is not None and not _is_plain(row.ours.error))
    ]


def _is_plain(error: BaseException) -> bool:
    plain = isinstance(error, (ValueError, TypeError, NotImplementedError, AttributeError))
    return plain and "\n" not in str(error).strip()


def print_table(rows: list[Row], known: dict[str, str]) -> None:
    """Print a line for each use, and how many there are of each verdict."""
    for row in rows:
        print(f"{row.use:44} {row.verdict:13} host: {row.host.text[:70]:70} ours: {row.ours.text[:110]}")
        if name(row) in known and row.verdict in ("differs", "ours refuses"):
            print(f"{'':44} {known[name(row)]}")
    verdicts = [row.verdict for row in rows]
    counts = ", ".join(f"{v}: {verdicts.count(v)}" for v in sorted(set(verdicts)))
    print(f"{len(rows)} uses; {counts}")
