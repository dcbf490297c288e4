"""Several small perturbations at once, which share one budget (Tramer and Boneh 2019, affine attacks)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from mrt import checks
from mrt.protocols import Ball, Rng, Threat
from mrt.threats import noise
from mrt.threats.radii import in_box, perturb
from mrt.threats.spatial import RotationTranslation


@dataclass(frozen=True)
class Affine:
    """{r_1 after r_2 after ...: r_j in w_j S_j, w >= 0, sum w <= 1}, for balls S_j, of which the first may be a
    RotationTranslation: pixels change before the image is moved.

    delta is (N, P), one row per example: the weights w, then each member's own perturbation, flattened.
    """

    threats: tuple[Threat, ...]

    def __post_init__(self) -> None:
        members = checks.several("threats", self.threats, "threats")
        allowed = [
            isinstance(t, Ball) or (i == 0 and isinstance(t, RotationTranslation)) for i, t in enumerate(members)
        ]
        if len(members) < 2 or not all(allowed):
            raise ValueError(
                "threats must be two or more balls (Linf, L2, L1), the first of them possibly a RotationTranslation; "
                f"got {self.threats!r}"
            )
        object.__setattr__(self, "threats", members)

    @property
    def name(self) -> str:
        return "affine"

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """Weights uniform on the simplex, then a sample of each scaled member."""
        seeds = noise.seeds(rng, x)
        weights = noise.simplex(noise.fold(seeds, 0), len(self.threats))
        members = self.members(weights)
        return self.pack(weights, [t.sample(x, noise.fold(seeds, 1 + j)) for j, t in enumerate(members)])

    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        """Weights made feasible first, then each perturbation in its own share; not the nearest point."""
        weights, parts = self.unpack(delta, x)
        weights = weights.clamp(min=0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
        return self.pack(weights, [t.project(p, x) for t, p in zip(self.members(weights), parts, strict=True)])

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        _, parts = self.unpack(delta, x)
        moved, pixels = (self.threats[0], parts[1:]) if self.moves else (None, parts)
        changed = perturb(x, torch.stack(pixels).sum(0))
        return changed if moved is None else moved.apply(changed, parts[0])

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        """True where delta is in the set and x_adv is what it makes of x, up to 1e-5."""
        if delta is None:
            raise ValueError(
                "Affine.contains needs delta, as search(...) gives it: x_adv alone does not show the shares"
            )
        checks.same_shape("x_adv", x_adv, x)
        weights, parts = self.unpack(delta, x)
        ok = (weights >= 0).all(1) & (weights.sum(1) <= 1 + 1e-5) & in_box(x_adv)
        for threat, part in zip(self.members(weights), parts, strict=True):
            ok = ok & threat.contains(x, threat.apply(x, part), part)
        return ok & ((self.apply(x, delta) - x_adv).abs() <= 1e-5).flatten(1).all(1)

    def scaled(self, factor: float | Tensor) -> Affine:
        return Affine(tuple(t.scaled(factor) for t in self.threats))

    def at(self, index: Tensor) -> Affine:
        return Affine(tuple(t.at(index) for t in self.threats))

    @property
    def moves(self) -> bool:
        """Whether the first member moves the image."""
        return isinstance(self.threats[0], RotationTranslation)

    def members(self, weights: Tensor) -> list[Threat]:
        """Each threat at its share (N, n) of the budget."""
        return [t.scaled(weights[:, j]) for j, t in enumerate(self.threats)]

    def pack(self, weights: Tensor, parts: list[Tensor]) -> Tensor:
        """Weights (N, n) and each member's perturbation as one delta."""
        return torch.cat([weights, *(p.flatten(1) for p in parts)], 1)

    def unpack(self, delta: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The inverse of `pack`."""
        n = len(self.threats)
        shapes = [(3,) if j == 0 and self.moves else tuple(x.shape[1:]) for j in range(n)]
        sizes = [n, *(prod(s) for s in shapes)]
        if delta.shape != (x.shape[0], sum(sizes)):
            raise ValueError(f"delta must have shape ({x.shape[0]}, {sum(sizes)}); got {tuple(delta.shape)}")
        weights, *flat = delta.split(sizes, 1)
        return weights, [p.reshape(-1, *s) for p, s in zip(flat, shapes, strict=True)]
