"""By what factor a ball, or a union of balls, must grow until it reaches a point: the one number by which Foolbox and
ART can judge a union, which has a radius for each of its balls, and the distance of a point from an image in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mrt.protocols import Ball, Threat
from mrt.threats.union import AnyOf


def gauge(threat: Threat, x: Tensor, x_adv: Tensor) -> Tensor:
    """(N,), float64: distance / eps for a ball, the least of them for a union. At most 1 within the threat, and
    homogeneous: half of a perturbation has half the gauge. The box is not looked at; images may have any range that
    the radii are meant in."""
    if isinstance(threat, AnyOf):
        return torch.stack([gauge(t, x, x_adv) for t in threat.threats]).amin(0)
    if not isinstance(threat, Ball):
        raise ValueError(f"only balls (Linf, L2, L1) and their unions have a gauge; got {threat!r}")
    distance = threat.distance(x, x_adv)
    # At eps = 0 an unmoved example would be 0 / 0; one that moved is infinitely far out.
    return torch.where(distance > 0, distance / threat.eps, 0.0)


def has_gauge(threat: object) -> bool:
    """Whether the threat is a ball, or a union of balls, and of radii above 0."""
    if isinstance(threat, AnyOf):
        return all(has_gauge(t) for t in threat.threats)
    return isinstance(threat, Ball) and not isinstance(threat, type) and float(threat.eps) > 0


def has_distance(threat: object) -> bool:
    """Whether a point has a distance in the threat: in a norm's ball, by number of entries, or in a union of balls."""
    return hasattr(threat, "distance") or (isinstance(threat, AnyOf) and has_gauge(threat))


def distance(threat: Any, x: Tensor, x_adv: Tensor) -> Tensor:
    """(N,): the length of x_adv - x in the threat's norm; in a union of balls, which has several, the gauge."""
    measured: Tensor = gauge(threat, x, x_adv) if isinstance(threat, AnyOf) else threat.distance(x, x_adv)
    return measured


def bound(threat: object) -> float:
    """The largest distance within the threat: a ball's radius, l0's number of entries, 1 in a union of balls, infinity
    for any other."""
    if isinstance(threat, AnyOf) and has_gauge(threat):
        return 1.0
    return float(getattr(threat, "eps", getattr(threat, "count", torch.inf)))
