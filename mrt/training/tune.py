"""A strategy's own setting, chosen by union accuracy on a held-out part of the training data; never on test data."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from mrt import checks
from mrt.config import encode
from mrt.data import order
from mrt.data.images import Data, Images, as_images
from mrt.processes import processes
from mrt.protocols import Threat
from mrt.records import write_file
from mrt.strategies import MSDTraining
from mrt.threats import L1
from mrt.training.fit import fit
from mrt.training.validation import Validation

FACTORS = (0.7, 1.0, 1.4, 2.0, 2.8)  # about a factor of the square root of 2 from one to the next


@dataclass(frozen=True)
class Tuned:
    """The strategy of the best held-out union, and what every one of them reached: clean, each threat, union."""

    strategy: Any
    scores: tuple[tuple[Any, dict[str, float]], ...]

    def __str__(self) -> str:
        names = describe_differences([strategy for strategy, _ in self.scores])
        lines = []
        for name, (strategy, accuracies) in zip(names, self.scores, strict=True):
            star = "*" if strategy == self.strategy else " "
            lines.append(f"{star} union {100 * accuracies['union']:5.1f}  {name}")
        return "\n".join(lines)


def describe_differences(strategies: Sequence[Any]) -> list[str]:
    """Return a text for each strategy: the settings in which it differs from others, or all of it if there are none."""
    settings = [
        {f.name: getattr(s, f.name) for f in fields(s)} if is_dataclass(s) else {"strategy": s} for s in strategies
    ]
    first = settings[0]
    # Compared by their texts: a strategy may hold arrays or networks, which are not simply equal or unequal.
    differing = [name for name in first if any(repr(each.get(name)) != repr(first[name]) for each in settings)]
    texts = []
    for strategy, each in zip(strategies, settings, strict=True):
        texts.append(", ".join(f"{name} {each[name]}" for name in differing if name in each) or repr(strategy))
    return texts


def ratios(strategy: MSDTraining, factors: Sequence[float] = FACTORS) -> list[MSDTraining]:
    """Return the same MSD with the l1 ball's step (without one, the last ball's) times each of the factors."""
    if not isinstance(strategy, MSDTraining):
        raise ValueError(f"only MSDTraining has a ratio of step sizes to choose; got {strategy!r}")
    are_l1 = [isinstance(ball, L1) for ball in strategy.balls]
    which = are_l1.index(True) if True in are_l1 else len(are_l1) - 1
    base = strategy.ratio or (1.0,) * len(are_l1)
    return [replace(strategy, ratio=tuple(r * f if i == which else r for i, r in enumerate(base))) for f in factors]


def tune(
    make: Callable[[], nn.Module],
    strategies: Sequence[Any],
    data: Data,
    *,
    held: float | Data = 0.2,
    threats: Sequence[Threat] | None = None,
    steps: int = 100,
    out: Path | str | None = None,
    seed: int = 0,
    **settings: Any,
) -> Tuned:
    """Train a fresh model of `make()` by each of `strategies`, and judge each under `threats` (None: its own) by APGD
    of so many `steps` on images `held` out: a share of the data, or other data. `settings` are those of `fit`; with
    `out` there is a folder for each, and a killed search goes on."""
    candidates = checks.several("strategies", tuple(strategies), "strategies to choose from")
    # Without types of their own mypy takes the narrower ones of `split_off`.
    training: Data
    held_out: Data
    training, held_out = split_off(data, held, seed) if isinstance(held, (int, float)) else (data, held)
    scores = []
    with processes() as team:
        for number, strategy in enumerate(candidates):
            judge = Validation(held_out, threats, steps=steps, every=10**9)  # at the end alone
            folder = None if out is None else Path(out) / str(number)
            if settings.get("progress", True) and team.first:
                name = describe_differences(candidates)[number]
                print(f"candidate {number + 1} of {len(candidates)}: {name}", file=sys.stderr, flush=True)
            # A candidate that had finished before the search was killed is found finished, and not trained again.
            run = fit(make(), strategy, training, validation=judge, out=folder, seed=seed, **settings)
            names = ("clean", *judge.attacks(strategy), "union")
            scores.append((strategy, {name: run.metrics[-1][name] for name in names}))
        best = max(scores, key=lambda score: score[1]["union"])[0]
        if out is not None and team.first:
            table = [{"strategy": encode(s), "best": s == best, **row} for s, row in scores]
            write_file(Path(out) / "tune.json", lambda file: file.write(f"{json.dumps(table, indent=1)}\n".encode()))
    return Tuned(best, tuple(scores))


def split_off(data: Data, share: float, seed: int) -> tuple[Images, Images]:
    """Return the data without a random `share` of it, and that share."""
    images = as_images(data)
    count = round(checks.number("the held-out share", share, open_low=True, high=1) * len(images))
    if not 0 < count < len(images):
        raise ValueError(f"a held-out share of {share:g} leaves one side of {len(images)} examples empty")
    shuffled = order(len(images), seed=seed, epoch=0)
    return images.take(shuffled[count:]), images.take(shuffled[:count])
