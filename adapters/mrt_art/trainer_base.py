"""What all our trainers share as ART defences: they bring data in, run our own loop, and leave a classifier ready to
use."""

from __future__ import annotations

import inspect
import logging
from abc import abstractmethod
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from art.data_generators import DataGenerator
from art.defences.trainer import Trainer
from art.estimators.classification import PyTorchClassifier
from art.exceptions import EstimatorError
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

import mrt
from mrt import checks
from mrt.data import Images, Stream
from mrt.hosts.pixel_range import Range
from mrt.protocols import Stateful, Strategy, Threat
from mrt_art.bridge import Bridge

logger = logging.getLogger("mrt_art.trainer")  # a name that log filters of users may hold
PASSED = ("clip", "crop", "ema", "fast", "out", "seed", "channels_last", "tensorboard")  # on to mrt.fit
Weights = Literal["last", "ema", "best"]


class NativeTrainer(Trainer):  # type: ignore[misc]
    """A training of ours on an ART classifier: its model, its optimizer with its learning rate, its preprocessing (that
    of training in the step, that of prediction under attack). It minimises cross-entropy, whatever the method adds, and
    ends in eval mode. `run` is what `mrt.fit` returned last: metrics by epoch, and models of images in [0, 1].

    numpy's global generator decides on the order of images and on noise, as it does in ART, unless `fit` gets a seed.
    """

    run: mrt.Run | None = None
    settings: ClassVar[list[str]]

    def __init_subclass__(cls) -> None:
        # For the repr: the arguments of the constructor after self and classifier.
        cls.settings = list(inspect.signature(cls.__init__).parameters)[2:]

    def __init__(self, classifier: Any, **settings: Any) -> None:
        if not isinstance(classifier, PyTorchClassifier):
            raise EstimatorError(type(self), [PyTorchClassifier], classifier)
        super().__init__(classifier=classifier)
        checks.flag("verbose", settings["verbose"])
        _need_cross_entropy(classifier._loss)
        if classifier.clip_values is None:  # a radius is a share of their range, and motions bring in the lower one
            raise ValueError(
                "this trainer needs a classifier with clip_values: the range in which pixels are perturbed"
            )
        self.__dict__.update(settings)
        self.strategy(Bridge(classifier).width)  # the strategy checks the settings, so that a bad one is an error here

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self.settings)})"

    @abstractmethod
    def strategy(self, width: float) -> Strategy | Stateful:
        """Return the training as `mrt` has it: lengths divided by the pixels' range."""

    def validation_threats(self, width: float) -> list[Threat] | None:
        """Return what `validation_data` is judged under; None for what the strategy trains on."""
        return None

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
        Train the classifier. Images that fill no batch wait for another epoch.

        :param x: Training images, an array or a tensor within the classifier's clip values.
        :param y: Their classes, as numbers or one-hot.
        :param validation_data: Images and classes, judged after every epoch: clean, under attack on each threat, and on
                                all of them (union).
        :param batch_size: Size of batches.
        :param nb_epochs: Number of epochs to use for trainings.
        :param scheduler: Any torch scheduler of the classifier's optimizer, stepped at the end of every epoch.
        :param weights: What the classifier ends with: the "last" weights, their average ("ema", with ema=), or those of
                        the "best" union on `validation_data`.
        :param kwargs: Further arguments of `mrt.fit`: clip, crop, ema, fast, out, seed, channels_last, tensorboard.
                       With out=, a folder, the same call goes on where one was killed (seed 0 unless given).
        """
        bridge, batch_size = Bridge(self.classifier), checks.count("batch_size", batch_size)
        images = bridge.read_pixels(x)
        classes = bridge.read_labels(y, len(images))
        if not len(images):
            raise ValueError("there must be at least one training image; got none")
        scale = bridge.pixel_range()
        names = tuple(str(label) for label in range(int(self.classifier.nb_classes)))
        data = Images(scale.to_unit(images), classes, names, "none" if kwargs.get("crop") is None else "crop-flip")
        options = {"validation": validation_data, "nb_epochs": nb_epochs, "schedule": scheduler}
        self._fit(data, options | {"batch_size": batch_size}, weights, kwargs)

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
            raise ValueError(f"generator must be an ART DataGenerator of known size; got {generator!r}")
        if "crop" in kwargs:
            raise ValueError("crop is for fit: what a data generator gives is trained on as it is")
        bridge = Bridge(self.classifier)
        scale = bridge.pixel_range()

        def draw() -> tuple[Tensor, Tensor]:
            x, y = generator.get_batch()
            images = bridge.read_pixels(x)
            return scale.to_unit(images), bridge.read_labels(y, len(images))

        # A short last batch is trained on: unlike the rest of an array it cannot wait for another epoch.
        stream = Stream(draw, int(generator.size), int(generator.batch_size))
        options = {"validation": validation_data, "nb_epochs": nb_epochs, "schedule": scheduler}
        self._fit(stream, options, weights, kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """
        Predict with the trained classifier.

        :param x: Input samples.
        :param kwargs: Other parameters of the classifier's `predict`.
        :return: Predictions.
        """
        return self.classifier.predict(x, **kwargs)

    def _fit(self, data: Images | Stream, options: dict[str, Any], weights: Weights, passed: dict[str, Any]) -> None:
        """Run `mrt.fit` with these options and what the user passes on to it; the classifier ends with `weights`."""
        classifier, bridge = self.classifier, Bridge(self.classifier)
        scale, optimizer = bridge.pixel_range(), classifier.optimizer
        for name in passed:
            if name not in PASSED:
                raise TypeError(f"fit() got an unexpected keyword argument {name!r}; besides its own it takes {PASSED}")
        if optimizer is None:
            raise ValueError("Optimizer of classifier is currently None, but is required for adversarial training.")
        _need_labels_kept(classifier, scale)
        checks.choice("weights", weights, get_args(Weights))
        if weights == "ema" and passed.get("ema") is None:
            raise ValueError(f"weights={weights!r} needs ema=, the decay of the average")
        if weights == "best" and options["validation"] is None:
            raise ValueError(f"weights={weights!r} needs validation_data")
        options |= {"epochs": checks.count("nb_epochs", options.pop("nb_epochs")), "progress": self.verbose}
        options |= {"optimizer": optimizer, "schedule": _wrap_scheduler(options["schedule"], optimizer)}
        if options["validation"] is not None:
            pixels, labels = _read_pair(bridge, options["validation"])
            threats = self.validation_threats(scale.width)
            options["validation"] = mrt.Validation((scale.to_unit(pixels), labels), threats)
        # With a run folder the same call has to find the same run again: no draw may decide on its seed.
        seed = 0 if "out" in passed else int(np.random.randint(2**31))
        logger.info("Training with %s", self)
        model, strategy = bridge.unit_model(scale), self.strategy(scale.width)
        try:
            self.run = mrt.fit(model, strategy, data, **{"seed": seed, **options, **passed})
            if weights != "last":
                classifier.model.load_state_dict(getattr(self.run, weights).model.state_dict())
        finally:  # what ART holds around the model tells its mode, too
            classifier._model.training = classifier.model.training
        for row in self.run.metrics:
            logger.info(" ".join(f"{name}: {value:.4g}" for name, value in row.items()))


def _read_pair(bridge: Bridge, pair: Any) -> tuple[Tensor, Tensor]:
    """Return validation images, (N, C, H, W) in the host's range, and class numbers, (N,)."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"validation_data must be a pair (x, y); got {type(pair).__name__}")
    pixels = bridge.read_pixels(pair[0])
    return pixels, bridge.read_labels(pair[1], len(pixels))


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


