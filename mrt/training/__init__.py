"""The training loop, its settings, and the choice of a strategy's own by held-out data."""

from mrt.training.fit import Run, fit
from mrt.training.optimizers import SGD, Adam
from mrt.training.schedules import Constant, Cosine, Drops, Piecewise, Triangular
from mrt.training.tune import Tuned, ratios, tune
from mrt.training.validation import Validation

__all__ = [
    "SGD", "Adam", "Constant", "Cosine", "Drops", "Piecewise", "Run", "Triangular", "Tuned", "Validation",
    "fit", "ratios", "tune",
]  # fmt: skip
