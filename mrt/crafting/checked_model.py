"""The model with its answers checked as an attack asks for them: the attack needs no pass of its own for that."""

from __future__ import annotations

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.gradient import AttackedModel, PassCount
from mrt.crafting.model_failure import ask
from mrt.crafting.undefined import UndefinedGradients
from mrt.protocols import Model
from mrt.threats.projections import no_sync


class CheckedModel:
    """A model whose answers are checked. The shape and the number of classes always; the first time also that every
    label names a class, the highest label being `highest`, and that the answers are numbers for at least one clean
    image of x (an image without is merely never counted as broken)."""

    def __init__(self, model: Model, x: Tensor, highest: int) -> None:
        self.model, self.x, self.highest, self.classes = model, x, highest, 0
        self.answered = 0  # how many images were in the last batch that the model took
        self.no_numbers: Tensor | None = None  # bool (): was the first answer NaN for every image?

    def __call__(self, z: Tensor) -> Tensor:
        logits = checks.logits(ask_any_number(self.model, z, self.answered), z)
        self.answered = len(z)
        if self.classes and logits.shape[1] != self.classes:
            raise ValueError(
                f"the model must always answer with equally many classes; got {self.classes} and then {logits.shape[1]}"
            )
        if not self.classes:
            self.check_labels(logits.shape[1])
            self.no_numbers = logits.detach().isnan().any(1).all()
            if not no_sync(logits):
                self.raise_if_no_numbers()
        return logits

    def raise_if_no_numbers(self, undefined: UndefinedGradients | None = None) -> None:
        """`NoNumbers` if the model answers clean images with NaN throughout; on a GPU this waits for all its work, once
        for that and for the count of `undefined`."""
        if self.no_numbers is not None and undefined is not None and isinstance(undefined.found, Tensor):
            both = torch.stack([self.no_numbers.to(undefined.found), undefined.found]).tolist()
            self.no_numbers, undefined.found = torch.tensor(bool(both[0])), int(both[1])
        if self.no_numbers is not None and bool(self.no_numbers) and bool(self.model(self.x).isnan().any(1).all()):
            raise checks.NoNumbers("the model must return numbers for clean images; got NaN for every one")

    def check_labels(self, classes: int) -> None:
        """ValueError unless every label names one of the model's `classes`."""
        self.classes = classes
        if self.highest >= classes:
            raise ValueError(
                f"labels must be class numbers from 0 to {classes - 1}, as the model has {classes} classes; "
                f"got {self.highest}"
            )

    def for_recording(self, passes: PassCount) -> CheckedModel:
        """The same for a recording: with no way to the model's copy, and its passes counted."""
        model = self.model.for_recording(passes) if isinstance(self.model, AttackedModel) else self.model
        return CheckedModel(model, self.x, self.highest)


def ask_any_number(model: Model, z: Tensor, answered: int) -> Tensor:
    """The model's answer to z; a ValueError that says so where it takes batches of `answered` images alone."""
    try:
        return ask(model, z)
    except ValueError as error:
        if answered in (0, len(z)):
            raise
        why = checks.first_line(error.__cause__ or error)
        text = f"the model refuses a batch of {len(z)} after one of {answered} ({why})"
        raise checks.ModelFailed(f"{text}: it must take any number of images") from error
