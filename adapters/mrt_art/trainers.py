"""Training on several threats as ART defences."""

from __future__ import annotations

from typing import Any

from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep
from mrt.protocols import Attack, Stateful, Strategy
from mrt_art.radii import make_balls, read_union_steps
from mrt_art.trainer_base import NativeTrainer
from mrt_art.union import MSD
from mrt_art.union_trainer import UnionTrainer


class AdversarialTrainerMSDPyTorch(UnionTrainer):
    """
    Adversarial training against the union of several balls by multi steepest descent (MSD).

    | Paper link: https://arxiv.org/abs/1909.04068

    | Please keep in mind the limitations of defences: a union accuracy is what strong attacks on each threat leave, see
        `mrt.evaluate`.
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float | dict[Any, float] | None = None,
        eps_step: float | dict[Any, float] | None = None,
        max_iter: int = 10,
        keep: Keep | None = None,
        verbose: bool = True,
        nb_epochs: int | None = None,
        batch_size: int | None = None,
        num_random_init: int | None = None,
        attack: EvasionAttack | None = None,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerMSDPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels. A number
                    is that of linf, with which the other two grow.
        :param eps_step: Lengths of steps by norm, or that of linf, of which the others are the same share of their
                         radius; by default 2.5 `eps` / `max_iter`. The union depends on their ratio: try longer l1
                         steps on held-out images.
        :param max_iter: Number of steps.
        :param keep: The entries that an l1 step moves: a count, a quantile of the gradient, or a range of either; by
                     default half to twice as many as the l1 radius can move across the range of the pixels.
        :param verbose: Show progress.
        :param nb_epochs: Number of training epochs, if `fit` is not told.
        :param batch_size: Size of batches, if `fit` is not told.
        :param num_random_init: Number of runs from random points, 0 for one from the image; by default one, random in
                                linf alone.
        :param attack: An `MSD` on this classifier, trained on as it is, in place of radii, steps and runs.
        """
        NativeTrainer.__init__(  # past UnionTrainer's, whose `keep` is SLIDE's
            self, classifier, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, verbose=verbose,
            nb_epochs=nb_epochs, batch_size=batch_size, num_random_init=num_random_init, attack=attack,
        )  # fmt: skip

    def strategy(self, width: float) -> Strategy | Stateful:
        if self.attack is not None:
            if not isinstance(self.attack, MSD):
                raise ValueError(f"attack must be an mrt_art.MSD on this classifier; got {self.attack!r}")
            return mrt.Adversarial(self.threats(width)[0])
        union, count = make_balls(self.eps, width), checks.count("max_iter", self.max_iter)
        steps = read_union_steps(self.eps_step, self.eps, width)
        sizes = [steps[norm] or 2.5 * ball.eps / count for norm, ball in zip(self.eps, union, strict=True)]
        if self.num_random_init:
            settings = {"step_size": tuple(sizes), "keep": self.keep, "random_start": True, "best": "broken"}
            runs = checks.count("num_random_init", self.num_random_init)
            return mrt.Adversarial(mrt.MSD(union, steps=count, restarts=runs, **settings))
        checks.count("num_random_init", self.num_random_init or 0, low=0)
        # MSDTraining takes no lengths but factors of each ball's own step, 2.5 eps / steps.
        ratio = tuple(s * count / (2.5 * ball.eps) for s, ball in zip(sizes, union, strict=True) if ball.eps)
        whole = None if self.eps_step is None else ratio
        return mrt.MSDTraining(union, steps=count, ratio=whole, keep=self.keep)


class AdversarialTrainerMAXPyTorch(UnionTrainer):
    """
    Adversarial training on the worst of several attacks for each image (MAX).

    | Paper link: https://arxiv.org/abs/1904.13000

    | Please keep in mind the limitations of defences: a union accuracy is what strong attacks on each threat leave, see
        `mrt.evaluate`.
    """

    def strategy(self, width: float) -> Strategy | Stateful:
        return mrt.Worst(self.threats(width))


