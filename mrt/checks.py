"""Bad input ends here, with a ValueError that names what was given and what is allowed."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

NAME = re.compile(r"(?![. ])[^/\\\[\]]+")


class NoNumbers(ValueError):
    """Raised where a model answers NaN to everything: in training, one that has diverged."""


class ModelFailed(ValueError):
    """Raised in place of what torch raises inside a model, which it says in its parentheses or after its colon."""


class NoGradient(ValueError):
    """Raised where no gradient leads from a model's output to its input."""


def number(name: str, value: Any, *, low: float = 0.0, high: float = math.inf, open_low: bool = False) -> float:
    """`value` as a float, if it is a finite number in [low, high] (or above low, with open_low)."""
    # A bool is a number to Python; here it is a mistake, True for 1.0 in a wrong place of a call.
    ok = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or value < low or value > high or (open_low and value == low):
        bound = f"{'above' if open_low else 'at least'} {low:g}"
        if high < math.inf:
            bound += f" and at most {high:g}"
        raise ValueError(f"{name} must be a finite number {bound}; got {value!r}")
    return float(value)


def count(name: str, value: Any, *, low: int = 1) -> int:
    """`value`, if it is a whole number of at least `low`."""
    # numpy's integers are Integral too, and come out as Python's, which JSON can hold.
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}; got {value!r}")
    return int(value)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value`, if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
    return str(value)


def images(name: str, x: Any) -> None:
    """Raise ValueError unless x is a non-empty float32 batch with every value in [0, 1]."""
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        description = _describe_type(x)
        if isinstance(x, Tensor) and x.dtype == torch.uint8:
            description += " (divide by 255, or take the images from data.float(index))"
        raise ValueError(f"{name} must be a torch.float32 tensor with values in [0, 1]; got {description}")
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"{name} must be a non-empty batch (N, C, H, W); got shape {tuple(x.shape)}")
    low, high = extent(x)
    if not (low >= 0 and high <= 1):  # NaN fails the comparison
        raise ValueError(f"{name} must lie in [0, 1] without NaN; got values from {low:g} to {high:g}")


def labels(name: str, y: Any, x: Tensor) -> int:
    """The highest of the labels y; a ValueError unless they are int64 (N,) on x's device with no negative entry. What
    they may be at most is known once the model has answered: hence the highest."""
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        raise ValueError(f"{name} must be a torch.int64 tensor of class numbers; got {_describe_type(y)}")
    if y.shape != x.shape[:1]:
        hint = "" if y.ndim else " (is the batch dimension missing? x[None], y[None])"
        raise ValueError(
            f"{name} must have shape ({x.shape[0]},), one class number per image; got {tuple(y.shape)}{hint}"
        )
    if y.device != x.device:
        raise ValueError(f"{name} must be on the images' device {x.device}; got {y.device}")
    lowest, highest = (int(v) for v in extent(y))
    if lowest < 0:
        raise ValueError(f"{name} must hold class numbers of at least 0; got {lowest}")
    return highest


def vouch(tensor: Tensor, low: float, high: float) -> Tensor:
    """Remember that the tensor's values lie in [low, high], and give the tensor back. The caller knows it, and watches
    for NaN; nobody else then needs to look at them, which would wait for a GPU."""
    # torch counts the writes to a tensor, so that any of them ends this; writing through `.data` is not counted.
    tensor._mrt_extent = tensor._version, low, high  # type: ignore[attr-defined]
    return tensor


def vouched(tensor: Tensor) -> bool:
    """Whether somebody has called `vouch` for this very tensor, which has not been written to since."""
    known = getattr(tensor, "_mrt_extent", None)
    return known is not None and known[0] == tensor._version


def extent(tensor: Tensor) -> tuple[float, float]:
    """The smallest and the largest value, both NaN if any is; or bounds of them where somebody vouches for these."""
    # The two in one tensor, so that a GPU is waited for once.
    if vouched(tensor):
        _, low, high = tensor._mrt_extent  # type: ignore[attr-defined]
        return low, high
    low, high = torch.stack(torch.aminmax(tensor.detach())).tolist()
    return low, high


def warn(text: str) -> None:
    """Give a UserWarning on the caller's line, outside this package; Python shows it each time, and not once for each
    line as with warnings.warn."""
    # Up the stack to the first frame that is not ours: `stacklevel` would have to know how deep the call is.
    frame: FrameType | None = sys._getframe(1)
    inside = (str(Path(__file__).parent), contextlib.__file__)  # which closes our blocks
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    assert frame is not None
    warnings.warn_explicit(text, UserWarning, frame.f_code.co_filename, frame.f_lineno)


def logits(out: Any, x: Tensor) -> Tensor:
    """The model's answer to x in float32, if it is logits (N, K) with K of at least 2."""
    if not isinstance(out, Tensor) or not out.is_floating_point():
        raise ValueError(f"the model must return a floating-point tensor of logits; got {_describe_type(out)}")
    if out.layout != torch.strided or out.is_nested or out.device != x.device:
        raise ValueError(
            f"the model must return a dense tensor of logits on the images' device, {x.device}; got "
            f"{'torch.nested' if out.is_nested else out.layout} on {out.device}"
        )
    if out.ndim != 2 or out.shape[0] != x.shape[0] or out.shape[1] < 2:
        raise ValueError(
            f"the model must return logits of shape ({x.shape[0]}, K) with K of at least 2; got {tuple(out.shape)}"
        )
    return out.float()


def same_shape(name: str, value: Tensor, x: Tensor) -> None:
    """Raise ValueError unless `value` has the shape of x."""
    if value.shape != x.shape:
        raise ValueError(f"{name} must have the shape of x, {tuple(x.shape)}; got {tuple(value.shape)}")


def name(what: str, value: Any) -> str:
    """`value`, if it is a name fit for tables and for names of files: no way to another folder, no brackets, in which a
    table would see commands."""
    fits = isinstance(value, str) and NAME.fullmatch(value) and value.isprintable() and len(value.encode()) <= 100
    if not fits:
        raise ValueError(
            f"{what} must be a text of 1 to 100 bytes without / \\ [ ] and line breaks, and with no dot or space in "
            f"front; got {value!r}"
        )
    assert isinstance(value, str)
    return value


def first_line(error: BaseException) -> str:
    """The first line of what the error says, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def printable(text: str) -> str:
    """The text with whatever a terminal would act on written out, as \\x1b, since names in it may come from a file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def several(name: str, value: Any, kinds: str) -> tuple[Any, ...]:
    """`value` as a tuple, if it is a non-empty tuple or list."""
    if not isinstance(value, (tuple, list)) or not value:
        raise ValueError(f"{name} must be a non-empty tuple of {kinds}; got {value!r}")
    return tuple(value)


def flag(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r}")


def _describe_type(value: Any) -> str:
    """What a value is, for an error message: a tensor's dtype, or the type of anything else."""
    return f"a {value.dtype} tensor" if isinstance(value, Tensor) else type(value).__name__
