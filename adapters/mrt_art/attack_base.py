"""What our attacks do alike as ART's: check settings before anything is set, translate pixels, run batch by batch."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from art.attacks import EvasionAttack
from art.estimators import BaseEstimator, LossGradientsMixin
from art.estimators.classification import ClassifierMixin, PyTorchClassifier
from torch import Tensor, nn
from tqdm.auto import tqdm

import mrt
from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.hosts.masked import attack_masked
from mrt.protocols import Attack, Ball
from mrt.threats.gauge import gauge
from mrt_art.bridge import USUAL, Bridge, norm_of

BALLS: dict[str, type[Any]] = {"inf": mrt.Linf, "2": mrt.L2, "1": mrt.L1}


class Native(EvasionAttack):  # type: ignore[misc]
    """An attack of ours. Lengths are in the units of the classifier's clip values.

    It climbs the cross-entropy of the logits (or the loss it is given), whatever loss the classifier trains with, and
    returns the best point of its path. The classifier keeps its modes, .grad and buffers. Random starts follow numpy's
    global generator, as ART's do; no image's result depends on the others.
    """

    attack_params: ClassVar[list[str]]
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassifierMixin, PyTorchClassifier)
    batch_size: int
    verbose: bool
    eps: Any
    _usual: bool = False
    max_iter: Any
    num_random_init: Any

    def __init_subclass__(cls) -> None:
        cls.attack_params = list(inspect.signature(cls.__init__).parameters)[2:]

    def __init__(self, estimator: Any, **settings: Any) -> None:
        super().__init__(estimator=estimator)
        self._set(settings)

    def __repr__(self) -> str:
        each = {name: getattr(self, name) for name in self.attack_params}
        told = (f"{n}={type(v).__name__ if isinstance(v, nn.Module) else v}" for n, v in each.items())
        return f"{type(self).__name__}({', '.join(told)})"

    @abstractmethod
    def attack_for(self, width: float) -> Attack:
        """The attack as `mrt` has it: lengths divided by the pixels' range."""

    def reach(self) -> float:
        """How far one pixel may move, in the host's units."""
        eps: Any = getattr(self, "eps", 0.0)
        return max(eps.values()) if isinstance(eps, dict) else float(np.max(eps))

    def set_params(self, **kwargs: Any) -> None:
        """Set those parameters, or, if one of them is wrong, none."""
        for name in kwargs:
            if name not in self.attack_params:
                raise ValueError(f'The attribute "{name}" cannot be set for this attack; it has {self.attack_params}.')
        self._set(kwargs)

    def _set(self, settings: dict[str, Any]) -> None:
        trial = copy.copy(self)
        if "eps" in settings:
            trial._usual = settings["eps"] is None
        elif "norm" in settings and self._usual:
            trial.eps = None  # the usual radius is another one in another norm
        for name, value in settings.items():
            if name == "summary_writer":
                if value is not False:
                    raise ValueError(f"summary_writer must be False: our attacks log no gradients; got {value!r}")
                continue
            setattr(trial, name, value)
        trial._check_params()
        self.__dict__.update(trial.__dict__)

    def _check_params(self) -> None:
        self.batch_size = checks.count("batch_size", self.batch_size)
        for name in ("targeted", "verbose"):
            checks.flag(name, getattr(self, name))
        if hasattr(self, "max_iter"):
            self.max_iter = checks.count("max_iter", self.max_iter)
        self.attack_for(Bridge(self.estimator).width)

    def generate(self, x: Any, y: Any = None, mask: Any = None, **kwargs: Any) -> np.ndarray[Any, Any]:
        """
        Generate adversarial samples and return them in an array.

        :param x: An array or a tensor with the original inputs, within the classifier's clip values.
        :param y: Classes, as numbers of shape `(nb_samples,)` or one-hot of shape `(nb_samples, nb_classes)`: the true
                  ones, by default the model's own answers; or the ones to reach, if the attack is targeted.
        :param mask: An array that broadcasts to `x`; entries where it is zero are not changed. Only for attacks on
                     balls.
        :return: An array of type float32 holding the adversarial examples.
        """
        if kwargs:
            raise TypeError(f"generate() got an unexpected keyword argument {next(iter(kwargs))!r}")
        if self.targeted and y is None:
            raise ValueError("Target labels `y` need to be provided for a targeted attack.")
        bridge = Bridge(self.estimator)
        if mask is not None and not hasattr(self.attack_for(bridge.width), "step_size"):
            raise ValueError(f"{type(self).__name__} takes no mask: only attacks on balls that go by steps do")
        pixels = bridge.pixels(x)
        classes = None if y is None else bridge.labels(y, len(pixels))
        kept = None if mask is None else bridge.forth(_mask(mask, bridge.back(pixels).shape).to(pixels.device))
        scale = bridge.range(pixels, self.reach())
        unit, found, model = scale.to_unit(pixels), pixels.clone(), bridge.model(scale)
        self.fits(unit)
        seeds = torch.from_numpy(np.random.randint(-(2**63), 2**63 - 1, len(pixels), np.int64)).to(pixels.device)
        for rows, attack in self._batches(len(pixels), scale.width):
            seen = unit[rows]
            aims = None if classes is None else classes[rows]
            if aims is None or self.targeted:
                with torch.no_grad(), crafting(model) as f:
                    answers = f(seen).argmax(1)
            labels, targets = (answers, aims) if self.targeted else (answers if aims is None else aims, None)
            how: dict[str, Any] = {"target": targets, "rng": seeds[rows]}
            if kept is None:
                made = attack(model, seen, labels, **how)
            else:
                made = attack_masked(attack, model, seen, labels, kept[rows], **how)
            size = gauge(attack.threat, seen, made) if _measured(attack.threat) else None
            found[rows] = scale.carry_back(pixels[rows], seen, made, size)
        images: np.ndarray[Any, Any] = bridge.back(found).cpu().numpy()
        return images

    def fits(self, unit: Tensor) -> None:
        """ValueError unless the attack is for such images."""

    def searches(self, count: int, width: float) -> Iterator[tuple[Tensor, Attack]]:
        """Which of the images which attack is for."""
        yield torch.arange(count), self.attack_for(width)

    def _batches(self, count: int, width: float) -> Iterator[tuple[Tensor, Attack]]:
        with tqdm(total=count, desc=type(self).__name__, leave=False, disable=not self.verbose) as bar:
            for rows, attack in self.searches(count, width):
                for batch in rows.split(self.batch_size):
                    if len(batch):
                        yield batch, attack
                        bar.update(len(batch))


