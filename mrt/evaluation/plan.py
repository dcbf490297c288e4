"""How a named battery is written down: threat by threat, each list filled by a function of its paper's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mrt import checks
from mrt.evaluation.battery import Battery, Entry, Foreign, Host, check_battery
from mrt.protocols import Threat
from mrt.threats.radii import radii_of, same_radii

ENTRY = ("threat", "runs", "distances", "column")  # fields of an Entry; no attack of a host has settings of these names


class Plan:
    """The entries for one threat while `fill`, a function of the battery's, lists them, for a model with that many
    classes, of whose answers attacks of ours see the mean of `draws`. `scale` makes every count of steps, restarts and
    queries follow the budget."""

    def __init__(self, fill: Fill, threat: Threat, classes: int, budget: float, draws: int) -> None:
        self.fill, self.threat, self.classes, self.budget, self.draws = fill, threat, classes, budget, draws
        self.entries: list[Entry] = []

    def scale(self, count: int, least: int = 1) -> int:
        """`count` times the budget, but at least `least` where the count itself is: the smallest budget leaves every
        attack something to run."""
        return max(round(count * self.budget), min(least, count))

    def has_radius(self, published: float) -> bool:
        """Whether the threat has that radius of a paper's, at which its rows are shown beside a report."""
        return same_radii(radii_of(self.threat), [published])

    def stride(self, steps: int, size: float) -> dict[str, Any]:
        """The settings `steps` and `step_size`: fewer steps are longer ones, so that the walk reaches as far; but none
        gets longer than the ball is wide, since such a one would only forget where it stood."""
        count = self.scale(steps, 2)
        width = 2 * getattr(self.threat, "eps", math.inf)
        return {"steps": count, "step_size": max(size, min(size * steps / count, width))}

    def add(self, name: str, attack: Any, **fields: Any) -> None:
        """List an attack of ours; `fields` are those of its Entry."""
        self.entries.append(Entry(name, attack, attack.threat, draws=self.draws, **fields))

    def add_parts(self) -> None:
        """List what the battery has for each member of a mixture, which alone may have the whole budget: what breaks a
        member has broken the mixture."""
        for member in getattr(self.threat, "threats", ()):
            alone = Plan(self.fill, member, self.classes, self.budget, self.draws)
            self.fill(alone)
            self.entries += [replace(e, name=f"part-{e.name}", column=self.threat) for e in alone.entries]

    def add_foreign(self, host: Host, name: str, attack: str, **settings: Any) -> None:
        """List a host's attack with the host's settings. Those called as fields of an Entry are its fields."""
        fields: dict[str, Any] = {"threat": self.threat}
        for key in ENTRY:
            if key in settings:
                fields[key] = settings.pop(key)
        self.entries.append(Entry(name, Foreign(host, attack, tuple(sorted(settings.items()))), **fields))


Fill = Callable[[Plan], None]
"""Lists a battery's attacks for the threat of a plan."""


def make_battery(fill: Fill, threats: Sequence[Threat], classes: int, budget: float, draws: int = 1) -> Battery:
    """The battery of what `fill` lists for each threat."""
    checks.count("classes", classes, low=2)
    checks.number("budget", budget, open_low=True)
    entries: list[Entry] = []
    for threat in checks.several("threats", threats, "threats such as Linf(0.3)"):
        plan = Plan(fill, threat, classes, budget, draws)
        fill(plan)
        if not plan.entries:
            raise ValueError(f"no named battery has an attack for {threat!r}; write the Entry(...) yourself")
        entries += plan.entries
    return check_battery(tuple(_number_namesakes(entries)))


def _number_namesakes(entries: list[Entry]) -> list[Entry]:
    """The entries, with a number behind the name of a part that an earlier mixture has, too. Of other entries a name
    that comes twice is a mistake, which `check_battery` refuses."""
    seen: Counter[tuple[str, bool, Threat]] = Counter()
    numbered = []
    for entry in entries:
        if entry.name.startswith("part-"):
            key = (entry.name, isinstance(entry.attack, Foreign), entry.threat)
            seen[key] += 1
            entry = entry if seen[key] == 1 else replace(entry, name=f"{entry.name}#{seen[key]}")
        numbered.append(entry)
    return numbered
