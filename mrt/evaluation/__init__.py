"""How much of a set of images a model still classifies correctly, and how far to believe it."""

from mrt.evaluation import batteries
from mrt.evaluation.analysis.loss_path import LossPath, loss_path
from mrt.evaluation.analysis.tradeoff import Point, below, distortion, gain, rho_at
from mrt.evaluation.analysis.transfer import Transfer, Transferred, matrix, transfer
from mrt.evaluation.battery import Battery, Entry, Foreign, read_battery, write_battery
from mrt.evaluation.evaluate import evaluate
from mrt.evaluation.report import Report
from mrt.evaluation.report.optimal import optimal
from mrt.inputs import load_model, save_model

__all__ = [
    "Battery", "Entry", "Foreign", "LossPath", "Point", "Report", "Transfer", "Transferred", "batteries", "below",
    "distortion", "evaluate", "gain", "load_model", "loss_path", "matrix", "optimal", "read_battery", "rho_at",
    "save_model", "transfer", "write_battery",
]  # fmt: skip
