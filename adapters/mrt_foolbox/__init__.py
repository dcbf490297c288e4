"""Foolbox and `mrt`: any Foolbox attack as one of ours, a Foolbox model as one of ours."""

from __future__ import annotations

from mrt_foolbox.incoming import FoolboxAttack, FoolboxSpatial, as_model, attack

__all__ = ["FoolboxAttack", "FoolboxSpatial", "as_model", "attack"]
