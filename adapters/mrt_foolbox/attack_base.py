"""What all our attacks share as Foolbox attacks: they check a call before the model sees anything, and translate pixels
from the bounds of the host's model to [0, 1] and back."""

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
    """A checked call: `model` sees images in [0, 1], `x` are the host's pixels and `unit` the same in [0, 1].

    Of `labels` and `targets` one holds the classes of the criterion, (N,) int64, and the other is None.
    """

    model: Model
    x: Tensor
    unit: Tensor
    range: Range
    labels: Tensor | None
    targets: Tensor | None

    def search(self, attack: Attack) -> Tensor:
        """Return the attack's result in [0, 1]. A targeted attack takes the model's answers for labels."""
        if self.labels is not None:
            return attack(self.model, self.unit, self.labels)
        # A targeted criterion of Foolbox does not hold the true classes, which our attacks ask for.
        with torch.no_grad(), crafting(self.model) as f:
            answers = checks.logits(f(self.unit), self.unit).argmax(1)
        return attack(self.model, self.unit, answers, target=self.targets)


def open_call(model: Any, inputs: Any, criterion: Any, kwargs: dict[str, Any]) -> tuple[Call, Any]:
    """Return the checked call, and a function that makes a result of the inputs' own kind.

    Whatever is wrong raises a ValueError or a TypeError before the model is called.
    """
    raise_if_kwargs(kwargs)
    x, restore = ep.astensor_(inputs)
    if not isinstance(x.raw, Tensor):
        raise ValueError(f"mrt's attacks run on PyTorch; got inputs of type {type(x.raw).__name__}")
    raw = x.raw.detach()
    if not raw.is_floating_point() or raw.ndim < 2 or not raw.numel():
        raise ValueError(f"inputs must be a non-empty batch of floats; got {raw.dtype} of shape {tuple(raw.shape)}")
    unit_model = as_model(model, raw.dtype)
    low, high = (torch.as_tensor(float(b), dtype=torch.float64) for b in model.bounds)
    scale = Range.between(low, high)
    labels, targets = _read_criterion(criterion, raw)
    return Call(unit_model, raw, scale.to_unit(raw), scale, labels, targets), restore


def _read_criterion(criterion: Any, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return (labels, None) or (None, target classes), each (N,) int64."""
    # Foolbox takes plain labels in place of a criterion, and so do its users.
    if not isinstance(criterion, foolbox.criteria.Criterion):
        criterion = foolbox.criteria.Misclassification(criterion)
    targeted = isinstance(criterion, foolbox.criteria.TargetedMisclassification)
    if not targeted and not isinstance(criterion, foolbox.criteria.Misclassification):
        raise ValueError(f"unsupported criterion {criterion!r}: give Misclassification or TargetedMisclassification")
    raw_classes = (criterion.target_classes if targeted else criterion.labels).raw
    if not isinstance(raw_classes, Tensor) or raw_classes.is_floating_point():
        kind = raw_classes.dtype if isinstance(raw_classes, Tensor) else type(raw_classes).__name__
        raise ValueError(f"classes must be an integer torch tensor, as the inputs are a torch tensor; got {kind}")
    classes = raw_classes.long()
    checks.labels("the criterion's classes", classes, x)
    return (None, classes) if targeted else (classes, None)


def read_epsilons(epsilons: Any) -> float | list[float | None] | None:
    """Return one number, or a list of them, as Foolbox takes them.

    None stays None, alone or in a list: the host has its own error for it.
    """
    # Tensors and arrays are iterable but their entries are no plain numbers, which `checks.number` asks for.
    if isinstance(epsilons, (Tensor, ep.Tensor)) or hasattr(epsilons, "ndim"):
        epsilons = epsilons.tolist() if not isinstance(epsilons, ep.Tensor) else epsilons.raw.tolist()
    if epsilons is None or isinstance(epsilons, numbers.Number):
        return None if epsilons is None else checks.number("epsilons", epsilons)
    if not isinstance(epsilons, Iterable) or isinstance(epsilons, str):
        raise TypeError(f"epsilons must be a number or several; got {epsilons!r}")
    return [None if e is None else checks.number("epsilons", e) for e in epsilons]


def host_distance(norm: str) -> Distance:
    """Return Foolbox's distance for one of our names of norms, which are the same."""
    distance: Distance = getattr(foolbox.distances, norm)
    return distance


class ShortRepr:
    """Give an attack a short repr: its name and the settings that differ from the defaults."""

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self).__init__).parameters
        changed = {n: v for n, v in vars(self).items() if n in parameters and v != parameters[n].default}
        # A network is shown by its type: its own repr fills a page.
        settings = [f"{n}={type(v).__name__ if isinstance(v, nn.Module) else repr(v)}" for n, v in changed.items()]
        # Where `restarts` is a setting it has been shown as one; elsewhere only `repeat` can have changed it.
        repeats = 1 if "restarts" in parameters else getattr(self, "restarts", 1)
        return f"{type(self).__name__}({', '.join(settings)})" + (f".repeat({repeats})" if repeats != 1 else "")


