"""Several runs of one method, which differ in their seeds: they have a mean if their reports compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrt.evaluation.report.results import Results

Runs = Sequence[tuple[str, Results]]  # a title and a report each


@dataclass(frozen=True, eq=False)
class Method:
    """At least two runs of one method. ValueError unless their reports compare: figures of other images, radii or
    attacks have no mean."""

    name: str
    runs: Runs

    def __post_init__(self) -> None:
        if len(self.runs) < 2:
            raise ValueError(f"the mean ± sd of a method needs two runs or more; {self.name} has {len(self.runs)}")
        (first, report), *others = self.runs
        for title, other in others:
            try:
                report.check_comparable(other)
            except ValueError as error:
                raise ValueError(f"no mean of {self.name} over {first} and {title}: {error}") from None


def group(reports: Runs, methods: Sequence[Method]) -> list[tuple[str, Runs]]:
    """Names and runs: each method with all its runs, where the first of them stands, and every other report alone."""
    groups: list[tuple[str, Runs]] = []
    for title, report in reports:
        owner = next((m for m in methods if any(report is other for _, other in m.runs)), None)
        if owner is None:
            groups.append((title, [(title, report)]))
        elif owner.runs[0][1] is report:
            groups.append((owner.name, owner.runs))
    return groups
