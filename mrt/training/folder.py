"""A run on disk: config.json, metrics.jsonl, checkpoint.pt, best.pt. The files are whole at every moment, and a single
process owns them at a time."""

from __future__ import annotations

import json
import math
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from mrt.files import read_json, read_rows
from mrt.locks import lock_folder
from mrt.records import fingerprint, write_file, write_tensors, writing
from mrt.weights import is_tagged, read_tensors

CONFIG, METRICS, CHECKPOINT, BEST = "config.json", "metrics.jsonl", "checkpoint.pt", "best.pt"
FREE = ("environment", "checkpoint_every")  # what may differ between the calls of one run
OTHER = "choose another folder"


class RunFolder:
    """The folder of one run, written to by the first process alone."""

    def __init__(self, path: Path, first: bool) -> None:
        self.path, self.first = path, first

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder while inside. ValueError if a live process trains here already."""
        return lock_folder(self.path) if self.first else nullcontext()

    def describe_kept(self) -> str:
        """Say up to which update the run is kept, and how to go on."""
        checkpoint = self.load()
        if checkpoint is None:
            return f"nothing was kept in {self.path} yet"
        return f"{self.path} is kept up to update {checkpoint['step']}: the same command goes on from there"

    def open(self, config: dict[str, Any]) -> None:
        """Begin a run, or go on with the same one. ValueError if the folder holds anything else."""
        path = self.path / CONFIG
        try:
            config = json.loads(json.dumps(config))  # as it will be read back, with lists for tuples
        except TypeError as error:
            raise ValueError(f"info must hold numbers, strings, lists and dicts: {error}") from error
        if path.is_file():
            then = read_json(path, OTHER)
            if not isinstance(then, dict):
                raise ValueError(f"{path} is no run's configuration: {OTHER}")
            keys = [key for key in {**config, **then} if key not in FREE]
            changed = [line for key in keys for line in _list_changes(key, then, config)]
            if changed:
                # `info` repeats the command line: where a setting itself has changed, that says it better.
                plain = [line for line in changed if not line.startswith("info")]
                raise ValueError(f"{self.path} holds another run: {'; '.join(plain or changed)}. Choose another folder")
            return
        others = [name for name in (METRICS, CHECKPOINT, BEST, "report.json") if (self.path / name).exists()]
        if others:
            raise ValueError(f"{self.path} holds {others[0]} of something else; choose another folder")
        if self.first:
            write_file(path, lambda file: file.write(f"{json.dumps(config, indent=1)}\n".encode()))

    def load(self) -> dict[str, Any] | None:
        """Return the last checkpoint, None before the first."""
        path = self.path / CHECKPOINT
        return _check_checkpoint(path, read_tensors(path)) if path.is_file() else None

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint in place of the one before."""
        if self.first:
            _need_plain("checkpoint", state)  # now, while it can be mended, and not when the run is to go on
            write_tensors({"mrt_run": 1, **state}, self.path / CHECKPOINT)

    def best(self) -> dict[str, Any]:
        """Return the best weights so far."""
        weights: dict[str, Any] = read_tensors(self.path / BEST)
        return weights

    def save_best(self, weights: dict[str, Any]) -> None:
        """Write the best weights so far in place of those before."""
        if self.first:
            write_tensors(weights, self.path / BEST)

    def cut(self, rows: int, digest: str) -> list[dict[str, float]]:
        """Return the first `rows` rows of the metrics, which have that digest and are all that stay in the file."""
        # A killed run may have written rows after its last checkpoint; the resumed one writes them again.
        path = self.path / METRICS
        held = read_rows(path, OTHER) if path.exists() else []
        kept = held[:rows]
        if len(held) < rows:
            raise ValueError(f"{path} has {len(held)} rows where the checkpoint knows {rows}; it was changed")
        if digest_rows(kept) != digest:
            raise ValueError(f"{path} has other rows than the checkpoint knows; it was changed: {OTHER}")
        text = "".join(f"{json.dumps(row)}\n" for row in kept).encode()
        if self.first and path.exists() and path.stat().st_size > len(text):
            write_file(path, lambda file: file.write(text))
        return kept

    def append(self, row: dict[str, float]) -> None:
        """Add a row to the metrics, on the disk when this returns."""
        if self.first:
            path = self.path / METRICS
            with writing(path), open(path, "a", encoding="utf-8", opener=_open_no_link) as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())


def _list_changes(key: str, then: dict[str, Any], config: dict[str, Any], path: str = "") -> list[str]:
    """Return a line for each entry below this key that differs, with its path: "optimizer.lr was 0.1, is 0.2"."""
    old, new = then.get(key), config.get(key)
    where = f"{path}{key}"
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for inner in {**old, **new} for line in _list_changes(inner, old, new, f"{where}.")]
    if old == new:
        return []
    # Within a setting an entry is left out where it has its default; at the top None is a value like others.
    was, is_now = ("its default" if value is None and path else repr(value) for value in (old, new))
    return [f"{where} was {was}, is {is_now}"]


def digest_rows(rows: list[dict[str, float]]) -> str:
    """Return what tells these rows of metrics from any others."""
    return fingerprint(*map(json.dumps, rows))


def _check_checkpoint(path: Path, checkpoint: Any) -> dict[str, Any]:
    if not is_tagged(checkpoint, "mrt_run"):
        raise ValueError(f"{path} is no checkpoint of a run")
    kinds = {"step": int, "rows": int, "digest": str, "rates": list, "best": float, "sums": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(checkpoint.get(name), kind)]
    if wrong:
        raise ValueError(
            f"{path} is of another version of mrt, or no checkpoint: it has no {', '.join(wrong)}; {OTHER}"
        )
    sums = checkpoint["sums"]
    plain = all(
        type(value) in (int, float) and math.isfinite(value) for value in [*checkpoint["rates"], *sums.values()]
    )
    counts = [checkpoint["step"], checkpoint["rows"], *(sums[name] for name in sums if name != "loss")]
    if not plain or min(counts) < 0:
        raise ValueError(f"{path} counts what cannot be counted: its step, rows, rates or sums are no such numbers")
    held: dict[str, Any] = checkpoint
    return held


def _open_no_link(path: str, flags: int) -> int:
    """Open a file that is to be written to, and never what a link of its name leads to."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _need_plain(where: str, value: Any) -> None:
    """Raise a ValueError unless torch.load(weights_only=True) will read the value back."""
    # Anything else would be read by an unpickler that runs code, and a checkpoint may come from somebody else.
    if isinstance(value, dict):
        for key, part in value.items():
            _need_plain(f"a key of {where}", key)
            _need_plain(f"{where}.{key}", part)
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            _need_plain(f"{where}[{i}]", part)
    elif value is not None and type(value) not in (bool, int, float, str) and not isinstance(value, torch.Tensor):
        raise ValueError(
            f"{where} is a {type(value).__name__}; a checkpoint holds tensors, numbers, strings, lists and dicts"
        )
