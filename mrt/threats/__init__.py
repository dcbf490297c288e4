"""What may change in an input, and by how much."""

from mrt.threats.affine import Affine
from mrt.threats.balls import L1, L2, Linf
from mrt.threats.l0 import L0
from mrt.threats.spatial import RotationTranslation
from mrt.threats.union import AnyOf

__all__ = ["L0", "L1", "L2", "Affine", "AnyOf", "Linf", "RotationTranslation"]
