"""Foolbox and `mrt`: our attacks as Foolbox's, under our names and under its own; any Foolbox attack as one of ours, a
Foolbox model as one of ours."""

from __future__ import annotations

from typing import Any

# This one comes first: it sets an environment variable without which `import foolbox` may fail.
from mrt_foolbox.incoming import FoolboxAttack, FoolboxSpatial, attack  # isort: skip
from mrt_foolbox.host_named import L1PGD, L2PGD, PGD, LinfPGD, SparseL1DescentAttack
from mrt_foolbox.learned import L2LDA, PGN
from mrt_foolbox.models import as_model
from mrt_foolbox.motions import Affine, RotationTranslation, SpatialAttack
from mrt_foolbox.one_ball import APGD, SLIDE
from mrt_foolbox.union import MSD, Union

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


def __getattr__(name: str) -> Any:
    """Raise an AttributeError that says where names are found which this package does not have.

    A script that changes `foolbox.attacks` to `mrt_foolbox` may use attacks that only Foolbox has.
    """
    raise AttributeError(f"{__name__} has no {name!r}; what is not here is still imported from foolbox.attacks")
