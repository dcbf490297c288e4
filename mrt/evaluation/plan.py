"""How a named battery is written down: threat by threat, each list filled by a function of its paper's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mrt import checks
from mrt.evaluation.battery import Battery, Entry, Foreign, Host, check_battery
from mrt.protocols import Threat

ENTRY = ("threat", "runs", "distances", "column")  # fields of an Entry; no attack of a host has settings of these names


class Plan:
    """The entries for one threat while they are being listed, for a model with that many classes. `scale` makes every
    count of steps, restarts and queries follow the budget."""

    def __init__(self, threat: Threat, classes: int, budget: float) -> None:
        self.threat, self.classes, self.budget = threat, classes, budget
        self.entries: list[Entry] = []

    def scale(self, count: int, least: int = 1) -> int:
        """`count` times the budget, but at least `least` where the count itself is: the smallest budget leaves every
        attack something to run."""
        return max(round(count * self.budget), min(least, count))

    def stride(self, steps: int, size: float) -> dict[str, Any]:
        """The settings `steps` and `step_size`: fewer steps are longer ones, so that the walk reaches as far."""
        count = self.scale(steps, 2)
        return {"steps": count, "step_size": size * max(1.0, steps / count)}

    def add(self, name: str, attack: Any, **fields: Any) -> None:
        """List an attack of ours; `fields` are those of its Entry."""
        self.entries.append(Entry(name, attack, attack.threat, **fields))

    def add_foreign(self, host: Host, name: str, attack: str, **settings: Any) -> None:
        """List a host's attack with the host's settings. Those called as fields of an Entry are its fields."""
        fields: dict[str, Any] = {"threat": self.threat}
        for key in ENTRY:
            if key in settings:
                fields[key] = settings.pop(key)
        self.entries.append(Entry(name, Foreign(host, attack, tuple(sorted(settings.items()))), **fields))


def make_battery(fill: Callable[[Plan], None], threats: Sequence[Threat], classes: int, budget: float) -> Battery:
    """The battery of what `fill` lists for each threat."""
    checks.count("classes", classes, low=2)
    checks.number("budget", budget, open_low=True)
    entries: list[Entry] = []
    for threat in checks.several("threats", threats, "threats such as Linf(0.3)"):
        plan = Plan(threat, classes, budget)
        fill(plan)
        if not plan.entries:
            raise ValueError(f"no named battery has an attack for {threat!r}; write the Entry(...) yourself")
        entries += plan.entries
    return check_battery(tuple(_number_namesakes(entries)))


def _number_namesakes(entries: list[Entry]) -> list[Entry]:
    """The entries, one of ours with its number where another of the same name and threat stands before it: two mixtures
    may have a part in common."""
    seen: Counter[tuple[str, Threat]] = Counter()
    numbered = []
    for entry in entries:
        if entry.column is not None and not isinstance(entry.attack, Foreign):
            key = (entry.name, entry.threat)
            seen[key] += 1
            entry = entry if seen[key] == 1 else replace(entry, name=f"{entry.name}#{seen[key]}")
        numbered.append(entry)
    return numbered
