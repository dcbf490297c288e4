"""Images of any range for attacks that know only [0, 1], there and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from mrt.crafting.gradient import CLIMBING
from mrt.threats.projections import per_example

NUMBERS = 2**23  # converted at once, in doubles: 64 MiB of them
LONGER = 1e-6  # of the radius: a perturbation that is longer by no more is as long as float32 can make it
ROUNDING = 1e-5  # of the range: images this far outside it are a conversion's rounding


class OutOfBounds(ValueError, AssertionError):
    """Images outside their bounds: an AssertionError as well, which is what Foolbox raises there."""


@dataclass(frozen=True, eq=False)
class Range:
    """Pixels from `low` to low + `width`. `low` may differ by entry; every norm of a difference is `width` times that
    in [0, 1], so that a radius is divided by it.

    Where entries have ranges of different sizes, `width` is the largest and `high` holds their upper bounds: images in
    [0, 1] then stop at the bounds on their way to the host, and a gradient along which an attack of ours would climb
    beyond is zero, as it is at the edge of [0, 1].
    """

    low: Tensor
    width: float
    high: Tensor | None = None

    @staticmethod
    def between(low: Tensor, high: Tensor) -> Range:
        """The range between these bounds, tensors that broadcast to an image; ValueError unless it is above zero for
        every pixel."""
        widths = (high.double() - low.double()).expand(torch.broadcast_shapes(low.shape, high.shape)).flatten()
        if not (widths > 0).all() or not widths.isfinite().all():
            extremes = f"from {float(widths.min()):g} to {float(widths.max()):g}"
            raise ValueError(f"every pixel needs a finite range above zero; got ranges {extremes}")
        width = float(widths.max())
        alike = torch.allclose(widths, widths[:1], rtol=1e-6, atol=0)
        return Range(low.double(), float(widths[0]) if alike else width, None if alike else high.double())

    def _parts(self, x: Tensor) -> int:
        """How many images of x are converted at once: doubles of a whole data set are large."""
        return max(1, NUMBERS // max(1, x[:1].numel()))

    def clip(self, x: Tensor, near: float) -> Tensor:
        """The images x without what lies outside their bounds by at most `near` times their range; themselves where all
        lie within."""
        low, high = self.low.to(x.device), (self.low + self.width if self.high is None else self.high).to(x.device)
        room, rounding = near * (high - low), ROUNDING * (high - low)
        for part in x.split(self._parts(x)):
            wide = part.double()
            if ((wide < low - rounding) | (wide > high + rounding)).any():
                break
        else:
            return x
        clipped = torch.empty_like(x)
        for part, target in zip(x.split(self._parts(x)), clipped.split(self._parts(x)), strict=True):
            wide = part.double()
            close = (wide >= low - room) & (wide <= high + room)
            target.copy_(torch.where(close, torch.minimum(torch.maximum(wide, low), high), wide))
        return clipped

    @property
    def is_unit(self) -> bool:
        """Is it [0, 1] itself, so that there is nothing to convert?"""
        return self.width == 1 and self.high is None and not bool(self.low.any())

    def to_unit(self, x: Tensor) -> Tensor:
        """The images x as images in [0, 1], float32, perhaps x itself; OutOfBounds where they lie outside."""
        if self.is_unit and x.dtype == torch.float32 and x.numel():
            least, largest = torch.stack(torch.aminmax(x)).tolist()
            if not (least >= -ROUNDING and largest <= 1 + ROUNDING):  # NaN fails the comparison
                self._raise(x)
            return x if least >= 0 and largest <= 1 else x.clamp(0, 1)
        unit = torch.empty_like(x, dtype=torch.float32)
        for part, target in zip(x.split(self._parts(x)), unit.split(self._parts(x)), strict=True):
            target.copy_(self._scaled(part))
        return unit

    def check(self, x: Tensor) -> None:
        """OutOfBounds where images x lie outside their bounds: what `to_unit` would say, without its result."""
        for part in x.split(self._parts(x)):
            self._scaled(part)

    def _scaled(self, part: Tensor) -> Tensor:
        """Some images as images in [0, 1], in doubles."""
        scaled = (part.double() - self.low.to(part.device)).div_(self.width)
        top = 1.0 if self.high is None else ((self.high - self.low) / self.width).to(part.device)
        if not ((scaled >= -ROUNDING) & (scaled <= top + ROUNDING)).all():  # NaN fails the comparison
            self._raise(part)
        return torch.clamp_(scaled, min=0).clamp_(max=top)

    def _raise(self, x: Tensor) -> NoReturn:
        least, largest = (f"{float(v):g}" for v in torch.aminmax(x))
        details = f"({self.description}), without NaN; got values from {least} to {largest}"
        raise OutOfBounds(f"images must lie within their bounds {details}")

    def from_unit(self, unit: Tensor) -> Tensor:
        """Images in [0, 1] as images of this range; gradients flow through it."""
        if self.high is not None:
            unit = _Stop.apply(unit, ((self.high - self.low) / self.width).to(unit), CLIMBING.get())
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
        high = low + self.width if self.high is None else self.high.to(x.device)
        aim = torch.minimum(torch.maximum(start + delta, low), high)
        moved = aim.to(x.dtype)
        # Rounding to x's own format may have gone beyond what the attack asked for: then one number back.
        beyond = (moved.double() - start).abs() > (aim - start).abs()
        return torch.where(beyond, torch.nextafter(moved, x), moved)

    @property
    def description(self) -> str:
        """The range in words, for messages: 0 to 255."""
        high = self.low + self.width if self.high is None else self.high
        return f"{float(self.low.min()):g} to {float(high.max()):g}"


class _Stop(torch.autograd.Function):
    """min(unit, top). Its gradient is what arrives, but where we climb zero where a step along it would only go further
    beyond `top`."""

    # Not a clamp's own gradient, which is zero beyond the bound whatever its sign: no step would ever lead back. Whose
    # attack goes down a loss, as hosts' do, needs the other sign.
    @staticmethod
    def forward(ctx: Any, unit: Tensor, top: Tensor, climbing: bool) -> Tensor:
        ctx.save_for_backward((unit >= top) & climbing)
        return torch.minimum(unit, top)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (beyond,) = ctx.saved_tensors
        return torch.where(beyond & (grad > 0), 0.0, grad), None, None
