"""`python -m mrt_art`: which name is ours, and which the host's own."""

from __future__ import annotations

from mrt_art import NAMES

print(NAMES.table())
