"""What our attacks do alike as Foolbox's: check a call before the model sees anything, and translate pixels."""

from __future__ import annotations

import copy
import inspect
import numbers
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import eagerpy as ep
import foolbox
import torch
from foolbox.attacks.base import Attack as HostAttack
from foolbox.attacks.base import FixedEpsilonAttack, raise_if_kwargs
from foolbox.distances import Distance
from torch import Tensor, nn

import mrt
from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.hosts.pixel_range import Range
from mrt.protocols import Attack, Model
from mrt.threats.gauge import gauge
from mrt_foolbox.incoming import as_model

BALLS: dict[str, type[Any]] = {"linf": mrt.Linf, "l2": mrt.L2, "l1": mrt.L1}


@dataclass(frozen=True, eq=False)
class Call:
    """A checked call: `model` sees images in [0, 1], `x` are the host's pixels and `unit` the same in [0, 1]. `labels`
    or else `targets` is what the criterion holds."""

    model: Model
    x: Tensor
    unit: Tensor
    range: Range
    labels: Tensor | None
    targets: Tensor | None

    def search(self, attack: Attack) -> Tensor:
        """The attack's result in [0, 1]. A targeted attack takes the model's answers for labels."""
        if self.labels is not None:
            return attack(self.model, self.unit, self.labels)
        with torch.no_grad(), crafting(self.model) as f:
            answers = checks.logits(f(self.unit), self.unit).argmax(1)
        return attack(self.model, self.unit, answers, target=self.targets)


def opened(model: Any, inputs: Any, criterion: Any, kwargs: dict[str, Any]) -> tuple[Call, Any]:
    """The call, and what makes a result of the inputs' own kind. ValueError or TypeError before the model is called."""
    raise_if_kwargs(kwargs)
    x, restore = ep.astensor_(inputs)
    if not isinstance(x.raw, Tensor):
        raise ValueError(f"mrt's attacks run on PyTorch; got inputs of type {type(x.raw).__name__}")
    raw = x.raw.detach()
    if not raw.is_floating_point() or raw.ndim < 2 or not raw.numel():
        raise ValueError(f"inputs must be a non-empty batch of floats; got {raw.dtype} of shape {tuple(raw.shape)}")
    seen = as_model(model, raw.dtype)
    low, high = (torch.as_tensor(float(b), dtype=torch.float64) for b in model.bounds)
    scale = Range.between(low, high)
    labels, targets = _classes(criterion, raw)
    return Call(seen, raw, scale.to_unit(raw), scale, labels, targets), restore


