"""Radii and step sizes as ART's users give them, in pixels of any range and by norm, as balls for images in [0, 1]."""

from __future__ import annotations

from typing import Any

import mrt
from mrt import checks
from mrt.protocols import Ball
from mrt_art.bridge import read_norm

BALLS: dict[str, type[Any]] = {"inf": mrt.Linf, "2": mrt.L2, "1": mrt.L1}
USUAL = {"inf": 8 / 255, "2": 0.5, "1": 12.0}  # radii for images in [0, 1], CIFAR-10's of the papers


def read_radii(eps: Any, width: float) -> dict[str, float]:
    """Return radii by norm, in the host's units: those given, or the usual ones for None."""
    if eps is None:
        return {norm: radius * width for norm, radius in USUAL.items()}
    if not isinstance(eps, dict) or not eps:
        raise ValueError(
            f'eps must be a dict of radii by norm, such as {{"inf": 0.03, "2": 0.5, "1": 12}}; got {eps!r}'
        )
    radii = {read_norm(norm): checks.number("eps", radius) for norm, radius in eps.items()}
    # Two spellings of one norm, 2 and "l2" say, are two keys of the dict that was given, but one of ours.
    if len(radii) < len(eps):
        raise ValueError(f"eps names a norm twice: {eps!r}")
    return radii


def read_union(eps: Any, width: float) -> dict[str, float]:
    """Return radii by norm as `read_radii` does; a number, Madry's argument, is that of linf, with which the other two
    usual ones grow."""
    if eps is None or isinstance(eps, dict):
        return read_radii(eps, width)
    factor = checks.number("eps", eps) / (USUAL["inf"] * width)
    return {norm: radius * width * factor for norm, radius in USUAL.items()}


def read_union_steps(eps_step: Any, eps: dict[str, float], width: float) -> dict[str, float | None]:
    """Return step sizes by norm as `read_step_sizes` does; a number, Madry's argument, is that of linf, and the others
    are the same share of their radius."""
    if eps_step is None or isinstance(eps_step, dict):
        return read_step_sizes(eps_step, eps, width)
    if not eps.get("inf"):
        raise ValueError(f"eps_step must be a dict with the norms of eps where linf has no radius; got {eps_step!r}")
    share = checks.number("eps_step", eps_step, open_low=True) / eps["inf"]
    return {norm: radius * share / width for norm, radius in eps.items()}


def read_radius(eps: Any, norm: Any, width: float) -> float:
    """Return the radius of one ball, in the host's units: the one given, or the usual one for None."""
    return USUAL[read_norm(norm)] * width if eps is None else checks.number("eps", eps)


def read_step_sizes(eps_step: Any, eps: dict[str, float], width: float) -> dict[str, float | None]:
    """Return step sizes by norm for images in [0, 1]; None for those that are left to the attack."""
    if eps_step is None:
        return dict.fromkeys(eps)
    if not isinstance(eps_step, dict) or {read_norm(norm) for norm in eps_step} != set(eps):
        raise ValueError(f"eps_step must be None or a dict with the norms of eps, {', '.join(eps)}; got {eps_step!r}")
    sizes = {read_norm(n): checks.number("eps_step", s, open_low=True) / width for n, s in eps_step.items()}
    if len(sizes) < len(eps_step):
        raise ValueError(f"eps_step names a norm twice: {eps_step!r}")
    # In the order of the radii: callers pair sizes with balls by position.
    return {norm: sizes[norm] for norm in eps}


def make_balls(eps: dict[str, float], width: float) -> tuple[Ball, ...]:
    """Return a ball for each radius, for images in [0, 1]."""
    return tuple(BALLS[norm](radius / width) for norm, radius in eps.items())
