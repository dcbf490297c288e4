"""AutoAttack and `mrt`: AutoAttack, or parts of it, as one of our attacks, and its habit over a union of threats."""

from __future__ import annotations

from mrt_autoattack.incoming import AutoAttack, attack, resolve
from mrt_autoattack.union import Union

__all__ = ["AutoAttack", "Union", "attack", "resolve"]
