"""Whether we see the model that a host sees: answers of both to the same few images, compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mrt.hosts.isolation import isolate_globals

IMAGES = 4  # asked of both sides, so that a comparison costs no more than one pass of 8 images
DRAWS = 4  # times the difference of two draws of one model
TOLERANCE = 1e-3  # of a class's largest logit: other kernels and number formats differ by less


def need_same_logits(who: str, ours: Callable[[Tensor], Any], theirs: Callable[[Tensor], Any], x: Tensor) -> None:
    """Raise a ValueError of one line unless both give the first IMAGES images of x the same logits (N, K).

    `theirs` is what the host's users are answered, `ours` what our attacks would search; `who` names the host's model.
    A model that draws at random may differ by a few times as much as it differs from itself. The global generators are
    put back. Modes of modules are the caller's business: call it within `crafting`.
    """
    part = x[:IMAGES]
    if not len(part):
        return
    with isolate_globals(0), torch.no_grad():
        mine, host, again = _logits(ours(part)), _logits(theirs(part)), None
        if mine.shape != host.shape:
            raise ValueError(f"{_refusal(who)}: {tuple(host.shape)} where its model gives {tuple(mine.shape)}")
        # Class by class, since one may be masked by a huge number; small ones are measured by what is usual.
        largest = torch.cat([mine, host]).nan_to_num(0.0, 0.0, 0.0).abs().amax(0)
        usual = largest.median() if len(largest) > 2 else largest.amax()
        allowed = TOLERANCE * torch.maximum(largest, usual)
        gap = _gap(mine, host, allowed)
        if gap > 1:
            again = _gap(mine, _logits(ours(part)), allowed)  # a model that draws differs from itself, too
    if again is not None and gap > DRAWS * again:
        raise ValueError(f"{_refusal(who)}, by up to {float(gap) * TOLERANCE:.2g} of what logits are")


def _logits(answer: Any) -> Tensor:
    """An answer in doubles on the CPU; one logit for each image has an axis of its own."""
    z = torch.as_tensor(answer).detach().double().cpu()
    return z[:, None] if z.ndim == 1 else z


def _gap(a: Tensor, b: Tensor, allowed: Tensor) -> Tensor:
    """The largest difference, as a multiple of what is allowed; equal infinities are equal, and a NaN is one on both
    sides or an infinite difference."""
    same = (a == b) | (a.isnan() & b.isnan())
    return torch.where(same, 0.0, (a - b).abs() / allowed).nan_to_num(torch.inf, torch.inf).amax()


def _refusal(who: str) -> str:
    return f"{who} answers other logits than the model that would be attacked or trained"
