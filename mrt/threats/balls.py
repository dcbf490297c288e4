"""Linf, L2 and L1 balls, each cut with the pixel box: where a perturbation is an image of its own."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from mrt import checks
from mrt.protocols import Mover, Rng
from mrt.threats import fused, noise, projections
from mrt.threats.projections import no_sync, per_example
from mrt.threats.radii import Radii, in_box, perturb, within
from mrt.threats.selection import top

Projection = Literal["exact", "clip"]


MUCH = 2.0**126  # a power of two: multiplying by it is exact, and beside it every gradient is small


class _Pixels(Radii):
    """What the three balls do alike: each says how it samples, projects, and steps from input to input."""

    eps: float
    P: ClassVar[float]  # the norm's exponent

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checks.number("eps", self.eps))

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    def kernel(self) -> str:
        """What `mrt.kernels` calls a step of this ball."""
        return self.name + ("-exact" if getattr(self, "projection", "") == "exact" else "")

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        return perturb(x, delta)

    def distance(self, x: Tensor, x_adv: Tensor) -> Tensor:
        checks.same_shape("x_adv", x_adv, x)
        return self._norm(x_adv.double() - x.double())

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        distance = self.distance(x, x_adv)
        changed = self._norm((x_adv != x).double())
        return within(distance, self.eps, changed) & in_box(x_adv)

    @torch.no_grad()
    def step(self, delta: Tensor, grad: Tensor, x: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
        return fused.mover(self, x)(perturb(x, delta), grad, size, keep).sub_(x)

    @abstractmethod
    def mover(self, x: Tensor) -> Mover: ...

    def _norm(self, delta: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(delta.flatten(1), self.P, dim=1)
        return length


@dataclass(frozen=True, eq=False)
class Linf(_Pixels):
    """max |delta_i| <= eps."""

    eps: float
    P = float("inf")

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """Uniform in the cube, then clipped to the box."""
        unit = noise.uniform(noise.seeds(rng, x), *x.shape[1:]) * 2 - 1
        return self.project(unit.mul_(per_example(self.eps, x)), x)

    @torch.no_grad()
    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        return projections.box(projections.linf(delta, self.eps), x)

    def steepest(self, grad: Tensor, delta: Tensor, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """sign(grad)."""
        return grad.sign()

    def mover(self, x: Tensor) -> Mover:
        radius = per_example(self.eps, x)
        lowest, highest = (x - radius).clamp_(0, 1), (x + radius).clamp_(0, 1)

        def move(x_adv: Tensor, grad: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
            moved = grad.sign().mul_(per_example(size, grad)).add_(x_adv)
            return torch.clamp(moved, lowest, highest, out=moved)

        return move


@dataclass(frozen=True, eq=False)
class L2(_Pixels):
    """sqrt(sum delta_i^2) <= eps. "clip" projects on the ball, then on the box; "exact" on their intersection."""

    eps: float
    projection: Projection = field(default="clip", kw_only=True)
    P = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("projection", self.projection, get_args(Projection))

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """A Gaussian direction of length eps, then clipped to the box."""
        direction = noise.normal(noise.seeds(rng, x), *x.shape[1:])
        return self.project(direction.mul_(per_example(self.eps / self._norm(direction), x)), x)

    @torch.no_grad()
    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        if self.projection == "exact":
            return projections.l2_box(delta, x, self.eps)
        return projections.box(projections.l2(delta, self.eps), x)

    def steepest(self, grad: Tensor, delta: Tensor, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """grad / |grad|_2 over the entries that the box lets move."""
        return _unit(_movable(grad, perturb(x, delta)), 1.0)

    def mover(self, x: Tensor) -> Mover:
        def move(x_adv: Tensor, grad: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
            delta = _unit(_movable(grad, x_adv), size).add_(x_adv).sub_(x)
            exact = self.projection == "exact"
            kept = projections.l2_box(delta, x, self.eps) if exact else projections.l2_(delta, self.eps)
            return kept.add_(x).clamp_(0, 1)

        return move


@dataclass(frozen=True, eq=False)
class L1(_Pixels):
    """sum |delta_i| <= eps, channels counted separately. "exact" projects on ball and box together, the default;
    "clip" on the ball and then on the box, as the papers do, which leaves some of the budget unused."""

    eps: float
    projection: Projection = field(default="exact", kw_only=True)
    P = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("projection", self.projection, get_args(Projection))

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """Gaussian noise from far outside, projected: a few entries, changed a lot. (A Laplace direction of length eps,
        the papers' start, changes every entry by next to nothing and is a weaker one where a model thresholds its
        input.)"""
        far = noise.normal(noise.seeds(rng, x), *x.shape[1:])
        found = fused.project(self, far, x)
        return self.project(far, x) if found is None else found

    @torch.no_grad()
    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        if self.projection == "exact":
            return projections.l1_box(delta, x, self.eps)
        return projections.box(projections.l1(delta, self.eps), x)

    def steepest(self, grad: Tensor, delta: Tensor, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """sign(grad) / m on the m entries of largest |grad| that the box lets move: `keep` of them, and their ties."""
        return _sparse(_movable(grad, perturb(x, delta)), 1.0, keep)

    def mover(self, x: Tensor) -> Mover:
        def move(x_adv: Tensor, grad: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
            delta = _sparse(_movable(grad, x_adv), size, keep).add_(x_adv).sub_(x)
            exact = self.projection == "exact"
            kept = projections.l1_box(delta, x, self.eps) if exact else projections.l1(delta, self.eps)
            return kept.add_(x).clamp_(0, 1)

        return move


def _movable(grad: Tensor, x_adv: Tensor) -> Tensor:
    """grad, but zero where the pixel already stands on the bound it is pushed against."""
    down = x_adv * -MUCH  # 0 on the lower bound, beyond any gradient elsewhere; `up` likewise
    return torch.clamp(grad, down, down + MUCH)


def _unit(grad: Tensor, size: float | Tensor) -> Tensor:
    """size * grad / |grad|_2, in grad's own memory. Zero stays zero."""
    flat = grad.flatten(1)
    # Brought to a largest entry of 1 first: squares of 1e-30, which a confident model does return, are zero.
    largest = torch.maximum(flat.amax(1), -flat.amin(1)).clamp_(min=torch.finfo(grad.dtype).tiny)
    grad.mul_(per_example(1 / largest, grad))
    norm = torch.linalg.vector_norm(grad.flatten(1), dim=1).clamp_(min=1)
    return grad.mul_(per_example(size / norm, grad))


def _sparse(grad: Tensor, size: float | Tensor, keep: Tensor | None) -> Tensor:
    """size * sign(grad) / m on the m largest entries of |grad|: `keep` of them and their ties, never one that is
    zero."""
    chosen = grad.abs()
    flat = chosen.flatten(1)
    if keep is None:
        least = flat.amax(1)
    elif no_sync(flat):
        least = flat.sort(dim=1, descending=True).values.gather(1, keep.clamp(max=flat.shape[1])[:, None] - 1)[:, 0]
    else:
        keep = keep.clamp(max=flat.shape[1])
        least = top(flat, int(keep.max())).gather(1, keep[:, None] - 1)[:, 0]
    chosen.ge_(per_example(least.clamp_(min=torch.finfo(grad.dtype).tiny), grad))
    many = chosen.flatten(1).sum(1).clamp_(min=1)
    return chosen.mul_(per_example(size / many, grad)).copysign_(grad)
