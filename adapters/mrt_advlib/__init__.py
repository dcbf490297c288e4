"""adv-lib (the adversarial-library) and `mrt`: any of its attacks as one of ours."""

from __future__ import annotations

from mrt_advlib.incoming import AdvLibAttack, attack

__all__ = ["AdvLibAttack", "attack"]
