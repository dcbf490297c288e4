"""The Adversarial Robustness Toolbox and `mrt`: our attacks and trainers as ART's, under our names and under its own;
any ART attack as one of ours, an ART classifier as one of ours. What else `art.attacks.evasion` and
`art.defences.trainer` have is found here, too, so that a script has to change its import alone; `python -m mrt_art`
lists which name is whose."""

from __future__ import annotations

from typing import Any

import art.attacks.evasion
import art.defences.trainer

from mrt.hosts.one_import import OneImport
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

NAMES = OneImport(__name__, (art.attacks.evasion, art.defences.trainer))


def __getattr__(name: str) -> Any:  # type checkers know the host's names by it, too
    return NAMES.find(name)


def __dir__() -> list[str]:
    return NAMES.names()
