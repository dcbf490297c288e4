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

    For two members this is the paper's S_affine, with beta = w_1 and 1 - beta = w_2. delta is (N, P), one row per
    example: the weights w, then each member's own perturbation, flattened.
    """

    threats: tuple[Threat, ...]

    def __post_init__(self) -> None:
        members = checks.several("threats", self.threats, "threats")
        # Only the first may be a motion: pixels change before the image is moved, and `apply` does it in that order.
        balls = members[1:] if isinstance(members[0], RotationTranslation) else members
        if len(members) < 2 or not all(isinstance(member, Ball) for member in balls):
            raise ValueError(
                "threats must be two or more balls (Linf, L2, L1), the first of them possibly a RotationTranslation; "
                f"got {self.threats!r}"
            )
        object.__setattr__(self, "threats", members)

    @property
    def name(self) -> str:
        return "affine"

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """A perturbation with weights uniform on the simplex, and a sample of each member at its share."""
        seeds = noise.seeds(rng, x)  # tag 0 is the weights', 1 + j the j-th member's
        weights = noise.simplex(noise.fold(seeds, 0), len(self.threats))
        members = self.members(weights)
        return self.pack(weights, [t.sample(x, noise.fold(seeds, 1 + j)) for j, t in enumerate(members)])

    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        """A feasible perturbation: weights made feasible first, then each member's part projected onto its own share.
        Not the nearest one, which would trade shares for parts."""
        weights, parts = self.unpack(delta, x)
        # Weights of a sum below 1 stay as they are, so that what is feasible already is not changed.
        weights = weights.clamp(min=0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
        return self.pack(weights, [t.project(p, x) for t, p in zip(self.members(weights), parts, strict=True)])

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        _, parts = self.unpack(delta, x)
        if not self.moves:
            return perturb(x, torch.stack(parts).sum(0))
        # The sum is clipped to the box before the image is moved, as pixels that were never outside.
        changed = perturb(x, torch.stack(parts[1:]).sum(0))
        return self.threats[0].apply(changed, parts[0])

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        """True where delta is in the set and x_adv is what it makes of x, up to 1e-5."""
        if delta is None:
            raise ValueError(
                "Affine.contains needs delta, as search(...) gives it: x_adv alone does not show the shares"
            )
        checks.same_shape("x_adv", x_adv, x)
        weights, parts = self.unpack(delta, x)
        # 1e-5 here and below is float32's rounding: of a sum of weights, and of pixels that a motion has interpolated.
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
        """Whether the first member moves the image; the others are balls in any case."""
        return isinstance(self.threats[0], RotationTranslation)

    def members(self, weights: Tensor) -> list[Threat]:
        """The threats, each at its share of the budget, which differs by example: `weights` is (N, n)."""
        return [t.scaled(weights[:, j]) for j, t in enumerate(self.threats)]

    def pack(self, weights: Tensor, parts: list[Tensor]) -> Tensor:
        """delta (N, P), made of weights (N, n) and each member's perturbation."""
        return torch.cat([weights, *(p.flatten(1) for p in parts)], 1)

    def unpack(self, delta: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The weights (N, n) and each member's perturbation, of which `pack` has made delta. A ValueError if delta is
        of the wrong size for x."""
        n = len(self.threats)
        shapes: list[tuple[int, ...]] = [tuple(x.shape[1:])] * n
        if self.moves:
            shapes[0] = (3,)  # pixels to the right, pixels down, degrees
        sizes = [n, *(prod(s) for s in shapes)]
        if delta.shape != (x.shape[0], sum(sizes)):
            raise ValueError(f"delta must have shape ({x.shape[0]}, {sum(sizes)}); got {tuple(delta.shape)}")
        weights, *flat = delta.split(sizes, 1)
        return weights, [p.reshape(-1, *s) for p, s in zip(flat, shapes, strict=True)]
