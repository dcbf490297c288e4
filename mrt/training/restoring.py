"""Goes on with a run from its checkpoint, which somebody else may have written."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mrt.training.folder import digest_rows
from mrt.training.loop import Loop

MEANS = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")  # of torch's SGD and Adam


def restore(loop: Loop) -> None:
    """Go on from the checkpoint in the loop's folder, or from the beginning where there is none. Rows of metrics that
    were written after the checkpoint are cut off, since their updates will be made again."""
    if loop.folder is None:
        return
    checkpoint = loop.folder.load()
    if checkpoint is None:
        loop.folder.cut(0, digest_rows([]))
        return
    for name, part in loop.parts.items():
        try:
            load = _load_optimizer if name == "optimizer" else type(part).load_state_dict
            load(part, checkpoint[name])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            short = " ".join(str(error).split())[:200]
            raise ValueError(f"{loop.folder.path} holds a checkpoint of another {name}: {short}") from error
    if checkpoint["step"] > loop.settings.total or len(checkpoint["rates"]) != len(loop.rates):
        raise ValueError(f"{loop.folder.path} holds a checkpoint of another run: of other updates or rates")
    loop.index, loop.rates = checkpoint["step"], checkpoint["rates"]
    loop.ledger.load_state_dict(checkpoint, loop.folder.cut(checkpoint["rows"], checkpoint["digest"]))


def _load_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Load the optimizer's state; a ValueError where it holds what no update could use."""
    state = _fused_as_here(state, optimizer)
    _check_settings(state, optimizer)
    optimizer.load_state_dict(state)
    _check_shapes(optimizer)


def _fused_as_here(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """Rewrite an optimizer's state for this device. The state says whether steps are fused, which a GPU's are and a
    CPU's need not be, and a checkpoint may come from the other one."""
    saved_groups, own_groups = state["param_groups"], optimizer.param_groups
    if len(saved_groups) != len(own_groups):
        return state  # load_state_dict refuses it, in its own words
    here = [{"fused": group["fused"]} if "fused" in group else {} for group in own_groups]
    return {**state, "param_groups": [{**group, **fused} for group, fused in zip(saved_groups, here, strict=True)]}


def _check_settings(state: dict[str, Any], optimizer: Any) -> None:
    """ValueError where a setting that is a number here is none there."""
    for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=False):
        for name, value in own.items():
            if isinstance(value, (int, float)) and not isinstance(saved.get(name, value), (int, float, Tensor)):
                raise ValueError(f"its {name} is no number")


def _check_shapes(optimizer: Any) -> None:
    """ValueError where a running mean of a weight's gradients is of another shape than the weight."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if name in MEANS and value is not None and getattr(value, "shape", None) != weight.shape:
                raise ValueError(f"a {name} is of another shape than its weight")
