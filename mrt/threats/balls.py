"""The l-infinity, l2 and l1 balls, each cut with the pixel box [0, 1], and their projected steepest steps.

A perturbation delta has the shape of the images x, (N, C, H, W), and x_adv = x + delta. `mover` is the step that
attacks take, and so the place to look for two papers' formulas, in which g is `grad` and Pi is `project`:

    SLIDE (Tramer and Boneh 2019, section 4): delta <- Pi_1(delta + gamma e / |e|_1) with e = sign(g) on the entries
        whose |g| reaches its q-th percentile. This is L1's step; gamma = `size`, and `keep` is the number of these
        entries, which `mrt.attacks.sparsity` computes from q.
    MSD (Maini, Wong and Kolter 2020, algorithm 1): for each norm p the proposal delta_p = Pi_p(delta + v_p(delta)), v_p
        the steepest step of length alpha_p = `size`. These are the steps of all three; for p = 1, k = `keep`.
"""

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
"""On ball and box at once, or on the ball first and then on the box."""

# A power of two, so that multiplying by it is exact; and so large that beside it every gradient is small.
HUGE = 2.0**126


class _PixelBall(Radii):
    """The part that the three balls have in common. Each adds how it samples, projects and steps."""

    eps: float
    P: ClassVar[float]  # the norm's exponent

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checks.number("eps", self.eps))

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    def kernel(self) -> str:
        """The name under which `mrt.kernels` knows this ball's step: a key of its KINDS."""
        return self.name + ("-exact" if getattr(self, "projection", "") == "exact" else "")

    def apply(self, x: Tensor, delta: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        return perturb(x, delta)

    def distance(self, x: Tensor, x_adv: Tensor) -> Tensor:
        checks.same_shape("x_adv", x_adv, x)
        # In float64 the difference of two float32 numbers from [0, 1] is all but exact: what is measured is the images'
        # distance, not the rounding of their difference.
        return self._norm(x_adv.double() - x.double())

    def contains(self, x: Tensor, x_adv: Tensor, delta: Tensor | None = None) -> Tensor:
        distance = self.distance(x, x_adv)
        changed = self._norm((x_adv != x).double())  # the length that one unit in every changed entry would have
        return within(distance, self.eps, changed) & in_box(x_adv)

    @torch.no_grad()
    def step(self, delta: Tensor, grad: Tensor, x: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
        return fused.mover(self, x)(perturb(x, delta), grad, size, keep).sub_(x)

    # Always plain torch code, also where there is a kernel, for which attacks ask `mrt.threats.fused` by way of their
    # task: so every kernel has its twin at hand, on every device.
    @abstractmethod
    def mover(self, x: Tensor) -> Mover: ...

    def _norm(self, delta: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(delta.flatten(1), self.P, dim=1)
        return length


@dataclass(frozen=True, eq=False)
class Linf(_PixelBall):
    """All delta with max |delta_i| <= eps."""

    eps: float
    P = float("inf")

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """A perturbation drawn uniformly from the cube [-eps, eps]^d, then clipped to the box."""
        unit = noise.uniform(noise.seeds(rng, x), *x.shape[1:]) * 2 - 1
        return self.project(unit.mul_(per_example(self.eps, x)), x)

    @torch.no_grad()
    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        return projections.box(projections.linf(delta, self.eps), x)

    def steepest(self, grad: Tensor, delta: Tensor, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """sign(grad): alpha times this is MSD's v_inf."""
        # No entry is held back at the bounds of the box, as in l2 and l1: here none costs another any of its length.
        return grad.sign()

    def mover(self, x: Tensor) -> Mover:
        # Cube and box are intervals for every pixel, so Pi is a clamp to [lowest, highest]. These depend on x alone:
        # computed here, once for a whole loop, they save a step half of its passes over memory.
        radius = per_example(self.eps, x)
        lowest, highest = (x - radius).clamp_(0, 1), (x + radius).clamp_(0, 1)

        def move(x_adv: Tensor, grad: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
            moved = grad.sign().mul_(per_example(size, grad)).add_(x_adv)
            return torch.clamp(moved, lowest, highest, out=moved)

        return move


@dataclass(frozen=True, eq=False)
class L2(_PixelBall):
    """All delta with sqrt(sum delta_i^2) <= eps. "clip" projects on the ball, then on the box; "exact" on their
    intersection."""

    eps: float
    projection: Projection = field(default="clip", kw_only=True)
    P = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("projection", self.projection, get_args(Projection))

    def sample(self, x: Tensor, rng: Rng = None) -> Tensor:
        """A Gaussian direction of length eps, then clipped to the box."""
        direction = noise.normal(noise.seeds(rng, x), *x.shape[1:])  # never exactly zero, see `noise.uniform`
        return self.project(direction.mul_(per_example(self.eps / self._norm(direction), x)), x)

    @torch.no_grad()
    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        if self.projection == "exact":
            return projections.l2_box(delta, x, self.eps)
        return projections.box(projections.l2(delta, self.eps), x)

    def steepest(self, grad: Tensor, delta: Tensor, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """grad / |grad|_2 over the entries that the box lets move: alpha times this is MSD's v_2."""
        return _scale_to_length(_without_blocked(grad, perturb(x, delta)), 1.0)

    def mover(self, x: Tensor) -> Mover:
        def move(x_adv: Tensor, grad: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
            # delta + v_2(delta), in the memory of v_2: on a CPU the cost of a step is the memory that it touches.
            delta = _scale_to_length(_without_blocked(grad, x_adv), size).add_(x_adv).sub_(x)
            if self.projection == "exact":
                delta = projections.l2_box(delta, x, self.eps)
            else:
                delta = projections.l2_(delta, self.eps)
            return delta.add_(x).clamp_(0, 1)  # with "clip" the projection on the box, with "exact" only rounding

        return move


@dataclass(frozen=True, eq=False)
class L1(_PixelBall):
    """All delta with sum |delta_i| <= eps, channels counted separately. "exact" projects on ball and box together, the
    default; "clip" on the ball and then on the box, as the papers do, which leaves some of the budget unused."""

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
        # From the papers' start 40 steps of APGD at eps = 10 left 51.7% of an l-infinity-trained MNIST network's
        # accuracy (400 images, width 16), from this one 38.2%.
        far = noise.normal(noise.seeds(rng, x), *x.shape[1:])
        delta = fused.project(self, far, x)  # on a GPU: there the search for the level is too many launches
        return self.project(far, x) if delta is None else delta

    @torch.no_grad()
    def project(self, delta: Tensor, x: Tensor) -> Tensor:
        checks.same_shape("delta", delta, x)
        if self.projection == "exact":
            return projections.l1_box(delta, x, self.eps)
        return projections.box(projections.l1(delta, self.eps), x)

    def steepest(self, grad: Tensor, delta: Tensor, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """sign(grad) / m on the m entries of largest |grad| that the box lets move: `keep` of them, and their ties.
        This is SLIDE's e / |e|_1, and alpha times it is MSD's v_1."""
        return _sparse_step(_without_blocked(grad, perturb(x, delta)), 1.0, keep)

    def mover(self, x: Tensor) -> Mover:
        def move(x_adv: Tensor, grad: Tensor, size: float | Tensor, keep: Tensor | None = None) -> Tensor:
            delta = _sparse_step(_without_blocked(grad, x_adv), size, keep).add_(x_adv).sub_(x)
            if self.projection == "exact":
                delta = projections.l1_box(delta, x, self.eps)
            else:
                delta = projections.l1(delta, self.eps)
            return delta.add_(x).clamp_(0, 1)  # with "clip" the projection on the box, with "exact" only rounding

        return move


def _without_blocked(grad: Tensor, x_adv: Tensor) -> Tensor:
    """grad, but zero where the pixel already stands on the bound it is pushed against. A step would spend a part of its
    length on such an entry, and the box would take it back."""
    # MSD's published code holds back every pixel on 0 or 1, whatever the sign of its gradient; then a black pixel could
    # never become brighter. Here only moves out of the box are barred (`MSD.reference` does as the code does).
    # A clamp instead of comparisons, which on a CPU cost several times as much: its lower end is 0 for a pixel at 0,
    # its upper end 0 for a pixel at 1, and everywhere else both lie beyond any gradient.
    down = x_adv * -HUGE
    return torch.clamp(grad, down, down + HUGE)


def _scale_to_length(grad: Tensor, size: float | Tensor) -> Tensor:
    """size * grad / |grad|_2, in grad's own memory. Zero stays zero."""
    flat = grad.flatten(1)  # (N, d)
    # Brought to a largest entry of 1 first: squares of 1e-30, which a confident model does return, are zero.
    largest = torch.maximum(flat.amax(1), -flat.amin(1)).clamp_(min=torch.finfo(grad.dtype).tiny)
    grad.mul_(per_example(1 / largest, grad))
    # With a largest entry of 1 the norm is at least 1. Only a gradient of zeros has less: it stays what it is, where
    # MSD's published code divides 0 by 0.
    norm = torch.linalg.vector_norm(grad.flatten(1), dim=1).clamp_(min=1)
    return grad.mul_(per_example(size / norm, grad))


def _sparse_step(grad: Tensor, size: float | Tensor, keep: Tensor | None) -> Tensor:
    """size * sign(grad) / m on the m largest entries of |grad|: `keep` (N,) of them and their ties, never one that is
    zero. So the step's l1 length is `size` whatever m is."""
    chosen = grad.abs()  # (N, C, H, W); becomes a mask of 0 and 1, and then the step, in the same memory
    flat = chosen.flatten(1)
    # The least |grad| that is still moved: the keep-th largest of each row.
    if keep is None:
        least = flat.amax(1)
    elif no_sync(flat):
        # A whole sort, since `top` wants the largest `keep` as a number on the host: that would wait for the GPU.
        least = flat.sort(dim=1, descending=True).values.gather(1, keep.clamp(max=flat.shape[1])[:, None] - 1)[:, 0]
    else:
        keep = keep.clamp(max=flat.shape[1])
        least = top(flat, int(keep.max())).gather(1, keep[:, None] - 1)[:, 0]
    # Entries of zero are no ties of a least of zero. The published SLIDE counts them as such where more than q percent
    # of a gradient are zero, as is common on MNIST, and its step shrinks to a fraction of `size`.
    chosen.ge_(per_example(least.clamp_(min=torch.finfo(grad.dtype).tiny), grad))
    count = chosen.flatten(1).sum(1).clamp_(min=1)
    return chosen.mul_(per_example(size / count, grad)).copysign_(grad)
