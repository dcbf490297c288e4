"""Our attacks under Foolbox's names and keywords, as subclasses of its classes: what a user's subclass overrides there
is called, since the host's own `run` then takes the place of ours."""

from __future__ import annotations

from typing import Any, ClassVar

import foolbox.attacks as theirs
from foolbox.attacks.base import FixedEpsilonAttack
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from foolbox.distances import LpDistance, l1, l2, linf
from foolbox.models import Model as HostModel

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep
from mrt.crafting.losses import Chosen
from mrt.fast import Fast
from mrt.protocols import Attack
from mrt_foolbox.attack_base import HOOKS
from mrt_foolbox.calls import read_norm
from mrt_foolbox.one_ball import SLIDE, Stepping

# As they are when this is imported: whoever replaces one in Foolbox's class later means it, too.
SHIPPED: dict[type, dict[str, Any]] = {
    kind: {name: getattr(kind, name) for name in (*HOOKS, "distance")}
    for kind in (theirs.LinfPGD, theirs.L2PGD, theirs.L1PGD, theirs.SparseL1DescentAttack)
}
DISTANCES: dict[str, LpDistance] = {"linf": linf, "l2": l2, "l1": l1}


class HostNamed(Stepping):
    """Listed before a class of Foolbox's. Where that one's methods are as Foolbox ships them our search runs, and else
    its own, by its own steps."""

    _hooks = HOOKS
    _host: ClassVar[type[Any]]

    @property
    def _overridden(self) -> list[str]:
        """The names of what a subclass, or somebody else, has put in the place of Foolbox's."""
        shipped = SHIPPED[self._host]
        return [n for n in shipped if n in vars(self) or getattr(type(self), n) is not shipped[n]]

    @property
    def runs_as_the_host(self) -> bool:
        own_run = "run" in vars(self) or type(self).run is not HostNamed.run
        return own_run or bool(self._overridden)

    def _set(self, *settings: Any) -> None:
        super()._set(*settings)
        if self._overridden:
            self._refuse_what_the_host_lacks()

    def __call__(self, model: HostModel, inputs: Any, criterion: Any, *, epsilons: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Return Foolbox's (raw, clipped, success): lists and an array (K, N) for a list of K epsilons."""
        if self._overridden:
            self._refuse_what_the_host_lacks()
            return FixedEpsilonAttack.__call__(self, model, inputs, criterion, epsilons=epsilons, **kwargs)
        return super().__call__(model, inputs, criterion, epsilons=epsilons, **kwargs)

    def run(self, model: HostModel, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Return the worst perturbed inputs on the way; where a hook is overridden, what Foolbox's own run ends at."""
        if self._overridden:
            self._refuse_what_the_host_lacks()
            # The classes below stand before one of Foolbox's, so that this is its descent.
            return BaseGradientDescent.run(self, model, inputs, criterion, epsilon=epsilon, **kwargs)  # type: ignore[arg-type]
        return super().run(model, inputs, criterion, epsilon=epsilon, **kwargs)

    def _refuse_what_the_host_lacks(self) -> None:
        given = [n for n, there in (("loss", self._loss != "ce"), ("fast", self._fast != Fast())) if there]
        if given:
            hooks = " and ".join(self._overridden)
            raise ValueError(
                f"{type(self).__name__} overrides {hooks}, so that Foolbox's own run is taken, which has no {given[0]}="
            )


class Steepest(HostNamed):
    """Of these the search is mrt.PGD."""

    def attack_for(self, epsilon: float, width: float) -> Attack:
        return mrt.PGD(self._ball(epsilon, width), **self._settings(width))


# The default step sizes and numbers of steps of these classes are those of Foolbox's classes of these names, so that a
# script that changes its import alone asks for the same search.
class LinfPGD(Steepest, theirs.LinfProjectedGradientDescentAttack):  # type: ignore[misc]
    """Projected gradient descent; the best point of the path.

    Args:
        rel_stepsize: Stepsize relative to epsilon.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps to perform.
        random_start: Whether the perturbation starts at a random point of the ball or at zero.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        fast: How the model and the steps are run, see `mrt.Fast`.
    """

    _host = theirs.LinfPGD
    _norm = norm = "linf"
    distance: LpDistance = linf

    def __init__(
        self,
        *,
        rel_stepsize: float | None = 0.01 / 0.3,
        abs_stepsize: float | None = None,
        steps: int = 40,
        random_start: bool | None = True,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self._set(rel_stepsize, abs_stepsize, steps, random_start, loss, fast)


class L2PGD(Steepest, theirs.L2ProjectedGradientDescentAttack):  # type: ignore[misc]
    __doc__ = LinfPGD.__doc__
    _host = theirs.L2PGD
    _norm = norm = "l2"
    distance: LpDistance = l2

    def __init__(
        self,
        *,
        rel_stepsize: float | None = 0.025,
        abs_stepsize: float | None = None,
        steps: int = 50,
        random_start: bool | None = True,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self._set(rel_stepsize, abs_stepsize, steps, random_start, loss, fast)


class L1PGD(Steepest, theirs.L1ProjectedGradientDescentAttack):  # type: ignore[misc]
    """Steepest l1 descent, the largest movable entry of the gradient a step; the best point of the path.

    Args:
        rel_stepsize: Stepsize relative to epsilon.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps to perform.
        random_start: Whether the perturbation starts at a random point of the ball or at zero.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        fast: How the model and the steps are run, see `mrt.Fast`.
    """

    _host = theirs.L1PGD
    _norm = norm = "l1"
    distance: LpDistance = l1

    def __init__(
        self,
        *,
        rel_stepsize: float | None = 0.025,
        abs_stepsize: float | None = None,
        steps: int = 50,
        random_start: bool | None = True,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self._set(rel_stepsize, abs_stepsize, steps, random_start, loss, fast)


class PGD(LinfPGD):
    """Projected gradient descent in any of the three norms; the best point of the path.

    Args:
        norm: "linf", "l2" or "l1", in any spelling.
        rel_stepsize: Stepsize relative to epsilon, by default 2.5 / steps.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps to perform.
        random_start: Whether to start at a random point of the ball; by default in linf alone.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        fast: How the model and the steps are run, see `mrt.Fast`.
    """

    def __init__(
        self,
        norm: Any = "linf",
        *,
        rel_stepsize: float | None = None,
        abs_stepsize: float | None = None,
        steps: int = 40,
        random_start: bool | None = None,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self._norm = self.norm = read_norm(norm)
        if type(self).distance is linf:  # and not a subclass's own
            self.distance = DISTANCES[self._norm]
        super().__init__(
            rel_stepsize=rel_stepsize, abs_stepsize=abs_stepsize, steps=steps, random_start=random_start, loss=loss,
            fast=fast,
        )  # fmt: skip

    @property
    def _overridden(self) -> list[str]:
        # The distance may be that of the norm. By its p, since a pickle makes another object of it.
        mine = getattr(self.distance, "p", None) == DISTANCES[self._norm].p
        return [name for name in super()._overridden if name != "distance" or not mine]

    def _refuse_what_the_host_lacks(self) -> None:
        super()._refuse_what_the_host_lacks()
        if self._norm != "linf":
            hooks = " and ".join(self._overridden)
            name = type(self).__name__
            raise ValueError(f"{name} overrides {hooks} of Foolbox's PGD, which is linf; got {self._norm!r}")
        if self.rel_stepsize is None:
            self.rel_stepsize = 2.5 / self.steps
        if self.random_start is None:
            self.random_start = True


class SparseL1DescentAttack(HostNamed, SLIDE, theirs.SparseL1DescentAttack):  # type: ignore[misc]
    """SLIDE under Foolbox's name and keywords. Unlike Foolbox's it aims well when targeted, stays in its ball, and
    treats each image alone.

    Args:
        quantile: Steps move the entries at or above this quantile of the gradient.
        rel_stepsize: Stepsize relative to epsilon.
        abs_stepsize: If given, it takes precedence over rel_stepsize.
        steps: Number of update steps.
        random_start: Whether to start at a random point of the ball.
        loss: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        fast: How the model and the steps are run, see `mrt.Fast`.
    """

    _host = theirs.SparseL1DescentAttack
    distance: LpDistance = l1

    def __init__(
        self,
        *,
        quantile: float = 0.99,
        rel_stepsize: float = 0.2,
        abs_stepsize: float | None = None,
        steps: int = 10,
        random_start: bool = False,
        loss: Chosen = "ce",
        fast: Fast = Fast(),  # noqa: B008
    ) -> None:
        self.quantile = checks.number("quantile", quantile, high=1)
        self._set(rel_stepsize, abs_stepsize, steps, random_start, loss, fast)

    @property
    def _entries(self) -> Keep:
        # Our `keep` takes quantiles between 0 and 1 alone. 1 is the one largest entry, just above 0 are all of them.
        return 1 if self.quantile == 1 else max(float(self.quantile), 1e-9)
