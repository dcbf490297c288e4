"""SLIDE, PGD and APGD as Foolbox attacks. Radii are in the units of the model's bounds."""

from __future__ import annotations

from typing import Any

from foolbox.distances import Distance

import mrt
from mrt import checks
from mrt.attacks.iterative import Share
from mrt.attacks.sparsity import Keep, check_keep
from mrt.crafting.losses import Chosen, loss_named
from mrt.fast import Fast
from mrt.protocols import Attack, Ball
from mrt_foolbox.attack_base import Native
from mrt_foolbox.calls import BALLS, host_distance, read_norm


class Stepping(Native):
    """An attack on one ball that goes by steps, whose length is a share of epsilon, or fixed by `abs_stepsize`."""

    # Defaults of the class, for subclasses whose constructor calls ours with less, or not at all; and with an
    # underscore, since they may have attributes of these names themselves.
    _norm: str = "linf"
    _loss: Chosen = "ce"
    _fast: Fast = Fast()
    rel_stepsize: float | None
    abs_stepsize: float | None
    steps: int
    random_start: bool | None

    def _set(
        self,
        rel_stepsize: float | None,
        abs_stepsize: float | None,
        steps: int,
        random_start: bool | None,
        loss: Chosen,
        fast: Fast,
    ) -> None:
        """Check the settings and keep them."""
        for name, value in {"rel_stepsize": rel_stepsize, "abs_stepsize": abs_stepsize}.items():
            if value is not None:
                checks.number(name, value, open_low=True)
        self.rel_stepsize, self.abs_stepsize = rel_stepsize, abs_stepsize
        self.steps = checks.count("steps", steps)
        loss_named(loss)  # raises a ValueError that lists the losses
        if random_start is not None:  # None leaves the choice to mrt.PGD, which starts at random in linf alone
            checks.flag("random_start", random_start)
        self.random_start = random_start
        self._loss, self._fast = loss, check_fast(fast)

    @property
    def distance(self) -> Distance:
        return host_distance(self._norm)

    def _settings(self, width: float) -> dict[str, Any]:
        """Return the keyword arguments that all our attacks by steps share."""
        size: float | Share | None = None if self.rel_stepsize is None else Share(self.rel_stepsize)
        if self.abs_stepsize is not None:  # wins over the relative one, as it does in Foolbox
            size = self.abs_stepsize / width
        settings: dict[str, Any] = {"steps": self.steps, "step_size": size, "loss": self._loss, "restarts": self._runs}
        settings |= {"fast": self._fast}
        return settings if self.random_start is None else settings | {"random_start": self.random_start}

    def _ball(self, epsilon: float, width: float) -> Ball:
        """Return the ball of this norm for images in [0, 1]."""
        return BALLS[self._norm](epsilon / width)  # type: ignore[no-any-return]


def check_fast(fast: Fast) -> Fast:
    """Return it, or raise a ValueError unless it says how the model is run."""
    if not isinstance(fast, Fast):
        raise ValueError(f"fast must be a mrt.Fast(...); got {fast!r}")
    return fast


class SLIDE(Stepping):
    """Sparse l1 descent [#Tra19]_, projected exactly on ball and box; the best point of the path.

    Args:
        steps: Number of update steps.
        keep: The entries that a step moves: a quantile of the gradient, a count, or a range of either to draw from.
        rel_stepsize: Stepsize relative to epsilon, by default 0.2, or 2.5 / steps where that is more.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        random_start: Whether to start at a random point of the ball.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        fast: How the model and the steps are run, see `mrt.Fast`.

    References:
        .. [#Tra19] Florian Tramer, Dan Boneh, "Adversarial Training and Robustness for Multiple Perturbations",
            https://arxiv.org/abs/1904.13000
    """

    _norm = norm = "l1"

    def __init__(
        self,
        *,
        steps: int = 20,
        keep: Keep = 0.99,
        rel_stepsize: float | None = None,
        abs_stepsize: float | None = None,
        random_start: bool = False,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self._set(rel_stepsize, abs_stepsize, steps, random_start, loss, fast)
        check_keep(keep)
        self.keep = keep

    def attack_for(self, epsilon: float, width: float) -> Attack:
        return mrt.SLIDE(mrt.L1(epsilon / width), keep=self._entries, **self._settings(width))

    @property
    def _entries(self) -> Keep:
        return self.keep


class APGD(Native):
    """PGD without parameters [#Cro20]_ [#Cro21]_; the best point of the path.

    Args:
        norm: "linf", "l2" or "l1", in any spelling.
        steps: Number of update steps.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        targets: So many of the likeliest wrong classes are aimed at in turn, for untargeted criteria; 0 for none.
        random_start: Whether to start at a random point of the ball.
        fast: How the model and the steps are run, see `mrt.Fast`.

    References:
        .. [#Cro20] Francesco Croce, Matthias Hein, "Reliable evaluation of adversarial robustness with an ensemble of
            diverse parameter-free attacks", https://arxiv.org/abs/2003.01690
        .. [#Cro21] Francesco Croce, Matthias Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image
            classifiers", https://arxiv.org/abs/2103.01208
    """

    def __init__(
        self,
        norm: Any = "linf",
        *,
        steps: int = 100,
        loss: Chosen = "ce",
        targets: int = 0,
        random_start: bool = True,
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self.norm = self._norm = read_norm(norm)
        self.steps, self.loss, self.targets, self.random_start = steps, loss, targets, random_start
        self.fast = check_fast(fast)
        self._targetable = not targets  # with `targets` it chooses the classes to aim at itself
        self.attack_for(1.0, 1.0)  # checks the settings

    @property
    def distance(self) -> Distance:
        return host_distance(self.norm)

    def attack_for(self, epsilon: float, width: float) -> Attack:
        settings: dict[str, Any] = {"steps": self.steps, "loss": self.loss, "targets": self.targets}
        settings |= {"random_start": self.random_start, "restarts": self._runs, "fast": self.fast}
        return mrt.APGD(BALLS[self.norm](epsilon / width), **settings)
