"""Gradients that are NaN or infinite in places, counted where they come back through a model.

Attacks of ours take zero there and stand still, hosts' return NaN: either way the accuracy that is left says little.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from torch import Tensor

from mrt import checks
from mrt.threats.projections import no_sync

SHARE = 0.01  # of the gradients that may be undefined in places before it means anything
CURE = "clamp what a root or a logarithm is given, or let attacks see a substitute (BPDA, docs/evaluation.md)"

_told: ContextVar[list[str] | None] = ContextVar("told", default=None)


class UndefinedGradients:
    """How many gradients, one for each image, came back through a model (`total`), and how many of them were NaN or
    infinite in places though the image was not (`count`)."""

    def __init__(self) -> None:
        self.total = 0
        self.found: int | Tensor = 0  # on a GPU it stays there until somebody asks for `count`

    @property
    def count(self) -> int:
        """How many were undefined in places; on a GPU this waits for all its work."""
        return int(self.found)

    def watch(self, x: Tensor) -> Tensor:
        """x, for one pass of a model: the gradient that comes back to it is counted and looked at."""
        if not x.requires_grad:
            return x
        # The hook stands on a view of this pass's own: on x itself it would fire for every later pass of x as well.
        seen = x.view_as(x)
        seen.register_hook(partial(self._look, x.detach()))
        return seen

    def add(self, total: int, found: Tensor | int) -> None:
        """Add gradients that somebody else has looked at."""
        self.total, self.found = self.total + total, self.found + found

    def _look(self, x: Tensor, grad: Tensor) -> None:
        # On a CPU one sum shows that nothing is undefined; where it overflows the rows are looked at in vain.
        if no_sync(grad) or not bool(grad.detach().sum().isfinite()):
            # A host may ask at images that it has filled with NaN itself.
            self.add(len(grad), (is_undefined(grad) & ~is_undefined(x)).sum())
        else:
            self.add(len(grad), 0)

    def warn(self) -> None:
        """A UserWarning on the caller's line, if more than SHARE of the gradients were undefined."""
        if not self.total or self.count <= SHARE * self.total:
            return
        told = _told.get()
        if told is None or not told:
            text = f"gradient masking: {self.count} of {self.total} gradients were NaN or infinite in places, where"
            checks.warn(f"{text} the attack stood still: {CURE}")
        if told is not None:
            told.append("told")


def is_undefined(values: Tensor) -> Tensor:
    """bool (N,): is any entry of the row NaN or infinite?"""
    largest: Tensor = torch.linalg.vector_norm(values.detach(), torch.inf, tuple(range(1, values.ndim)))
    return ~(largest < torch.inf)


@contextmanager
def warn_once() -> Iterator[None]:
    """In the block, which attacks a model again and again, only the first such warning is given."""
    token = _told.set([])
    try:
        yield
    finally:
        _told.reset(token)
