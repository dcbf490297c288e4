# MIT License
#
# Copyright (C) The Adversarial Robustness Toolbox (ART) Authors 2026
#
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
# documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
# rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
# persons to whom the Software is furnished to do so, subject to the following conditions:
#
# The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
# Software.
#
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
# WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
# AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
# TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
# SOFTWARE.
"""
This module implements multi steepest descent (MSD), which takes in each step the one of several balls' steps that
increases the loss most.

| Paper link: https://arxiv.org/abs/1909.04068
"""
from __future__ import absolute_import, division, print_function, unicode_literals, annotations

from typing import TYPE_CHECKING

import numpy as np

from art.config import ART_NUMPY_DTYPE
from art.attacks.attack import EvasionAttack
from art.attacks.evasion.sparse_l1_descent import SparseL1Descent, project_l1_box, sparse_step

if TYPE_CHECKING:
    from art.utils import CLASSIFIER_LOSS_GRADIENTS_TYPE

NORMS = [("inf", "inf"), (np.inf, "inf"), ("2", "2"), (2, "2"), ("1", "1"), (1, "1")]


class MultiSteepestDescent(SparseL1Descent):
    """
    Multi steepest descent (MSD) maximises the loss within the union of an linf, an l2 and an l1 ball. From the same point
    it takes a step of steepest descent in each ball, and goes on from the one with the largest loss.

    | Paper link: https://arxiv.org/abs/1909.04068
    """

    attack_params = EvasionAttack.attack_params + [
        "eps",
        "eps_step",
        "max_iter",
        "quantile",
        "targeted",
        "batch_size",
        "verbose",
    ]

    def __init__(
        self,
        estimator: "CLASSIFIER_LOSS_GRADIENTS_TYPE",
        eps: dict[str | int | float, float] | None = None,
        eps_step: dict[str | int | float, float] | None = None,
        max_iter: int = 50,
        quantile: float = 0.99,
        targeted: bool = False,
        batch_size: int = 32,
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.MultiSteepestDescent` instance.

        :param estimator: A trained classifier.
        :param eps: Radii of the balls by norm, of which there may be "inf" or `np.inf`, 2 and 1. Default values are for
                    CIFAR-10 in pixel range 0-1: {"inf": 8 / 255, 2: 0.5, 1: 12}.
        :param eps_step: Lengths of the steps by norm, by default `2.5 * eps / max_iter`.
        :param max_iter: The number of steps.
        :param quantile: In steps of the l1 ball the features at or above this quantile of the gradient's absolute values
                         are changed.
        :param targeted: Indicates whether the attack is targeted (True) or untargeted (False).
        :param batch_size: Size of the batch on which adversarial samples are generated.
        :param verbose: Show progress bars.
        """
        radii = {"inf": 8 / 255, 2: 0.5, 1: 12.0} if eps is None else eps
        super().__init__(
            estimator, radii, eps_step, max_iter, quantile, targeted, batch_size, verbose  # type: ignore
        )
        self.eps: dict[str | int | float, float]  # type: ignore
        self.eps_step: dict[str | int | float, float] | None  # type: ignore

    def _generate_batch(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        below, above = self._room(x)
        radii = self._by_norm(self.eps)
        lengths = {norm: 2.5 * radius / self.max_iter for norm, radius in radii.items()}
        if self.eps_step is not None:
            lengths = self._by_norm(self.eps_step)
        delta = np.zeros_like(below)
        for _ in range(self.max_iter):
            grad = self._gradient(x, delta, y)
            movable = np.where(grad > 0, delta < above, -delta < below)
            candidates = []
            for norm, radius in radii.items():
                step = self._step(norm, grad, movable, lengths[norm])
                candidates.append(self._project(norm, delta + step, below, above, radius))
            losses = np.stack([self._loss(x, candidate, y) for candidate in candidates])
            # A loss that is no number never wins.
            best = np.where(np.isnan(losses), -np.inf, losses).argmax(axis=0)
            delta = np.stack(candidates)[best, np.arange(len(x))]
        return (x + delta.reshape(x.shape)).astype(ART_NUMPY_DTYPE)

    def _loss(self, x: np.ndarray, delta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """
        Compute what is to increase.

        :param x: Original inputs.
        :param delta: Perturbations of shape `(nb_samples, nb_features)`.
        :param y: One-hot-encoded labels.
        :return: A number for each sample, of shape `(nb_samples,)`.
        """
        x_adv = (x + delta.reshape(x.shape)).astype(ART_NUMPY_DTYPE)
        loss = np.asarray(self.estimator.compute_loss(x_adv, y, reduction="none")).reshape(len(x))
        return -loss if self.targeted else loss

    def _step(self, norm: str, grad: np.ndarray, movable: np.ndarray, length: float) -> np.ndarray:
        """
        Compute the step of steepest descent in one norm.

        :param norm: "inf", "2" or "1".
        :param grad: Gradients of shape `(nb_samples, nb_features)`.
        :param movable: Which features the box lets move in the gradient's direction.
        :param length: Length of the step in that norm.
        :return: Changes of shape `(nb_samples, nb_features)`.
        """
        if norm == "1":
            return sparse_step(grad, movable, self.quantile, length)
        if norm == "2":
            direction = grad * movable
            size = np.linalg.norm(direction, axis=1, keepdims=True)
            return length * direction / np.maximum(size, np.finfo(np.float64).tiny)
        return length * np.sign(grad)

    @staticmethod
    def _project(norm: str, delta: np.ndarray, below: np.ndarray, above: np.ndarray, radius: float) -> np.ndarray:
        """
        Bring perturbations into one ball and the box.

        :param norm: "inf", "2" or "1".
        :param delta: Perturbations of shape `(nb_samples, nb_features)`.
        :param below: How far each feature may decrease.
        :param above: How far each feature may increase.
        :param radius: Radius of the ball.
        :return: Perturbations of the same shape.
        """
        if norm == "1":
            return project_l1_box(delta, below, above, radius)
        if norm == "2":
            size = np.linalg.norm(delta, axis=1, keepdims=True)
            delta = delta * np.minimum(1.0, radius / np.maximum(size, np.finfo(np.float64).tiny))
        else:
            delta = np.clip(delta, -radius, radius)
        return np.clip(delta, -below, above)

    @staticmethod
    def _by_norm(values: dict[str | int | float, float]) -> dict[str, float]:
        """
        Bring the norms of a dictionary into one spelling.

        :param values: Numbers by norm.
        :return: The same numbers by "inf", "2" and "1".
        """
        return {name: values[spelling] for spelling, name in NORMS if spelling in values}

    def _check_radii(self) -> None:
        for name, values in (("eps", self.eps), ("eps_step", self.eps_step)):
            if name == "eps_step" and values is None:
                continue
            if not isinstance(values, dict) or not values or len(self._by_norm(values)) != len(values):
                raise ValueError(f'The argument `{name}` has to be a dictionary of one number for each of "inf", 2 and 1.')
            if not all(isinstance(value, (int, float)) and value > 0 for value in values.values()):
                raise ValueError(f"The numbers of `{name}` have to be greater than 0.")

        if self.eps_step is not None and self._by_norm(self.eps_step).keys() != self._by_norm(self.eps).keys():
            raise ValueError("The norms of `eps_step` have to be those of `eps`.")
