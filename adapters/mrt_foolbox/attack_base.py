"""What all our attacks share as Foolbox attacks: how they are called, repeated, measured and shown."""

from __future__ import annotations

import copy
import inspect
import math
from abc import abstractmethod
from typing import Any, ClassVar

import eagerpy as ep
import torch
from foolbox.attacks.base import Attack as HostAttack
from foolbox.attacks.base import FixedEpsilonAttack
from foolbox.attacks.base import Repeated as HostRepeated
from foolbox.models import Model as HostModel
from torch import Tensor, nn

import mrt
from mrt import checks
from mrt.protocols import Attack
from mrt.threats import AnyOf
from mrt_foolbox.calls import Call, open_call, read_epsilons, say_what_mode
from mrt_foolbox.radii import USUAL

HOOKS = ("get_loss_fn", "get_optimizer", "value_and_grad", "normalize", "project", "get_random_start")
"""The methods of Foolbox's gradient descents that its users override."""
PROBES = 12  # radii tried for each image where the smallest is asked for, after one was found that fools


class ShortRepr:
    """Give an attack a short repr: its name and the settings that differ from the defaults."""

    def __repr__(self) -> str:
        parameters, held = inspect.signature(type(self).__init__).parameters, vars(self)
        # What a user's subclass may want as a name of its own is kept with an underscore in front.
        settings = {n: held[k] for n in parameters for k in (f"_{n}", n) if k in held}
        changed = {n: v for n, v in settings.items() if v != parameters[n].default}
        return f"{type(self).__name__}({', '.join(f'{n}={_show(v)}' for n, v in changed.items())})"


def _show(value: Any) -> str:
    # A network is shown by its type: its own repr fills a page. A function by its name: an address says nothing.
    if isinstance(value, nn.Module):
        return type(value).__name__
    return getattr(value, "__qualname__", None) or repr(value)


class Repeated(HostRepeated):
    """An attack run several times, as Foolbox has it: `attack` and `times`. Each later run starts at random and sees
    only the images that still stand."""

    def __repr__(self) -> str:
        return f"{self.attack!r}.repeat({self.times})"

    def __call__(self, model: HostModel, inputs: Any, criterion: Any, *, epsilons: Any, **kwargs: Any) -> Any:
        attack: Any = self.attack
        if attack.runs_as_the_host:
            return super().__call__(model, inputs, criterion, epsilons=epsilons, **kwargs)
        return attack.with_runs(self.times)(model, inputs, criterion, epsilons=epsilons, **kwargs)

    def run(self, model: HostModel, inputs: Any, criterion: Any, *, epsilon: Any, **kwargs: Any) -> Any:
        """Return the worst perturbed inputs of all runs."""
        attack: Any = self.attack
        if attack.runs_as_the_host:
            return super().__call__(model, inputs, criterion, epsilons=epsilon, **kwargs)[0]
        return attack.with_runs(self.times).run(model, inputs, criterion, epsilon=epsilon, **kwargs)

    def repeat(self, times: int) -> Repeated:
        return Repeated(self.attack, self.times * checks.count("times", times))


