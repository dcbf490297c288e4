"""`python -m mrt_foolbox`: which name is ours, and which the host's own."""

from __future__ import annotations

from mrt_foolbox import NAMES

if __name__ == "__main__":
    print(NAMES.table())
