"""What loss to descend: one paper's idea, one short file."""

from mrt.strategies.adversarial import Adversarial
from mrt.strategies.alternate import Alternate
from mrt.strategies.average import Average
from mrt.strategies.msd import MSDTraining
from mrt.strategies.sampled import EAT, SAT
from mrt.strategies.standard import Standard
from mrt.strategies.trades import TRADES
from mrt.strategies.worst import Worst

__all__ = ["EAT", "SAT", "TRADES", "Adversarial", "Alternate", "Average", "MSDTraining", "Standard", "Worst"]
