"""The best that models made for single threats achieve: what every union is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrt import checks
from mrt.evaluation.report.metrics import interval
from mrt.evaluation.report.results import Results


@dataclass(frozen=True)
class Optimal:
    """The best that models made for single threats achieve (Tramer and Boneh 2019): `threats`, the best accuracy of any
    of them per threat; `union`, the least of these, which bounds every union; `average`, their mean."""

    threats: dict[str, float]
    n: int  # of examples

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95% interval of each threat's accuracy and of the union."""
        return {k: interval(share, self.n) for k, share in (self.threats | {"union": self.union}).items()}

    @property
    def union(self) -> float:
        """The least of the threats' accuracies, which the union has if all threats' errors fall on the same examples:
        1 - OPT(R_max), where R_max is the worst case over threats."""
        return min(self.threats.values())

    @property
    def average(self) -> float:
        """The mean of the threats' accuracies: 1 - OPT(R_avg)."""
        return sum(self.threats.values()) / len(self.threats)


def optimal(reports: Sequence[Results] | Mapping[str, Results]) -> Optimal:
    """OPT values of several models' reports on the same threats; a mapping names, for each threat, the model that was
    trained for it, and takes that model's column."""
    several = tuple(reports.values()) if isinstance(reports, Mapping) else tuple(reports)
    checks.several("reports", several, "reports")
    # Accuracies on other images, or within other radii, have no best among them.
    for key in ("data", "threats"):
        if any(report.info[key] != several[0].info[key] for report in several):
            raise ValueError(f"the reports differ in their {key}; optimal values need the same for all")
    names = reports if isinstance(reports, Mapping) else several[0].threats
    for name in names:
        checks.choice("threat", name, tuple(several[0].threats))
    if isinstance(reports, Mapping):
        return Optimal({name: report.threats[name] for name, report in reports.items()}, several[0].n)
    return Optimal({name: max(report.threats[name] for report in several) for name in names}, several[0].n)
