"""Training on several threats as ART defences."""

from __future__ import annotations

from typing import Any

import mrt
from mrt import checks
from mrt.attacks.sparsity import Keep, check_keep
from mrt.protocols import Stateful, Strategy
from mrt.strategies.adversaries import Adversary
from mrt_art.radii import make_balls, read_radii, read_step_sizes
from mrt_art.trainer_base import NativeTrainer


class UnionTrainer(NativeTrainer):
    """A training on balls, by PGD in linf and l2 and by SLIDE in l1, to the end of their paths."""

    def __init__(
        self,
        classifier: Any,
        eps: dict[Any, float] | None = None,
        eps_step: dict[Any, float] | None = None,
        max_iter: int = 10,
        keep: Keep = 0.99,
        verbose: bool = True,
    ) -> None:
        """
        Create the trainer.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels.
        :param eps_step: Lengths of steps by norm, by default 2.5 `eps` / `max_iter`, in l1 a fifth of `eps` at least.
        :param max_iter: Number of steps of each attack.
        :param keep: The entries that an l1 step moves: a quantile of the gradient, a count, or a range of either.
        :param verbose: Show progress.
        """
        super().__init__(classifier, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, verbose=verbose)

    def threats(self, width: float) -> tuple[Adversary, ...]:
        """Return an attack for each radius."""
        eps = read_radii(self.eps, width)
        steps = read_step_sizes(self.eps_step, eps, width)
        check_keep(self.keep)
        # "last", the end of the path unjudged, is what the papers train on; judging costs a pass more in each update.
        settings: dict[str, Any] = {"steps": checks.count("max_iter", self.max_iter), "best": "last"}
        attacks: list[Adversary] = []
        for (norm, step), ball in zip(steps.items(), make_balls(eps, width), strict=True):
            if norm == "1":
                attacks.append(mrt.SLIDE(ball, step_size=step, keep=self.keep, **settings))
            else:
                attacks.append(mrt.PGD(ball, step_size=step, **settings))
        return tuple(attacks)


class AdversarialTrainerMSDPyTorch(UnionTrainer):
    """
    Adversarial training against the union of several balls by multi steepest descent (MSD).

    | Paper link: https://arxiv.org/abs/1909.04068

    | Please keep in mind the limitations of defences: a union accuracy is what strong attacks on each threat leave, see
        `mrt.evaluate`.
    """

    def __init__(
        self,
        classifier: Any,
        eps: dict[Any, float] | None = None,
        eps_step: dict[Any, float] | None = None,
        max_iter: int = 10,
        keep: Keep = (5, 20),
        verbose: bool = True,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerMSDPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels.
        :param eps_step: Lengths of steps by norm, by default 2.5 `eps` / `max_iter`. The union depends on their ratio:
                         try longer l1 steps on held-out images.
        :param max_iter: Number of steps.
        :param keep: The entries that an l1 step moves: a count, a quantile of the gradient, or a range of either.
        :param verbose: Show progress.
        """
        super().__init__(classifier, eps, eps_step, max_iter, keep, verbose)

    def strategy(self, width: float) -> Strategy | Stateful:
        eps = read_radii(self.eps, width)
        union, steps = make_balls(eps, width), read_step_sizes(self.eps_step, eps, width)
        count = checks.count("max_iter", self.max_iter)
        ratio = None
        if self.eps_step is not None:
            # MSDTraining takes no lengths but factors of each ball's own step, 2.5 eps / steps.
            ratio = tuple(
                (steps[norm] or 0.0) * count / (2.5 * ball.eps) for norm, ball in zip(eps, union, strict=True)
            )
        return mrt.MSDTraining(union, steps=count, ratio=ratio, keep=self.keep)


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
        classifier: Any,
        eps: dict[Any, float] | None = None,
        eps_step: dict[Any, float] | None = None,
        max_iter: int = 10,
        keep: Keep = 0.99,
        how: Any = "mean",
        verbose: bool = True,
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerAVGPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels.
        :param eps_step: Lengths of steps by norm, by default 2.5 `eps` / `max_iter`, in l1 a fifth of `eps` at least.
        :param max_iter: Number of steps of each attack.
        :param keep: The entries that an l1 step moves: a quantile of the gradient, a count, or a range of either.
        :param how: "mean" of the losses, "concatenate" all batches into one, or "sequential", an update for each.
        :param verbose: Show progress.
        """
        NativeTrainer.__init__(  # past UnionTrainer's, which knows nothing of `how`
            self, classifier, eps=eps, eps_step=eps_step, max_iter=max_iter, keep=keep, how=how, verbose=verbose
        )

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


class AdversarialTrainerEATPyTorch(NativeTrainer):
    """
    Adversarial training on one of several attacks, drawn for each batch in proportion to how often each has fooled the
    classifier so far (E-AT), by APGD. The authors give it linf and l1 alone.

    | Paper link: https://arxiv.org/abs/2105.12508

    | Please keep in mind the limitations of defences: a union accuracy is what strong attacks on each threat leave, see
        `mrt.evaluate`.
    """

    def __init__(
        self, classifier: Any, eps: dict[Any, float] | None = None, max_iter: int = 10, verbose: bool = True
    ) -> None:
        """
        Create an :class:`.AdversarialTrainerEATPyTorch` instance.

        :param classifier: PyTorch classifier to train, with its optimizer.
        :param eps: Radii by norm, by default {"inf": 8/255, "2": 0.5, "1": 12} times the range of the pixels.
        :param max_iter: Number of steps of each attack.
        :param verbose: Show progress.
        """
        super().__init__(classifier, eps=eps, max_iter=max_iter, verbose=verbose)

    def strategy(self, width: float) -> Strategy | Stateful:
        count = checks.count("max_iter", self.max_iter)
        return mrt.EAT(make_balls(read_radii(self.eps, width), width), steps=count)
