"""SLIDE, PGD and APGD as Foolbox's own, under our names and under its. Radii are in the units of the model's bounds."""

from __future__ import annotations

from typing import Any

from foolbox.distances import Distance

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep, check_keep
from mrt.crafting.losses import loss_named
from mrt.protocols import Attack, Ball
from mrt_foolbox.attack_base import BALLS, Native, host_distance


class _Stepping(Native):
    """An attack on one ball that goes by steps, whose length is a share of epsilon, or fixed by `abs_stepsize`."""

    norm: str = "linf"

    def __init__(
        self,
        *,
        rel_stepsize: float | None,
        abs_stepsize: float | None,
        steps: int,
        random_start: bool | None,
        loss: str,
    ) -> None:
        for name, value in {"rel_stepsize": rel_stepsize, "abs_stepsize": abs_stepsize}.items():
            if value is not None:
                checks.number(name, value, open_low=True)
        self.rel_stepsize, self.abs_stepsize = rel_stepsize, abs_stepsize
        self.steps, self.loss = checks.count("steps", steps), loss
        loss_named(loss)  # raises a ValueError that lists the losses
        if random_start is not None:  # None leaves the choice to mrt.PGD, which starts at random in linf alone
            checks.flag("random_start", random_start)
        self.random_start = random_start

    @property
    def distance(self) -> Distance:
        return host_distance(self.norm)

    def settings(self, epsilon: float, width: float) -> dict[str, Any]:
        """Return the keyword arguments that all our attacks by steps share."""
        size = None if self.rel_stepsize is None else self.rel_stepsize * epsilon / width
        if self.abs_stepsize is not None:  # wins over the relative one, as it does in Foolbox
            size = self.abs_stepsize / width
        settings = {"steps": self.steps, "step_size": size, "loss": self.loss, "restarts": self.restarts}
        return settings if self.random_start is None else settings | {"random_start": self.random_start}

    def ball(self, epsilon: float, width: float) -> Ball:
        """Return the ball of this norm for images in [0, 1]."""
        return BALLS[self.norm](epsilon / width)  # type: ignore[no-any-return]


class SLIDE(_Stepping):
    """Sparse l1 descent [#Tra19]_, projected exactly on ball and box; the best point of the path.

    Args:
        steps: Number of update steps.
        keep: The entries that a step moves: a quantile of the gradient, a count, or a range of either to draw from.
        rel_stepsize: Stepsize relative to epsilon, by default 0.2, or 2.5 / steps where that is more.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        random_start: Whether to start at a random point of the ball.
        loss: "ce", "margin" or "dlr".

    References:
        .. [#Tra19] Florian Tramer, Dan Boneh, "Adversarial Training and Robustness for Multiple Perturbations",
            https://arxiv.org/abs/1904.13000
    """

    norm = "l1"

    def __init__(
        self,
        *,
        steps: int = 20,
        keep: Keep = 0.99,
        rel_stepsize: float | None = None,
        abs_stepsize: float | None = None,
        random_start: bool = False,
        loss: str = "ce",
    ) -> None:
        super().__init__(
            rel_stepsize=rel_stepsize, abs_stepsize=abs_stepsize, steps=steps, random_start=random_start, loss=loss
        )
        check_keep(keep)
        self.keep = keep

    def attack_for(self, epsilon: float, width: float) -> Attack:
        return mrt.SLIDE(mrt.L1(epsilon / width), keep=self.keep, **self.settings(epsilon, width))


class SparseL1DescentAttack(SLIDE):
    """SLIDE under Foolbox's name and keywords. Unlike Foolbox's it aims well when targeted, stays in its ball, and
    treats each image alone.

    Args:
        quantile: Steps move the entries at or above this quantile of the gradient.
        rel_stepsize: Stepsize relative to epsilon.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps.
        random_start: Whether to start at a random point of the ball.
    """

    def __init__(
        self,
        *,
        quantile: float = 0.99,
        rel_stepsize: float = 0.2,
        abs_stepsize: float | None = None,
        steps: int = 10,
        random_start: bool = False,
    ) -> None:
        checks.number("quantile", quantile, high=1)
        # Our `keep` takes quantiles between 0 and 1 alone. 1 is the one largest entry, just above 0 are all of them.
        keep: Keep = 1 if quantile == 1 else max(float(quantile), 1e-9)
        super().__init__(
            steps=steps, keep=keep, rel_stepsize=rel_stepsize, abs_stepsize=abs_stepsize, random_start=random_start
        )
        self.quantile = quantile  # for the repr, which shows this class's own setting


