"""Our training under the names and keywords of ART's own trainers."""

from __future__ import annotations

from typing import Any

import art.attacks.evasion as evasion
import numpy as np

import mrt
from mrt import checks
from mrt.protocols import Stateful, Strategy
from mrt_art.attack_base import Native
from mrt_art.bridge import read_norm
from mrt_art.radii import BALLS
from mrt_art.trainer_base import NativeTrainer, Weights

OURS: tuple[Any, ...] = (Native,)
# ART's own classes that descend by plain steps in one ball, whose settings TRADES can take over.
STEPPED: tuple[Any, ...] = (
    evasion.ProjectedGradientDescent,
    evasion.ProjectedGradientDescentPyTorch,
    evasion.ProjectedGradientDescentNumpy,
)


class AdversarialTrainerMadryPGD(NativeTrainer):
    """
    Adversarial training on linf PGD, as ART's trainer of the same name does it, in the native loop.

    | Paper link: https://arxiv.org/abs/1706.06083
    """

    def __init__(
        self,
        classifier: Any,
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

    def strategy(self, width: float) -> Strategy | Stateful:
        for name in ("nb_epochs", "batch_size"):  # checked here, too, so that a bad one is an error before `fit`
            if getattr(self, name) is not None:
                checks.count(name, getattr(self, name))
        runs = checks.count("num_random_init", self.num_random_init, low=0)
        settings: dict[str, Any] = {"steps": checks.count("max_iter", self.max_iter), "random_start": runs > 0}
        # One run is trained on where it ends, as the paper does, which saves judging the points of the path; several
        # runs have to be judged, or nothing could choose between them.
        settings |= {"restarts": runs, "best": "broken"} if runs > 1 else {"best": "last"}
        ball = mrt.Linf(checks.number("eps", self.eps, open_low=True) / width)
        size = checks.number("eps_step", self.eps_step, open_low=True) / width
        return mrt.Adversarial(mrt.PGD(ball, step_size=size, **settings))

    def fit(
        self,
        x: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        batch_size: int | None = None,
        nb_epochs: int | None = None,
        scheduler: Any = None,
        weights: Weights = "last",
        **kwargs: Any,
    ) -> None:
        """
        Train the classifier, see :class:`.NativeTrainer`.

        :param x: Training images.
        :param y: Their classes, as numbers or one-hot.
        :param validation_data: Images and classes, judged after every epoch, clean and under attack.
        :param batch_size: Size of batches, if not the constructor's.
        :param nb_epochs: Number of epochs, if not the constructor's.
        :param scheduler: Any torch scheduler of the classifier's optimizer, stepped at the end of every epoch.
        :param weights: What the classifier ends with: "last", "ema" or "best".
        :param kwargs: Further arguments of `mrt.fit`.
        """
        size = self.batch_size if batch_size is None else batch_size
        epochs = self.nb_epochs if nb_epochs is None else nb_epochs
        super().fit(x, y, validation_data, size, epochs, scheduler, weights, **kwargs)

    def fit_generator(self, generator: Any, nb_epochs: int | None = None, *args: Any, **kwargs: Any) -> None:
        """
        Train the classifier on batches as a data generator gives them, see :class:`.NativeTrainer`.

        :param generator: Data generator, whose size and batch size are known.
        :param nb_epochs: Number of epochs, if not the constructor's.
        :param args: scheduler, validation_data and weights, as in `fit`.
        :param kwargs: The same by name, and further arguments of `mrt.fit`.
        """
        super().fit_generator(generator, self.nb_epochs if nb_epochs is None else nb_epochs, *args, **kwargs)


class AdversarialTrainerTRADESPyTorch(NativeTrainer):
    """
    TRADES, as ART's trainer of the same name does it, in the native loop. With a PGD on this classifier, ours or ART's,
    the search ascends the divergence from the clean answer, as in the paper, with the attack's norm, radius, step and
    number of steps, whatever its loss and number of runs; with any other attack of ours its own result is taken.

    | Paper link: https://arxiv.org/abs/1901.08573
    """

    def __init__(self, classifier: Any, attack: Any, beta: float, verbose: bool = True) -> None:
        """
        Create an :class:`.AdversarialTrainerTRADESPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param attack: Attack on this classifier to use for data augmentation in adversarial training.
        :param beta: The scaling factor controlling tradeoff between clean loss and adversarial loss.
        :param verbose: Show progress.
        """
        super().__init__(classifier, attack=attack, beta=beta, verbose=verbose)

    def strategy(self, width: float) -> Strategy | Stateful:
        attack: Any = self.attack
        if not isinstance(attack, OURS + STEPPED) or attack.targeted or attack.estimator is not self.classifier:
            raise ValueError(
                f"attack must be an untargeted PGD, or an attack of mrt_art, on this classifier; got {attack!r}"
            )
        inner = getattr(attack, "_attack", attack)  # ART's front keeps decay there alone
        norm, eps, step = (getattr(attack, name, None) for name in ("norm", "eps", "eps_step"))
        odd = {"eps": isinstance(eps, np.ndarray), "decay": getattr(inner, "decay", None) is not None}
        odd |= {"random_eps": bool(getattr(attack, "random_eps", False))}
        if any(odd.values()):
            lost = ", ".join(name for name, is_odd in odd.items() if is_odd)
            raise ValueError(
                f"TRADES ascends the divergence by plain steps in one ball; the attack's {lost} would be lost"
            )
        native = attack.attack_for(width) if isinstance(attack, OURS) else None
        if native is not None and not isinstance(native, mrt.PGD):
            return mrt.TRADES(native, beta=self.beta)
        # For a PGD mrt.TRADES searches itself: the paper ascends the divergence, where ART ascends the cross-entropy.
        ball = BALLS[read_norm(norm)](checks.number("eps", eps, open_low=True) / width)
        size = None if step is None else checks.number("eps_step", step, open_low=True) / width
        return mrt.TRADES(ball, beta=self.beta, steps=attack.max_iter, step_size=size)