class AdversarialTrainerAVGPyTorch(UnionTrainer):
    """
    Adversarial training on the mean loss of several attacks (AVG).

    | Paper link: https://arxiv.org/abs/1904.13000

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
        how: Any = "mean",
        verbose: bool = True,
        nb_epochs: int | None = None,
        batch_size: int | None = None,
        num_random_init: int | None = None,
        attack: EvasionAttack | None = None,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerAVGPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels. A number
                    is that of linf, with which the other two grow.
        :param eps_step: Lengths of steps by norm, or that of linf, of which the others are the same share of their
                         radius; by default 2.5 `eps` / `max_iter`, in l1 a fifth of `eps` at least.
        :param max_iter: Number of steps of each attack.
        :param keep: The entries that an l1 step moves: a quantile of the gradient, a count, or a range of either.
        :param how: "mean" of the losses, "concatenate" all batches into one, or "sequential", an update for each.
        :param verbose: Show progress.
        :param nb_epochs: Number of training epochs, if `fit` is not told.
        :param batch_size: Size of batches, if `fit` is not told.
        :param num_random_init: Number of runs from random points, 0 for one from the image; by default one, random in
                                linf alone.
        :param attack: One attack on this classifier or several, trained on as they are, in place of radii, steps and
                       runs: of `mrt_art`, or ART's PGD, BIM, FGM and AutoPGD.
        """
        NativeTrainer.__init__(  # past UnionTrainer's, which knows nothing of `how`
            self, classifier, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, how=how, verbose=verbose,
            nb_epochs=nb_epochs, batch_size=batch_size, num_random_init=num_random_init, attack=attack,
        )  # fmt: skip

    def strategy(self, width: float) -> Strategy | Stateful:
        return mrt.Average(self.threats(width), how=self.how)


class AdversarialTrainerSATPyTorch(UnionTrainer):
    """
    Adversarial training on one of several attacks, drawn for each batch (SAT).

    | Paper link: https://arxiv.org/abs/2006.12135

    | Please keep in mind the limitations of defences: a union accuracy is what strong attacks on each threat leave, see
        `mrt.evaluate`.
    """

    def strategy(self, width: float) -> Strategy | Stateful:
        return mrt.SAT(self.threats(width))


class AdversarialTrainerEATPyTorch(UnionTrainer):
    """
    Adversarial training on one of several attacks, drawn for each batch in proportion to how often each has fooled the
    classifier so far (E-AT), by APGD. The authors give it linf and l1 alone.

    | Paper link: https://arxiv.org/abs/2105.12508

    | Please keep in mind the limitations of defences: a union accuracy is what strong attacks on each threat leave, see
        `mrt.evaluate`.
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float | dict[Any, float] | None = None,
        max_iter: int = 10,
        verbose: bool = True,
        nb_epochs: int | None = None,
        batch_size: int | None = None,
        eps_step: float | dict[Any, float] | None = None,
        num_random_init: int | None = None,
        attack: EvasionAttack | None = None,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerEATPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels. A number
                    is that of linf, with which the other two grow.
        :param max_iter: Number of steps of each attack.
        :param verbose: Show progress.
        :param nb_epochs: Number of training epochs, if `fit` is not told.
        :param batch_size: Size of batches, if `fit` is not told.
        :param eps_step: Lengths of first steps by norm, or that of linf, of which the others are the same share of
                         their radius; by default the method's own.
        :param num_random_init: Number of runs from random points, 0 for one from the image; by default 0.
        :param attack: One attack on this classifier or several, trained on as they are, in place of radii, steps and
                       runs: of `mrt_art`, or ART's PGD, BIM, FGM and AutoPGD.
        """
        NativeTrainer.__init__(  # past UnionTrainer's, which knows `keep`
            self, classifier, eps=eps, max_iter=max_iter, verbose=verbose, nb_epochs=nb_epochs, batch_size=batch_size,
            eps_step=eps_step, num_random_init=num_random_init, attack=attack,
        )  # fmt: skip

    keep = 0.99  # unused: APGD has its own

    def starts(self) -> dict[str, Any]:
        runs = checks.count("num_random_init", self.num_random_init or 0, low=0)
        return {"random_start": runs > 0, "restarts": max(runs, 1)}

    def search(self, norm: str, ball: Any, settings: dict[str, Any]) -> Attack:
        # The authors' settings in training, which mrt.EAT gives to balls.
        return mrt.APGD(ball, best="loss", share=0.05, radii=(1.0,), **settings)

    def strategy(self, width: float) -> Strategy | Stateful:
        count = checks.count("max_iter", self.max_iter)
        plain = self.attack is None and self.eps_step is None and self.num_random_init is None
        return mrt.EAT(make_balls(self.eps, width) if plain else self.threats(width), steps=count)
