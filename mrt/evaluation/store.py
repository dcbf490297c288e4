"""Results on disk as they are obtained: one file per finished batch, written beside its name and then renamed, so that
a kill at any moment leaves only whole files."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrt.evaluation.tally import FAULTS
from mrt.files import parse_json, read_arrays, read_json
from mrt.locks import lock_folder
from mrt.records import write_file

CONFIG, PARTS = "evaluation.json", "parts"
COUNTS = ("forward", "backward", "undefined", "seconds", "failed", *FAULTS)  # work, and faults
FILES = ("arrays.npz", "index.html", "report.json")  # of a finished evaluation, in the order they are written


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one attack did to one batch of n examples, on the CPU. `kept`: positions in the batch whose image and its
    loss are kept, as worst so far or for the pictures. `counts` are work and faults; `why`: the last failure."""

    index: Tensor  # int64 (n,): the examples' places in the data
    broken: Tensor  # bool (n,)
    distance: Tensor  # float64 (n,)
    kept: Tensor  # int64 (k,)
    images: Tensor  # (k, C, H, W)
    loss: Tensor  # (k,)
    counts: dict[str, float]
    why: str = ""

    def is_of(self, index: Tensor, shape: tuple[int, ...]) -> bool:
        """Whether it is of these examples, of images of that shape, and holds what it should."""
        n, k = len(index), len(self.kept)
        whole = self.index.dtype == torch.int64 and torch.equal(self.index, index) and isinstance(self.why, str)
        whole &= self.kept.dtype == torch.int64 and not bool(((self.kept < 0) | (self.kept >= n)).any())
        shapes = {"broken": (n,), "distance": (n,), "images": (k, *shape), "loss": (k,)}
        whole &= all(getattr(self, name).shape == size for name, size in shapes.items())
        kinds = {"broken": torch.bool, "distance": torch.float64, "images": torch.float32, "loss": torch.float32}
        whole &= all(getattr(self, name).dtype == kind for name, kind in kinds.items())
        whole &= isinstance(self.counts, dict) and set(self.counts) == set(COUNTS)
        return whole and all(type(v) in (int, float) and math.isfinite(v) for v in self.counts.values())


class Store:
    """A folder that an evaluation resumes from; nothing is kept where `folder` is None."""

    def __init__(self, folder: Path | str | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.accepted = False  # is it known to be of this evaluation?

    def open(self, config: dict[str, Any], first: bool) -> bool:
        """Start here, or go on with the same evaluation: is it finished? ValueError if the folder holds another one.
        Only the first process writes."""
        if self.folder is None:
            return False
        path = self.folder / CONFIG
        if (self.folder / PARTS).is_symlink():
            raise ValueError(f"{self.folder / PARTS} is a link, and would be written through; choose another folder")
        begun = [name for name in (*FILES, PARTS) if (self.folder / name).exists()]
        # Results without a configuration are of nobody knows what, a saved report for instance: not to be gone on with.
        if begun and not path.is_file():
            raise ValueError(f"{self.folder} holds {begun[0]} of something else; choose another folder")
        if path.is_file():
            earlier = read_json(path, "choose another folder, or remove it and what else is there")
            differ = [key for key in config if not isinstance(earlier, dict) or earlier.get(key) != config[key]]
            if differ:
                raise ValueError(
                    f"{self.folder} holds an evaluation that differs in {', '.join(differ)}; choose another folder"
                )
        elif first:  # the others wait for the first in `gather`
            write_file(path, lambda file: file.write(json.dumps(config, indent=1).encode()))
        self.accepted = True
        return self.is_finished

    @property
    def is_finished(self) -> bool:
        """Whether the folder holds a whole report."""
        return self.folder is not None and all((self.folder / name).is_file() for name in FILES)

    def lock(self, first: bool) -> AbstractContextManager[None]:
        """Hold the folder while inside. ValueError if a live process evaluates here already."""
        # What is finished is only read: by as many as like to, and where nobody may write.
        if self.folder is None or not first or self.is_finished:
            return nullcontext()
        return lock_folder(self.folder)

    def describe_kept(self) -> str:
        """Say how much is kept, and how to go on."""
        if not self.accepted:
            return "nothing was kept yet"
        if self.is_finished:
            return f"{self.folder} holds the finished report"
        assert self.folder is not None
        batches = len(list((self.folder / PARTS).glob("*.npz")))
        return f"{self.folder} keeps {batches} attacked batches: the same command goes on from there"

    def load(self, unit: str, index: Tensor, shape: tuple[int, ...]) -> Outcome | None:
        """The outcome of that unit of work, one attack on the examples `index` of that shape; None if it has not been
        done, or its file holds something else."""
        if self.folder is None or not (self.folder / PARTS / f"{unit}.npz").is_file():
            return None
        try:
            arrays = read_arrays(self.folder / PARTS / f"{unit}.npz", "the work is done again")
            counts, why = parse_json(str(arrays.pop("notes")))
            outcome = Outcome(**{key: torch.from_numpy(a) for key, a in arrays.items()}, counts=counts, why=why)
            return outcome if outcome.is_of(index, shape) else None
        except (ValueError, KeyError, TypeError, RecursionError):  # it cannot be read, or holds other arrays
            return None

    def save(self, unit: str, outcome: Outcome) -> None:
        """Write the outcome of that unit of work, from which `load` reads it."""
        if self.folder is None:
            return
        names = ("index", "broken", "distance", "kept", "images", "loss")
        arrays: dict[str, Any] = {name: getattr(outcome, name).numpy() for name in names}
        # What is no array travels as JSON in one of strings: no pickle, which could not be read without running it.
        arrays["notes"] = np.array(json.dumps([outcome.counts, outcome.why]))
        write_file(self.folder / PARTS / f"{unit}.npz", lambda file: np.savez(file, **arrays))

    def close(self) -> None:
        """Delete the results of single batches, once the report that holds them all is written."""
        if self.folder is not None:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)
