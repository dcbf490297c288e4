"""A call of one of our attacks as Foolbox makes it: checked before the model sees anything, and pixels translated from
the bounds of the host's model to [0, 1] and back."""

from __future__ import annotations

import math
import numbers
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import eagerpy as ep
import foolbox
import numpy as np
import torch
from foolbox.attacks.base import raise_if_kwargs
from foolbox.distances import Distance, LpDistance
from foolbox.models import Model as HostModel
from torch import Tensor, nn

import mrt
from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.hosts.masked import attack_masked
from mrt.hosts.pixel_range import Range
from mrt.protocols import Model
from mrt.threats.gauge import gauge, has_gauge
from mrt_foolbox.wrapped_models import as_model

BALLS: dict[str, type[Any]] = {"linf": mrt.Linf, "l2": mrt.L2, "l1": mrt.L1}
SPELLINGS = {"inf": "linf", "linfinity": "linf", "infinity": "linf", "l∞": "linf", "2": "l2", "1": "l1"}

_told: WeakSet[nn.Module] = WeakSet()


@dataclass(frozen=True, eq=False)
class Call:
    """A checked call: `model` sees images in [0, 1], `x` are the host's pixels and `unit` the same in [0, 1].

    Of `labels` and `targets` one holds the classes of the criterion, (N,) int64, and the other is None. Where there is
    a `mask`, bool in the shape of x, only its entries may change. `criterion` judges as the host's does.
    """

    model: Model
    host: Any
    x: Tensor
    unit: Tensor
    range: Range
    labels: Tensor | None
    targets: Tensor | None
    criterion: Any
    mask: Tensor | None

    def search(self, attack: Any) -> Tensor:
        """Return the attack's result in the host's pixels; it is in its ball, but for float32's rounding."""
        labels, options = self.labels, {"target": self.targets}
        if labels is None:
            # A targeted criterion of Foolbox does not hold the true classes, which our attacks ask for.
            with torch.no_grad(), crafting(self.model) as f:
                labels = checks.logits(f(self.unit), self.unit).argmax(1)
        if self.targets is None:
            options = {}
        if self.mask is None:
            unit_adv = attack(self.model, self.unit, labels, **options)
        else:
            unit_adv = attack_masked(attack, self.model, self.unit, labels, self.mask, **options)
        # Rounding on the way to the host's pixels must not carry a result out of its ball.
        size = gauge(attack.threat, self.unit, unit_adv) if has_gauge(attack.threat) else None
        return self.range.carry_back(self.x, self.unit, unit_adv, size)

    def judge(self, images: Tensor) -> Tensor:
        """Return whether the host's criterion holds of the host's model's answers, bool (N,)."""
        perturbed = ep.astensor(images.clone())  # which the user's model may write into
        return self.criterion(perturbed, ep.astensor(self.host(perturbed))).raw  # type: ignore[no-any-return]


def open_call(model: HostModel, inputs: Any, criterion: Any, kwargs: dict[str, Any]) -> tuple[Call, Any]:
    """Return the checked call, and a function that makes a result of the inputs' own kind.

    Whatever is wrong raises a ValueError or a TypeError before the model is called.
    """
    raise_if_kwargs({name: value for name, value in kwargs.items() if name != "mask"})
    x, restore = ep.astensor_(inputs)
    if not isinstance(x.raw, Tensor):
        raise ValueError(f"mrt's attacks run on PyTorch; got inputs of type {type(x.raw).__name__}")
    raw = x.raw.detach()
    if not raw.is_floating_point() or raw.ndim < 2 or not raw.numel():
        raise ValueError(f"inputs must be a non-empty batch of floats; got {raw.dtype} of shape {tuple(raw.shape)}")
    unit_model = as_model(model, raw.dtype)
    low, high = (torch.as_tensor(float(b), dtype=torch.float64) for b in model.bounds)
    scale = Range.between(low, high)
    # Foolbox takes plain labels in place of a criterion, and so do its users.
    if not isinstance(criterion, foolbox.criteria.Criterion):
        criterion = foolbox.criteria.Misclassification(criterion)
    labels, targets = _read_criterion(criterion, raw)
    mask = None if kwargs.get("mask") is None else _read_mask(kwargs["mask"], raw)
    unit = scale.to_unit(raw)
    # The host's own clipped images may be 1e-7 outside.
    pixels = unit if scale.is_unit and raw.dtype == unit.dtype else raw.clamp(*map(float, model.bounds))
    return Call(unit_model, model, pixels, unit, scale, labels, targets, criterion, mask), restore


