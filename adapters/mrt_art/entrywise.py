"""A linf ball with a radius and a step for each entry, as ART's PGD takes them in arrays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import mrt
from mrt.protocols import Mover, Rng
from mrt.threats import noise


class EntryLinf(mrt.Linf):
    """All delta with |delta_i| <= eps_i, by steps that are `strides`_i times their size. Both hold a row for each image
    of the batch, or one for all of them."""

    RADII = ("eps", "strides")
    kernel = ""  # no fused step knows it
    strides: Tensor

    def __init__(self, eps: Tensor, strides: Tensor) -> None:
        object.__setattr__(self, "eps", eps)  # frozen; and the parent's constructor wants one number
        object.__setattr__(self, "strides", strides)

    def at(self, index: Tensor) -> Any:
        return self if len(self.strides) == 1 else super().at(index.to(self.strides.device))

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        return self.project((noise.uniform(noise.seeds(rng, x), *x.shape[1:]) * 2 - 1).mul_(self._radii(x)), x)

    @torch.no_grad()
    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        radii = self._radii(x)
        return (x + torch.clamp(delta, -radii, radii)).clamp_(0, 1).sub_(x)

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        return self.size(x, x_adv) <= 1 + 1e-6

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """By what factor the ball would have to grow to reach a point, (N,)."""
        gap = (x_adv.double() - x.double()).abs()
        return torch.where(gap > 0, gap / self._radii(x), 0.0).flatten(1).amax(1)

    def mover(self, x: Tensor) -> Mover:
        radii, strides = self._radii(x), self.strides.to(x)
        lowest, highest = (x - radii).clamp_(0, 1), (x + radii).clamp_(0, 1)

        def move(x_adv: Tensor, grad: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
            return torch.clamp(grad.sign() * (strides * size) + x_adv, lowest, highest)

        return move

    def _radii(self, x: Tensor) -> Tensor:
        eps: Any = self.eps
        radii: Tensor = eps.to(x)
        return radii
