"""What loss to descend: one paper's idea, one short file."""

from mrt.strategies.adversarial import Adversarial
from mrt.strategies.alternate import Alternate
from mrt.strategies.ant import ANT
from mrt.strategies.average import Average
from mrt.strategies.e_at import EAT
from mrt.strategies.l2l_da import L2LDA
from mrt.strategies.mng_ac import MNGAC
from mrt.strategies.msd import MSDTraining
from mrt.strategies.pgn import PGN
from mrt.strategies.ramp import RAMP
from mrt.strategies.sat import SAT
from mrt.strategies.standard import Standard
from mrt.strategies.trades import TRADES
from mrt.strategies.worst import Worst

__all__ = [
    "ANT", "EAT", "L2LDA", "MNGAC", "PGN", "RAMP", "SAT", "TRADES", "Adversarial", "Alternate", "Average",
    "MSDTraining", "Standard", "Worst",
]  # fmt: skip