def _need_cross_entropy(loss: Any) -> None:
    """Raise a ValueError unless the loss is plain cross-entropy, which is what strategies descend.

    Any other would be ignored in silence. NLLLoss, of log-probabilities, is the same.
    """
    defaults = {"weight": None, "reduction": "mean", "label_smoothing": 0.0, "ignore_index": -100}
    odd = {name: getattr(loss, name) for name, plain in defaults.items() if getattr(loss, name, plain) != plain}
    if not isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)) or odd:
        settings = ", ".join(f"{name}={value}" for name, value in odd.items())
        raise ValueError(
            f"this trainer minimises plain cross-entropy; the classifier's loss is {type(loss).__name__}({settings})"
        )


def _need_labels_kept(classifier: Any, scale: Range) -> None:
    """Raise a ValueError if a preprocessing defence would train on other labels than it is given."""
    # A defence does not say whether it changes labels: it is tried on one image of constant pixels.
    changing = [p for p in classifier.preprocessing_defences or [] if p.apply_fit]
    if not changing:
        return
    x = np.full((1, *classifier.input_shape), float(scale.low.min()), dtype=np.float32)
    y = np.eye(int(classifier.nb_classes), dtype=np.float32)[:1]
    _, labels = classifier._apply_preprocessing(x, y, fit=True)
    if labels is None or not np.array_equal(labels, y):
        raise ValueError(f"a defence among {changing} changes labels, and this trainer trains on class numbers")
