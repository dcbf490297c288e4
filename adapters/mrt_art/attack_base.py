"""What all our attacks share as ART attacks: they check settings before any is set, translate pixels and labels, and
run batch by batch."""

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
from mrt_art.bridge import Bridge


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
        # ART asks every attack for the list of its settings: the arguments of the constructor after self and estimator.
        cls.attack_params = list(inspect.signature(cls.__init__).parameters)[2:]

    def __init__(self, estimator: Any, **settings: Any) -> None:
        super().__init__(estimator=estimator)
        self._set_all_or_none(settings)

    def __repr__(self) -> str:
        settings = {name: getattr(self, name) for name in self.attack_params}
        # A network is shown by its type: its own repr fills a page.
        shown = (f"{n}={type(v).__name__ if isinstance(v, nn.Module) else v}" for n, v in settings.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    @abstractmethod
    def attack_for(self, width: float) -> Attack:
        """Return the attack as `mrt` has it: lengths divided by the pixels' range."""

    def largest_radius(self) -> float:
        """Return how far one pixel may move, in the host's units."""
        eps: Any = getattr(self, "eps", 0.0)
        return max(eps.values()) if isinstance(eps, dict) else float(np.max(eps))

    def set_params(self, **kwargs: Any) -> None:
        """Set those parameters, or, if one of them is wrong, none."""
        for name in kwargs:
            if name not in self.attack_params:
                raise ValueError(f'The attribute "{name}" cannot be set for this attack; it has {self.attack_params}.')
        self._set_all_or_none(kwargs)

    def _set_all_or_none(self, settings: dict[str, Any]) -> None:
        # A copy is set and checked first, since some settings are only right or wrong together.
        trial = copy.copy(self)
        if "eps" in settings:
            trial._usual = settings["eps"] is None
        elif "norm" in settings and self._usual:
            trial.eps = None  # the usual radius is another one in another norm
        for name, value in settings.items():
            # ART's own base class has an attribute of this name that cannot be set.
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
        self.attack_for(Bridge(self.estimator).width)  # the attack itself checks what is left

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
        pixels = bridge.read_pixels(x)  # (N, C, H, W)
        classes = None if y is None else bridge.read_labels(y, len(pixels))
        allowed = None if mask is None else _read_mask(mask, pixels, bridge)
        scale = bridge.pixel_range(pixels, self.largest_radius())
        unit, x_adv, model = scale.to_unit(pixels), pixels.clone(), bridge.unit_model(scale)
        self.check_images(unit)
        # One seed for each image, all drawn before the first batch, so that no result depends on the batch size.
        seeds = torch.from_numpy(np.random.randint(-(2**63), 2**63 - 1, len(pixels), np.int64)).to(pixels.device)
        for rows, attack in self._batches(len(pixels), scale.width):
            part = unit[rows]
            labels, targets = self._labels_and_targets(model, part, None if classes is None else classes[rows])
            options: dict[str, Any] = {"target": targets, "rng": seeds[rows]}
            if allowed is None:
                part_adv = attack(model, part, labels, **options)
            else:  # a search of the allowed entries alone: no start, step or budget is spent on the others
                part_adv = attack_masked(attack, model, part, labels, allowed[rows], **options)
            # Rounding on the way to the host's pixels must not carry a result out of its ball.
            size = gauge(attack.threat, part, part_adv) if _has_gauge(attack.threat) else None
            x_adv[rows] = scale.carry_back(pixels[rows], part, part_adv, size)
        images: np.ndarray[Any, Any] = bridge.to_host_layout(x_adv).cpu().numpy()
        return images

    def _labels_and_targets(self, model: Any, x: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the classes to leave and those to reach, the latter None for an untargeted attack."""
        if classes is not None and not self.targeted:
            return classes, None
        # ART takes the model's own answers where it is told no true classes, as in every targeted call.
        with torch.no_grad(), crafting(model) as f:
            answers = f(x).argmax(1)
        return answers, classes

    def check_images(self, unit: Tensor) -> None:
        """Raise a ValueError unless the attack is for such images."""

    def searches(self, count: int, width: float) -> Iterator[tuple[Tensor, Attack]]:
        """Yield pairs of rows and the attack for these images, which together cover all rows."""
        yield torch.arange(count), self.attack_for(width)

    def _batches(self, count: int, width: float) -> Iterator[tuple[Tensor, Attack]]:
        """Yield the rows of each batch and the attack for them, and move a progress bar."""
        with tqdm(total=count, desc=type(self).__name__, leave=False, disable=not self.verbose) as bar:
            for rows, attack in self.searches(count, width):
                for batch in rows.split(self.batch_size):
                    if len(batch):  # torch splits no rows into one empty batch
                        yield batch, attack
                        bar.update(len(batch))


def _has_gauge(threat: Any) -> bool:
    """Return whether the threat is a ball or a union of balls, the only ones that `gauge` can measure."""
    members = threat.threats if isinstance(threat, mrt.AnyOf) else (threat,)
    return all(isinstance(t, Ball) for t in members)


def _read_mask(mask: Any, pixels: Tensor, bridge: Bridge) -> Tensor:
    """Return which entries may change, bool (N, C, H, W). The mask broadcasts to images of the host's layout."""
    shape = tuple(bridge.to_host_layout(pixels).shape)
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    # What ART's own attacks accept: numbers that are not negative, where they are no truth values.
    if array.dtype.kind not in "bf" or (array.dtype.kind == "f" and not (array >= 0).all()):
        raise ValueError(f"mask must be bool, or floats of at least 0; got {array.dtype}")
    try:
        whole = np.broadcast_to(array != 0, shape)
    except ValueError:
        raise ValueError(f"mask must broadcast to the images' {shape}; got {array.shape}") from None
    return bridge.to_channels_first(torch.from_numpy(whole.copy()).to(pixels.device))
