"""Reads what a command line writes as text: threats, data, models, schedules, and whatever else has fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import mrt.data
import mrt.models
from mrt import checks
from mrt.attacks.sparsity import Keep
from mrt.config import import_attribute
from mrt.data import Images
from mrt.files import list_arrays
from mrt.protocols import Threat
from mrt.threats import L0, L1, L2, Linf, RotationTranslation
from mrt.training import Constant, Cosine, Drops, Piecewise, Triangular
from mrt.training.schedules import Schedule
from mrt.weights import MOST_BYTES, MOST_TENSORS, at_most

THREATS: dict[str, Callable[..., Threat]] = {
    "linf": Linf,
    "l2": L2,
    "l1": L1,
    "l0": lambda count: L0(int(count) if count.is_integer() else count),  # which L0 refuses
    "rt": RotationTranslation,
}
NUMBER = re.compile(r"[-+]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})(e[-+]?\d{1,2})?|[-+]?\d{1,30}/\d{1,30}", re.IGNORECASE)
SETS: dict[str, Any] = {name: getattr(mrt.data, name) for name in ("mnist", "cifar10", "cifar100", "svhn")}


def parse_threat(text: str) -> Threat:
    """Return the threat that a text describes: Linf(8 / 255) for linf=8/255, RotationTranslation(30, 3) for rt=30,3."""
    name, _, values = text.partition("=")
    make = THREATS[checks.choice(f"the threat of {text!r}", name, tuple(THREATS))]
    try:
        numbers = [_parse_number(value) for value in values.split(",")]
    except (ValueError, ArithmeticError):
        raise ValueError(f"a threat is written linf=0.2 or rt=30,3; got {text!r}") from None
    if name == "linf" and numbers[0] > 1:  # a radius on the scale of bytes, which would allow any image
        raise ValueError(f"radii are in units of [0, 1], as linf=8/255; got {text!r}")
    try:
        return make(*numbers)
    except TypeError:
        raise ValueError(f"{name} takes fewer numbers; got {text!r}") from None


def _parse_number(text: str) -> float:
    """Return 0.3 for 0.3, and for 8/255 what that is; a ValueError for anything else, 1e999999999 for one, which would
    be worked out digit by digit."""
    if not NUMBER.fullmatch(text.strip()):
        raise ValueError(f"a number is written 0.3 or 8/255; got {text!r}")
    return float(Fraction(text.strip()))


def check_data(name: str) -> str:
    """Return the name unchanged, or raise a ValueError unless it is a data set or a path that is there."""
    if name not in ("digits", *SETS) and not Path(name).exists():
        raise ValueError(f"data must be digits, {', '.join(SETS)}, or a .npz or folder that is there; got {name!r}")
    return name


def load_data(name: str, root: Path, split: str) -> Images:
    """Return the images of the data set that a command line names."""
    if name == "digits":
        return mrt.data.digits(checks.choice("split", split, ("train", "test")))  # type: ignore[arg-type]
    if name in SETS:
        images: Images = SETS[name](root, split)
        return images
    if not Path(name).is_file():
        return replace(mrt.data.folder(name), name=Path(name).name)
    stored = mrt.data.npz(name, split if has_split(name, split) else None)  # type: ignore[arg-type]
    return replace(stored, name=Path(name).name)


def has_split(name: str, split: str) -> bool:
    """Tell whether the data that a command line names has that split, rather than being all in one."""
    if name in ("digits", *SETS):
        return True
    if not Path(name).is_file():
        return False
    # One that holds several splits names them x_train, y_train and so on.
    return f"x_{split}" in list_arrays(name, "see mrt.data.npz for what it should hold")


# Normalized wraps another network and cannot be made from numbers alone.
MODELS = tuple(name for name in mrt.models.__all__ if name != "Normalized")


def check_model(name: str) -> str:
    """Return the name of a network in mrt.models, DigitsCNN for digits-cnn, whatever the case and the dashes."""
    exact = {model.lower(): model for model in MODELS}.get(name.replace("-", "").lower(), name)
    return checks.choice("model", exact, (*MODELS, "package.module:factory"))


def make_model(name: str, settings: tuple[str, ...]) -> tuple[Any, dict[str, int | float | str]]:
    """Return a fresh network of `mrt.models`, or of package.module:factory, and its settings, {"width": 8} for
    width=8."""
    arguments = dict(_parse_setting(text) for text in settings)
    maker = import_attribute(name) if ":" in name else getattr(mrt.models, check_model(name))
    limit = nullcontext() if ":" in name else at_most(MOST_TENSORS, MOST_BYTES)
    try:
        with limit:
            return (maker(**arguments) if callable(maker) else maker), arguments
    except (TypeError, RuntimeError) as error:  # RuntimeError: more memory than there is
        why = checks.first_line(error)[:300]
        raise ValueError(f"{name} takes no such settings, {' '.join(settings)!r}: {why}") from error


def _parse_setting(text: str) -> tuple[str, int | float | str]:
    """Return the name and the value of name=value, the value a number where it reads as one."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"a setting is written name=value; got {text!r}")
    for kind in (int, float):  # int first, so that 8 is a number of channels and not 8.0
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def parse_keep(text: str) -> Keep:
    """Return a number of entries for 10, a quantile for 0.99, a range for 5,20."""
    try:
        # The point decides: 1 is one entry, 1.0 would be a quantile.
        ends = tuple(float(v) if "." in v else int(v) for v in text.split(","))
    except ValueError:
        raise ValueError(f"keep is written 10, 0.99 or 5,20; got {text!r}") from None
    return ends[0] if len(ends) == 1 else ends  # type: ignore[return-value]


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant, "cosine": Cosine, "triangular": Triangular,
    "piecewise": lambda *pairs: Piecewise(pairs), "drops": lambda *pairs: Drops(pairs),
}  # fmt: skip


def parse_schedule(text: str) -> Schedule:
    """Return the schedule that a text describes.

    Texts are triangular, triangular=0.3, cosine=0.1, constant, drops=0.5:0.1,0.75:0.01, piecewise=0:0,0.4:1,1:0.
    """
    name, _, values = text.partition("=")
    make = SCHEDULES[checks.choice(f"the schedule of {text!r}", name, tuple(SCHEDULES))]
    try:
        parts = [tuple(map(float, part.split(":"))) for part in values.split(",")] if values else []
        return make(*(part if len(part) > 1 else part[0] for part in parts))
    except TypeError as error:
        raise ValueError(f"{name} is not written so: {text!r} ({error})") from error
