"""AutoAttack on several threats at once, called as AutoAttack itself is called."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.evaluation import Report, evaluate
from mrt.inputs import as_model
from mrt.protocols import Model, Threat
from mrt.threats.projections import per_example


class Union:
    """Union(model, threats).run_standard_evaluation(x, y): each threat's standard AutoAttack (a grid for rotations and
    translations), where an example is robust if it withstands all of them. `report` holds the last result."""

    report: Report

    def __init__(self, model: Model, threats: Sequence[Threat], *, seed: int = 0, verbose: bool = True) -> None:
        self.threats = checks.several("threats", threats, "threats such as Linf(8 / 255)")
        checks.flag("verbose", verbose)
        self.model, self.seed, self.verbose = model, checks.count("seed", seed, low=0), verbose

    def run_standard_evaluation(self, x: Tensor, y: Tensor, *, batch_size: int = 250) -> tuple[Tensor, Tensor]:
        """Return for every example an image that fools the model, or the input if none was found; and the model's
        answers to these images."""
        options = {"batch_size": batch_size, "seed": self.seed, "progress": self.verbose}
        self.report = evaluate(self.model, (x, y), "standard", threats=self.threats, **options)  # type: ignore[arg-type]
        if self.verbose:
            print(self.report)
        x = x / 255 if x.dtype == torch.uint8 else x  # as `evaluate` reads bytes
        fooled = self.report.correct & ~self.report.robust
        x_adv = torch.where(per_example(fooled, x).to(x.device), self.report.worst.to(x), x)
        f, _ = as_model(self.model)
        with torch.no_grad(), crafting(f):
            return x_adv, torch.cat([f(part).argmax(1) for part in x_adv.split(batch_size)])
