"""Whether we see the model that a host sees: answers of both to the same few images, compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mrt.hosts.isolation import isolate_globals

IMAGES = 4  # asked of both sides, so that a comparison costs no more than one pass of 8 images
TOLERANCE = 1e-3  # of the largest logit: other kernels and number formats differ by less


def need_same_logits(who: str, ours: Callable[[Tensor], Any], theirs: Callable[[Tensor], Any], x: Tensor) -> None:
    """Raise a ValueError of one line unless both give the first IMAGES images of x the same logits (N, K).

    `theirs` is what the host's users are answered, `ours` what our attacks would search; `who` names the host's model.
    Both are called with the global generators at the same state, which is put back, so that models that draw agree too.
    Modes of modules are the caller's business: call it within `crafting`.
    """
    part = x[:IMAGES]
    if not len(part):
        return
    answers = []
    for ask in (ours, theirs):
        with isolate_globals(0), torch.no_grad():
            answers.append(torch.as_tensor(ask(part)).detach().double().cpu())
    mine, host = answers
    # One logit for each image comes back with or without an axis of its own.
    mine, host = (z[:, None] if z.ndim == 1 else z for z in (mine, host))
    if mine.shape != host.shape:
        raise ValueError(f"{_refusal(who)}: {tuple(host.shape)} where its model gives {tuple(mine.shape)}")
    # Equal infinities are equal; a NaN is one on both sides or a difference.
    gap = torch.where((mine == host) | (mine.isnan() & host.isnan()), 0.0, (mine - host).abs()).nan_to_num(torch.inf)
    finite = torch.cat([mine, host]).nan_to_num(0.0, 0.0, 0.0).abs().amax()
    if gap.amax() > TOLERANCE * finite:
        raise ValueError(
            f"{_refusal(who)}, by up to {float(gap.amax()):.3g} where logits are up to {float(finite):.3g}"
        )


def _refusal(who: str) -> str:
    return f"{who} answers other logits than the model that would be attacked or trained"
