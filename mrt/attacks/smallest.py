"""The closest point at which an attack succeeds, by bisection on the radius of each example.

low = 0, high = infinity, t = 1; `probes` times, in each example:
    1. run the attack in the threat with its radii times t
    2. where it succeeds: go back on the straight line towards x as far as the model stays fooled; high = how many
       times the radii that point is away
       where it fails: low = t
    3. t = (low + high) / 2; while nothing was found 2 t, up to `reach`
return the closest point found
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields, is_dataclass
from types import NoneType
from typing import Any, ClassVar

import torch
from torch import Tensor

from mrt import checks
from mrt.attacks.combine import OneAtRandom
from mrt.attacks.iterative import Share
from mrt.crafting.losses import margin
from mrt.crafting.task import Task, open_task
from mrt.crafting.undefined import warn_once
from mrt.protocols import Attack, Model, Rng, Threat
from mrt.threats import noise
from mrt.threats.gauge import gauge, has_gauge
from mrt.threats.projections import per_example
from mrt.threats.radii import perturb

HALVINGS = 10  # of the line from x to a point that was found: to a thousandth of its length
WIDE = 1e-3  # a bracket narrower than this share of its end is not searched any further


@dataclass(frozen=True)
class Smallest:
    """For each image the smallest radius at which `attack` succeeds, and the point that it found there.

    Any attack of ours will do whose threat is a ball or a union of balls, whose radii grow together, and whose steps
    follow the radius (step_size=None). `probes` radii are tried for each image, at most `reach` times the threat's own:
    the attack's passes as many times, and ten passes forward with each. The first radius is the threat's own, with the
    noise that the attack alone would have; so Smallest breaks what it breaks, unless the model's answers are random:
    then a point is believed that one draw called fooled.

    `closest` returns the closest point, wherever it lies within reach, and x where there is none: `evaluate` takes
    distances, their median and the accuracy at every radius from there. A call returns what lies in the threat.
    """

    minimal: ClassVar[bool] = True  # it looks for the closest point, as hosts' attacks may

    attack: Attack
    probes: int = field(default=10, kw_only=True)
    reach: float = field(default=8.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack) or isinstance(self.attack, type):
            raise ValueError(f"Smallest needs an attack such as APGD(L2(1.0)); got {self.attack!r}")
        checks.count("probes", self.probes)
        checks.number("reach", self.reach, low=1)
        if not has_gauge(self.attack.threat):
            raise ValueError(
                f"Smallest needs an attack on a ball (Linf, L2, L1) or a union of balls of a radius above 0; got "
                f"{self.attack!r}"
            )
        with_radii(self.attack, torch.ones(1))  # refuses an attack whose radius cannot change

    @property
    def threat(self) -> Threat:
        return self.attack.threat

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """The closest point where it lies in the threat, else the attack's own result."""
        return self._search(model, x, y, target, rng, start)[1]

    def closest(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """The closest point at which the attack succeeds, within `reach` times the radii; x where there is none."""
        return self._search(model, x, y, target, rng, start)[0]

    def _search(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor | None, rng: Rng, start: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The closest points, and for each example the best that lies in the threat."""
        with warn_once(), open_task(self.threat, margin, (model, x, y, target, rng, start)) as task:
            closest, within = task.x.clone(), task.x.clone()
            low, high = (torch.full((len(x),), end, dtype=torch.float64, device=x.device) for end in (0.0, torch.inf))
            high[task.goal.reached(task.f(task.x))] = 0  # no change at all is needed
            factor = torch.ones_like(low)
            for probe in range(self.probes):
                unfinished = torch.where(high.isinf(), low < self.reach, high - low > WIDE * high)
                rows = unfinished.nonzero().squeeze(1)
                if not len(rows):
                    break
                part = task.at(rows)
                # 1. The attack at that many times the radii, by example; at first with the noise that was given.
                seeds = noise.fold(part.seeds, probe) if probe else part.seeds
                attack = with_radii(self.attack, factor[rows].to(x.dtype))
                options = {"target": part.goal.target, "rng": seeds, "start": part.start if probe == 0 else None}
                found = attack(model, part.x, part.goal.y, **options)
                if not attack.threat.contains(part.x, found).all():
                    raise ValueError(f"Smallest needs an attack that keeps to its threat's radius; got {self.attack!r}")
                if probe == 0:
                    within[rows] = found
                # 2. Where it succeeds the point on the line from x that is just far enough.
                reached = part.goal.reached(task.f(found))
                won = reached.nonzero().squeeze(1)
                if len(won):
                    points = _shorten(part.at(won), found[won])
                    # Each lies within a radius below `high`, and so is closer than the one before.
                    closest[rows[won]], high[rows[won]] = points, gauge(self.threat, part.x[won], points)
                low[rows] = torch.where(reached, low[rows], factor[rows])
                low[low >= high] = 0  # a radius failed, and a larger one led to a point within it
                # 3. The middle of what is left; further out where nothing was found yet.
                factor = torch.where(high.isinf(), (2 * factor).clamp(max=self.reach), (low + high) / 2)
            inside = self.threat.contains(task.x, closest) & high.isfinite()
            return closest, torch.where(per_example(inside, closest), closest, within)


def _shorten(task: Task[Threat], found: Tensor) -> Tensor:
    """The point nearest to x on the line to `found`, a point that reaches the goal, at which the model is still fooled;
    by bisection, as if the line were left only once."""
    delta = found - task.x
    low, high = torch.zeros(len(found), device=found.device), torch.ones(len(found), device=found.device)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        reached = task.goal.reached(task.f(perturb(task.x, per_example(middle, delta) * delta)))
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    shorter = perturb(task.x, per_example(high, delta) * delta)
    return torch.where(per_example(high < 1, found), shorter, found)


def with_radii(attack: Any, factor: Tensor) -> Any:
    """The attack with its threat's radii times `factor`, one number for each example (N,): a view, as `scaled` makes
    one of a threat. Attacks within it, as WorstOf has them, are scaled, too."""
    names = {f.name for f in fields(attack)} & {"threat", "threats", "attacks"} if is_dataclass(attack) else set()
    # Hosts' attacks have a `minimal`, and Smallest itself; OneAtRandom gives a member some rows of the batch alone.
    if not names or hasattr(attack, "minimal") or isinstance(attack, OneAtRandom):
        raise ValueError(f"Smallest can change the radius of attacks of ours, but OneAtRandom's; got {attack!r}")
    lengths = getattr(attack, "step_size", None)
    if any(not isinstance(s, (Share, NoneType)) for s in (lengths if isinstance(lengths, tuple) else (lengths,))):
        raise ValueError(f"Smallest needs steps that follow the radius, step_size=None; got {attack!r}")
    view: Any = copy.copy(attack)
    for name in names:  # one threat or attack, or several
        value = getattr(attack, name)
        several = value if isinstance(value, tuple) else (value,)
        scaled = tuple(v.scaled(factor) if isinstance(v, Threat) else with_radii(v, factor) for v in several)
        object.__setattr__(view, name, scaled if isinstance(value, tuple) else scaled[0])
    return view
