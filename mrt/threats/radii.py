"""What every threat shares: radii that scale, views with a radius for each example, equality; and when an image counts
as within."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from mrt import checks

T = TypeVar("T", bound="Radii")


class Radii:
    """The base of threats, which are frozen dataclasses: their fields named in RADII are radii, and scale. A radius for
    each example lives only in the views that `scaled` makes: those compare by identity, so no config ever holds one."""

    RADII: ClassVar[tuple[str, ...]] = ("eps",)

    def scaled(self: T, factor: float | Tensor) -> T:
        """The same threat with every radius times `factor`, which is one number or a Tensor (N,)."""
        if isinstance(factor, Tensor):
            if factor.ndim != 1 or not factor.is_floating_point():
                raise ValueError(
                    f"factor must be a number or a float Tensor (N,); got {tuple(factor.shape)} {factor.dtype}"
                )
        else:
            factor = checks.number("factor", factor)
        return self._view({name: self._radius(name, factor) for name in self.RADII})

    def at(self: T, index: Tensor) -> T:
        """The same threat for the examples `index` of the batch: those rows of a view's radii; itself where each radius
        is one number."""
        values = {name: getattr(self, name) for name in self.RADII}
        if not any(isinstance(v, Tensor) for v in values.values()):
            return self
        return self._view({name: v[index] for name, v in values.items()})

    # Apart from `scaled` because L0's radius is a count, which has to stay whole.
    def _radius(self, name: str, factor: float | Tensor) -> float | Tensor:
        scaled: float | Tensor = getattr(self, name) * factor
        return scaled

    def _view(self: T, values: dict[str, Any]) -> T:
        """A copy with other radii, which may be Tensors (N,)."""
        # Not dataclasses.replace: the constructor checks that a radius is one number. And not setattr: it is frozen.
        view = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(view, name, value)
        return view

    # Not the dataclass's own: a comparison of Tensors is a Tensor, which has no truth value.
    def __eq__(self, other: object) -> bool:
        if self is other or type(self) is not type(other):
            return self is other
        mine, others = _values(self), _values(other)
        if any(isinstance(value, Tensor) for value in mine + others):
            return False
        return bool(mine == others)

    def __hash__(self) -> int:
        return hash((type(self).__name__, *_values(self)))


def _values(threat: Any) -> tuple[Any, ...]:
    """The values of a dataclass's fields, in their order."""
    return tuple(getattr(threat, f.name) for f in fields(threat))


def within(distance: Tensor, eps: float | Tensor, changed: Tensor) -> Tensor:
    """bool (N,): distance <= eps, up to what float32 can do. `changed` is the length, in the same norm, of a
    perturbation that is 1 in every entry that differs and 0 elsewhere."""
    # 2e-6: a projection ends a few roundings of the radius off. 2^-24: twice what x + delta, a number up to 1, is
    # rounded by in a changed entry. Entries that equal x owe nothing to rounding.
    return distance <= eps * (1 + 2e-6) + changed * 2.0**-24


def in_box(x_adv: Tensor) -> Tensor:
    """bool (N,): every value of the image lies in [0, 1], and none is NaN (which fails both comparisons)."""
    flat = x_adv.flatten(1)
    return ((flat >= 0) & (flat <= 1)).all(1)


def perturb(x: Tensor, delta: Tensor) -> Tensor:
    """The image x + delta, clipped to [0, 1]."""
    return torch.add(x, delta).clamp_(0, 1)


def radii_of(threat: object) -> list[float]:
    """The numbers that give a threat its size, such as [0.1] for the label linf@0.1; its members' for one made of
    others."""
    own = [float(getattr(threat, name)) for name in getattr(threat, "RADII", ())]
    return own + [radius for member in getattr(threat, "threats", ()) for radius in radii_of(member)]


def same_radii(radii: Sequence[float], published: Sequence[float]) -> bool:
    """Whether these are the published radii, to three digits, so that 0.0157 passes for 4/255."""
    return len(radii) == len(published) and all(
        abs(radius - wanted) <= 1e-3 * wanted for radius, wanted in zip(radii, published, strict=True)
    )
