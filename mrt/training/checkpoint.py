"""What a run needs to go on from where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrt.training.loop import Loop


def of(loop: Loop) -> dict[str, Any]:
    """The state of a run. Random states are not in it: every update sets them from the seed and its own number."""
    held = {name: part.state_dict() for name, part in _parts(loop).items()}
    plain = {"step": loop.index, "rows": len(loop.rows), "best": loop.best, "sums": dict(loop.sums)}
    return {**held, **plain, "rates": loop.rates}


def restore(loop: Loop) -> None:
    """Go on from the folder's checkpoint; without one, from the beginning. The metrics are cut back to it."""
    if loop.folder is None:
        return
    held = loop.folder.load()
    if held is None:
        loop.folder.cut(0)
        return
    for name, part in _parts(loop).items():
        try:
            part.load_state_dict(_fused_as_here(held[name], part) if name == "optimizer" else held[name])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            short = " ".join(str(error).split())[:200]
            raise ValueError(f"{loop.folder.path} holds a checkpoint of another {name}: {short}") from error
    rows = loop.folder.cut(held["rows"])
    loop.index, loop.best, loop.rates, loop.rows = held["step"], held["best"], held["rates"], rows
    loop.sums.update(held["sums"])


def _fused_as_here(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """An optimizer's state, which says whether steps are fused, as this device has it: it may come from another one."""
    groups, mine = state["param_groups"], optimizer.param_groups
    if len(groups) != len(mine):
        return state  # which is refused
    here = [{"fused": own["fused"]} if "fused" in own else {} for own in mine]
    return {**state, "param_groups": [{**group, **fused} for group, fused in zip(groups, here, strict=True)]}


def _parts(loop: Loop) -> dict[str, Any]:
    """What has a state, by its name in the file."""
    parts = {"weights": loop.model, "ema": loop.ema, "strategy": loop.strategy, "optimizer": loop.optimizer}
    return {n: p for n, p in {**parts, "schedule": loop.scheduler}.items() if hasattr(p, "state_dict")}
