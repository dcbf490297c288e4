"""How much of a set of images a model still classifies correctly, and how far to believe it."""

from mrt.evaluation import batteries
from mrt.evaluation.battery import Battery, Entry, Foreign
from mrt.evaluation.battery import read as read_battery
from mrt.evaluation.battery import write as write_battery
from mrt.evaluation.evaluate import evaluate
from mrt.evaluation.losses import LossPath, loss_path
from mrt.evaluation.metrics import optimal
from mrt.evaluation.opening import load_model, save_model
from mrt.evaluation.report import Report
from mrt.evaluation.tradeoff import Point, below, distortion, gain, rho_at
from mrt.evaluation.transfer import Transfer, Transferred, matrix, transfer

__all__ = [
    "Battery", "Entry", "Foreign", "LossPath", "Point", "Report", "Transfer", "Transferred", "batteries", "below",
    "distortion", "evaluate", "gain", "load_model", "loss_path", "matrix", "optimal", "read_battery", "rho_at",
    "save_model", "transfer", "write_battery",
]  # fmt: skip
