"""Reports of no model, made by hand, for tests of what is made of reports."""

from __future__ import annotations

from typing import Any

import torch

from mrt.evaluation import Report
from mrt.evaluation.report.results import Samples
from tests.support import torch_seed


def made_report(seed: int, n: int = 40, **info: Any) -> Report:
    """What an attack in linf and one in l2 might have left of n examples; `info` replaces what it holds otherwise."""
    g = torch_seed(seed)
    threats = {"linf": "Linf(eps=0.2)", "l2": "L2(eps=0.7)"}
    work: dict[str, Any] = {
        "closest": False,
        "failed": 0,
        "forward": 400,
        "backward": 400,
        "undefined": 0,
        "seconds": 1.0,
    }
    attacks = {f"pgd-{name}": {"threat": threats[name], **work} for name in threats}
    held: dict[str, Any] = {"cascade": False, "data": "these", "threats": threats, "attacks": attacks, "name": "own"}
    held |= {"battery": [["pgd", "PGD"]], "radii": {"linf": [0.2], "l2": [0.7]}}
    report = Report(torch.rand(n, generator=g) < 0.9, torch.zeros(n, 1, 2, 2), held | info)
    for name in threats:
        label = f"pgd-{name}"
        report.columns[label], report.ran[label] = name, report.correct.clone()
        report.masks[label] = report.correct & (torch.rand(n, generator=g) < 0.6)
        report.samples[label] = Samples(*[torch.zeros(0)] * 5)
    return report
