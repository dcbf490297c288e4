"""MSD as a Foolbox attack on a union of balls, and a Foolbox distance that measures how far a point is from an image
when several balls are allowed."""

from __future__ import annotations

from typing import Any

import eagerpy as ep
from foolbox.distances import Distance

import mrt
from mrt import checks
from mrt.attacks.iterative import Share
from mrt.attacks.sparsity import Keep
from mrt.crafting.losses import Chosen
from mrt.fast import Fast
from mrt.protocols import Attack, Ball
from mrt.threats.gauge import gauge
from mrt_foolbox.attack_base import Native
from mrt_foolbox.calls import Call
from mrt_foolbox.one_ball import check_fast
from mrt_foolbox.radii import Radius, check_radii, make_balls


class Union(Distance):
    """The smallest factor by which all the balls must grow until one of them reaches the point: 1 is their union's
    edge, and a list of `epsilons` is a curve along it. Radii are in the images' own units."""

    def __init__(self, balls: tuple[Ball, ...]) -> None:
        self.threat = mrt.AnyOf(balls)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Union) and self.threat == other.threat

    def __hash__(self) -> int:
        return hash(self.threat)

    def __repr__(self) -> str:
        return f"Union({', '.join(f'{t.name}={t.eps:g}' for t in self.threat.threats)})"  # type: ignore[attr-defined]

    def __call__(self, references: Any, perturbed: Any) -> Any:
        (x, x_adv), restore = ep.astensors_(references, perturbed)
        return restore(ep.astensor(gauge(self.threat, x.raw, x_adv.raw).to(x.raw.dtype)))

    def clip_perturbation(self, references: Any, perturbed: Any, epsilon: float) -> Any:
        """Return the perturbed images, shrunk towards the references until their distance is at most epsilon."""
        (x, x_adv), restore = ep.astensors_(references, perturbed)
        size = gauge(self.threat, x.raw, x_adv.raw).reshape(-1, *[1] * (x.ndim - 1))  # (N, 1, 1, 1)
        moved = x.raw + (x_adv.raw - x.raw) * (epsilon / size).clamp(max=1).to(x.raw.dtype)
        # What lies inside already is returned as it is: x + (x_adv - x) would round its pixels.
        return restore(ep.astensor(moved.where(size > epsilon, x_adv.raw)))


class MSD(Native):
    """Multi steepest descent over a union of balls [#Mai20]_; the best point of the path. `epsilons` are factors of the
    radii: 1 is the union, a list is a curve.

    Args:
        linf: Radius of the linf ball, in the units of the model's bounds; "usual" is 8/255 times their width (l2: 0.5,
            l1: 12), and None leaves the ball out.
        steps: Number of update steps.
        rel_stepsize: Stepsize relative to each radius, by default 2.5 / steps.
        keep: The entries that an l1 step moves: a count, a quantile of the gradient, or a range of either; by default
            half to twice as many as the l1 radius can move across the bounds.
        random_start: Whether to start at a random point of the union.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        fast: How the model and the steps are run, see `mrt.Fast`.

    References:
        .. [#Mai20] Pratyush Maini, Eric Wong, Zico Kolter, "Adversarial Robustness Against the Union of Multiple
            Perturbation Models", https://arxiv.org/abs/1909.04068
    """

    _width = 1.0

    def __init__(
        self,
        *,
        linf: Radius = "usual",
        l2: Radius = "usual",
        l1: Radius = "usual",
        steps: int = 50,
        rel_stepsize: float | None = None,
        keep: Keep | None = None,
        random_start: bool = False,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        check_radii(linf=linf, l2=l2, l1=l1)
        if rel_stepsize is not None:
            checks.number("rel_stepsize", rel_stepsize, open_low=True)
        if linf is None and l2 is None and l1 is None:
            raise ValueError("MSD needs a radius of at least one of linf, l2, l1; got None for all")
        self.linf, self.l2, self.l1 = linf, l2, l1
        self.steps, self.rel_stepsize, self.keep = steps, rel_stepsize, keep
        self.random_start, self.loss, self.fast = random_start, loss, check_fast(fast)
        self.attack_for(1.0, 1.0)  # checks what is left: steps, keep, random_start and loss

    @property
    def distance(self) -> Distance:
        """The union's, in the units of the model that was attacked last; of bounds (0, 1) before any was."""
        return Union(make_balls(self, 1.0, self._width))

    def attack_for(self, epsilon: float, width: float) -> Attack:
        self._width = width
        balls: tuple[Any, ...] = tuple(ball.scaled(1 / width) for ball in make_balls(self, epsilon, width))
        sizes = None if self.rel_stepsize is None else tuple(Share(self.rel_stepsize) for _ in balls)
        settings: dict[str, Any] = {"steps": self.steps, "step_size": sizes, "keep": self.keep, "loss": self.loss}
        # "broken": what fools the model comes first, and the loss decides only among such points. Foolbox counts
        # successes, and a point of larger loss that is still classified correctly would not be one.
        settings |= {"restarts": self._runs, "random_start": self.random_start, "best": "broken", "fast": self.fast}
        return mrt.MSD(balls, **settings)

    def _usual_radius(self, call: Call) -> float:
        return 1.0
