"""The Adversarial Robustness Toolbox and `mrt`: our attacks and trainers as ART's, under our names and under its own;
any ART attack as one of ours, an ART classifier as one of ours."""

from __future__ import annotations

from typing import Any

from mrt_art.host_named import AutoProjectedGradientDescent, ProjectedGradientDescent
from mrt_art.host_trainers import AdversarialTrainerMadryPGD, AdversarialTrainerTRADESPyTorch
from mrt_art.incoming import ARTAttack, ARTSpatial, as_model, attack
from mrt_art.learned import L2LDA, PGN
from mrt_art.learned_trainers import (
    AdversarialTrainerL2LDAPyTorch,
    AdversarialTrainerMNGACPyTorch,
    AdversarialTrainerPGNPyTorch,
)
from mrt_art.motions import Affine, RotationTranslation
from mrt_art.one_ball import APGD, PGD, SLIDE
from mrt_art.trainers import (
    AdversarialTrainerAVGPyTorch,
    AdversarialTrainerEATPyTorch,
    AdversarialTrainerMAXPyTorch,
    AdversarialTrainerMSDPyTorch,
    AdversarialTrainerSATPyTorch,
)
from mrt_art.union import MSD

# ART has these under two names each, with and without "PyTorch", and scripts use either.
ProjectedGradientDescentPyTorch = ProjectedGradientDescent
AdversarialTrainerMSD = AdversarialTrainerMSDPyTorch
AdversarialTrainerMAX = AdversarialTrainerMAXPyTorch
AdversarialTrainerAVG = AdversarialTrainerAVGPyTorch
AdversarialTrainerSAT = AdversarialTrainerSATPyTorch
AdversarialTrainerEAT = AdversarialTrainerEATPyTorch
AdversarialTrainerMNGAC = AdversarialTrainerMNGACPyTorch
AdversarialTrainerPGN = AdversarialTrainerPGNPyTorch
AdversarialTrainerL2LDA = AdversarialTrainerL2LDAPyTorch

TRAINERS = {
    "MSD": AdversarialTrainerMSDPyTorch,
    "MAX": AdversarialTrainerMAXPyTorch,
    "AVG": AdversarialTrainerAVGPyTorch,
    "SAT": AdversarialTrainerSATPyTorch,
    "EAT": AdversarialTrainerEATPyTorch,
    "MNGAC": AdversarialTrainerMNGACPyTorch,
    "PGN": AdversarialTrainerPGNPyTorch,
    "L2LDA": AdversarialTrainerL2LDAPyTorch,
}
"""Our trainers by short names, by which they extend ART's list of defences."""

__all__ = [
    "APGD", "L2LDA", "MSD", "PGD", "PGN", "SLIDE", "TRAINERS", "ARTAttack", "ARTSpatial", "AdversarialTrainerAVG",
    "AdversarialTrainerAVGPyTorch", "AdversarialTrainerEAT", "AdversarialTrainerEATPyTorch", "AdversarialTrainerL2LDA",
    "AdversarialTrainerL2LDAPyTorch", "AdversarialTrainerMAX", "AdversarialTrainerMAXPyTorch",
    "AdversarialTrainerMNGAC", "AdversarialTrainerMNGACPyTorch", "AdversarialTrainerMSD",
    "AdversarialTrainerMSDPyTorch", "AdversarialTrainerMadryPGD", "AdversarialTrainerPGN",
    "AdversarialTrainerPGNPyTorch", "AdversarialTrainerSAT", "AdversarialTrainerSATPyTorch",
    "AdversarialTrainerTRADESPyTorch", "Affine", "AutoProjectedGradientDescent", "ProjectedGradientDescent",
    "ProjectedGradientDescentPyTorch", "RotationTranslation", "as_model", "attack",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Raise an AttributeError that says where names are found which this package does not have.

    A script that changes `art` to `mrt_art` in an import may use classes that only ART has.
    """
    raise AttributeError(f"{__name__} has no {name!r}; what is not here is still imported from ART itself")
