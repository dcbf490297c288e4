"""Trainers whose constructor may be told how long to train, as ART's Madry trainer is."""

from __future__ import annotations

from typing import Any, ClassVar

from mrt import checks
from mrt_art.trainer_base import NativeTrainer, Weights


class EpochsTrainer(NativeTrainer):
    """A trainer whose constructor may be told for how many epochs and in which batches to train, as Madry's is."""

    nb_epochs: int | None
    batch_size: int | None
    usual: ClassVar[tuple[int, int]] = (20, 128)  # epochs, images in a batch

    def read_settings(self, width: float) -> None:
        for name in ("nb_epochs", "batch_size"):  # checked here, too, so that a bad one is an error before `fit`
            if getattr(self, name) is not None:
                checks.count(name, getattr(self, name), low=0 if name == "nb_epochs" else 1)
        super().read_settings(width)

    def fit(  # type: ignore[override]
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
        epochs, size = self._epochs(nb_epochs), self.batch_size if batch_size is None else batch_size
        super().fit(
            x, y, validation_data, self.usual[1] if size is None else size, epochs, scheduler, weights, **kwargs
        )

    def fit_generator(  # type: ignore[override]
        self, generator: Any, nb_epochs: int | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """
        Train the classifier on batches as a data generator gives them, see :class:`.NativeTrainer`.

        :param generator: Data generator, whose size and batch size are known.
        :param nb_epochs: Number of epochs, if not the constructor's.
        :param args: scheduler, validation_data and weights, as in `fit`.
        :param kwargs: The same by name, and further arguments of `mrt.fit`.
        """
        super().fit_generator(generator, self._epochs(nb_epochs), *args, **kwargs)

    def _epochs(self, asked: int | None) -> int:
        """Return the number of epochs: what the call asks for, the constructor's, or the usual one."""
        own = self.usual[0] if self.nb_epochs is None else self.nb_epochs
        return own if asked is None else asked
