"""What an attack climbs, in ART's words and in ours."""

from __future__ import annotations

from typing import Any

from mrt.crafting.losses import Chosen, loss_named

ARTS = {None: "ce", "cross_entropy": "ce", "difference_logits_ratio": "dlr"}


def read_loss(loss_type: Any) -> Chosen:
    """Return the loss: "ce", "margin", "dlr", ART's words for them, or a function (logits, labels) -> (N,)."""
    chosen: Any = ARTS.get(loss_type, loss_type) if loss_type is None or isinstance(loss_type, str) else loss_type
    loss_named(chosen, "loss_type")
    found: Chosen = chosen
    return found
