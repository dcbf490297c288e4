"""How to search a threat for the worst input."""

from mrt.attacks.affine import AffineAttack
from mrt.attacks.apgd import APGD
from mrt.attacks.combine import OneAtRandom, WorstOf
from mrt.attacks.cw import CWLinf
from mrt.attacks.fgm import FGM, FGSM
from mrt.attacks.l0 import GreedyL0
from mrt.attacks.mim import MIM
from mrt.attacks.msd import MSD
from mrt.attacks.pgd import PGD
from mrt.attacks.slide import SLIDE
from mrt.attacks.smallest import Smallest
from mrt.attacks.spatial import RTGrid, RTWorstOf

__all__ = [
    "APGD", "FGM", "FGSM", "MIM", "MSD", "PGD", "SLIDE", "AffineAttack", "CWLinf", "GreedyL0", "OneAtRandom",
    "RTGrid", "RTWorstOf", "Smallest", "WorstOf",
]  # fmt: skip
