"""An ART classifier as our attacks and strategies see it: images in [0, 1], class numbers, logits."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from mrt.hosts.pixel_range import Range

NORMS: dict[str, tuple[Any, ...]] = {"inf": (np.inf, "inf", "linf"), "2": (2, "2", "l2"), "1": (1, "1", "l1")}
USUAL = {"inf": 8 / 255, "2": 0.5, "1": 12.0}  # radii for images in [0, 1], CIFAR-10's of the papers


class Bridge:
    """One classifier's pixels and labels, there and back. `room`: where it has no clip values, how far images may
    change."""

    def __init__(self, classifier: PyTorchClassifier) -> None:
        if type(classifier).predict is not PyTorchClassifier.predict:  # randomised smoothing, say
            raise ValueError(f"{type(classifier).__name__} predicts in a way of its own, which only ART's attacks see")
        self.classifier = classifier

    def range(self, x: Tensor | None = None, room: float = 0.0) -> Range:
        """Of its clip values. Without any, wide enough for x and `room` on both sides, so that no bound is met."""
        bounds = self.classifier.clip_values
        if bounds is None:
            if x is None or not x.numel():
                return Range.between(torch.tensor(0.0), torch.tensor(1.0))
            low, high = (v.double() for v in torch.aminmax(x))
            return Range.between(low - room, high + room + (1 if room == 0 and low == high else 0))
        whole = [np.broadcast_to(v, self.classifier.input_shape) if np.ndim(v) else np.asarray(v) for v in bounds]
        low, high = (torch.from_numpy(v.astype(np.float64)) for v in whole)
        return Range.between(self.forth(low[None])[0], self.forth(high[None])[0])

    @property
    def width(self) -> float:
        """The range of its pixels, 1 without clip values."""
        return self.range().width

    def pixels(self, x: Any) -> Tensor:
        """Arrays or tensors of numbers as float32 (N, C, H, W) on the classifier's device, in the host's range."""
        given = x.detach() if isinstance(x, Tensor) else np.asarray(x)
        if not isinstance(given, Tensor):
            if given.dtype == object or given.dtype.kind not in "biuf":
                raise ValueError(f"images must be numbers; got an array of {given.dtype}")
            given = torch.from_numpy(np.ascontiguousarray(given, dtype=np.float32))
        shape = tuple(self.classifier.input_shape)
        if tuple(given.shape[1:]) != shape:
            raise ValueError(f"images must have shape (N, {', '.join(map(str, shape))}); got {tuple(given.shape)}")
        return self.forth(given.to(self.classifier.device, torch.float32))

    def forth(self, x: Tensor) -> Tensor:
        """Channels first."""
        last = not self.classifier.channels_first and x.ndim == 4
        return x.permute(0, 3, 1, 2).contiguous() if last else x

    def back(self, x: Tensor) -> Tensor:
        """The inverse of `forth`."""
        return x.permute(0, 2, 3, 1).contiguous() if not self.classifier.channels_first and x.ndim == 4 else x

    def labels(self, y: Any, count: int) -> Tensor:
        """Class numbers, int64 (N,), of numbers (N,) or (N, 1) or of one row of scores for each image."""
        classes = int(self.classifier.nb_classes)
        given = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
        known = given.shape in ((count,), (count, 1), (count, classes)) and given.dtype.kind in "biuf"
        if not known:
            allowed = f"({count},), ({count}, 1) or ({count}, {classes})"
            raise ValueError(f"labels must be numbers of shape {allowed}; got {given.dtype} of shape {given.shape}")
        numbers = given.argmax(1) if given.shape == (count, classes) and classes > 1 else given.reshape(-1)
        whole = torch.from_numpy(np.ascontiguousarray(numbers)).long()
        if count and (not np.array_equal(whole.numpy(), numbers) or whole.min() < 0 or whole.max() >= classes):
            raise ValueError(
                f"labels must be class numbers from 0 to {classes - 1}; got {given.min()} to {given.max()}"
            )
        return whole.to(self.classifier.device)

    def model(self, scale: Range) -> Seen:
        """From images of [0, 1] through the classifier's preprocessing to its model's answer."""
        return Seen(self.classifier, scale)


class Seen(nn.Module):
    """An ART classifier as a model of images in [0, 1]. Its `model` is the user's module, so that it can be frozen,
    trained, and put into any mode. In train mode images go through the preprocessing of training, else through that of
    predictions."""

    def __init__(self, classifier: PyTorchClassifier, scale: Range) -> None:
        super().__init__()
        self.classifier, self.scale, self.model = classifier, scale, classifier.model
        self.training = self.model.training

    def forward(self, x: Tensor) -> Tensor:
        classifier, raw = self.classifier, Bridge(self.classifier).back(self.scale.from_unit(x))
        if not classifier.preprocessing_operations:
            ready = raw
        elif classifier.all_framework_preprocessing:
            ready, _ = classifier._apply_preprocessing(raw, y=None, fit=self.training, no_grad=False)
        else:
            ready = _Estimated.apply(raw, classifier, self.training)
        logits: Tensor = self.model(ready.to(raw.dtype))
        return logits

    def __deepcopy__(self, memo: dict[int, Any]) -> Seen:
        """Other weights, the same classifier around them."""
        other = Seen(self.classifier, self.scale)
        other.model, other.training = copy.deepcopy(self.model, memo), self.training
        return other


class _Estimated(torch.autograd.Function):
    """Preprocessing on arrays, with ART's own estimate of its gradient."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, classifier: Any, training: bool) -> Tensor:
        array = raw.detach().cpu().numpy()
        ctx.kept = array, classifier, training
        ready, _ = classifier._apply_preprocessing(array, None, fit=training)
        return torch.from_numpy(np.asarray(ready, dtype=np.float32)).to(raw.device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        array, classifier, training = ctx.kept
        with torch.enable_grad():  # which is off in here, and which some of ART's estimates need
            found = classifier._apply_preprocessing_gradient(array, grad.cpu().numpy(), fit=training)
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(grad.device), None, None


def norm_of(norm: Any) -> str:
    """Of what ART's users write: "inf", "2" or "1"."""
    for name, ways in NORMS.items():
        if any(type(norm) is not bool and norm == way for way in ways):
            return name
    raise ValueError(f'norm must be np.inf, "inf" or "linf", 2, "2" or "l2", 1, "1" or "l1"; got {norm!r}')


def given(names: dict[str, Any]) -> dict[str, Any]:
    """What a constructor was called with, of its `locals()`."""
    return {name: value for name, value in names.items() if name not in ("self", "__class__")}
