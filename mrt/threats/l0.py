"""A number of entries that may change, by any amount."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrt import checks
from mrt.protocols import Rng
from mrt.threats import noise
from mrt.threats.radii import Radii, in_box, perturb


@dataclass(frozen=True, eq=False)
class L0(Radii):
    """At most `count` entries of the image differ; channels are counted separately, as in MSD's evaluation."""

    count: int
    RADII: ClassVar[tuple[str, ...]] = ("count",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", checks.count("count", self.count, low=0))

    @property
    def name(self) -> str:
        return "l0"

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """A perturbation that sets `count` random entries to uniform values."""
        seeds = noise.seeds(rng, x)
        value = noise.uniform(noise.fold(seeds, 0), *x.shape[1:])
        rank = noise.uniform(noise.fold(seeds, 1), *x.shape[1:])  # where the largest of these are is a random set
        return (value - x) * self._chosen(rank)

    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        """The nearest feasible delta: clipped to the box on the entries where that brings it closest, zero
        elsewhere."""
        checks.same_shape("delta", delta, x)
        # How far the box lets each entry go in delta's direction: one whole unit, cut by the box.
        room = delta.sign().add_(x).clamp_(0, 1).sub_(x).abs_()
        clipped = torch.minimum(delta.abs(), room).copysign_(delta)
        # By how much keeping the entry shortens the squared distance to delta, instead of leaving it at zero:
        # delta^2 - (delta - clipped)^2, without its cancellation.
        gain = clipped * (2 * delta - clipped)
        return clipped * self._chosen(gain)

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        return perturb(x, delta)

    def distance(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """(N,), the number of entries that differ."""
        checks.same_shape("x_adv", x_adv, x)
        return (x_adv != x).flatten(1).sum(1)

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        return (self.distance(x, x_adv) <= self.count) & in_box(x_adv)

    def _chosen(self, score: Tensor) -> Tensor:
        """1.0 at the `count` entries of largest score, the first of equals, 0.0 elsewhere; in the shape of score."""
        # Ranks, rather than a threshold, so that ties never let more than `count` entries through; and rather than
        # topk, so that `count` may differ by example.
        flat = score.flatten(1)
        order = flat.sort(dim=1, descending=True, stable=True).indices
        place = torch.empty_like(order).scatter_(
            1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order)
        )
        allowed: int | Tensor = self.count  # a Tensor (N,) in a view that `scaled` has made
        limit = allowed.unsqueeze(1) if isinstance(allowed, Tensor) else allowed
        return (place < limit).to(score.dtype).view_as(score)

    def _radius(self, name: str, factor: float | Tensor) -> int | Tensor:
        """The scaled count, which stays whole: rounded down, but for what rounding took off."""
        share = self.count * factor + 1e-4  # 100 * 0.29 is 28.999999999999996, and means 29
        return share.floor().long() if isinstance(share, Tensor) else int(share)
