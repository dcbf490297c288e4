"""What all our trainers share as ART defences: they bring data in, run our own loop, and leave a classifier ready to
use."""

from __future__ import annotations

import inspect
import logging
import os
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from art.data_generators import DataGenerator
from art.defences.trainer import Trainer
from art.estimators.classification import PyTorchClassifier
from art.exceptions import EstimatorError
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

import mrt
from mrt import checks
from mrt.data import Images, Stream
from mrt.hosts.pixel_range import Range
from mrt.protocols import Stateful, Strategy, Threat
from mrt_art.attack_base import largest_of
from mrt_art.bridge import Bridge, Seen
from mrt_art.drawn import open_stream
from mrt_art.trainer_checks import (
    LOOKED_AT,
    Weights,
    check_call,
    loss_to_descend,
    need_cross_entropy,
    need_labels_kept,
    read_pair,
)

logger = logging.getLogger("mrt_art.trainer")  # a name that log filters of users may hold


class NativeTrainer(Trainer):  # type: ignore[misc]
    """A training of ours on an ART classifier: its model, its optimizer with its learning rate, its preprocessing (that
    of training in the step, that of prediction under attack), its loss, a cross-entropy, whatever the method adds. It
    ends in eval mode. `run` is what `mrt.fit` returned last: metrics by epoch, and models of images in [0, 1].

    numpy's global generator decides on the order of images and on noise, as it does in ART, unless `fit` gets a seed.
    """

    run: mrt.Run | None = None
    settings: ClassVar[list[str]]

    def __init_subclass__(cls) -> None:
        # For the repr: the arguments of the constructor after self and classifier.
        cls.settings = list(inspect.signature(cls.__init__).parameters)[2:]

    def __init__(self, classifier: PyTorchClassifier, **settings: Any) -> None:
        if not isinstance(classifier, PyTorchClassifier):
            raise EstimatorError(type(self), [PyTorchClassifier], classifier)
        super().__init__(classifier=classifier)
        checks.flag("verbose", settings["verbose"])
        need_cross_entropy(classifier._loss)
        self.__dict__.update(settings)
        self.read_settings(Bridge(classifier).width)

    def read_settings(self, width: float) -> None:
        """Take in what the constructor was given; the strategy checks it, so that a bad setting is an error here."""
        self.strategy(width)

    @property
    def trainer(self) -> NativeTrainer:
        """This trainer: ART's own have another one within, which scripts ask for."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self.settings)})"

    @abstractmethod
    def strategy(self, width: float) -> Strategy | Stateful:
        """Return the training as `mrt` has it: lengths divided by the pixels' range."""

    def validation_threats(self, width: float) -> list[Threat] | None:
        """Return what `validation_data` is judged under; None for what the strategy trains on."""
        return None

    def largest_radius(self) -> float:
        """Return how far one pixel may move, in the host's units: what room images need without clip values."""
        eps: Any = getattr(self, "eps", None)
        return 0.0 if eps is None else largest_of(eps)

    def look_back(self, model: Seen, x: Tensor, y: Tensor) -> None:
        """Say what there is to say of a training that has ended; x and y are some of its images and classes."""

    def fit(
        self,
        x: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: LRScheduler | None = None,
        weights: Weights = "last",
        **kwargs: Any,
    ) -> None:
        """
        Train the classifier.

        :param x: Training images, an array or a tensor within the classifier's clip values.
        :param y: Their classes, as numbers or one-hot.
        :param validation_data: Images and classes, judged after every epoch: clean, under attack on each threat, and on
                                all of them (union).
        :param batch_size: Size of batches.
        :param nb_epochs: Number of epochs to use for trainings; 0 trains nothing.
        :param scheduler: Any torch scheduler of the classifier's optimizer, stepped at the end of every epoch.
        :param weights: What the classifier ends with: the "last" weights, their average ("ema", with ema=), or those of
                        the "best" union on `validation_data`.
        :param kwargs: drop_last=True leaves images that fill no batch to another epoch, and training_mode=False trains
                       a model in eval mode; pin_memory is taken, as in ART, and changes nothing. Further arguments of
                       `mrt.fit`: clip, crop, ema, fast, out, seed, channels_last, tensorboard. With out=, a folder, the
                       same call goes on where one was killed (seed 0 unless given).
        """
        bridge, batch_size = Bridge(self.classifier), checks.count("batch_size", batch_size)
        images = bridge.read_pixels(x)
        classes = bridge.read_labels(y, len(images))
        if not len(images):
            raise ValueError("there must be at least one training image; got none")
        held = None if validation_data is None else read_pair(bridge, validation_data)
        scale = bridge.pixel_range(images, *([] if held is None else held[:1]), room=self.largest_radius())
        names = tuple(str(label) for label in range(int(self.classifier.nb_classes)))
        crop: Any = "none" if kwargs.get("crop") is None else "crop-flip"
        data = Images(scale.to_unit(bridge.clip(images, scale)).cpu(), classes, names, crop)
        # Several processes share each batch, which they can do only if all are of one size.
        options: dict[str, Any] = {"drop_last": int(os.environ.get("WORLD_SIZE", "1")) > 1, "batch_size": batch_size}
        options |= {"validation": held, "nb_epochs": nb_epochs, "schedule": scheduler}
        self._fit(data, (data.x, classes), scale, options, weights, kwargs)

    def fit_generator(
        self,
        generator: DataGenerator,
        nb_epochs: int = 20,
        scheduler: LRScheduler | None = None,
        validation_data: tuple[Any, Any] | None = None,
        weights: Weights = "last",
        **kwargs: Any,
    ) -> None:
        """
        Train the classifier on batches as a data generator gives them.

        :param generator: Data generator, whose size and batch size are known.
        :param nb_epochs: Number of epochs to use for trainings.
        :param scheduler: Any torch scheduler of the classifier's optimizer, stepped at the end of every epoch.
        :param validation_data: Images and classes, judged after every epoch as in `fit`.
        :param weights: What the classifier ends with, as in `fit`.
        :param kwargs: Further arguments of `mrt.fit`, as in `fit`, but not crop and out.
        """
        if not isinstance(generator, DataGenerator) or generator.size is None:
            raise ValueError(f"generator must be an ART DataGenerator of known size; got {type(generator).__name__}")
        if "crop" in kwargs:
            raise ValueError("crop is for fit: what a data generator gives is trained on as it is")
        if "drop_last" in kwargs:
            raise ValueError("drop_last is for fit: the batches of a data generator are its own")
        bridge = Bridge(self.classifier)
        held = None if validation_data is None else read_pair(bridge, validation_data)
        stream, first, scale = open_stream(generator, bridge, held, self.largest_radius(), nb_epochs == 0)
        options = {"validation": held, "nb_epochs": nb_epochs, "schedule": scheduler}
        self._fit(stream, first, scale, options, weights, kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """
        Predict with the trained classifier.

        :param x: Input samples.
        :param kwargs: Other parameters of the classifier's `predict`.
        :return: Predictions.
        """
        return self.classifier.predict(x, **kwargs)

    def _fit(
        self,
        data: Images | Stream,
        first: tuple[Tensor, Tensor],
        scale: Range,
        options: dict[str, Any],
        weights: Weights,
        passed: dict[str, Any],
    ) -> None:
        """Run `mrt.fit` with these options and what the user passes on to it; the classifier ends with `weights`.

        `first` are images in [0, 1] and classes to try it on.
        """
        classifier, bridge, passed = self.classifier, Bridge(self.classifier), dict(passed)
        check_call(classifier, weights, options, passed)
        optimizer = classifier.optimizer
        need_labels_kept(classifier, scale)
        options |= {"epochs": checks.count("nb_epochs", options.pop("nb_epochs"), low=0), "progress": self.verbose}
        options |= {"optimizer": optimizer, "schedule": _wrap_scheduler(options["schedule"], optimizer)}
        options |= {"loss": loss_to_descend(classifier._loss), "on_epoch": _log}
        if options["validation"] is not None:
            pixels, labels = options["validation"]
            held = scale.to_unit(bridge.clip(pixels, scale)).cpu(), labels
            options["validation"] = mrt.Validation(held, self.validation_threats(scale.width))
        # With a run folder the same call has to find the same run again: no draw may decide on its seed.
        seed = 0 if "out" in passed else int(np.random.randint(2**31))
        logger.info("Training with %s", self)
        model, strategy = bridge.unit_model(scale, passed.pop("training_mode", True)), self.strategy(scale.width)
        bridge.need_same_answers(model, first[0])
        if options["epochs"] == 0:
            return
        try:
            self.run = mrt.fit(model, strategy, data, **{"seed": seed, **options, **passed})
            if weights != "last":
                classifier.model.load_state_dict(getattr(self.run, weights).model.state_dict())
        finally:  # what ART holds around the model tells its mode, too
            classifier._model.training = classifier.model.training
        self.look_back(model, *(part[:LOOKED_AT].to(classifier.device) for part in first))


def _log(row: dict[str, float]) -> None:
    logger.info(" ".join(f"{name}: {value:.4g}" for name, value in row.items()))


# Run folders hold this class's name in their config.json: under another one they would count as another run.
class _ByEpoch(LRScheduler):
    """A scheduler that the loop steps once an epoch, whatever its kind: OneCycleLR, too, which it would step once an
    update if it saw it."""

    def __init__(self, inner: Any) -> None:
        # Not super().__init__(), which would step a second time what the inner scheduler has stepped already.
        self.inner, self.optimizer = inner, inner.optimizer

    def step(self, epoch: int | None = None) -> None:
        self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.inner.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)


def _wrap_scheduler(scheduler: Any, optimizer: Any) -> Any:
    """Return a torch scheduler of this optimizer so that it is stepped once an epoch; None for None."""
    if scheduler is None:
        return None
    if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
        raise ValueError(f"scheduler must be a torch scheduler of the classifier's own optimizer; got {scheduler!r}")
    # ReduceLROnPlateau is stepped with the epoch's mean loss, which the loop gives to it alone.
    return scheduler if isinstance(scheduler, ReduceLROnPlateau) else _ByEpoch(scheduler)
