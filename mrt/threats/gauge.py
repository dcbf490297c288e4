"""By what factor a ball, or a union of balls, must grow until it reaches a point: the one number by which Foolbox and
ART can judge a union, which has a radius for each of its balls."""

from __future__ import annotations

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
