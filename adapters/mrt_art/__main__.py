"""`python -m mrt_art`: which name is ours, and which the host's own."""

from __future__ import annotations

from mrt_art import NAMES

if __name__ == "__main__":
    print(NAMES.table())
