"""Images of any range for attacks that know only [0, 1], there and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mrt.threats.projections import per_example

ROWS = 4096  # images that are converted at once
ROUNDING = 1e-5  # of the range: images this far outside it are a conversion's rounding


@dataclass(frozen=True, eq=False)
class Range:
    """Pixels from `low` to low + `width`. `low` may differ by entry; every norm of a difference is `width` times that
    in [0, 1], so that a radius is divided by it."""

    low: Tensor
    width: float

    @staticmethod
    def between(low: Tensor, high: Tensor) -> Range:
        """The range between these bounds, tensors that broadcast to an image; ValueError unless it is equally wide for
        every pixel."""
        widths = (high.double() - low.double()).expand(torch.broadcast_shapes(low.shape, high.shape)).flatten()
        width = float(widths[0])
        if not (widths > 0).all() or not torch.allclose(widths, widths[:1], rtol=1e-6, atol=0):
            extremes = f"from {float(widths.min()):g} to {float(widths.max()):g}"
            raise ValueError(
                f"every pixel needs the same range, above zero, for a radius to mean one; got ranges {extremes}"
            )
        return Range(low.double(), width)

    def to_unit(self, x: Tensor) -> Tensor:
        """The images x as images in [0, 1], float32; ValueError where they lie outside their bounds."""
        unit, low = torch.empty_like(x, dtype=torch.float32), self.low.to(x.device)
        for part, target in zip(x.split(ROWS), unit.split(ROWS), strict=True):  # doubles of a whole data set are large
            scaled = (part.double() - low).div_(self.width)
            if not ((scaled >= -ROUNDING) & (scaled <= 1 + ROUNDING)).all():  # NaN fails the comparison
                least, largest = (f"{float(v):g}" for v in torch.aminmax(x))
                details = f"({self.description}), without NaN; got values from {least} to {largest}"
                raise ValueError(f"images must lie within their bounds {details}")
            target.copy_(scaled.clamp_(0, 1))
        return unit

    def from_unit(self, unit: Tensor) -> Tensor:
        """Images in [0, 1] as images of this range; gradients flow through it."""
        return unit * self.width + self.low.to(unit)

    def carry_back(self, x: Tensor, unit: Tensor, unit_adv: Tensor, gauge: Tensor | None = None) -> Tensor:
        """x moved as unit_adv is from unit. Each entry is rounded towards x, so that rounding lengthens no perturbation
        in any norm; where `gauge` (N,) is above 1, the perturbation is divided by it."""
        # x plus the change, and not from_unit(unit_adv): pixels that no attack touched stay the host's to the bit. In
        # doubles, so that the radius holds for the raw result.
        start = x.double()
        delta = (unit_adv.double() - unit.double()) * self.width
        if gauge is not None:
            delta /= per_example(gauge.double().clamp(min=1), delta)
        low = self.low.to(x.device)
        aim = torch.minimum(torch.maximum(start + delta, low), low + self.width)
        moved = aim.to(x.dtype)
        # Rounding to x's own format may have gone beyond what the attack asked for: then one number back.
        beyond = (moved.double() - start).abs() > (aim - start).abs()
        return torch.where(beyond, torch.nextafter(moved, x), moved)

    @property
    def description(self) -> str:
        """The range in words, for messages: 0 to 255."""
        low, high = (float(v) for v in torch.aminmax(self.low))
        return f"{low:g} to {high + self.width:g}"