class Native(ShortRepr, FixedEpsilonAttack):
    """An attack of ours on a ball, or a union of balls, of radius epsilon. Its `raw` obeys epsilon and the bounds.

    epsilons=None finds the smallest radius that fools. mask= keeps pixels where it is 0. Nothing of the model is
    touched: modes, buffers and .grad stay as they are. Randomness is torch's global generator's; no image's result
    depends on the others.
    """

    _runs: int = 1
    _targetable: bool = True
    _hooks: ClassVar[tuple[str, ...]] = ()  # of HOOKS, those that a subclass may override

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in HOOKS:
            if hasattr(cls, name) and name not in cls._hooks:
                raise ValueError(
                    f"{cls.__name__} overrides {name}, which {cls.__mro__[1].__name__} never calls: give it "
                    "loss=function, or subclass LinfPGD, L2PGD, L1PGD or SparseL1DescentAttack"
                )

    @abstractmethod
    def attack_for(self, epsilon: float, width: float) -> Attack:
        """Return the attack as `mrt` has it: lengths divided by the bounds' width."""

    @property
    def runs_as_the_host(self) -> bool:
        """Has a subclass its own `run`? Then Foolbox calls it, as it does in its own attacks."""
        return "run" in vars(self) or type(self).run is not Native.run

    # Foolbox's types call this method final. It is overridden all the same: otherwise a bad radius in a list, a bad
    # criterion or bad bounds would be noticed after the model had run, or end in an assertion without words.
    def __call__(self, model: HostModel, inputs: Any, criterion: Any, *, epsilons: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Return Foolbox's (raw, clipped, success): lists and an array (K, N) for a list of K epsilons."""
        if self.runs_as_the_host:
            return super().__call__(model, inputs, criterion, epsilons=epsilons, **kwargs)
        call, restore = open_call(model, inputs, criterion, kwargs)
        several, single = read_epsilons(epsilons)
        # All of them are made before the first one runs, so that a bad radius is noticed at once.
        attacks = [self._build(epsilon, call) for epsilon in several]
        say_what_mode(call)
        images = [self._search(call, attack) for attack in attacks]
        success = [call.judge(image) for image in images]
        self._look_at(call, success)
        return pack(images, success, restore, single)

    def run(self, model: HostModel, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Return the worst perturbed inputs on the way, successful or not."""
        call, restore = open_call(model, inputs, criterion, kwargs)
        (epsilon_, *_), _ = read_epsilons(epsilon)
        return restore(ep.astensor(self._search(call, self._build(epsilon_, call))))

    def repeat(self, times: int) -> Repeated:
        """Return the same attack with so many runs."""
        return Repeated(self, checks.count("times", times))

    def with_runs(self, times: int) -> Native:
        """Return a copy that runs so many times."""
        repeated = copy.copy(self)
        repeated._runs = times
        return repeated

    def _build(self, epsilon: float | None, call: Call) -> Any:
        """Return the attack for this call, None for a radius of 0; ValueError where it cannot do what is asked."""
        if call.targets is not None and not self._targetable:
            raise ValueError(f"unsupported criterion TargetedMisclassification: {self!r} aims at no class")
        if epsilon is None:
            return self._build_smallest(call)
        # Foolbox allows a radius of 0, which our balls refuse: nothing may move then.
        if not epsilon:
            return None
        attack = self.attack_for(self._whole_box(call) if math.isinf(epsilon) else epsilon, call.range.width)
        if call.mask is not None and not hasattr(attack, "step_size"):
            raise ValueError(f"{type(self).__name__} takes no mask: only attacks on balls that go by steps do")
        return attack

    def _build_smallest(self, call: Call) -> Any:
        """Return a search for the smallest radius that fools, from a usual one on, up to the whole box."""
        if call.mask is not None:
            raise ValueError("a mask needs a radius; got epsilons=None, which asks for the smallest")
        if getattr(self, "abs_stepsize", None) is not None:
            raise ValueError("epsilons=None needs steps that follow the radius: give rel_stepsize, not abs_stepsize")
        first = self._usual_radius(call)
        reach = max(self._whole_box(call) / first, 1.0)
        attack = self.attack_for(first, call.range.width)
        return mrt.Smallest(attack, probes=PROBES + math.ceil(math.log2(reach)), reach=reach)

    def _search(self, call: Call, attack: Any) -> Tensor:
        if attack is None:
            return call.x.clone()
        if isinstance(attack, mrt.Smallest):
            return call.search(Closest(attack))
        return call.search(attack)

    def _usual_radius(self, call: Call) -> float:
        """Return a radius to begin with, in the host's units."""
        return USUAL[str(self._norm)] * call.range.width  # type: ignore[attr-defined]

    def _whole_box(self, call: Call) -> float:
        """Return the least epsilon from which on the bounds alone limit what may change."""
        reach = {"linf": 1.0, "l2": math.sqrt(call.x[0].numel()), "l1": float(call.x[0].numel())}
        threat: Any = self.attack_for(1.0, call.range.width).threat
        balls: tuple[Any, ...] = threat.threats if isinstance(threat, AnyOf) else (threat,)
        return float(max(reach[ball.name] / ball.eps for ball in balls))

    def _look_at(self, call: Call, success: list[Tensor]) -> None:
        """Look at what came out, and warn if it says little."""


class Closest:
    """The closest points that `Smallest` finds, by the call of an attack."""

    def __init__(self, smallest: mrt.Smallest) -> None:
        self.smallest, self.threat = smallest, None  # no gauge: there is no radius to keep

    def __call__(self, model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
        return self.smallest.closest(model, x, y, **options)


def pack(images: list[Tensor], success: list[Tensor], restore: Any, single: bool) -> Any:
    """Return Foolbox's (raw, clipped, success). Nothing is left to clip: what is raw keeps to its radius."""
    raw = [restore(ep.astensor(image)) for image in images]
    clipped = [restore(ep.astensor(image.clone())) for image in images]
    if single:
        return raw[0], clipped[0], restore(ep.astensor(success[0]))
    return raw, clipped, restore(ep.astensor(torch.stack(success)))


class Unmeasured(ShortRepr, HostAttack):
    """An attack of ours whose perturbations no norm measures. `epsilons` are factors of its radii: 1, which None means
    as well, is as it was made."""

    _own_run = False  # may a subclass have its own `run`?

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ours = cls.__module__.partition(".")[0] == __name__.partition(".")[0]
        if "run" in vars(cls) and not ours and not cls._own_run:
            raise ValueError(
                f"{cls.__name__} overrides run, which {cls.__mro__[1].__name__} never calls: override __call__"
            )

    @abstractmethod
    def attack_for(self, epsilon: float, width: float) -> Attack:
        """Return the attack as `mrt` has it, its radii times epsilon."""

    def __call__(self, model: HostModel, inputs: Any, criterion: Any, *, epsilons: Any = None, **kwargs: Any) -> Any:
        """Return Foolbox's (raw, clipped, success), clipped being raw: lists and (K, N) for a list of K epsilons."""
        call, restore = self._open(model, inputs, criterion, kwargs)
        several, single = read_epsilons(epsilons)
        # All of them are made before the first one runs, so that a bad factor is noticed at once.
        attacks = [self._build(epsilon, call) for epsilon in several]
        say_what_mode(call)
        images = [call.search(attack) for attack in attacks]
        return pack(images, [call.judge(image) for image in images], restore, single)

    def run(self, model: HostModel, inputs: Any, criterion: Any, *, epsilon: Any = None, **kwargs: Any) -> Any:
        """Return the worst perturbed inputs on the way, successful or not."""
        call, restore = self._open(model, inputs, criterion, kwargs)
        (epsilon, *_), _ = read_epsilons(epsilon)
        return restore(ep.astensor(call.search(self._build(epsilon, call))))

    def _open(self, model: HostModel, inputs: Any, criterion: Any, kwargs: dict[str, Any]) -> tuple[Call, Any]:
        if kwargs.get("mask") is not None:
            raise ValueError(f"{type(self).__name__} takes no mask: only attacks on balls that go by steps do")
        return open_call(model, inputs, criterion, kwargs)

    def _build(self, epsilon: float | None, call: Call) -> Attack:
        factor = 1.0 if epsilon is None else epsilon
        if math.isinf(factor):
            raise ValueError(f"epsilons of {type(self).__name__} are factors of its radii and finite; got inf")
        return self.attack_for(factor, call.range.width)
