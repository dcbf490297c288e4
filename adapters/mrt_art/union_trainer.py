"""What the trainings on several threats share: Madry's arguments, radii by norm or attacks."""

from __future__ import annotations

from typing import Any

from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep, check_keep
from mrt.protocols import Attack
from mrt.strategies.adversaries import Adversary
from mrt_art.attack_base import largest_of
from mrt_art.epochs_trainer import EpochsTrainer
from mrt_art.radii import make_balls, read_union, read_union_steps
from mrt_art.translated import adversaries_of


class UnionTrainer(EpochsTrainer):
    """A training on balls, by PGD in linf and l2 and by SLIDE in l1, to the end of their paths."""

    eps: Any
    attack: Any
    num_random_init: int | None

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float | dict[Any, float] | None = None,
        eps_step: float | dict[Any, float] | None = None,
        max_iter: int = 10,
        keep: Keep = 0.99,
        verbose: bool = True,
        nb_epochs: int | None = None,
        batch_size: int | None = None,
        num_random_init: int | None = None,
        attack: EvasionAttack | None = None,
    ) -> None:
        """
        Create the trainer.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels. A number
                    is that of linf, with which the other two grow.
        :param eps_step: Lengths of steps by norm, or that of linf, of which the others are the same share of their
                         radius; by default 2.5 `eps` / `max_iter`, in l1 a fifth of `eps` at least.
        :param max_iter: Number of steps of each attack.
        :param keep: The entries that an l1 step moves: a quantile of the gradient, a count, or a range of either.
        :param verbose: Show progress.
        :param nb_epochs: Number of training epochs, if `fit` is not told.
        :param batch_size: Size of batches, if `fit` is not told.
        :param num_random_init: Number of runs from random points, 0 for one from the image; by default one, random in
                                linf alone.
        :param attack: One attack on this classifier or several, trained on as they are, in place of radii, steps and
                       runs: of `mrt_art`, or ART's PGD, BIM, FGM and AutoPGD.
        """
        super().__init__(
            classifier, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, verbose=verbose, nb_epochs=nb_epochs,
            batch_size=batch_size, num_random_init=num_random_init, attack=attack,
        )  # fmt: skip

    def read_settings(self, width: float) -> None:
        if self.attack is not None and (self.eps is not None or self.eps_step is not None):
            raise ValueError("give either attack, which has its own radius and steps, or eps and eps_step; got both")
        if self.attack is None:
            self.eps = read_union(self.eps, width)
        super().read_settings(width)

    def largest_radius(self) -> float:
        several = self.attack if isinstance(self.attack, (list, tuple)) else (self.attack,)
        return largest_of(self.eps) if self.attack is None else max(largest_of(one.eps) for one in several)

    def threats(self, width: float) -> tuple[Adversary, ...]:
        """Return an attack for each radius, or the attacks that the trainer was given."""
        if self.attack is not None:
            return adversaries_of(self.attack, self.classifier, width)
        eps = read_union(self.eps, width)
        steps = read_union_steps(self.eps_step, eps, width)
        check_keep(self.keep)
        attacks: list[Adversary] = []
        for (norm, step), ball in zip(steps.items(), make_balls(eps, width), strict=True):
            settings: dict[str, Any] = {"steps": checks.count("max_iter", self.max_iter), "step_size": step}
            attacks.append(self.search(norm, ball, settings | self.starts()))
        return tuple(attacks)

    def search(self, norm: str, ball: Any, settings: dict[str, Any]) -> Attack:
        """Return the attack on one ball."""
        return mrt.SLIDE(ball, keep=self.keep, **settings) if norm == "1" else mrt.PGD(ball, **settings)

    def starts(self) -> dict[str, Any]:
        """Return the settings of runs: how many, from where, and which of their points is taken."""
        # "last", the end of the path unjudged, is what the papers train on; judging costs a pass more in each update,
        # and several runs have to be judged, or nothing could choose between them.
        if self.num_random_init is None:
            return {"best": "last"}
        runs = checks.count("num_random_init", self.num_random_init, low=0)
        several = {"restarts": runs, "best": "broken"} if runs > 1 else {"best": "last"}
        return {"random_start": runs > 0, **several}
