"""The Adversarial Robustness Toolbox and `mrt`: any ART attack as one of ours, an ART classifier as one of ours."""

from __future__ import annotations

from mrt_art.incoming import ARTAttack, ARTSpatial, as_model, attack

__all__ = ["ARTAttack", "ARTSpatial", "as_model", "attack"]
