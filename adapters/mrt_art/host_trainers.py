"""Our training under the names and keywords of ART's own trainers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import art.defences.trainer as theirs
from art.estimators.classification import PyTorchClassifier

import mrt
from mrt.protocols import Stateful, Strategy
from mrt_art.attack_base import largest_of
from mrt_art.epochs_trainer import EpochsTrainer
from mrt_art.host_named import ProjectedGradientDescent
from mrt_art.trainer_base import NativeTrainer
from mrt_art.translated import as_ours


class AdversarialTrainerMadryPGD(EpochsTrainer):
    """
    Adversarial training on linf PGD, as ART's trainer of the same name does it, in the native loop.

    | Paper link: https://arxiv.org/abs/1706.06083
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        nb_epochs: int | None = 205,
        batch_size: int | None = 128,
        eps: int | float = 8,
        eps_step: int | float = 2,
        max_iter: int = 7,
        num_random_init: int = 1,
        verbose: bool = True,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerMadryPGD` instance. Default values are for CIFAR-10 in pixel range 0-255.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param nb_epochs: Number of training epochs.
        :param batch_size: Size of batches.
        :param eps: Radius of the linf ball.
        :param eps_step: Length of a step.
        :param max_iter: Number of steps.
        :param num_random_init: Number of runs from random points of the ball; 0 for one from the image.
        :param verbose: Show progress.
        """
        super().__init__(
            classifier, nb_epochs=nb_epochs, batch_size=batch_size, eps=eps, eps_step=eps_step, max_iter=max_iter,
            num_random_init=num_random_init, verbose=verbose,
        )  # fmt: skip

    usual: ClassVar[dict[str, int]] = {}

    def read_settings(self, width: float) -> None:
        names = ("eps", "eps_step", "max_iter", "num_random_init")
        settings = {name: getattr(self, name) for name in names} | {"verbose": False}
        self.attack = ProjectedGradientDescent(self.classifier, **settings)
        super().read_settings(width)

    def largest_radius(self) -> float:
        return largest_of(self.attack.eps)

    def strategy(self, width: float) -> Strategy | Stateful:
        # Of the attack as it is now: scripts change its settings, trainer.attack.set_params(eps=...).
        attack = as_ours(self.attack, self.classifier)
        native: Any = attack.attack_for(width)
        # One run is trained on where it ends, as the paper does, which saves judging the points of the path; several
        # runs have to be judged, or nothing could choose between them.
        return mrt.Adversarial(replace(native, best="last") if native.restarts == 1 else native)


class AdversarialTrainerTRADESPyTorch(NativeTrainer):
    """
    TRADES, as ART's trainer of the same name does it, in the native loop. With a PGD on this classifier, ours or ART's,
    the search ascends the divergence from the clean answer, as in the paper, with the attack's norm, radius, step and
    number of steps, whatever its loss and number of runs; of any other attack of ours, and of ART's AutoPGD or a PGD
    with decay, the result is taken.

    | Paper link: https://arxiv.org/abs/1901.08573
    """

    def __init__(self, classifier: PyTorchClassifier, attack: Any, beta: float, verbose: bool = True) -> None:
        """
        Create an :class:`.AdversarialTrainerTRADESPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param attack: Attack on this classifier to use for data augmentation in adversarial training.
        :param beta: The scaling factor controlling tradeoff between clean loss and adversarial loss.
        :param verbose: Show progress.
        """
        super().__init__(classifier, attack=attack, beta=beta, verbose=verbose)

    def largest_radius(self) -> float:
        return largest_of(getattr(self.attack, "eps", 0.0))

    def strategy(self, width: float) -> Strategy | Stateful:
        native: Any = as_ours(self.attack, self.classifier).attack_for(width)
        if type(native) is not mrt.PGD:
            return mrt.TRADES(native, beta=self.beta)
        # For a PGD mrt.TRADES searches itself: the paper ascends the divergence, where ART ascends the cross-entropy.
        plain: Any = native
        return mrt.TRADES(plain.threat, beta=self.beta, steps=plain.steps, step_size=plain.step_size)


# ART's own code asks whether something is one of its classes.
theirs.AdversarialTrainerMadryPGD.register(AdversarialTrainerMadryPGD)
for _kind in (theirs.AdversarialTrainerTRADES, theirs.AdversarialTrainerTRADESPyTorch):
    _kind.register(AdversarialTrainerTRADESPyTorch)
