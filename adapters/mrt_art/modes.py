"""Where a model in train mode is left in it, and a script of ART's may rely on eval mode."""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any
from weakref import WeakSet

from art.estimators.classification import PyTorchClassifier
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

MODAL = (_NormBase, _DropoutNd)  # what does something else in train mode

_told: WeakSet[Any] = WeakSet()  # classifiers whose mode has been spoken of


def warn_of_train_mode(classifier: PyTorchClassifier) -> None:
    """Say, once for each classifier, that its model, which train mode changes, is in it and stays in it: ART's attacks
    leave a model in eval mode, and a script may rely on that when it calls the model itself."""
    if classifier in _told or not any(m.training and isinstance(m, MODAL) for m in classifier.model.modules()):
        return
    if _within_a_training(sys._getframe(1)):
        return
    _told.add(classifier)
    text = "the model is in train mode (BatchNorm, dropout): it is attacked in eval mode, as `predict` answers, and"
    warnings.warn(f"{text} stays in train mode, where ART's own attacks leave it in eval mode", stacklevel=4)


def _within_a_training(frame: FrameType | None) -> bool:
    """Whether one of ART's trainers is among the callers: they set the mode before each update themselves."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("art.defences."):
            return True
        frame = frame.f_back
    return False
