"""Our attacks under ART's own names and keywords: a script changes one import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import art.attacks.evasion as evasion
import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

import mrt
from mrt import checks
from mrt.crafting.losses import Chosen
from mrt.protocols import Attack
from mrt_art.attack_base import Native
from mrt_art.bridge import Bridge, read_norm
from mrt_art.entrywise import EntryLinf
from mrt_art.losses import read_loss
from mrt_art.radii import BALLS

SPREAD = 0.5  # of eps: the scale of the normal distribution that random_eps draws from, cut to [0, eps]

# The defaults of both classes are those of ART's classes of these names, its absolute step of 0.1 included. What
# differs from the host is the result: the best point of the path, not the last one.


class ProjectedGradientDescent(Native):
    """
    Projected gradient descent in the linf, l2 or l1 ball, in l1 by steepest steps and projected exactly on ball and
    clip values. Each image keeps the best point of its path; runs after the first see only images that still stand.

    | Paper link: https://arxiv.org/abs/1706.06083
    """

    def __init__(
        self,
        estimator: PyTorchClassifier,
        norm: int | float | str = np.inf,
        eps: int | float | np.ndarray[Any, Any] = 0.3,
        eps_step: int | float | np.ndarray[Any, Any] = 0.1,
        decay: float | None = None,
        max_iter: int = 100,
        targeted: bool = False,
        num_random_init: int = 0,
        batch_size: int = 32,
        random_eps: bool = False,
        summary_writer: Any = False,
        verbose: bool = True,
        loss_type: Chosen = "ce",
    ) -> None:
        """
        Create a :class:`.ProjectedGradientDescent` instance.

        :param estimator: A trained PyTorch classifier.
        :param norm: "inf", `np.inf`, 2 or 1.
        :param eps: Radius; an array holds one for each image, or in linf one for each entry, and broadcasts to them.
        :param eps_step: Length of a step, of the same kind as `eps`.
        :param decay: Decay of the running sum of gradients, if momentum is wanted.
        :param max_iter: Number of steps.
        :param targeted: Whether `y` is the class to reach.
        :param num_random_init: Number of runs from random points of the ball; 0 for one from the image.
        :param batch_size: Images attacked at once.
        :param random_eps: Whether each call draws a factor for `eps` and `eps_step`: the size of a normal number of
                           scale one half, if at most 1.
        :param summary_writer: False; nothing is logged.
        :param verbose: Show progress bars.
        :param loss_type: What it climbs, which ART's has no word for: "ce", "margin", "dlr", or a function
                          (logits, labels) -> (N,).
        """
        super().__init__(
            estimator, norm=norm, eps=eps, eps_step=eps_step, decay=decay, max_iter=max_iter, targeted=targeted,
            num_random_init=num_random_init, batch_size=batch_size, random_eps=random_eps,
            summary_writer=summary_writer, verbose=verbose, loss_type=loss_type,
        )  # fmt: skip

    def _check_params(self) -> None:
        in_arrays = isinstance(self.eps, np.ndarray)
        if in_arrays != isinstance(self.eps_step, np.ndarray):
            kinds = f"{type(self.eps).__name__} and {type(self.eps_step).__name__}"
            raise TypeError(f"eps and eps_step must both be numbers or both be arrays; got {kinds}")
        if in_arrays and self.eps.shape != self.eps_step.shape:
            raise ValueError(f"eps and eps_step must be of one shape; got {self.eps.shape} and {self.eps_step.shape}")
        if self._by_entry and read_norm(self.norm) != "inf":
            raise ValueError(f"a radius for each entry is for linf alone; got norm={self.norm!r} and {self.eps.shape}")
        for name in ("eps", "eps_step"):
            for value in np.ravel(getattr(self, name)).tolist():
                checks.number(name, value, open_low=name == "eps_step")
        self.num_random_init = checks.count("num_random_init", self.num_random_init, low=0)
        checks.flag("random_eps", self.random_eps)
        read_loss(self.loss_type)
        self.max_iter = checks.count("max_iter", self.max_iter, low=0)
        super()._check_params()

    least_steps = 0  # none leave the images as they are, as in ART

    @property
    def _by_entry(self) -> bool:
        """Whether eps holds more than a number for each image: as ART broadcasts it to the images."""
        eps, shape = self.eps, self.estimator.input_shape
        if not isinstance(eps, np.ndarray) or eps.size == 1:
            return False
        if eps.ndim == 1:  # as many as an image has columns are theirs; others are ours alone, one for each image
            return bool(eps.size == shape[-1])
        return not (eps.ndim == len(shape) + 1 and eps.size == eps.shape[0])

    def attack_for(self, width: float) -> Attack:
        # Where every image has a radius of its own this is the attack of the largest: it stands for all in the checks.
        return self._make_attack(float(np.max(self.eps)), float(np.max(self.eps_step)), width)

    def _make_attack(self, eps: float, eps_step: float, width: float) -> Attack:
        """Return the attack of that radius and step, which are in the host's units."""
        ball = BALLS[read_norm(self.norm)](eps / width)
        return self._descend_in(ball, eps_step / width)

    def _descend_in(self, ball: Any, step_size: float) -> Attack:
        """Return the attack in that ball of images in [0, 1]."""
        settings: dict[str, Any] = {"steps": max(self.max_iter, 1), "step_size": step_size}
        settings |= {"restarts": max(self.num_random_init, 1), "random_start": self.num_random_init > 0}
        settings["loss"] = read_loss(self.loss_type)
        return mrt.PGD(ball, **settings) if self.decay is None else mrt.MIM(ball, decay=self.decay, **settings)

    def searches(self, count: int, width: float) -> Iterator[tuple[Tensor, Attack]]:
        """Yield the rows of the images that share a radius and a step, and the attack for them."""
        factor = _draw_factor() if self.random_eps else 1.0
        if self.max_iter == 0:
            return
        if self._by_entry:
            yield from self._searches_by_entry(count, factor / width)
            return
        pairs = np.stack([np.ravel(self.eps), np.ravel(self.eps_step)], 1)  # (N, 2), or (1, 2) for two numbers
        if isinstance(self.eps, np.ndarray) and len(pairs) != count:
            raise ValueError(f"eps holds {len(pairs)} radii; there are {count} images")
        pairs = np.broadcast_to(pairs, (count, 2)) if len(pairs) == 1 else pairs
        # Our attacks have one radius: images with the same one go together, which often are all of them.
        for pair in np.unique(pairs, axis=0):
            rows = torch.from_numpy((pairs == pair).all(1)).nonzero().squeeze(1)
            yield rows, self._make_attack(factor * pair[0], factor * pair[1], width)

    def _searches_by_entry(self, count: int, factor: float) -> Iterator[tuple[Tensor, Attack]]:
        """The same where each entry has a radius and a step of its own: a batch at a time, since these differ."""
        bridge, ndim = Bridge(self.estimator), len(self.estimator.input_shape) + 1
        radii, strides = (
            torch.from_numpy(np.array(v, dtype=np.float64).reshape((1,) * (ndim - v.ndim) + v.shape) * factor).float()
            for v in (self.eps, self.eps_step)
        )
        if len(radii) not in (1, count):
            raise ValueError(f"eps holds radii for {len(radii)} images; there are {count} images")
        radii, strides = bridge.to_channels_first(radii), bridge.to_channels_first(strides)
        for rows in torch.arange(count).split(self.batch_size):
            own = rows if len(radii) > 1 else slice(None)
            yield rows, self._descend_in(EntryLinf(radii[own], strides[own]), 1.0)


