"""Foolbox and `mrt`: our attacks as Foolbox's, under our names and under its own; any Foolbox attack as one of ours, a
Foolbox model as one of ours. What else `foolbox.attacks` and `foolbox` have is found here, too, so that a script has to
change its import alone; `python -m mrt_foolbox` lists which name is whose."""

from __future__ import annotations

from typing import Any

# This one comes first: it sets an environment variable without which `import foolbox` may fail.
from mrt_foolbox.incoming import FoolboxAttack, FoolboxSpatial, attack  # isort: skip
import foolbox

from mrt.hosts.one_import import OneImport
from mrt_foolbox.host_named import L1PGD, L2PGD, PGD, LinfPGD, SparseL1DescentAttack
from mrt_foolbox.learned import L2LDA, PGN
from mrt_foolbox.motions import Affine, RotationTranslation, SpatialAttack
from mrt_foolbox.one_ball import APGD, SLIDE
from mrt_foolbox.union import MSD, Union
from mrt_foolbox.wrapped_models import as_model

# Foolbox has each of these attacks under two names; a script that uses the long ones has to find them here as well.
L1ProjectedGradientDescentAttack = L1PGD
L2ProjectedGradientDescentAttack = L2PGD
LinfProjectedGradientDescentAttack = LinfPGD

__all__ = [
    "APGD", "L1PGD", "L2LDA", "L2PGD", "MSD", "PGD", "PGN", "SLIDE", "Affine", "FoolboxAttack", "FoolboxSpatial",
    "L1ProjectedGradientDescentAttack", "L2ProjectedGradientDescentAttack", "LinfPGD",
    "LinfProjectedGradientDescentAttack", "RotationTranslation", "SparseL1DescentAttack", "SpatialAttack", "Union",
    "as_model", "attack",
]  # fmt: skip

NAMES = OneImport(__name__, (foolbox.attacks, foolbox))


# Now, and not when somebody asks for it by name: until then `mrt_foolbox.attacks` would be Foolbox's own module.
from mrt_foolbox import attacks  # noqa: E402, F401


def __getattr__(name: str) -> Any:  # type checkers know the host's names by it, too
    return NAMES.find(name)


def __dir__() -> list[str]:
    return NAMES.names()