def _classes(criterion: Any, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """(labels, None) or (None, target classes), int64."""
    if not isinstance(criterion, foolbox.criteria.Criterion):
        criterion = foolbox.criteria.Misclassification(criterion)
    targeted = isinstance(criterion, foolbox.criteria.TargetedMisclassification)
    if not targeted and not isinstance(criterion, foolbox.criteria.Misclassification):
        raise ValueError(f"unsupported criterion {criterion!r}: give Misclassification or TargetedMisclassification")
    given = (criterion.target_classes if targeted else criterion.labels).raw
    if not isinstance(given, Tensor) or given.is_floating_point():
        kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(f"classes must be an integer torch tensor, as the inputs are a torch tensor; got {kind}")
    classes = given.long()
    checks.labels("the criterion's classes", classes, x)
    return (None, classes) if targeted else (classes, None)


def radii(epsilons: Any) -> float | list[float | None] | None:
    """One number, or a list of them, as Foolbox takes them; None stays None, which the host has its own error for."""
    if isinstance(epsilons, (Tensor, ep.Tensor)) or hasattr(epsilons, "ndim"):
        epsilons = epsilons.tolist() if not isinstance(epsilons, ep.Tensor) else epsilons.raw.tolist()
    if epsilons is None or isinstance(epsilons, numbers.Number):
        return None if epsilons is None else checks.number("epsilons", epsilons)
    if not isinstance(epsilons, Iterable) or isinstance(epsilons, str):
        raise TypeError(f"epsilons must be a number or several; got {epsilons!r}")
    return [None if e is None else checks.number("epsilons", e) for e in epsilons]


def distance(norm: str) -> Distance:
    """Foolbox's own, by our names of norms."""
    found: Distance = getattr(foolbox.distances, norm)
    return found


class Told:
    """A short repr: the settings that are not the defaults."""

    def __repr__(self) -> str:
        known = inspect.signature(type(self).__init__).parameters
        told = {name: value for name, value in vars(self).items() if name in known and value != known[name].default}
        shown = [f"{n}={type(v).__name__ if isinstance(v, nn.Module) else repr(v)}" for n, v in told.items()]
        repeats = 1 if "restarts" in known else getattr(self, "restarts", 1)
        return f"{type(self).__name__}({', '.join(shown)})" + (f".repeat({repeats})" if repeats != 1 else "")


class Native(Told, FixedEpsilonAttack):
    """An attack of ours on a ball, or a union of balls, of radius epsilon. Its `raw` obeys epsilon and the bounds.

    Nothing of the model is touched: modes, buffers and .grad stay as they are. Randomness is torch's global
    generator's; no image's result depends on the others.
    """

    restarts: int = 1
    targetable: bool = True

    @abstractmethod
    def attack_for(self, epsilon: float, width: float) -> Attack:
        """The attack as `mrt` has it: lengths divided by the bounds' width."""

    def __call__(self, model: Any, inputs: Any, criterion: Any, *, epsilons: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """(raw, clipped, success); lists and (K, N) for several epsilons."""
        call, restore = opened(model, inputs, criterion, kwargs)
        epsilons = radii(epsilons)
        inputs = restore(ep.astensor(call.x.clamp(*model.bounds)))  # the host's own clipped images may be 1e-7 outside
        for epsilon in epsilons if isinstance(epsilons, list) else [epsilons]:
            if epsilon:
                self._checked(epsilon, call)
        return super().__call__(model, inputs, criterion, epsilons=epsilons, **kwargs)

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """The worst perturbed inputs found, successful or not."""
        call, restore = opened(model, inputs, criterion, kwargs)
        if not checks.number("epsilon", epsilon):
            return restore(ep.astensor(call.x.clone()))
        attack = self._checked(epsilon, call)
        found = call.search(attack)
        size = gauge(attack.threat, call.unit, found)
        return restore(ep.astensor(call.range.carry_back(call.x, call.unit, found, size)))

    def repeat(self, times: int) -> Native:
        """The same with so many times the runs; each later one starts at random and sees only what still stands."""
        more = copy.copy(self)
        more.restarts = self.restarts * checks.count("times", times)
        return more

    def _checked(self, epsilon: float, call: Call) -> Attack:
        if call.targets is not None and not self.targetable:
            raise ValueError(f"unsupported criterion TargetedMisclassification: {self!r} aims at no class")
        return self.attack_for(epsilon, call.range.width)


class Searched(Told, HostAttack):
    """An attack of ours whose perturbations no norm measures. `epsilons` are factors of its radii: 1 is as it was
    made."""

    @abstractmethod
    def attack_for(self, epsilon: float, width: float) -> Attack:
        """The attack as `mrt` has it, its radii times epsilon."""

    def __call__(self, model: Any, inputs: Any, criterion: Any, *, epsilons: Any = 1.0, **kwargs: Any) -> Any:
        """(raw, raw, success); lists and (K, N) for several epsilons."""
        call, restore = opened(model, inputs, criterion, kwargs)
        given = radii(epsilons)
        several = given if isinstance(given, list) else [given]
        if any(epsilon is None for epsilon in several):
            raise NotImplementedError(
                f"{type(self).__name__} needs epsilons, factors of its radii: 1 is as it was made"
            )
        attacks = [self.attack_for(epsilon or 0.0, call.range.width) for epsilon in several]
        images = [ep.astensor(self._found(call, attack)) for attack in attacks]
        if not isinstance(criterion, foolbox.criteria.Criterion):
            criterion = foolbox.criteria.Misclassification(criterion)
        success = ep.stack([criterion(image, ep.astensor(model(image.raw))) for image in images])
        found = [restore(image) for image in images]
        if isinstance(given, list):
            return found, list(found), restore(success)
        return found[0], found[0], restore(success[0])

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float = 1.0, **kwargs: Any) -> Any:
        """The worst perturbed inputs found, successful or not."""
        call, restore = opened(model, inputs, criterion, kwargs)
        attack = self.attack_for(checks.number("epsilon", epsilon), call.range.width)
        return restore(ep.astensor(self._found(call, attack)))

    @staticmethod
    def _found(call: Call, attack: Attack) -> Tensor:
        return call.range.carry_back(call.x, call.unit, call.search(attack))
