"""What a classifier must be for a training of ours: its loss, its labels, and what its generator has learned."""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.generators.generator import Generator
from mrt.hosts.pixel_range import Range
from mrt.protocols import Ball
from mrt_art.bridge import Bridge

Weights = Literal["last", "ema", "best"]
PASSED = (  # by `fit`: on to mrt.fit, and the last two are ART's own
    "clip", "crop", "ema", "fast", "out", "seed", "channels_last", "tensorboard", "drop_last", "training_mode",
    "pin_memory",
)  # fmt: skip
LOOKED_AT = 64  # images on which a generator is compared with one step along the gradient


def need_cross_entropy(loss: Any) -> None:
    """Raise a ValueError unless the loss is a cross-entropy, with whatever weights, smoothing and reduction to one
    number: it is what the classifier descends, and what the attacks climb is the plain one. NLLLoss is the same of
    log-probabilities."""
    if not isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)):
        raise ValueError(f"this trainer minimises cross-entropy; the classifier's loss is {type(loss).__name__}")
    if loss.reduction not in ("mean", "sum"):
        raise ValueError(f"the classifier's loss must be one number, mean or sum; got reduction={loss.reduction!r}")


def loss_to_descend(loss: Any) -> Any:
    """Return the classifier's loss as strategies call it, on logits and class numbers: torch's own function for the
    plain one, so that a run folder does not depend on how it was asked for."""
    plain = {"reduction": "mean", "label_smoothing": 0.0, "ignore_index": -100}
    usual = all(getattr(loss, name, value) == value for name, value in plain.items())
    return cross_entropy if usual and loss.weight is None else loss


def check_call(
    classifier: PyTorchClassifier, weights: Weights, options: dict[str, Any], passed: dict[str, Any]
) -> None:
    """Raise an error where a call of `fit` cannot be answered; takes out what only ART knows."""
    for name in passed:
        if name not in PASSED:
            raise TypeError(f"fit() got an unexpected keyword argument {name!r}; besides its own it takes {PASSED}")
    for name in ("training_mode", "pin_memory", "drop_last"):
        checks.flag(name, passed.get(name, True))
    passed.pop("pin_memory", None)
    if classifier.optimizer is None:
        raise ValueError("Optimizer of classifier is currently None, but is required for adversarial training.")
    checks.choice("weights", weights, get_args(Weights))
    if weights == "ema" and passed.get("ema") is None:
        raise ValueError(f"weights={weights!r} needs ema=, the decay of the average")
    if weights == "best" and options["validation"] is None:
        raise ValueError(f"weights={weights!r} needs validation_data")


def need_labels_kept(classifier: PyTorchClassifier, scale: Range) -> None:
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


def warn_of_weak_generator(model: nn.Module, generator: Generator, ball: Ball, x: Tensor, y: Tensor) -> None:
    """Warn if the generator that a classifier was trained against fools it on next to none of some images in [0, 1]
    where a single step along the gradient does: then nothing was gained."""
    x, y = x[:LOOKED_AT], y[:LOOKED_AT]
    with torch.no_grad(), crafting(model) as f:
        right = f(x).argmax(1) == y
    fooled = []
    for attack in (mrt.GeneratorAttack(generator, ball), mrt.FGM(ball)):
        x_adv = attack(model, x, y, rng=torch.arange(len(x), device=x.device))
        with torch.no_grad(), crafting(model) as f:
            fooled.append(int((right & (f(x_adv).argmax(1) != y)).sum()))
    if fooled[1] >= 2 and fooled[0] < fooled[1] / 4:
        counts = f"{fooled[0]} of {int(right.sum())} images, where one step along the gradient fools it on {fooled[1]}"
        text = f"the classifier was trained against a generator that fools it on {counts} ({ball!r} of the range)"
        warnings.warn(
            f"{text}: such a training gains next to nothing; train longer or from trained weights", stacklevel=4
        )


def read_pair(bridge: Bridge, pair: Any) -> tuple[Tensor, Tensor]:
    """Return validation images, (N, C, H, W) in the host's range, and class numbers, (N,)."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"validation_data must be a pair (x, y); got {type(pair).__name__}")
    pixels = bridge.read_pixels(pair[0])
    return pixels, bridge.read_labels(pair[1], len(pixels))
