"""What all our attacks share as ART attacks: they check settings before any is set, translate pixels and labels, and
run batch by batch."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
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
from mrt.hosts.agreement import IMAGES
from mrt.hosts.masked import attack_masked
from mrt.protocols import Attack, Ball
from mrt.threats.gauge import gauge
from mrt_art.bridge import Bridge, Seen
from mrt_art.entrywise import EntryLinf
from mrt_art.modes import warn_of_train_mode


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
    least_steps = 1

    def __init_subclass__(cls) -> None:
        # ART asks every attack for the list of its settings: the arguments of the constructor after self and estimator.
        cls.attack_params = list(inspect.signature(cls.__init__).parameters)[2:]

    def __init__(self, estimator: PyTorchClassifier, **settings: Any) -> None:
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
        return largest_of(getattr(self, "eps", 0.0))

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
            self.max_iter = checks.count("max_iter", self.max_iter, low=self.least_steps)
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
        pixels = bridge.read_pixels(x)  # (N, C, H, W), where they are
        classes = None if y is None else bridge.read_labels(y, len(pixels), soft=True)
        allowed = None if mask is None else _read_mask(mask, pixels, bridge)
        scale = bridge.pixel_range(pixels, room=self.largest_radius())
        pixels = bridge.clip(pixels, scale)
        few = min(IMAGES, self.batch_size)
        first, model = scale.to_unit(pixels[:few]).to(self.estimator.device), bridge.unit_model(scale)
        self.check_images(first)
        # One seed for each image, all drawn before the first batch, so that no result depends on the batch size.
        seeds = torch.from_numpy(np.random.randint(-(2**63), 2**63 - 1, len(pixels), np.int64))
        plan = list(self.searches(len(pixels), scale.width))
        bridge.need_same_answers(model, first)
        x_adv, counts = pixels.cpu().clone(), [0, 0]
        if len(pixels):
            warn_of_train_mode(self.estimator)
        for rows, attack in self._batches(plan, len(pixels)):
            x_adv[rows], of_batch = self._attack_batch(attack, model, pixels[rows], rows, (classes, allowed, seeds))
            counts = [a + b for a, b in zip(counts, of_batch, strict=True)]
        self.warn_of_failure(*counts)
        images: np.ndarray[Any, Any] = bridge.to_host_layout(x_adv).numpy()
        return images

    def _attack_batch(
        self, attack: Attack, model: Seen, pixels: Tensor, rows: Tensor, of_all: tuple[Tensor | None, Any, Tensor]
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return the adversarial pixels of one batch, the only one that is on the device, and what `count_fooled`
        says of it; `of_all` holds the classes, the mask and the seeds of all images."""
        device = self.estimator.device
        classes, allowed, seeds = of_all
        pixels = pixels.to(device)
        part = model.scale.to_unit(pixels)
        labels, targets = self._labels_and_targets(model, part, None if classes is None else classes[rows].to(device))
        options: dict[str, Any] = {"target": targets, "rng": seeds[rows].to(device)}
        if allowed is None:
            part_adv = attack(model, part, labels, **options)
        else:  # a search of the allowed entries alone: no start, step or budget is spent on the others
            free = Bridge(self.estimator).to_channels_first(torch.from_numpy(allowed[rows.numpy()])).to(device)
            if isinstance(attack.threat, EntryLinf):
                masked = EntryLinf(attack.threat.eps * free.cpu(), attack.threat.strides * torch.ones(free.shape))
                part_adv = replace(attack, threat=masked)(model, part, labels, **options)  # type: ignore[type-var]
            else:
                part_adv = attack_masked(attack, model, part, labels, free, **options)
        # Rounding on the way to the host's pixels must not carry a result out of its ball.
        size = _size_in(attack.threat, part, part_adv)
        moved = model.scale.carry_back(pixels, part, part_adv, size).cpu()
        return moved, self.count_fooled(model, part, part_adv, labels)

    def _labels_and_targets(self, model: Seen, x: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the classes to leave and those to reach, the latter None for an untargeted attack."""
        if classes is not None and not self.targeted:
            return classes, None
        # ART takes the model's own answers where it is told no true classes, as in every targeted call.
        with torch.no_grad(), crafting(model) as f:
            answers = f(x).argmax(1)
        return answers, classes

    def check_images(self, unit: Tensor) -> None:
        """Raise a ValueError unless the attack is for such images, of which these are the first."""

    def count_fooled(self, model: Seen, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[int, int]:
        """Return how many images of a batch the model classified correctly, and how many of these it no longer does;
        an attack that nobody warns of counts none."""
        return 0, 0

    def warn_of_failure(self, standing: int, fooled: int) -> None:
        """Say so if an attack that fooled so many of so many images is none."""

    def searches(self, count: int, width: float) -> Iterator[tuple[Tensor, Attack]]:
        """Yield pairs of rows and the attack for these images, which together cover all rows."""
        yield torch.arange(count), self.attack_for(width)

    def _batches(self, plan: list[tuple[Tensor, Attack]], count: int) -> Iterator[tuple[Tensor, Attack]]:
        """Yield the rows of each batch and the attack for them, and move a progress bar."""
        with tqdm(total=count, desc=type(self).__name__, leave=False, disable=not self.verbose) as bar:
            for rows, attack in plan:
                for batch in rows.split(self.batch_size):
                    if len(batch):  # torch splits no rows into one empty batch
                        yield batch, attack
                        bar.update(len(batch))


def _size_in(threat: Any, x: Tensor, x_adv: Tensor) -> Tensor | None:
    """Return by what factor each image's change exceeds a ball or a union of balls; None for any other threat, which
    has no such measure."""
    if isinstance(threat, EntryLinf):
        return threat.size(x, x_adv)
    members = threat.threats if isinstance(threat, mrt.AnyOf) else (threat,)
    return gauge(threat, x, x_adv) if all(isinstance(t, Ball) for t in members) else None


def largest_of(eps: Any) -> float:
    """Return the largest of radii, be it one number, an array or a dict by norm."""
    return max(eps.values()) if isinstance(eps, dict) else float(np.max(eps))


def _read_mask(mask: Any, pixels: Tensor, bridge: Bridge) -> np.ndarray[Any, Any]:
    """Return which entries may change, bool, in the images' shape and the host's layout, to which the mask broadcasts;
    it takes no memory for each image where one mask is for all."""
    shape = tuple(bridge.to_host_layout(pixels).shape)
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    # What ART's own attacks accept: numbers that are not negative, where they are no truth values.
    if array.dtype.kind not in "bf" or (array.dtype.kind == "f" and not (array >= 0).all()):
        raise ValueError(f"mask must be bool, or floats of at least 0; got {array.dtype}")
    try:
        return np.broadcast_to(array != 0, shape)
    except ValueError:
        raise ValueError(f"mask must broadcast to the images' {shape}; got {array.shape}") from None
