"""A run on disk: config.json, metrics.jsonl, checkpoint.pt, best.pt. Whole files at every moment, one owner at a
time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mrt.inputs import read_tensors
from mrt.records import write_file

CONFIG, METRICS, CHECKPOINT, BEST, LOCK = "config.json", "metrics.jsonl", "checkpoint.pt", "best.pt", ".lock"
FREE = ("environment", "checkpoint_every")  # what may differ between the calls of one run


class RunFolder:
    """The folder of one run, written to by the first process alone."""

    def __init__(self, path: Path, first: bool) -> None:
        self.path, self.first = path, first

    @contextmanager
    def lock(self) -> Iterator[None]:
        """ValueError if a live process trains here already. A killed one leaves nothing behind: the system takes its
        lock away."""
        if not self.first:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / LOCK, "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read() or "unknown"
                raise ValueError(f"{self.path} is in use by process {owner}, which is alive") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def open(self, config: dict[str, Any]) -> None:
        """Begin a run, or go on with the same one. ValueError if the folder holds anything else."""
        path = self.path / CONFIG
        try:
            config = json.loads(json.dumps(config))
        except TypeError as error:
            raise ValueError(f"info must hold numbers, strings, lists and dicts: {error}") from error
        if path.is_file():
            then = _read_config(path)
            changed = [line for key in {**config, **then} if key not in FREE for line in _changes(key, then, config)]
            if changed:
                plain = [line for line in changed if not line.startswith("info")]
                raise ValueError(f"{self.path} holds another run: {'; '.join(plain or changed)}. Choose another folder")
            return
        others = [name for name in (METRICS, CHECKPOINT, BEST, "report.json") if (self.path / name).exists()]
        if others:
            raise ValueError(f"{self.path} holds {others[0]} of something else; choose another folder")
        if self.first:
            write_file(path, lambda file: file.write(f"{json.dumps(config, indent=1)}\n".encode()))

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, None before the first."""
        path = self.path / CHECKPOINT
        return _check_checkpoint(path, read_tensors(path)) if path.is_file() else None

    def save(self, state: dict[str, Any]) -> None:
        """The checkpoint, in place of the one before."""
        if self.first:
            _need_plain("checkpoint", state)
            write_file(self.path / CHECKPOINT, lambda file: torch.save({"mrt_run": 1, **state}, file))

    def best(self) -> dict[str, Any]:
        """The best weights so far."""
        weights: dict[str, Any] = read_tensors(self.path / BEST)
        return weights

    def save_best(self, weights: dict[str, Any]) -> None:
        if self.first:
            write_file(self.path / BEST, lambda file: torch.save(weights, file))

    def cut(self, rows: int) -> list[dict[str, float]]:
        """The first `rows` rows of the metrics, which are all that stay in the file."""
        path = self.path / METRICS
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []
        if len(lines) < rows:
            raise ValueError(f"{path} has {len(lines)} rows where the checkpoint knows {rows}; it was changed")
        if self.first and len(lines) > rows:
            write_file(path, lambda file: file.write("".join(lines[:rows]).encode()))
        return [json.loads(line) for line in lines[:rows]]

    def append(self, row: dict[str, float]) -> None:
        """One more row."""
        if self.first:
            path = self.path / METRICS
            try:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise OSError(error.errno, f"cannot write there: {error.strerror}", str(path)) from error


def _changes(key: str, then: Any, now: Any, path: str = "") -> list[str]:
    """Each entry that differs, by its path."""
    old, new = (held.get(key) if isinstance(held, dict) else None for held in (then, now))
    where = f"{path}{key}"
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for inner in {**old, **new} for line in _changes(inner, old, new, f"{where}.")]
    told = ["its default" if held is None and path else repr(held) for held in (old, new)]
    return [] if old == new else [f"{where} was {told[0]}, is {told[1]}"]


def _read_config(path: Path) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no run's configuration: {error}") from error
    return held


def _check_checkpoint(path: Path, held: Any) -> dict[str, Any]:
    if not isinstance(held, dict) or held.get("mrt_run") != 1:
        raise ValueError(f"{path} is no checkpoint of a run")
    return held


def _need_plain(where: str, value: Any) -> None:
    """ValueError unless torch.load(weights_only=True) will read it back."""
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