class Native(ShortRepr, FixedEpsilonAttack):
    """An attack of ours on a ball, or a union of balls, of radius epsilon. Its `raw` obeys epsilon and the bounds.

    Nothing of the model is touched: modes, buffers and .grad stay as they are. Randomness is torch's global
    generator's; no image's result depends on the others.
    """

    restarts: int = 1
    targetable: bool = True

    @abstractmethod
    def attack_for(self, epsilon: float, width: float) -> Attack:
        """Return the attack as `mrt` has it: lengths divided by the bounds' width."""

    # Foolbox's types call this method final. It is overridden all the same: otherwise a bad radius in a list, a bad
    # criterion or bad bounds would be noticed after the model had run, or end in an assertion without words.
    def __call__(self, model: Any, inputs: Any, criterion: Any, *, epsilons: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Return Foolbox's (raw, clipped, success): lists and an array (K, N) for a list of K epsilons."""
        call, restore = open_call(model, inputs, criterion, kwargs)
        epsilons = read_epsilons(epsilons)
        inputs = restore(ep.astensor(call.x.clamp(*model.bounds)))  # the host's own clipped images may be 1e-7 outside
        for epsilon in epsilons if isinstance(epsilons, list) else [epsilons]:
            if epsilon:
                self._build_attack(epsilon, call)  # so that the last radius of a list fails before the first is run
        return super().__call__(model, inputs, criterion, epsilons=epsilons, **kwargs)

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Return the worst perturbed inputs on the way, successful or not."""
        call, restore = open_call(model, inputs, criterion, kwargs)
        # Foolbox allows a radius of 0, which our balls refuse: nothing may move then.
        if not checks.number("epsilon", epsilon):
            return restore(ep.astensor(call.x.clone()))
        attack = self._build_attack(epsilon, call)
        unit_adv = call.search(attack)
        # Rounding on the way to the host's pixels must not carry a result out of its ball.
        size = gauge(attack.threat, call.unit, unit_adv)
        return restore(ep.astensor(call.range.carry_back(call.x, call.unit, unit_adv, size)))

    def repeat(self, times: int) -> Native:
        """Return the same attack with so many times the runs.

        Each later run starts at random and sees only the images that still stand.
        """
        repeated = copy.copy(self)
        repeated.restarts = self.restarts * checks.count("times", times)
        return repeated

    def _build_attack(self, epsilon: float, call: Call) -> Attack:
        """Return the attack for this call, or raise a ValueError if it cannot aim at the classes it is to reach."""
        if call.targets is not None and not self.targetable:
            raise ValueError(f"unsupported criterion TargetedMisclassification: {self!r} aims at no class")
        return self.attack_for(epsilon, call.range.width)


class Unmeasured(ShortRepr, HostAttack):
    """An attack of ours whose perturbations no norm measures. `epsilons` are factors of its radii: 1 is as it was
    made."""

    @abstractmethod
    def attack_for(self, epsilon: float, width: float) -> Attack:
        """Return the attack as `mrt` has it, its radii times epsilon."""

    def __call__(self, model: Any, inputs: Any, criterion: Any, *, epsilons: Any = 1.0, **kwargs: Any) -> Any:
        """Return Foolbox's (raw, clipped, success), clipped being raw: lists and (K, N) for a list of K epsilons."""
        call, restore = open_call(model, inputs, criterion, kwargs)
        factors = read_epsilons(epsilons)
        several = factors if isinstance(factors, list) else [factors]
        if any(epsilon is None for epsilon in several):
            raise NotImplementedError(
                f"{type(self).__name__} needs epsilons, factors of its radii: 1 is as it was made"
            )
        # All of them are made before the first one runs, so that a bad factor is noticed at once.
        attacks = [self.attack_for(epsilon or 0.0, call.range.width) for epsilon in several]
        images = [ep.astensor(self._search_pixels(call, attack)) for attack in attacks]
        if not isinstance(criterion, foolbox.criteria.Criterion):
            criterion = foolbox.criteria.Misclassification(criterion)
        success = ep.stack([criterion(image, ep.astensor(model(image.raw))) for image in images])  # (K, N)
        raw = [restore(image) for image in images]
        if isinstance(factors, list):
            return raw, list(raw), restore(success)
        return raw[0], raw[0], restore(success[0])

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float = 1.0, **kwargs: Any) -> Any:
        """Return the worst perturbed inputs on the way, successful or not."""
        call, restore = open_call(model, inputs, criterion, kwargs)
        attack = self.attack_for(checks.number("epsilon", epsilon), call.range.width)
        return restore(ep.astensor(self._search_pixels(call, attack)))

    @staticmethod
    def _search_pixels(call: Call, attack: Attack) -> Tensor:
        """Return the attack's result in the host's pixels; without a gauge, as there is no ball to stay in."""
        return call.range.carry_back(call.x, call.unit, call.search(attack))
