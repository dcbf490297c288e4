"""SLIDE, PGD and APGD as ART's evasion attacks."""

from __future__ import annotations

from typing import Any

from art.estimators.classification import PyTorchClassifier

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep
from mrt.crafting.losses import Chosen
from mrt.protocols import Attack
from mrt_art.attack_base import Native
from mrt_art.bridge import Bridge, read_norm
from mrt_art.losses import read_loss
from mrt_art.radii import BALLS, read_radius


class _OneBall(Native):
    """An attack on one ball that goes by steps."""

    norm: Any
    eps_step: float | None
    loss_type: Chosen

    def _check_params(self) -> None:
        self.eps = read_radius(self.eps, self.norm, Bridge(self.estimator).width)
        if self.eps_step is not None:
            self.eps_step = checks.number("eps_step", self.eps_step, open_low=True)
        read_loss(self.loss_type)
        self.num_random_init = checks.count("num_random_init", self.num_random_init, low=0)
        super()._check_params()

    def settings(self, width: float) -> dict[str, Any]:
        """Return the keyword arguments that all our attacks by steps share."""
        # ART counts random starts, and 0 of them is one run from the image; ours count runs.
        settings: dict[str, Any] = {"steps": self.max_iter, "restarts": max(self.num_random_init, 1)}
        settings |= {"loss": read_loss(self.loss_type), "random_start": self.num_random_init > 0}
        return settings | {"step_size": None if self.eps_step is None else self.eps_step / width}


class SLIDE(_OneBall):
    """
    Sparse l1 descent, projected exactly on the ball and the clip values.

    | Paper link: https://arxiv.org/abs/1904.13000
    """

    norm = 1

    def __init__(
        self,
        estimator: PyTorchClassifier,
        eps: float | None = None,
        eps_step: float | None = None,
        max_iter: int = 20,
        keep: Keep = 0.99,
        targeted: bool = False,
        num_random_init: int = 0,
        batch_size: int = 128,
        loss_type: Chosen = "ce",
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.SLIDE` instance.

        :param estimator: A trained PyTorch classifier.
        :param eps: Largest l1 norm of a perturbation, by default 12 times the range of the pixels.
        :param eps_step: Length of a step, by default a fifth of `eps`, or 2.5 / `max_iter` of it where that is more.
        :param max_iter: Number of steps.
        :param keep: The entries that a step moves: a quantile of the gradient, a count, or a range of either.
        :param targeted: Whether `y` is the class to reach.
        :param num_random_init: Number of runs from random points of the ball; 0 for one from the image.
        :param batch_size: Images attacked at once.
        :param loss_type: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        :param verbose: Show progress bars.
        """
        super().__init__(
            estimator, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, targeted=targeted,
            num_random_init=num_random_init, batch_size=batch_size, loss_type=loss_type, verbose=verbose,
        )  # fmt: skip

    def attack_for(self, width: float) -> Attack:
        return mrt.SLIDE(mrt.L1(self.eps / width), keep=self.keep, **self.settings(width))


class PGD(_OneBall):
    """
    Projected gradient descent in the linf, l2 or l1 ball; in l1 by steepest steps, projected exactly.

    | Paper link: https://arxiv.org/abs/1706.06083
    """

    def __init__(
        self,
        estimator: PyTorchClassifier,
        norm: Any = "inf",
        eps: float | None = None,
        eps_step: float | None = None,
        max_iter: int = 40,
        targeted: bool = False,
        num_random_init: int = 0,
        batch_size: int = 128,
        loss_type: Chosen = "ce",
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.PGD` instance.

        :param estimator: A trained PyTorch classifier.
        :param norm: "inf", `np.inf`, 2 or 1.
        :param eps: Radius, by default 8/255, 0.5 or 12 times the range of the pixels.
        :param eps_step: Length of a step, by default 2.5 `eps` / `max_iter`.
        :param max_iter: Number of steps.
        :param targeted: Whether `y` is the class to reach.
        :param num_random_init: Number of runs from random points of the ball; 0 for one from the image.
        :param batch_size: Images attacked at once.
        :param loss_type: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        :param verbose: Show progress bars.
        """
        super().__init__(
            estimator, norm=norm, eps=eps, eps_step=eps_step, max_iter=max_iter, targeted=targeted,
            num_random_init=num_random_init, batch_size=batch_size, loss_type=loss_type, verbose=verbose,
        )  # fmt: skip

    def attack_for(self, width: float) -> Attack:
        return mrt.PGD(BALLS[read_norm(self.norm)](self.eps / width), **self.settings(width))


class APGD(_OneBall):
    """
    PGD without parameters, in l1 the one that minds the box.

    | Paper link: https://arxiv.org/abs/2003.01690
    | Paper link: https://arxiv.org/abs/2103.01208
    """

    def __init__(
        self,
        estimator: PyTorchClassifier,
        norm: Any = "inf",
        eps: float | None = None,
        eps_step: float | None = None,
        max_iter: int = 100,
        targeted: bool = False,
        num_random_init: int = 1,
        batch_size: int = 128,
        loss_type: Chosen = "ce",
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.APGD` instance.

        :param estimator: A trained PyTorch classifier.
        :param norm: "inf", `np.inf`, 2 or 1.
        :param eps: Radius, by default 8/255, 0.5 or 12 times the range of the pixels.
        :param eps_step: Length of the first step, by default 2 `eps`, in l1 `eps`; later ones follow the progress.
        :param max_iter: Number of steps.
        :param targeted: Whether `y` is the class to reach.
        :param num_random_init: Number of runs from random points of the ball; 0 for one from the image.
        :param batch_size: Images attacked at once.
        :param loss_type: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        :param verbose: Show progress bars.
        """
        super().__init__(
            estimator, norm=norm, eps=eps, eps_step=eps_step, max_iter=max_iter, targeted=targeted,
            num_random_init=num_random_init, batch_size=batch_size, loss_type=loss_type, verbose=verbose,
        )  # fmt: skip

    def attack_for(self, width: float) -> Attack:
        return mrt.APGD(BALLS[read_norm(self.norm)](self.eps / width), **self.settings(width))
