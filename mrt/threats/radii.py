"""What every threat shares: radii that scale, per-example views of them, equality and a repr that evaluates."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from mrt import checks

T = TypeVar("T", bound="Radii")


class Radii:
    """A frozen dataclass whose fields named in RADII are radii. Per-example radii live only in the views that `scaled`
    makes: those compare by identity, so no config ever holds one."""

    RADII: ClassVar[tuple[str, ...]] = ("eps",)

    def scaled(self: T, factor: float | Tensor) -> T:
        """Every radius times `factor`, which is one number or a Tensor (N,)."""
        if isinstance(factor, Tensor):
            if factor.ndim != 1 or not factor.is_floating_point():
                raise ValueError(
                    f"factor must be a number or a float Tensor (N,); got {tuple(factor.shape)} {factor.dtype}"
                )
        else:
            factor = checks.number("factor", factor)
        return self._view({name: self._radius(name, factor) for name in self.RADII})

    def at(self: T, index: Tensor) -> T:
        """The rows `index` of a per-example view; itself for plain numbers."""
        values = {name: getattr(self, name) for name in self.RADII}
        if not any(isinstance(v, Tensor) for v in values.values()):
            return self
        return self._view({name: v[index] for name, v in values.items()})

    def _radius(self, name: str, factor: float | Tensor) -> float | Tensor:
        scaled: float | Tensor = getattr(self, name) * factor
        return scaled

    def _view(self: T, values: dict[str, Any]) -> T:
        """A copy with other radii, past the constructor's check that a radius is one number."""
        view = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(view, name, value)
        return view

    def __eq__(self, other: object) -> bool:
        if self is other or type(self) is not type(other):
            return self is other
        mine, others = _values(self), _values(other)
        return not any(isinstance(v, Tensor) for v in mine + others) and bool(mine == others)

    def __hash__(self) -> int:
        return hash((type(self).__name__, *_values(self)))


def _values(threat: Any) -> tuple[Any, ...]:
    """The fields of a dataclass."""
    return tuple(getattr(threat, f.name) for f in fields(threat))


def within(distance: Tensor, eps: float | Tensor, changed: Tensor) -> Tensor:
    """bool (N,): distance <= eps, up to float32. x + delta is rounded by up to 2^-25 in each changed entry, which is
    what `changed` measures in the same norm; a projection is a few roundings of the radius off."""
    return distance <= eps * (1 + 2e-6) + changed * 2.0**-24


def in_box(x_adv: Tensor) -> Tensor:
    """bool (N,): every value in [0, 1], none NaN."""
    flat = x_adv.flatten(1)
    return ((flat >= 0) & (flat <= 1)).all(1)


def perturb(x: Tensor, delta: Tensor) -> Tensor:
    """x + delta in [0, 1]."""
    return torch.add(x, delta).clamp_(0, 1)


def radii_of(threat: object) -> list[float]:
    """The numbers that give a threat its size, as in linf@0.1."""
    return [float(getattr(threat, name)) for name in getattr(threat, "RADII", ())]