def _read_criterion(criterion: Any, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return (labels, None) or (None, target classes), each (N,) int64."""
    # As in the host a criterion of the user's own is aimed at if it has target classes.
    targeted = hasattr(criterion, "target_classes")
    if not targeted and not isinstance(criterion, foolbox.criteria.Misclassification):
        raise ValueError(f"unsupported criterion {criterion!r}: give Misclassification or TargetedMisclassification")
    raw_classes = ep.astensor(criterion.target_classes if targeted else criterion.labels).raw
    if not isinstance(raw_classes, Tensor) or raw_classes.is_floating_point() or raw_classes.dtype == torch.bool:
        kind = raw_classes.dtype if isinstance(raw_classes, Tensor) else type(raw_classes).__name__
        raise ValueError(f"classes must be an integer torch tensor, as the inputs are a torch tensor; got {kind}")
    classes = raw_classes.long()
    checks.labels("the criterion's classes", classes, x)
    return (None, classes) if targeted else (classes, None)


def _read_mask(mask: Any, x: Tensor) -> Tensor:
    """Return which entries may change, bool in the shape of x, to which the mask broadcasts."""
    raw = mask.raw if isinstance(mask, ep.Tensor) else mask
    given = raw.detach() if isinstance(raw, Tensor) else torch.as_tensor(np.asarray(raw))
    if given.dtype != torch.bool and not (given.is_floating_point() and bool((given >= 0).all())):
        raise ValueError(f"mask must be bool, or floats of at least 0; got {given.dtype}")
    try:
        return (given != 0).to(x.device).expand(x.shape)
    except RuntimeError:
        shapes = f"{tuple(x.shape)}; got {tuple(given.shape)}"
        raise ValueError(f"mask must broadcast to the inputs' shape {shapes}") from None


def read_epsilons(epsilons: Any) -> tuple[list[float | None], bool]:
    """Return the epsilons in a list, and whether there was only one. None and infinity are left as they are."""
    # Tensors and arrays are iterable but their entries are no plain numbers, which `checks.number` asks for.
    plain = _plain(epsilons)
    if isinstance(plain, str) or not isinstance(plain, (Iterable, numbers.Number, type(None))):
        raise TypeError(f"epsilons must be a number or several; got {epsilons!r}")
    if not isinstance(plain, Iterable):
        return [_read_epsilon(plain)], True
    several = [_read_epsilon(_plain(e)) for e in plain]
    if not several:
        raise ValueError("epsilons must be a number or several; got none")
    return several, False


def _plain(value: Any) -> Any:
    """Return tensors and arrays as numbers or lists of them, and anything else as it is."""
    value = value.raw if isinstance(value, ep.Tensor) else value
    return value.tolist() if isinstance(value, Tensor) or hasattr(value, "ndim") else value


def _read_epsilon(epsilon: Any) -> float | None:
    if epsilon is None or epsilon == math.inf:
        return None if epsilon is None else math.inf
    return checks.number("epsilons", float(epsilon) if isinstance(epsilon, bool) else epsilon)


def read_norm(norm: Any) -> str:
    """Return "linf", "l2" or "l1" for a norm in any of the usual spellings: "Linf", "inf", 2, foolbox.distances.l2."""
    value = norm.p if isinstance(norm, LpDistance) else norm
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = f"{float(value):g}"
    word = value.lower().replace("_", "").replace("-", "") if isinstance(value, str) else ""
    word = SPELLINGS.get(word, word)
    return word if word in BALLS else checks.choice("norm", norm, tuple(BALLS))


def host_distance(norm: str) -> Distance:
    """Return Foolbox's distance for one of our names of norms, which are the same."""
    distance: Distance = getattr(foolbox.distances, norm)
    return distance


def say_what_mode(call: Call) -> None:
    """Give a UserWarning, once for each network, where the search sees another model than the host that judges."""
    networks: Any = getattr(call.model, "networks", ())
    training = [n for n in networks if n not in _told and any(m.training for m in n.modules())]
    if training:
        _told.update(training)
        text = "the model is in train mode: the attack searches it in eval mode, Foolbox judges it as it is"
        warn(f"{text}; call model.eval()")


def warn(text: str) -> None:
    """Give a UserWarning on the caller's line, outside this package."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("mrt_foolbox"):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(text, UserWarning, stacklevel=depth)
