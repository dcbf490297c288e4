"""The union of several threats: whichever of them allows the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mrt import checks
from mrt.protocols import Rng, Threat
from mrt.threats import noise
from mrt.threats.balls import L1, L2, Linf
from mrt.threats.l0 import L0

# Those whose delta has the shape of x and is added to it, so that one delta may be looked at by all members.
PIXEL_THREATS = (Linf, L2, L1, L0)


@dataclass(frozen=True)
class AnyOf:
    """The union of sets: an input is allowed if one of `threats` allows it. Its perturbations are in pixels, so
    `sample`, `project` and `apply` need members whose own are (Linf, L2, L1, L0)."""

    threats: tuple[Threat, ...]

    def __post_init__(self) -> None:
        members = checks.several("threats", self.threats, "threats")
        if not all(isinstance(t, Threat) for t in members):
            raise ValueError(
                f"threats must be threats such as Linf(0.3) or L1(10.0), one or more; got {self.threats!r}"
            )
        object.__setattr__(self, "threats", members)

    @property
    def name(self) -> str:
        return "any"

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """For each example a sample of one member, which is drawn at random."""
        seeds = noise.seeds(rng, x)
        which = noise.integers(noise.fold(seeds, 0), 0, len(self.threats) - 1)
        # All members may draw from one seed, since each example gets the sample of a single one of them.
        samples = [t.sample(x, noise.fold(seeds, 1)) for t in self._require_pixels()]
        return _pick(samples, which)

    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        """The nearest of the members' projections, for each example; `delta` itself where one member has it already."""
        projected = [t.project(delta, x) for t in self._require_pixels()]
        gaps = torch.stack([(p - delta).flatten(1).norm(dim=1) for p in projected])
        return _pick(projected, gaps.argmin(0))

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        return self._require_pixels()[0].apply(x, delta)  # the same for all of them: x + delta in the box

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        return torch.stack([t.contains(x, x_adv, delta) for t in self.threats]).any(0)

    def scaled(self, factor: float | Tensor) -> AnyOf:
        return AnyOf(tuple(t.scaled(factor) for t in self.threats))

    def at(self, index: Tensor) -> AnyOf:
        return AnyOf(tuple(t.at(index) for t in self.threats))

    def _require_pixels(self) -> tuple[Threat, ...]:
        """The members, if the perturbations of all are in pixels; a ValueError else."""
        for threat in self.threats:
            if not isinstance(threat, PIXEL_THREATS):
                raise ValueError(
                    f"a union has perturbations only if all its members' are in pixels; {threat!r}'s are not"
                )
        return self.threats


def _pick(candidates: list[Tensor], which: Tensor) -> Tensor:
    """candidates[which[n]][n] for every example n, stacked: (N, C, H, W) from several such candidates."""
    return torch.stack(candidates)[which, torch.arange(len(which), device=which.device)]
