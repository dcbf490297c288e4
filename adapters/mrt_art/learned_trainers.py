"""Training beside a generator of attacks or of noise, as ART defences."""

from __future__ import annotations

from typing import Any

from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep
from mrt.protocols import Stateful, Strategy, Threat
from mrt_art.bridge import Seen
from mrt_art.radii import make_balls, read_radii, read_radius
from mrt_art.trainer_base import NativeTrainer
from mrt_art.trainer_checks import warn_of_weak_generator
from mrt_art.union_trainer import UnionTrainer


class AdversarialTrainerMNGACPyTorch(UnionTrainer):
    """
    Stochastic adversarial training with consistency and meta-learned noise (MNG-AC). `run.state.generator` is the noise
    generator.

    | Paper link: https://arxiv.org/abs/2006.12135

    | Please keep in mind the limitations of defences: a union accuracy is what strong attacks on each threat leave, see
        `mrt.evaluate`.
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float | dict[Any, float] | None = None,
        eps_step: float | dict[Any, float] | None = None,
        max_iter: int = 10,
        keep: Keep = 0.99,
        beta: float = 12.0,
        look_ahead: float = 1.0,
        generator_optimizer: Any = "sgd",
        verbose: bool = True,
        nb_epochs: int | None = None,
        batch_size: int | None = None,
        num_random_init: int | None = None,
        attack: EvasionAttack | None = None,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerMNGACPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels. A number
                    is that of linf, with which the other two grow.
        :param eps_step: Lengths of steps by norm, or that of linf, of which the others are the same share of their
                         radius; by default 2.5 `eps` / `max_iter`, in l1 a fifth of `eps` at least.
        :param max_iter: Number of steps of each attack.
        :param keep: The entries that an l1 step moves: a quantile of the gradient, a count, or a range of either.
        :param beta: Weight of the consistency between the image, its attack and its noise.
        :param look_ahead: Step of the look-ahead in units of the learning rate; with Adam, above 1.
        :param generator_optimizer: "sgd" or "adam", at the classifier's learning rate.
        :param verbose: Show progress.
        :param nb_epochs: Number of training epochs, if `fit` is not told.
        :param batch_size: Size of batches, if `fit` is not told.
        :param num_random_init: Number of runs from random points, 0 for one from the image; by default one, random in
                                linf alone.
        :param attack: One attack on this classifier or several, trained on as they are, in place of radii, steps and
                       runs: of `mrt_art`, or ART's PGD, BIM, FGM and AutoPGD.
        """
        NativeTrainer.__init__(  # past UnionTrainer's, which knows fewer settings
            self, classifier, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, beta=beta,
            look_ahead=look_ahead, generator_optimizer=generator_optimizer, verbose=verbose,
            nb_epochs=nb_epochs, batch_size=batch_size, num_random_init=num_random_init, attack=attack,
        )  # fmt: skip

    def strategy(self, width: float) -> Strategy | Stateful:
        settings = {name: getattr(self, name) for name in ("beta", "look_ahead", "generator_optimizer")}
        return mrt.MNGAC(self.threats(width), **settings)


class AdversarialTrainerL2LDAPyTorch(NativeTrainer):
    """
    Adversarial training against a recursive generator of diverse linf attacks, which learns beside the classifier
    (L2L-DA). Best from a trained classifier. `run.state.generator` is the generator.

    | Paper link: https://openaccess.thecvf.com/content_ICCV_2019/html/Jang_Adversarial_Defense_via_Learning_to_Generate_Diverse_Attacks_ICCV_2019_paper.html

    | Please keep in mind the limitations of defences: judge the classifier by attacks that it was not trained on, see
        `mrt.evaluate`.
    """  # noqa: E501

    eps: Any

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float | None = None,
        max_iter: int = 10,
        width: int = 64,
        diversity: float = 0.02,
        generator_lr: float = 2e-3,
        warmup: int = 0,
        verbose: bool = True,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerL2LDAPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radius of the linf ball, by default 8/255 times the range of the pixels.
        :param max_iter: Steps of the generator for each image.
        :param width: Width of the generator.
        :param diversity: Weight of the distance between the attacks of two latents.
        :param generator_lr: Learning rate of the generator's Adam.
        :param warmup: Updates on clean images first.
        :param verbose: Show progress.
        """
        super().__init__(
            classifier, eps=eps, max_iter=max_iter, width=width, diversity=diversity, generator_lr=generator_lr,
            warmup=warmup, verbose=verbose,
        )  # fmt: skip

    def strategy(self, width: float) -> Strategy | Stateful:
        # `width` is the range of the pixels, `self.width` the number of the generator's channels.
        settings = {name: getattr(self, name) for name in ("width", "diversity", "generator_lr", "warmup")}
        eps = read_radius(self.eps, "inf", width)
        steps = checks.count("max_iter", self.max_iter)
        return mrt.L2LDA(mrt.Linf(eps / width), steps=steps, **settings)

    def read_settings(self, width: float) -> None:
        self.eps = read_radius(self.eps, "inf", width)
        super().read_settings(width)

    def look_back(self, model: Seen, x: Tensor, y: Tensor) -> None:
        assert self.run is not None
        eps = self.eps / model.scale.width
        warn_of_weak_generator(model, self.run.state.generator, mrt.Linf(eps), x, y)


class AdversarialTrainerPGNPyTorch(NativeTrainer):
    """
    Adversarial training against a one-shot generator whose perturbations are penalised, not bounded (PGN).
    `run.state.generator` is the generator. Pixels on the bounds do not move: squeeze the images.

    | Paper: Adversarial training with perturbation generator networks, anonymous submission to ICLR 2020

    | Please keep in mind the limitations of defences: judge the classifier by attacks that it was not trained on, see
        `mrt.evaluate`.
    """

    eps: Any

    def __init__(
        self,
        classifier: PyTorchClassifier,
        penalty: float = 50.0,
        width: int = 128,
        clean: float = 1.0,
        generator_lr: float = 5e-4,
        eps: dict[Any, float] | None = None,
        verbose: bool = True,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerPGNPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param penalty: Weight of the squared l2 norm of a perturbation of pixels from 0 to 1.
        :param width: Width of the generator.
        :param clean: Weight of the clean images' loss.
        :param generator_lr: Learning rate of the generator's Adam.
        :param eps: Radii by norm under which `validation_data` is judged, by default {"2": 0.5} times the range of the
                    pixels. The training has none.
        :param verbose: Show progress.
        """
        super().__init__(
            classifier, penalty=penalty, width=width, clean=clean, generator_lr=generator_lr, eps=eps, verbose=verbose
        )

    def strategy(self, width: float) -> Strategy | Stateful:
        self.validation_threats(width)  # raises for bad radii, which the strategy itself never sees
        settings = {name: getattr(self, name) for name in ("width", "clean", "generator_lr")}
        return mrt.PGN(self.penalty, **settings)

    def validation_threats(self, width: float) -> list[Threat] | None:
        # The strategy has no radius that images could be judged under.
        eps = {"2": read_radius(None, 2, width)} if self.eps is None else self.eps
        return list(make_balls(read_radii(eps, width), width))

    def read_settings(self, width: float) -> None:
        self.eps = read_radii({"2": read_radius(None, 2, width)} if self.eps is None else self.eps, width)
        super().read_settings(width)

    def look_back(self, model: Seen, x: Tensor, y: Tensor) -> None:
        assert self.run is not None
        ball: Any = (self.validation_threats(model.scale.width) or [])[0]
        warn_of_weak_generator(model, self.run.state.generator, ball, x, y)
