"""Images of any range for attacks that know only [0, 1], there and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from mrt.threats.projections import per_example

ROWS = 4096  # images that are converted at once
LONGER = 1e-6  # of the radius: a perturbation that is longer by no more is as long as float32 can make it
ROUNDING = 1e-5  # of the range: images this far outside it are a conversion's rounding


class OutOfBounds(ValueError, AssertionError):
    """Images outside their bounds: an AssertionError as well, which is what Foolbox raises there."""


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

    @property
    def is_unit(self) -> bool:
        """Is it [0, 1] itself, so that there is nothing to convert?"""
        return self.width == 1 and not bool(self.low.any())

    def to_unit(self, x: Tensor) -> Tensor:
        """The images x as images in [0, 1], float32, perhaps x itself; OutOfBounds where they lie outside."""
        if self.is_unit and x.dtype == torch.float32:
            least, largest = torch.stack(torch.aminmax(x)).tolist()
            if not (least >= -ROUNDING and largest <= 1 + ROUNDING):  # NaN fails the comparison
                self._raise(x)
            return x if least >= 0 and largest <= 1 else x.clamp(0, 1)
        unit, low = torch.empty_like(x, dtype=torch.float32), self.low.to(x.device)
        for part, target in zip(x.split(ROWS), unit.split(ROWS), strict=True):  # doubles of a whole data set are large
            scaled = (part.double() - low).div_(self.width)
            if not ((scaled >= -ROUNDING) & (scaled <= 1 + ROUNDING)).all():  # NaN fails the comparison
                self._raise(x)
            target.copy_(scaled.clamp_(0, 1))
        return unit

    def _raise(self, x: Tensor) -> NoReturn:
        least, largest = (f"{float(v):g}" for v in torch.aminmax(x))
        details = f"({self.description}), without NaN; got values from {least} to {largest}"
        raise OutOfBounds(f"images must lie within their bounds {details}")

    def from_unit(self, unit: Tensor) -> Tensor:
        """Images in [0, 1] as images of this range; gradients flow through it."""
        return unit * self.width + self.low.to(unit)

    def carry_back(self, x: Tensor, unit: Tensor, unit_adv: Tensor, gauge: Tensor | None = None) -> Tensor:
        """x moved as unit_adv is from unit. Each entry is rounded towards x, so that rounding lengthens no perturbation
        in any norm; where `gauge` (N,) is above 1, the perturbation is divided by it. In [0, 1] itself float32's own
        rounding, a millionth of the radius, is let pass."""
        if self.is_unit and x.dtype == torch.float32:  # nothing to convert, and only what is too long to be shortened
            far = None if gauge is None else (gauge > 1 + LONGER).nonzero()[:, 0]
            if far is None or gauge is None or not len(far):
                return unit_adv
            moved = self._round_towards(x[far], unit[far], unit_adv[far], gauge[far])
            return unit_adv.index_copy(0, far, moved)
        return self._round_towards(x, unit, unit_adv, gauge)

    def _round_towards(self, x: Tensor, unit: Tensor, unit_adv: Tensor, gauge: Tensor | None) -> Tensor:
        """The same, for any range."""
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
