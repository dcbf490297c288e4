"""How our attacks and strategies see an ART classifier: images in [0, 1], class numbers, logits."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from mrt.hosts.pixel_range import Range

NORMS: dict[str, tuple[Any, ...]] = {"inf": (np.inf, "inf", "linf"), "2": (2, "2", "l2"), "1": (1, "1", "l1")}


class Bridge:
    """Carries one classifier's pixels and labels to us and back."""

    def __init__(self, classifier: PyTorchClassifier) -> None:
        # A class with its own `predict` (randomised smoothing, say) computes another function than its model does:
        # what goes round `predict` would attack and train a function that nobody asks.
        if type(classifier).predict is not PyTorchClassifier.predict:
            raise ValueError(f"{type(classifier).__name__} predicts in a way of its own, which only ART's attacks see")
        self.classifier = classifier

    def pixel_range(self, x: Tensor | None = None, room: float = 0.0) -> Range:
        """Return the range between the clip values.

        Without any it is wide enough for the images x and for changes of `room` on both sides.
        """
        bounds = self.classifier.clip_values
        if bounds is None:
            if x is None or not x.numel():
                return Range.between(torch.tensor(0.0), torch.tensor(1.0))
            # The room keeps every bound out of an attack's reach; images of one constant value get a width of 1,
            # since a range must be above zero.
            low, high = (v.double() for v in torch.aminmax(x))
            return Range.between(low - room, high + room + (1 if room == 0 and low == high else 0))
        # Clip values are two numbers, or two arrays that hold one for each channel or pixel, in the host's layout.
        arrays = [np.broadcast_to(v, self.classifier.input_shape) if np.ndim(v) else np.asarray(v) for v in bounds]
        low, high = (torch.from_numpy(v.astype(np.float64)) for v in arrays)
        return Range.between(self.to_channels_first(low[None])[0], self.to_channels_first(high[None])[0])

    @property
    def width(self) -> float:
        """The range of its pixels, 1 without clip values."""
        return self.pixel_range().width

    def read_pixels(self, x: Any) -> Tensor:
        """Return images, (N, C, H, W) float32 on the classifier's device and still in the host's range.

        x is an array or a tensor of numbers in the host's layout.
        """
        images = x.detach() if isinstance(x, Tensor) else np.asarray(x)
        if not isinstance(images, Tensor):
            if images.dtype == object or images.dtype.kind not in "biuf":
                raise ValueError(f"images must be numbers; got an array of {images.dtype}")
            images = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        shape = tuple(self.classifier.input_shape)
        if tuple(images.shape[1:]) != shape:
            raise ValueError(f"images must have shape (N, {', '.join(map(str, shape))}); got {tuple(images.shape)}")
        return self.to_channels_first(images.to(self.classifier.device, torch.float32))

    def to_channels_first(self, x: Tensor) -> Tensor:
        """Return images of the host's layout as (N, C, H, W)."""
        last = not self.classifier.channels_first and x.ndim == 4
        return x.permute(0, 3, 1, 2).contiguous() if last else x

    def to_host_layout(self, x: Tensor) -> Tensor:
        """Return images (N, C, H, W) in the host's layout, the inverse of `to_channels_first`."""
        return x.permute(0, 2, 3, 1).contiguous() if not self.classifier.channels_first and x.ndim == 4 else x

    def read_labels(self, y: Any, count: int) -> Tensor:
        """Return class numbers, int64 (N,), from numbers (N,) or (N, 1), or from one row of scores for each image."""
        classes = int(self.classifier.nb_classes)
        array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
        known = array.shape in ((count,), (count, 1), (count, classes)) and array.dtype.kind in "biuf"
        if not known:
            allowed = f"({count},), ({count}, 1) or ({count}, {classes})"
            raise ValueError(f"labels must be numbers of shape {allowed}; got {array.dtype} of shape {array.shape}")
        # With a single class (N, 1) holds numbers, as it does with several: there is nothing to take the argmax of.
        numbers = array.argmax(1) if array.shape == (count, classes) and classes > 1 else array.reshape(-1)
        labels = torch.from_numpy(np.ascontiguousarray(numbers)).long()
        if count and (not np.array_equal(labels.numpy(), numbers) or labels.min() < 0 or labels.max() >= classes):
            raise ValueError(
                f"labels must be class numbers from 0 to {classes - 1}; got {array.min()} to {array.max()}"
            )
        return labels.to(self.classifier.device)

    def unit_model(self, scale: Range) -> Seen:
        """Return the model from images in [0, 1], through the classifier's preprocessing, to its model's logits."""
        return Seen(self.classifier, scale)


# Run folders hold this class's name in their config.json: under another one they would count as another run.
class Seen(nn.Module):
    """An ART classifier as a model of images in [0, 1].

    Its `model` is the user's module, so that it can be frozen, trained, and put into any mode. In train mode images go
    through the preprocessing of training, else through that of predictions.
    """

    def __init__(self, classifier: PyTorchClassifier, scale: Range) -> None:
        super().__init__()
        self.classifier, self.scale, self.model = classifier, scale, classifier.model
        self.training = self.model.training

    def forward(self, x: Tensor) -> Tensor:
        classifier, raw = self.classifier, Bridge(self.classifier).to_host_layout(self.scale.from_unit(x))
        # Preprocessing in torch is differentiated as it is; steps on arrays break the graph, and ART estimates their
        # gradient.
        if not classifier.preprocessing_operations:
            ready = raw
        elif classifier.all_framework_preprocessing:
            ready, _ = classifier._apply_preprocessing(raw, y=None, fit=self.training, no_grad=False)
        else:
            ready = _Estimated.apply(raw, classifier, self.training)
        logits: Tensor = self.model(ready.to(raw.dtype))
        return logits

    def __deepcopy__(self, memo: dict[int, Any]) -> Seen:
        """Return a model with weights of its own and the same classifier around them."""
        # A copy of the classifier would hold a second model, and an optimizer that knows nothing of the copied weights.
        other = Seen(self.classifier, self.scale)
        other.model, other.training = copy.deepcopy(self.model, memo), self.training
        return other


class _Estimated(torch.autograd.Function):
    """Preprocesses arrays in the forward pass and takes ART's own estimate of the gradient in the backward pass."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, classifier: Any, training: bool) -> Tensor:
        array = raw.detach().cpu().numpy()
        ctx.call = array, classifier, training
        ready, _ = classifier._apply_preprocessing(array, None, fit=training)
        return torch.from_numpy(np.asarray(ready, dtype=np.float32)).to(raw.device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        array, classifier, training = ctx.call
        with torch.enable_grad():  # which is off in here, and which some of ART's estimates need
            estimate = classifier._apply_preprocessing_gradient(array, grad.cpu().numpy(), fit=training)
        return torch.from_numpy(np.asarray(estimate, dtype=np.float32)).to(grad.device), None, None


def read_norm(norm: Any) -> str:
    """Return "inf", "2" or "1" for any of the ways in which ART's users write a norm."""
    for name, spellings in NORMS.items():
        if any(type(norm) is not bool and norm == spelling for spelling in spellings):  # True == 1
            return name
    raise ValueError(f'norm must be np.inf, "inf" or "linf", 2, "2" or "l2", 1, "1" or "l1"; got {norm!r}')
