"""The best that the runs of one attack did on one batch, and which of two images is the worse for the model."""

from __future__ import annotations

import torch
from torch import Tensor

from mrt.evaluation.judge import Verdict
from mrt.hosts.hosted import Attempt

FAULTS = ("nan", "black", "box", "outside")  # answers that do not count: the judge's kinds, and a host's black image


class Tally:
    """What the runs of an attack on one batch come to: per example (N,) the worst image with its loss, whether any run
    broke it, and the smallest distance; over the batch, counts of faulty answers."""

    def __init__(self, x: Tensor) -> None:
        self.image = x.clone()  # (N, C, H, W)
        self.loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        self.counts: dict[str, float] = dict.fromkeys(FAULTS, 0)
        self.failed = torch.ones(len(x), dtype=torch.bool, device=x.device)  # in every run, so one that works clears it
        self.why = ""

    def add(self, rows: Tensor, attempt: Attempt, verdict: Verdict, minimal: bool) -> None:
        """Count one run on the examples `rows` of the batch; `minimal` says that it searched for the closest point."""
        better = beats(verdict.loss, verdict.broken, self.loss[rows], self.broken[rows])
        improved = rows[better]
        self.image[improved] = attempt.found.to(self.image)[better]
        self.loss[improved] = verdict.loss[better]
        # A later run that fails takes nothing back from an earlier one that broke the example.
        self.broken[rows] |= verdict.broken
        self.distance[rows] = torch.minimum(self.distance[rows], verdict.distance)
        for name, count in verdict.faults.items():
            # The closest misclassified point may lie beyond the radius: then the example stands, but nobody erred.
            if not (minimal and name == "outside"):
                self.counts[name] += count
        # Answers that a host's shelter took out before the judge could see them.
        for name, count in attempt.empty.items():
            self.counts[name] += count
        self.failed[rows] &= attempt.failed
        self.why = attempt.why or self.why


def beats(loss: Tensor, broken: Tensor, other: Tensor, other_broken: Tensor) -> Tensor:
    """bool (N,): fooling the model beats not fooling it, then the larger loss; ties keep the earlier."""
    return (broken & ~other_broken) | ((broken == other_broken) & (loss > other))