def _draw_factor() -> float:
    """Return a number from 0 to 1, drawn from numpy's global generator as ART draws it."""
    while (factor := SPREAD * abs(np.random.normal())) > 1:
        pass
    return float(factor)


class AutoProjectedGradientDescent(Native):
    """
    PGD whose steps halve where progress stalls; in l1 the one that minds the box, with sparse steps, where ART's own
    descends along dense ones.

    | Paper link: https://arxiv.org/abs/2003.01690
    | Paper link: https://arxiv.org/abs/2103.01208
    """

    nb_random_init: int

    def __init__(
        self,
        estimator: PyTorchClassifier,
        norm: int | float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 100,
        targeted: bool = False,
        nb_random_init: int = 5,
        batch_size: int = 32,
        loss_type: Chosen | None = None,
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.AutoProjectedGradientDescent` instance.

        :param estimator: A trained PyTorch classifier with logits.
        :param norm: "inf", `np.inf`, 2 or 1.
        :param eps: Radius.
        :param eps_step: Length of the first step, where that is more than the method's own, 2 `eps` or in l1 `eps`:
                         steps only ever shrink, and one that starts too short gets nowhere.
        :param max_iter: Number of steps.
        :param targeted: Whether `y` is the class to reach.
        :param nb_random_init: Number of runs from random points of the ball; 0 for one from the image.
        :param batch_size: Images attacked at once.
        :param loss_type: "cross_entropy", which None means, too, "difference_logits_ratio", or a function
                          (logits, labels) -> (N,).
        :param verbose: Show progress bars.
        """
        super().__init__(
            estimator, norm=norm, eps=eps, eps_step=eps_step, max_iter=max_iter, targeted=targeted,
            nb_random_init=nb_random_init, batch_size=batch_size, loss_type=loss_type, verbose=verbose,
        )  # fmt: skip

    def _check_params(self) -> None:
        for name in ("eps", "eps_step"):
            value: Any = getattr(self, name)
            if np.ndim(value):  # whose repr is no line
                raise ValueError(f"{name} must be one number; got an array of shape {np.shape(value)}")
            checks.number(name, value, open_low=True)
        self.nb_random_init = checks.count("nb_random_init", self.nb_random_init, low=0)
        read_loss(self.loss_type)
        super()._check_params()

    def attack_for(self, width: float) -> Attack:
        # Steps only ever shrink, so one that starts too short gets nowhere: ART's default of 0.1 left 90% in an l1
        # search of radius 3 where ART's own attack left 79%.
        first_step = self.eps * (1 if read_norm(self.norm) == "1" else 2)  # of the papers, l1-APGD's and APGD's
        settings: dict[str, Any] = {"steps": self.max_iter, "step_size": max(self.eps_step, first_step) / width}
        settings |= {"restarts": max(self.nb_random_init, 1), "random_start": self.nb_random_init > 0}
        return mrt.APGD(BALLS[read_norm(self.norm)](self.eps / width), loss=read_loss(self.loss_type), **settings)


# ART's own code, FrameSaliencyAttack's say, asks whether an attack is one of its classes.
for _kind in (evasion.ProjectedGradientDescent, evasion.ProjectedGradientDescentPyTorch):
    _kind.register(ProjectedGradientDescent)
evasion.AutoProjectedGradientDescent.register(AutoProjectedGradientDescent)