# The default step sizes and numbers of steps of the next three classes are those of Foolbox's classes of these names,
# so that a script that changes its import alone asks for the same search.
class LinfPGD(_Stepping):
    """Projected gradient descent; the best point of the path.

    Args:
        rel_stepsize: Stepsize relative to epsilon.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps to perform.
        random_start: Whether the perturbation starts at a random point of the ball or at zero.
        loss: "ce", "margin" or "dlr".
    """

    norm = "linf"

    def __init__(
        self,
        *,
        rel_stepsize: float | None = 0.01 / 0.3,
        abs_stepsize: float | None = None,
        steps: int = 40,
        random_start: bool | None = True,
        loss: str = "ce",
    ) -> None:
        super().__init__(
            rel_stepsize=rel_stepsize, abs_stepsize=abs_stepsize, steps=steps, random_start=random_start, loss=loss
        )

    def attack_for(self, epsilon: float, width: float) -> Attack:
        return mrt.PGD(self.ball(epsilon, width), **self.settings(epsilon, width))


class L2PGD(LinfPGD):
    __doc__ = LinfPGD.__doc__
    norm = "l2"

    def __init__(
        self,
        *,
        rel_stepsize: float | None = 0.025,
        abs_stepsize: float | None = None,
        steps: int = 50,
        random_start: bool | None = True,
        loss: str = "ce",
    ) -> None:
        super().__init__(
            rel_stepsize=rel_stepsize, abs_stepsize=abs_stepsize, steps=steps, random_start=random_start, loss=loss
        )


class L1PGD(L2PGD):
    """Steepest l1 descent, the largest movable entry of the gradient a step; the best point of the path.

    Args:
        rel_stepsize: Stepsize relative to epsilon.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps to perform.
        random_start: Whether the perturbation starts at a random point of the ball or at zero.
        loss: "ce", "margin" or "dlr".
    """

    norm = "l1"


class PGD(LinfPGD):
    """Projected gradient descent in any of the three norms; the best point of the path.

    Args:
        norm: "linf", "l2" or "l1".
        rel_stepsize: Stepsize relative to epsilon, by default 2.5 / steps.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps to perform.
        random_start: Whether to start at a random point of the ball; by default in linf alone.
        loss: "ce", "margin" or "dlr".
    """

    def __init__(
        self,
        norm: str = "linf",
        *,
        rel_stepsize: float | None = None,
        abs_stepsize: float | None = None,
        steps: int = 40,
        random_start: bool | None = None,
        loss: str = "ce",
    ) -> None:
        super().__init__(
            rel_stepsize=rel_stepsize, abs_stepsize=abs_stepsize, steps=steps, random_start=random_start, loss=loss
        )
        self.norm = checks.choice("norm", norm, tuple(BALLS))


class APGD(Native):
    """PGD without parameters [#Cro20]_ [#Cro21]_; the best point of the path.

    Args:
        norm: "linf", "l2" or "l1".
        steps: Number of update steps.
        loss: "ce", "margin" or "dlr".
        targets: So many of the likeliest wrong classes are aimed at in turn, for untargeted criteria; 0 for none.
        random_start: Whether to start at a random point of the ball.

    References:
        .. [#Cro20] Francesco Croce, Matthias Hein, "Reliable evaluation of adversarial robustness with an ensemble of
            diverse parameter-free attacks", https://arxiv.org/abs/2003.01690
        .. [#Cro21] Francesco Croce, Matthias Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image
            classifiers", https://arxiv.org/abs/2103.01208
    """

    def __init__(
        self, norm: str = "linf", *, steps: int = 100, loss: str = "ce", targets: int = 0, random_start: bool = True
    ) -> None:
        self.norm = checks.choice("norm", norm, tuple(BALLS))
        self.steps, self.loss, self.targets, self.random_start = steps, loss, targets, random_start
        self.targetable = not targets  # with `targets` it chooses the classes to aim at itself
        self.attack_for(1.0, 1.0)  # checks the settings

    @property
    def distance(self) -> Distance:
        return host_distance(self.norm)

    def attack_for(self, epsilon: float, width: float) -> Attack:
        settings: dict[str, Any] = {"steps": self.steps, "loss": self.loss, "targets": self.targets}
        settings |= {"random_start": self.random_start, "restarts": self.restarts}
        return mrt.APGD(BALLS[self.norm](epsilon / width), **settings)
