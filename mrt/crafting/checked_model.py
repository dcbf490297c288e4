"""The model with its answers checked as an attack asks for them: the attack needs no pass of its own for that."""

from __future__ import annotations

from torch import Tensor

from mrt import checks
from mrt.crafting.gradient import AttackedModel, PassCount
from mrt.protocols import Model
from mrt.threats.projections import no_sync


class CheckedModel:
    """A model whose answers are checked. The shape always; the first time also that every label names a class, the
    highest label being `highest`, and that the answers are numbers for at least one clean image of x (an image without
    is merely never counted as broken)."""

    def __init__(self, model: Model, x: Tensor, highest: int) -> None:
        self.model, self.x, self.highest, self.classes = model, x, highest, 0
        self.no_numbers: Tensor | None = None  # bool (): was the first answer NaN for every image?

    def __call__(self, z: Tensor) -> Tensor:
        logits = checks.logits(self.model(z), z)
        if not self.classes:
            self.check_labels(logits.shape[1])
            self.no_numbers = logits.detach().isnan().any(1).all()
            if not no_sync(logits):
                self.raise_if_no_numbers()
        return logits

    def raise_if_no_numbers(self) -> None:
        """`NoNumbers` if the model answers clean images with NaN throughout; on a GPU this waits for all its work."""
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
