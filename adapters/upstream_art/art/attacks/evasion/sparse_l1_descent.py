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
This module implements sparse l1 descent (SLIDE), which moves a share of the features in each step and projects onto the
intersection of the l1 ball and the box of the clip values.

| Paper link: https://arxiv.org/abs/1904.13000
"""
from __future__ import absolute_import, division, print_function, unicode_literals, annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from art.config import ART_NUMPY_DTYPE
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from art.estimators.classification.classifier import ClassifierMixin
from art.utils import check_and_transform_label_format, get_labels_np_array

if TYPE_CHECKING:
    from art.utils import CLASSIFIER_LOSS_GRADIENTS_TYPE

logger = logging.getLogger(__name__)


def project_l1_box(delta: np.ndarray, below: np.ndarray, above: np.ndarray, eps: float) -> np.ndarray:
    """
    Project perturbations onto the intersection of the l1 ball and a box.

    :param delta: Perturbations of shape `(nb_samples, nb_features)`.
    :param below: How far each feature may decrease, of the same shape.
    :param above: How far each feature may increase, of the same shape.
    :param eps: Radius of the l1 ball.
    :return: The nearest perturbations in the l2 norm, of the same shape.
    """
    size = np.abs(delta)
    room = np.where(delta > 0, above, below)
    inside = np.minimum(size, room)

    # The projection is min(max(size - level, 0), room) with the level at which the budget is spent, found by bisection.
    outside = inside.sum(axis=1) > eps
    low = np.zeros(len(delta))
    high = size.max(axis=1, initial=0.0)
    for _ in range(60):
        middle = (low + high) / 2
        spent = np.minimum(np.maximum(size - middle[:, None], 0.0), room).sum(axis=1)
        low, high = np.where(spent > eps, middle, low), np.where(spent > eps, high, middle)
    shrunk = np.minimum(np.maximum(size - high[:, None], 0.0), room)

    return np.sign(delta) * np.where(outside[:, None], shrunk, inside)


def sparse_step(grad: np.ndarray, movable: np.ndarray, quantile: float, length: float) -> np.ndarray:
    """
    Compute a step of sparse l1 descent: equal changes of the features of largest gradient.

    :param grad: Gradients of shape `(nb_samples, nb_features)` of what is to increase.
    :param movable: Which features the box lets move in the gradient's direction, of the same shape.
    :param quantile: Features at or above this quantile of the gradient's absolute values are changed.
    :param length: Length of the step in the l1 norm.
    :return: Changes of shape `(nb_samples, nb_features)`.
    """
    size = np.abs(grad) * movable
    chosen = (size >= np.quantile(size, quantile, axis=1, keepdims=True)) & (size > 0)
    number = np.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return np.sign(grad) * chosen * (length / number)


class SparseL1Descent(EvasionAttack):
    """
    Sparse l1 descent (SLIDE) maximises the loss within an l1 ball. Steepest descent in the l1 norm changes one feature in
    each step; SLIDE changes a share of them, and needs fewer steps.

    | Paper link: https://arxiv.org/abs/1904.13000
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
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassifierMixin)

    def __init__(
        self,
        estimator: "CLASSIFIER_LOSS_GRADIENTS_TYPE",
        eps: float = 12.0,
        eps_step: float | None = None,
        max_iter: int = 20,
        quantile: float = 0.99,
        targeted: bool = False,
        batch_size: int = 32,
        verbose: bool = True,
    ) -> None:
        """
        Create a :class:`.SparseL1Descent` instance.

        :param estimator: A trained classifier.
        :param eps: Maximum l1 norm of the perturbation.
        :param eps_step: Length of a step in the l1 norm, `None` for a fifth of `eps` or `2.5 * eps / max_iter`, whichever
                         is larger.
        :param max_iter: The number of steps.
        :param quantile: In each step the features at or above this quantile of the gradient's absolute values are changed.
        :param targeted: Indicates whether the attack is targeted (True) or untargeted (False).
        :param batch_size: Size of the batch on which adversarial samples are generated.
        :param verbose: Show progress bars.
        """
        super().__init__(estimator=estimator)
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.quantile = quantile
        self._targeted = targeted
        self.batch_size = batch_size
        self.verbose = verbose
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs) -> np.ndarray:
        """
        Generate adversarial samples and return them in an array.

        :param x: An array with the original inputs.
        :param y: Target values (class labels) one-hot-encoded of shape `(nb_samples, nb_classes)` or indices of shape
                  `(nb_samples,)`: the true ones, by default the model's own predictions; or, if the attack is targeted,
                  the ones to reach.
        :param kwargs: Not used.
        :return: An array holding the adversarial examples.
        """
        labels = self._labels(x, y)
        x_adv = x.astype(ART_NUMPY_DTYPE)
        batches = range(0, len(x), self.batch_size)
        for start in tqdm(batches, desc=type(self).__name__, disable=not self.verbose):
            rows = slice(start, start + self.batch_size)
            x_adv[rows] = self._generate_batch(x_adv[rows], labels[rows])
        return x_adv

    def _labels(self, x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        """
        Determine the labels that the loss is computed with.

        :param x: An array with the original inputs.
        :param y: Labels as `generate` takes them.
        :return: One-hot-encoded labels of shape `(nb_samples, nb_classes)`.
        """
        if y is not None:
            return check_and_transform_label_format(y, nb_classes=self.estimator.nb_classes)
        if self.targeted:
            raise ValueError("Target labels `y` need to be provided for a targeted attack.")
        logger.info("Using model predictions as correct labels.")
        return get_labels_np_array(self.estimator.predict(x, batch_size=self.batch_size))

    def _generate_batch(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """
        Generate adversarial samples for one batch.

        :param x: Original inputs.
        :param y: One-hot-encoded labels.
        :return: Adversarial examples.
        """
        below, above = self._room(x)
        length = self.eps * max(0.2, 2.5 / self.max_iter) if self.eps_step is None else self.eps_step
        delta = np.zeros_like(below)
        for _ in range(self.max_iter):
            grad = self._gradient(x, delta, y)
            movable = np.where(grad > 0, delta < above, -delta < below)
            step = sparse_step(grad, movable, self.quantile, length)
            delta = project_l1_box(delta + step, below, above, self.eps)
        return (x + delta.reshape(x.shape)).astype(ART_NUMPY_DTYPE)

    def _gradient(self, x: np.ndarray, delta: np.ndarray, y: np.ndarray) -> np.ndarray:
        """
        Compute the gradient of what is to increase.

        :param x: Original inputs.
        :param delta: Perturbations of shape `(nb_samples, nb_features)`.
        :param y: One-hot-encoded labels.
        :return: Gradients of shape `(nb_samples, nb_features)`.
        """
        x_adv = (x + delta.reshape(x.shape)).astype(ART_NUMPY_DTYPE)
        grad = self.estimator.loss_gradient(x_adv, y).reshape(len(x), -1).astype(np.float64)
        return np.nan_to_num(-grad if self.targeted else grad, nan=0.0, posinf=0.0, neginf=0.0)

    def _room(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Determine how far each feature may decrease and increase within the clip values.

        :param x: Original inputs.
        :return: Two arrays of shape `(nb_samples, nb_features)`, infinite without clip values.
        """
        flat = x.reshape(len(x), -1).astype(np.float64)
        if self.estimator.clip_values is None:
            return np.full_like(flat, np.inf), np.full_like(flat, np.inf)
        low, high = (np.broadcast_to(bound, x.shape).reshape(flat.shape) for bound in self.estimator.clip_values)
        return np.maximum(flat - low, 0.0), np.maximum(high - flat, 0.0)

    def _check_radii(self) -> None:
        if not isinstance(self.eps, (int, float)) or self.eps <= 0:
            raise ValueError("The perturbation size `eps` has to be a number greater than 0.")

        if self.eps_step is not None and (not isinstance(self.eps_step, (int, float)) or self.eps_step <= 0):
            raise ValueError("The step size `eps_step` has to be a number greater than 0, or None.")

    def _check_params(self) -> None:
        self._check_radii()

        if not isinstance(self.max_iter, int) or self.max_iter <= 0:
            raise ValueError("The number of iterations `max_iter` has to be a positive integer.")

        if not isinstance(self.quantile, (int, float)) or not 0 <= self.quantile <= 1:
            raise ValueError("The `quantile` has to be a number between 0 and 1.")

        if not isinstance(self.targeted, bool):
            raise ValueError("The flag `targeted` has to be of type bool.")

        if not isinstance(self.batch_size, int) or self.batch_size <= 0:
            raise ValueError("The `batch_size` has to be a positive integer.")

        if not isinstance(self.verbose, bool):
            raise ValueError("The argument `verbose` has to be of type bool.")
