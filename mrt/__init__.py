"""Train image classifiers that withstand several kinds of perturbation at once, and measure how well they do."""

from mrt import data, models
from mrt.attacks import (
    APGD,
    FGM,
    FGSM,
    MIM,
    MSD,
    PGD,
    SLIDE,
    AffineAttack,
    CWLinf,
    Fast,
    GreedyL0,
    OneAtRandom,
    RTGrid,
    RTWorstOf,
    WorstOf,
)
from mrt.threats import L0, L1, L2, Affine, AnyOf, Linf, RotationTranslation

__all__ = [
    "APGD", "FGM", "FGSM", "L0", "L1", "L2", "MIM", "MSD", "PGD", "SLIDE", "Affine", "AffineAttack", "AnyOf",
    "CWLinf", "Fast", "GreedyL0", "Linf", "OneAtRandom", "RTGrid", "RTWorstOf", "RotationTranslation", "WorstOf",
    "data", "models",
]  # fmt: skip
