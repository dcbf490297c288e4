"""MSD as an ART evasion attack."""

from __future__ import annotations

from typing import Any

from art.estimators.classification import PyTorchClassifier

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep
from mrt.crafting.losses import Chosen
from mrt.protocols import Attack
from mrt_art.attack_base import Native
from mrt_art.bridge import Bridge
from mrt_art.losses import read_loss
from mrt_art.radii import make_balls, read_radii, read_step_sizes


class MSD(Native):
    """
    Multi steepest descent over a union of balls.

    | Paper link: https://arxiv.org/abs/1909.04068
    """

    def __init__(
        self,
        estimator: PyTorchClassifier,
        eps: dict[Any, float] | None = None,
        eps_step: dict[Any, float] | None = None,
        max_iter: int = 50,
        keep: Keep | None = None,
        targeted: bool = False,
        num_random_init: int = 0,
        batch_size: int = 128,
        loss_type: Chosen = "ce",
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.MSD` instance.

        :param estimator: A trained PyTorch classifier.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels.
        :param eps_step: Lengths of steps by norm, by default 2.5 `eps` / `max_iter`.
        :param max_iter: Number of steps.
        :param keep: The entries that an l1 step moves: a count, a quantile of the gradient, or a range of either; by
                     default half to twice as many as the l1 radius can move across the range of the pixels.
        :param targeted: Whether `y` is the class to reach.
        :param num_random_init: Number of runs from random points of the union; 0 for one from the image.
        :param batch_size: Images attacked at once.
        :param loss_type: "ce", "margin", "dlr", or a function (logits, labels) -> (N,).
        :param verbose: Show progress bars.
        """
        super().__init__(
            estimator, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, targeted=targeted,
            num_random_init=num_random_init, batch_size=batch_size, loss_type=loss_type, verbose=verbose,
        )  # fmt: skip

    def _check_params(self) -> None:
        self.eps = read_radii(self.eps, Bridge(self.estimator).width)
        read_loss(self.loss_type)
        self.num_random_init = checks.count("num_random_init", self.num_random_init, low=0)
        super()._check_params()

    def attack_for(self, width: float) -> Attack:
        steps = tuple(read_step_sizes(self.eps_step, self.eps, width)[norm] for norm in self.eps)
        # "broken": what fools the model comes first, and the loss decides only among such points. ART's users count
        # successes, and a point of larger loss that is still classified correctly would not be one.
        settings: dict[str, Any] = {
            "steps": self.max_iter,
            "keep": self.keep,
            "loss": read_loss(self.loss_type),
            "best": "broken",
        }
        settings |= {"step_size": None if None in steps else steps, "random_start": self.num_random_init > 0}
        return mrt.MSD(make_balls(self.eps, width), restarts=max(self.num_random_init, 1), **settings)