def _measured(threat: Any) -> bool:
    members = threat.threats if isinstance(threat, mrt.AnyOf) else (threat,)
    return all(isinstance(t, Ball) for t in members)


def _mask(mask: Any, shape: tuple[int, ...]) -> Tensor:
    """bool, of that shape: may the entry change?"""
    given = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if given.dtype.kind not in "bf" or (given.dtype.kind == "f" and not (given >= 0).all()):
        raise ValueError(f"mask must be bool, or floats of at least 0; got {given.dtype}")
    try:
        whole = np.broadcast_to(given != 0, shape)
    except ValueError:
        raise ValueError(f"mask must broadcast to the images' {tuple(shape)}; got {given.shape}") from None
    return torch.from_numpy(whole.copy())


def radii(eps: Any, width: float) -> dict[str, float]:
    """By norm, in the host's units: as given, or the usual ones."""
    if eps is None:
        return {norm: radius * width for norm, radius in USUAL.items()}
    if not isinstance(eps, dict) or not eps:
        raise ValueError(
            f'eps must be a dict of radii by norm, such as {{"inf": 0.03, "2": 0.5, "1": 12}}; got {eps!r}'
        )
    found = {norm_of(norm): checks.number("eps", radius, open_low=True) for norm, radius in eps.items()}
    if len(found) < len(eps):
        raise ValueError(f"eps names a norm twice: {eps!r}")
    return found


def one_radius(eps: Any, norm: Any, width: float) -> float:
    """Of one ball."""
    return USUAL[norm_of(norm)] * width if eps is None else checks.number("eps", eps, open_low=True)


def sizes(eps_step: Any, eps: dict[str, float], width: float) -> dict[str, float | None]:
    """Step sizes by norm in [0, 1]; None for those left to the attack."""
    if eps_step is None:
        return dict.fromkeys(eps)
    if not isinstance(eps_step, dict) or {norm_of(norm) for norm in eps_step} != set(eps):
        raise ValueError(f"eps_step must be None or a dict with the norms of eps, {', '.join(eps)}; got {eps_step!r}")
    found = {norm_of(n): checks.number("eps_step", s, open_low=True) / width for n, s in eps_step.items()}
    if len(found) < len(eps_step):
        raise ValueError(f"eps_step names a norm twice: {eps_step!r}")
    return {norm: found[norm] for norm in eps}


def balls(eps: dict[str, float], width: float) -> tuple[Ball, ...]:
    """In [0, 1]."""
    return tuple(BALLS[norm](radius / width) for norm, radius in eps.items())
