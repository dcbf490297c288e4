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
This is a PyTorch implementation of adversarial training with multi steepest descent (MSD).

| Paper link: https://arxiv.org/abs/1909.04068
"""
from __future__ import absolute_import, division, print_function, unicode_literals, annotations

from collections.abc import Callable, Iterator
import logging
import time
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import trange

from art.attacks.attack import EvasionAttack
from art.data_generators import DataGenerator
from art.defences.trainer.adversarial_trainer_msd import AdversarialTrainerMSD
from art.estimators.classification.pytorch import PyTorchClassifier
from art.utils import check_and_transform_label_format

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class AdversarialTrainerMSDPyTorch(AdversarialTrainerMSD):
    """
    Class performing adversarial training on what an attack on the union of several balls finds.

    | Paper link: https://arxiv.org/abs/1909.04068
    """

    def __init__(self, classifier: PyTorchClassifier, attack: EvasionAttack):
        """
        Create an :class:`.AdversarialTrainerMSDPyTorch` instance.

        :param classifier: Model to train adversarially.
        :param attack: attack to use for data augmentation in adversarial training, such as
                       :class:`.MultiSteepestDescent`
        """
        super().__init__(classifier, attack)
        self._classifier: PyTorchClassifier
        self._attack: EvasionAttack

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: "torch.optim.lr_scheduler.LRScheduler" | None = None,
        **kwargs,
    ):
        """
        Train a model adversarially with MSD. See class documentation for more information on the exact procedure.

        :param x: Training set.
        :param y: Labels for the training set.
        :param validation_data: Tuple consisting of validation data, (x_val, y_val)
        :param batch_size: Size of batches.
        :param nb_epochs: Number of epochs to use for trainings.
        :param scheduler: Learning rate scheduler to run at the end of every epoch.
        :param kwargs: Dictionary of framework-specific arguments. These will be passed as such to the `fit` function of
                       the target classifier.
        """
        y = check_and_transform_label_format(y, nb_classes=self.classifier.nb_classes)

        def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            order = np.random.permutation(len(x))
            for start in range(0, len(x), batch_size):
                rows = order[start : start + batch_size]
                yield x[rows], y[rows]

        self._train(batches, nb_epochs, scheduler, validation_data)

    def fit_generator(
        self,
        generator: DataGenerator,
        nb_epochs: int = 20,
        scheduler: "torch.optim.lr_scheduler.LRScheduler" | None = None,
        **kwargs,
    ):
        """
        Train a model adversarially with MSD using a data generator.
        See class documentation for more information on the exact procedure.

        :param generator: Data generator.
        :param nb_epochs: Number of epochs to use for trainings.
        :param scheduler: Learning rate scheduler to run at the end of every epoch.
        :param kwargs: Dictionary of framework-specific arguments. These will be passed as such to the `fit` function of
                       the target classifier.
        """
        if generator.size is None:
            raise ValueError("Size is None.")
        nb_batches = int(np.ceil(generator.size / generator.batch_size))

        def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for _ in range(nb_batches):
                x_batch, y_batch = generator.get_batch()
                yield x_batch.copy(), check_and_transform_label_format(y_batch, nb_classes=self.classifier.nb_classes)

        self._train(batches, nb_epochs, scheduler, None)

    def _train(
        self,
        batches: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]],
        nb_epochs: int,
        scheduler: "torch.optim.lr_scheduler.LRScheduler" | None,
        validation_data: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """
        Train for some epochs.

        :param batches: Function that yields the batches of an epoch, inputs and one-hot-encoded labels.
        :param nb_epochs: Number of epochs to use for trainings.
        :param scheduler: Learning rate scheduler to run at the end of every epoch, or None.
        :param validation_data: Tuple consisting of validation data, (x_val, y_val), or None.
        """
        import torch

        if scheduler is not None and not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
            raise ValueError("Invalid Pytorch scheduler is provided for adversarial training.")
        if self._classifier.optimizer is None:
            raise ValueError("Optimizer of classifier is currently None, but is required for adversarial training.")

        logger.info("Performing adversarial training with MSD")
        for i_epoch in trange(nb_epochs, desc="Adversarial Training MSD - Epochs"):
            start_time = time.time()
            loss, correct, number = 0.0, 0, 0
            for x_batch, y_batch in batches():
                batch_loss, batch_correct = self._batch_process(x_batch, y_batch)
                loss += batch_loss * len(x_batch)
                correct += batch_correct
                number += len(x_batch)
            if scheduler is not None:
                scheduler.step()

            message = "epoch: %s time(s): %.1f loss: %.4f acc(tr): %.4f"
            values = [i_epoch, time.time() - start_time, loss / number, correct / number]
            if validation_data is not None:
                x_val, y_val = validation_data
                y_val = check_and_transform_label_format(y_val, nb_classes=self.classifier.nb_classes)
                hits = self.predict(x_val).argmax(axis=1) == y_val.argmax(axis=1)
                message, values = f"{message} acc(val): %.4f", [*values, float(hits.mean())]
            logger.info(message, *values)

    def _batch_process(self, x_batch: np.ndarray, y_batch: np.ndarray) -> tuple[float, int]:
        """
        Perform one update on the adversarial examples of a batch of data.

        :param x_batch: batch of x.
        :param y_batch: batch of y, one-hot-encoded.
        :return: The batch's loss and how many of its adversarial examples are classified correctly.
        """
        import torch

        model, optimizer = self._classifier.model, self._classifier.optimizer
        model.train(mode=False)
        x_adv = self._attack.generate(x_batch, y=y_batch)

        x_preprocessed, y_preprocessed = self._classifier._apply_preprocessing(x_adv, y_batch, fit=True)
        if self._classifier._reduce_labels:
            y_preprocessed = np.argmax(y_preprocessed, axis=1)
        inputs = torch.from_numpy(x_preprocessed).to(self._classifier.device)
        labels = torch.from_numpy(y_preprocessed).to(self._classifier.device)

        self._classifier._model.train(mode=True)
        optimizer.zero_grad()
        outputs = self._classifier._model(inputs)[-1]
        loss = self._classifier._loss(outputs, labels)
        loss.backward()
        optimizer.step()
        self._classifier._model.train(mode=False)

        classes = labels if labels.ndim == 1 else labels.argmax(dim=1)
        return loss.item(), int((outputs.argmax(dim=1) == classes).sum())
