"""The balls that a kernel knows, and how a row is laid over a GPU's threads: a fixed table, nothing is tuned at run
time."""

# The order of `enum Kind` in rows.cpp.
LINF, L2, L2_EXACT, L1, L1_EXACT = range(5)
KINDS = {"linf": LINF, "l2": L2, "l2-exact": L2_EXACT, "l1": L1, "l1-exact": L1_EXACT}

ON_CHIP = 12288  # entries of the longest row that registers hold: 3 x 64 x 64
CHUNK = 2048  # entries that a longer row is read by
# (entries, warps) for rows up to that length, and 32 warps beyond: a thread then holds 12 to 16 entries at most.
WARPS = (1536, 4), (3072, 8), (8192, 16)


def layout(entries: int) -> tuple[int, int, int]:
    """(parts, entries of each, warps) for rows of so many entries: one block of a power of two, which Triton asks for,
    or three where that leaves fewer threads idle (an image of three channels)."""
    whole, third = _power_of_two(entries), _power_of_two(-(-entries // 3))  # the third is rounded up
    parts, each = (3, third) if 3 * third < whole else (1, whole)
    for most, warps in WARPS:
        if parts * each <= most:
            return parts, each, warps
    return parts, each, 32


def _power_of_two(least: int) -> int:
    """The least power of two that is at least `least`, and at least 16."""
    return max(16, 1 << (least - 1).bit_length())
