"""Train image classifiers that withstand several kinds of perturbation at once, and measure how well they do."""

from mrt import data, generators, models
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
    GreedyL0,
    OneAtRandom,
    RTGrid,
    RTWorstOf,
    Smallest,
    WorstOf,
)
from mrt.crafting.expectation import EOT
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
from mrt.fast import Fast
from mrt.generators import GeneratorAttack, fit_generator
from mrt.strategies import (
    ANT,
    EAT,
    L2LDA,
    MNGAC,
    PGN,
    RAMP,
    SAT,
    TRADES,
    Adversarial,
    Alternate,
    Average,
    MSDTraining,
    Standard,
    Worst,
)
from mrt.threats import L0, L1, L2, Affine, AnyOf, Linf, RotationTranslation
from mrt.training import (
    SGD,
    Adam,
    Constant,
    Cosine,
    Drops,
    Piecewise,
    Run,
    Triangular,
    Tuned,
    Validation,
    fit,
    ratios,
    tune,
)

__all__ = [
    "ANT", "APGD", "EAT", "EOT", "FGM", "FGSM", "L0", "L1", "L2", "L2LDA", "MIM", "MNGAC", "MSD", "PGD", "PGN",
    "RAMP", "SAT", "SGD", "SLIDE", "TRADES", "Adam", "Adversarial", "Affine", "AffineAttack", "Alternate", "AnyOf",
    "Average", "CWLinf", "Constant", "Cosine", "Drops", "Entry", "Fast", "Foreign", "GeneratorAttack",
    "GreedyL0", "Linf", "MSDTraining", "OneAtRandom", "Piecewise", "RTGrid", "RTWorstOf", "Report",
    "RotationTranslation", "Run", "Smallest", "Standard", "Triangular", "Tuned", "Validation", "Worst",
    "WorstOf", "batteries", "data", "evaluate", "fit", "fit_generator", "generators", "load_model", "models",
    "optimal", "ratios", "read_battery", "save_model", "tune", "write_battery",
]  # fmt: skip
