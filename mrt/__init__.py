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
from mrt.evaluation import (
    Entry,
    Foreign,
    Report,
    batteries,
    evaluate,
    load_model,
    optimal,
    read_battery,
    save_model,
    write_battery,
)
from mrt.threats import L0, L1, L2, Affine, AnyOf, Linf, RotationTranslation

__all__ = [
    "APGD", "FGM", "FGSM", "L0", "L1", "L2", "MIM", "MSD", "PGD", "SLIDE", "Affine", "AffineAttack", "AnyOf",
    "CWLinf", "Entry", "Fast", "Foreign", "GreedyL0", "Linf", "OneAtRandom", "RTGrid", "RTWorstOf", "Report",
    "RotationTranslation", "WorstOf", "batteries", "data", "evaluate", "load_model", "models", "optimal",
    "read_battery", "save_model", "write_battery",
]  # fmt: skip
