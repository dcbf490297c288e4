"""Trainers whose constructor may be told how long to train, as ART's Madry trainer is."""

from __future__ import annotations

from typing import Any, ClassVar

from mrt import checks
from mrt_art.trainer_base import NativeTrainer
from mrt_art.trainer_checks import Weights


class EpochsTrainer(NativeTrainer):
    """A trainer whose constructor may be told for how many epochs and in which batches to train, as Madry's is."""

    nb_epochs: int | None
    batch_size: int | None
    usual: ClassVar[dict[str, int]] = {"nb_epochs": 20, "batch_size": 128}

    def read_settings(self, width: float) -> None:
        for name in ("nb_epochs", "batch_size"):  # checked here, too, so that a bad one is an error before `fit`
            if getattr(self, name) is not None:
                checks.count(name, getattr(self, name), low=0 if name == "nb_epochs" else 1)
        super().read_settings(width)

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
        :param kwargs: Further arguments, see :class:`.NativeTrainer`.
        """
        size, epochs = self._choose("batch_size", batch_size), self._choose("nb_epochs", nb_epochs)
        super().fit(x, y, validation_data, size, epochs, scheduler, weights, **kwargs)

    def fit_generator(self, generator: Any, nb_epochs: int | None = None, *args: Any, **kwargs: Any) -> None:
        """
        Train the classifier on batches as a data generator gives them, see :class:`.NativeTrainer`.

        :param generator: Data generator, whose size and batch size are known.
        :param nb_epochs: Number of epochs, if not the constructor's.
        :param args: scheduler, validation_data and weights, as in `fit`.
        :param kwargs: The same by name, and further arguments of `mrt.fit`.
        """
        super().fit_generator(generator, self._choose("nb_epochs", nb_epochs), *args, **kwargs)

    def _choose(self, name: str, asked: int | None) -> int:
        """Return what the call asks for, else what the constructor was told, else the usual number."""
        for value in (asked, getattr(self, name), self.usual.get(name)):
            if value is not None:
                return value
        raise ValueError(f"Please provide value for `{name}`.")
