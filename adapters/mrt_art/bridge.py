"""How our attacks and strategies see an ART classifier: images in [0, 1], class numbers, logits."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from mrt.crafting.freezing import held_still
from mrt.crafting.gradient import crafting
from mrt.hosts.agreement import IMAGES, need_same_logits
from mrt.hosts.pixel_range import Range
from mrt_art.copies import rebind_functions

NORMS: dict[str, tuple[Any, ...]] = {"inf": (np.inf, "inf", "linf"), "2": (2, "2", "l2"), "1": (1, "1", "l1")}
NEAR = 0.01  # of the range: images this far outside the clip values are clipped, as ART clips what it returns


class Bridge:
    """Carries one classifier's pixels and labels to us and back."""

    def __init__(self, classifier: PyTorchClassifier) -> None:
        self.classifier = classifier

    def pixel_range(self, *images: Tensor, room: float = 0.0) -> Range:
        """Return the range between the clip values.

        Without any it is wide enough for the images and for changes of `room` on both sides.
        """
        bounds = self.classifier.clip_values
        filled = [x for x in images if x.numel()]
        if bounds is None:
            if not filled:
                return Range.between(torch.tensor(0.0), torch.tensor(1.0))
            # The room keeps every bound out of an attack's reach; images of one constant value get a width of 1,
            # since a range must be above zero.
            low = torch.stack([x.min() for x in filled]).min().double().cpu()
            high = torch.stack([x.max() for x in filled]).max().double().cpu()
            return Range.between(low - room, high + room + (1 if room == 0 and low == high else 0))
        # Clip values are two numbers, or two arrays that hold one for each channel or pixel, in the host's layout.
        # Images may have another shape than the classifier was told.
        shape = tuple(self.to_host_layout(filled[0]).shape[1:]) if filled else self.classifier.input_shape
        try:
            arrays = [np.broadcast_to(v, shape) if np.ndim(v) else np.asarray(v) for v in bounds]
        except ValueError:
            shapes = " and ".join(str(np.shape(v)) for v in bounds)
            raise ValueError(f"clip_values of shapes {shapes} do not broadcast to images of {shape}") from None
        low, high = (torch.from_numpy(v.astype(np.float64)) for v in arrays)
        return Range.between(self.to_channels_first(low[None])[0], self.to_channels_first(high[None])[0])

    @property
    def width(self) -> float:
        """The range of its pixels, 1 without clip values."""
        return self.pixel_range().width

    def read_pixels(self, x: Any) -> Tensor:
        """Return images, (N, C, H, W) float32 in the host's range and where they are: on the CPU, or a tensor's device.

        x is an array or a tensor of numbers in the host's layout.
        """
        images = x.detach() if isinstance(x, Tensor) else np.asarray(x)
        if not isinstance(images, Tensor):
            if images.dtype == object or images.dtype.kind not in "biuf":
                raise ValueError(f"images must be numbers; got an array of {images.dtype}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an array that cannot be written to is only read
                images = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        shape = tuple(self.classifier.input_shape)
        if images.ndim != len(shape) + 1:
            raise ValueError(f"images must have shape (N, {', '.join(map(str, shape))}); got {tuple(images.shape)}")
        return self.to_channels_first(images.to(torch.float32))

    def clip(self, pixels: Tensor, scale: Range) -> Tensor:
        """Return the images within the range. Those just outside are clipped, and that is said; others are an error."""
        clipped = scale.clip(pixels, NEAR)
        scale.check(clipped)
        if clipped is not pixels:
            text = f"images up to {NEAR:.0%} of the range outside the clip values ({scale.description}) were clipped"
            warnings.warn(text, stacklevel=3)
        return clipped

    def to_channels_first(self, x: Tensor) -> Tensor:
        """Return images of the host's layout as (N, C, H, W)."""
        last = not self.classifier.channels_first and x.ndim == 4
        return x.permute(0, 3, 1, 2).contiguous() if last else x

    def to_host_layout(self, x: Tensor) -> Tensor:
        """Return images (N, C, H, W) in the host's layout, the inverse of `to_channels_first`."""
        return x.permute(0, 2, 3, 1).contiguous() if not self.classifier.channels_first and x.ndim == 4 else x

    def read_labels(self, y: Any, count: int, soft: bool = False) -> Tensor:
        """Return class numbers, int64 (N,), from numbers (N,) or (N, 1), or from one row for each image: one-hot, or
        with `soft` any scores, of which the largest counts."""
        classes = int(self.classifier.nb_classes)
        array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
        known = array.shape in ((count,), (count, 1), (count, classes)) and array.dtype.kind in "biuf"
        if not known:
            allowed = f"({count},), ({count}, 1) or ({count}, {classes})"
            raise ValueError(f"labels must be numbers of shape {allowed}; got {array.dtype} of shape {array.shape}")
        # With a single class (N, 1) holds numbers, as it does with several: there is nothing to take the argmax of.
        rows = array.shape == (count, classes) and classes > 1
        if rows and not ((array != 0).sum(1) == 1).all():
            if not soft:
                raise ValueError("labels must be class numbers or one-hot: a training of ours takes no soft labels")
            warnings.warn("the labels are no one-hot rows: the largest entry of each row is its class", stacklevel=3)
        numbers = array.argmax(1) if rows else array.reshape(-1)
        labels = torch.from_numpy(np.ascontiguousarray(numbers)).long()
        if count and (not np.array_equal(labels.numpy(), numbers) or labels.min() < 0 or labels.max() >= classes):
            raise ValueError(
                f"labels must be class numbers from 0 to {classes - 1}; got {array.min()} to {array.max()}"
            )
        return labels

    def unit_model(self, scale: Range, training_mode: bool = True) -> Seen:
        """Return the model from images in [0, 1], through the classifier's preprocessing, to its model's logits."""
        return Seen(self.classifier, scale, training_mode)

    def need_same_answers(self, model: Seen, unit: Tensor) -> None:
        """Raise a ValueError unless `model` and the classifier's `predict` answer some images in [0, 1] alike."""
        classifier, whole = self.classifier, self.classifier._model
        unit = unit[:IMAGES].to(classifier.device)

        def ours(x: Tensor) -> Tensor:
            # What ART does to answers afterwards is no part of what its attacks differentiate, as long as it leaves
            # them in the same order.
            logits = f(x).float().cpu().numpy()
            answers = np.asarray(classifier._apply_postprocessing(preds=logits.copy(), fit=False))
            if classifier.postprocessing_defences and (answers.argmax(1) != logits.argmax(1)).any():
                kinds = ", ".join(type(p).__name__ for p in classifier.postprocessing_defences)
                raise ValueError(f"the classifier's postprocessing ({kinds}) changes its answers, which no attack sees")
            return torch.from_numpy(answers)

        def theirs(x: Tensor) -> Any:
            array = self.to_host_layout(model.scale.from_unit(x)).cpu().numpy()
            try:
                return np.asarray(classifier.predict(array))
            except RuntimeError as error:  # torch's, of doubles that a preprocessing on arrays makes with numpy 2, say
                raise _PredictFailed(str(error).partition("\n")[0]) from error

        try:
            # These put back the modes that `predict` sets; and numpy has no bfloat16 for a caller's autocast.
            held = held_still([(whole, "training", False)])
            with held, crafting(model) as f, torch.autocast(unit.device.type, enabled=False):
                need_same_logits(f"{type(classifier).__name__}.predict", ours, theirs, unit)
        except _PredictFailed as error:
            said = f"predict itself fails ({error}): its answers cannot be compared with the attacked model's"
            warnings.warn(said, stacklevel=3)


class _PredictFailed(Exception):
    """The host's own predictions cannot be had."""


# Run folders hold this class's name in their config.json: under another one they would count as another run.
class Seen(nn.Module):
    """An ART classifier as a model of images in [0, 1], by the way that its predictions go.

    Its `model` is the user's module, so that it can be frozen, trained, and put into any mode. In train mode images go
    through the preprocessing of training, else through that of predictions. Without `training_mode` the user's module
    stays in eval mode while it trains.
    """

    def __init__(self, classifier: PyTorchClassifier, scale: Range, training_mode: bool = True) -> None:
        super().__init__()
        self.classifier, self.scale, self.model = classifier, scale, classifier.model
        self.training, self.training_mode = self.model.training, training_mode
        self._around = (classifier._model,)  # in a tuple: its parameters are those of `model`

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
        # ART's wrapper and not the module: a processor of HuggingFace's, or whatever a subclass puts there, is in it.
        logits: Tensor = self._around[0](ready.to(raw.dtype))[-1]
        return logits

    def train(self, mode: bool = True) -> Seen:
        self.training = mode
        self.model.train(mode and self.training_mode)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Seen:
        """Return a model with weights of its own and the same classifier around them."""
        # A copy of the classifier would hold a second model, and an optimizer that knows nothing of the copied weights.
        other = Seen(self.classifier, self.scale, self.training_mode)
        other.model, other.training = copy.deepcopy(self.model, memo), self.training
        rebind_functions(self.model, other.model)
        other._around = (_wrapped_around(self.classifier._model, other.model),)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # ART makes the class of its wrapper on the spot, which no pickle finds again.
        return {name: value for name, value in self.__dict__.items() if name != "_around"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._around = (_wrapped_around(self.classifier._model, self.model),)


def _wrapped_around(whole: nn.Module, model: nn.Module) -> nn.Module:
    """ART's wrapper of a model, around another one."""
    other: nn.Module = object.__new__(type(whole))
    other.__dict__.update(vars(whole), _modules={**whole._modules, "_model": model})
    return other


class _Estimated(torch.autograd.Function):
    """Preprocesses arrays in the forward pass and takes ART's own estimate of the gradient in the backward pass."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, classifier: PyTorchClassifier, training: bool) -> Tensor:
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
