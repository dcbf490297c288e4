"""The balls that a kernel knows, and how a row is laid over a GPU's threads: a fixed table, nothing is tuned at run
time."""

LINF, L2, L2_EXACT, L1, L1_EXACT = range(5)
KINDS = {"linf": LINF, "l2": L2, "l2-exact": L2_EXACT, "l1": L1, "l1-exact": L1_EXACT}

ON_CHIP = 12288  # entries of the longest row that registers hold: 3 x 64 x 64
CHUNK = 2048  # entries that a longer row is read by


def layout(entries: int) -> tuple[int, int, int]:
    """(parts, entries of each, warps): one block of a power of two, or three where that leaves fewer idle."""
    whole, third = _power_of_two(entries), _power_of_two(-(-entries // 3))
    parts, each = (3, third) if 3 * third < whole else (1, whole)
    held = parts * each
    return parts, each, 4 if held <= 1536 else 8 if held <= 3072 else 16 if held <= 8192 else 32


def _power_of_two(least: int) -> int:
    return max(16, 1 << (least - 1).bit_length())
