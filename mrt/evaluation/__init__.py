"""How much of a set of images a model still classifies correctly, and how far to believe it."""

from mrt.evaluation import batteries
from mrt.evaluation.battery import Battery, Entry, Foreign
from mrt.evaluation.battery import read as read_battery
from mrt.evaluation.battery import write as write_battery
from mrt.evaluation.evaluate import evaluate
from mrt.evaluation.metrics import optimal
from mrt.evaluation.opening import load_model, save_model
from mrt.evaluation.report import Report

__all__ = [
    "Battery", "Entry", "Foreign", "Report", "batteries", "evaluate", "load_model", "optimal", "read_battery",
    "save_model", "write_battery",
]  # fmt: skip
