"""The step of `rows.py` for rows that registers do not hold: the same arguments and results, chunk by chunk.

One program still holds one example, and reads it once per pass: four passes over digits of |grad| find the cut of an
l1 step, and a handful the level of its projection. A step that is still to be projected waits in `out`. In every pass
`at` are the places of a chunk's entries in the row and `ok` says which of them are inside it; what is read beyond is
zero, and adds to no sum, maximum or count.
"""

import triton
import triton.language as tl

from mrt.kernels.row_math import INWARDS, TINY, TINY_BITS, next_level, next_scale, signed, sums, without_blocked
from mrt.kernels.sizes import L1, L1_EXACT, L2, L2_EXACT, LINF

_LINF, _L2, _L2_EXACT = tl.constexpr(LINF), tl.constexpr(L2), tl.constexpr(L2_EXACT)
_L1, _L1_EXACT = tl.constexpr(L1), tl.constexpr(L1_EXACT)


@triton.jit
def _free(grad, x_adv, at, ok):
    """The gradient where the pixel box lets it move."""
    g = tl.load(grad + at, mask=ok, other=0.0).to(tl.float32)
    return without_blocked(g, tl.load(x_adv + at, mask=ok, other=0.0))


@triton.jit
def _room(z, x):
    """How far the pixel box lets x go in z's direction."""
    return tl.where(z > 0, 1 - x, x)


@triton.jit
def _digit(grad, x_adv, d, prefix, k, SHIFT: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr):
    """`prefix` (the bits above) with the next WIDTH bits of the k-th largest |grad| among those that begin with it, and
    how many of these k are left for the digits below."""
    # A histogram of the digit finds it in one pass; a search bit by bit, as in `rows.py`, would take WIDTH passes.
    bins: tl.constexpr = 1 << WIDTH
    histogram = tl.zeros((bins,), tl.int32)
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        bits = tl.abs(_free(grad, x_adv, at, at < d)).to(tl.int32, bitcast=True)
        here = (at < d) & ((bits >> (SHIFT + WIDTH)) == prefix)
        histogram += tl.histogram(tl.where(here, (bits >> SHIFT) & (bins - 1), 0), bins, mask=here)
    reach = tl.cumsum(histogram, axis=0, reverse=True)  # how many have this digit or a larger one
    digit = tl.sum((reach >= k).to(tl.int32), axis=0) - 1
    above = tl.sum(tl.where(tl.arange(0, bins) > digit, histogram, 0), axis=0)
    return (prefix << WIDTH) | digit, k - above


@triton.jit
def _linf(out, grad, x_adv, x, eps, size, d, CHUNK: tl.constexpr):
    """Write the step of Linf, projected: a clamp needs to know no other entry."""
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        ok = at < d
        g = tl.load(grad + at, mask=ok, other=0.0).to(tl.float32)
        here = tl.load(x + at, mask=ok, other=0.0)
        sign = tl.where(g > 0, 1.0, tl.where(g < 0, -1.0, 0.0))
        moved = tl.load(x_adv + at, mask=ok, other=0.0) + size * sign
        lowest, highest = tl.maximum(here - eps, 0.0), tl.minimum(here + eps, 1.0)
        tl.store(out + at, tl.minimum(tl.maximum(moved, lowest), highest), mask=ok)


@triton.jit
def _l2_step(out, grad, x_adv, x, size, d, CHUNK: tl.constexpr):
    """Write delta plus the l2 step, not yet projected, to out; the squared norm of that."""
    # Three passes: the largest entry, by which all are divided before they are squared; the norm; the step itself.
    largest = tl.zeros((), tl.float32)
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        largest = tl.maximum(largest, tl.max(tl.abs(_free(grad, x_adv, at, at < d)), axis=0))
    largest = tl.maximum(largest, TINY)
    square = tl.zeros((), tl.float32)
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        unit = _free(grad, x_adv, at, at < d) / largest
        square += tl.sum(unit * unit, axis=0)
    length = size / tl.maximum(tl.sqrt(square), 1.0)
    square = tl.zeros((), tl.float32)
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        ok = at < d
        delta = tl.load(x_adv + at, mask=ok, other=0.0) - tl.load(x + at, mask=ok, other=0.0)
        z = _free(grad, x_adv, at, ok) / largest * length + delta
        tl.store(out + at, z, mask=ok)
        square += tl.sum(z * z, axis=0)
    return square


@triton.jit
def _l1_step(out, grad, x_adv, x, size, keep, d, CHUNK: tl.constexpr):
    """Write delta plus the l1 step, not yet projected, to out; its largest |entry|."""
    # The 31 bits of |grad|, from the top: 8 + 8 + 8 + 7. Not 11 at a time: Triton 3.6 keeps a histogram in registers.
    cut, left = _digit(grad, x_adv, d, 0, keep, 23, 8, CHUNK)
    cut, left = _digit(grad, x_adv, d, cut, left, 15, 8, CHUNK)
    cut, left = _digit(grad, x_adv, d, cut, left, 7, 8, CHUNK)
    cut, left = _digit(grad, x_adv, d, cut, left, 0, 7, CHUNK)
    least = tl.maximum(cut, TINY_BITS)  # entries of zero are no ties
    count = tl.zeros((), tl.int32)
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        bits = tl.abs(_free(grad, x_adv, at, at < d)).to(tl.int32, bitcast=True)
        count += tl.sum((bits >= least).to(tl.int32), axis=0)
    length = size / tl.maximum(count, 1).to(tl.float32)
    highest = tl.zeros((), tl.float32)
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        ok = at < d
        g = _free(grad, x_adv, at, ok)
        chosen = tl.abs(g).to(tl.int32, bitcast=True) >= least
        delta = tl.load(x_adv + at, mask=ok, other=0.0) - tl.load(x + at, mask=ok, other=0.0)
        z = tl.where(chosen, signed(length, g), 0.0) + delta
        tl.store(out + at, z, mask=ok)
        highest = tl.maximum(highest, tl.max(tl.abs(z), axis=0))
    return highest


@triton.jit
def _find_scale(out, x, square, eps, d, EXACT: tl.constexpr, CHUNK: tl.constexpr):
    """The largest scale <= 1 with |scale z|_2 <= eps, for the z in out; with EXACT, with |min(scale |z|, room)|_2 <=
    eps, where room is what the pixel box leaves."""
    scale = tl.minimum(eps / tl.maximum(tl.sqrt(square), TINY), 1.0)
    if EXACT:
        before = scale - 1.0
        turn = 0
        while (scale < 1.0) & (scale > before) & (turn < 40):
            before = scale
            active = tl.zeros((CHUNK,), tl.float32)
            clipped = tl.zeros((CHUNK,), tl.float32)
            for first in range(0, d, CHUNK):
                at = first + tl.arange(0, CHUNK)
                z = tl.load(out + at, mask=at < d, other=0.0)
                room = _room(z, tl.load(x + at, mask=at < d, other=0.0))
                free = scale * tl.abs(z) < room
                active += tl.where(free, z * z, 0.0)
                clipped += tl.where(free, 0.0, room * room)
            active, clipped = sums(active, clipped)
            scale = next_scale(scale, active, clipped, eps)
            turn += 1
    return scale


@triton.jit
def _find_level(out, x, high, eps, d, EXACT: tl.constexpr, CHUNK: tl.constexpr):
    """The least level with sum min((|z| - level)+, room) <= eps, for the z in out; without EXACT there is room for all.
    `high` is the largest |z|."""
    level, low = high * 0.0, high * 0.0
    done = high < 0
    turn = 0
    while (turn < 40) & (done == 0):
        spent = tl.zeros((CHUNK,), tl.float32)
        slope = tl.zeros((CHUNK,), tl.float32)
        for first in range(0, d, CHUNK):
            at = first + tl.arange(0, CHUNK)
            z = tl.load(out + at, mask=at < d, other=0.0)
            above = tl.maximum(tl.abs(z) - level, 0.0)
            if EXACT:
                room = _room(z, tl.load(x + at, mask=at < d, other=0.0))
                spent += tl.minimum(above, room)
                slope += ((above > 0) & (above < room)).to(tl.float32)
            else:
                spent += above
                slope += (above > 0).to(tl.float32)
        spent, slope = sums(spent, slope)
        level, low, high, done = next_level(level, low, high, spent, slope, eps, turn)
        turn += 1
    return level * INWARDS


@triton.jit
def _finish(out, x, scale, level, d, CHUNK: tl.constexpr):
    """Overwrite the z in out by x + scale sign(z) (|z| - level)+, in [0, 1]."""
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        z = tl.load(out + at, mask=at < d, other=0.0)
        delta = signed(tl.maximum(tl.abs(z) - level, 0.0) * scale, z)
        moved = tl.load(x + at, mask=at < d, other=0.0) + delta
        tl.store(out + at, tl.minimum(tl.maximum(moved, 0.0), 1.0), mask=at < d)


@triton.jit
def _step_and_project(
    out, grad, x_adv, x, eps, size, keep, d, L2_NORM: tl.constexpr, EXACT: tl.constexpr, CHUNK: tl.constexpr
):
    """Write the step of L2 or of L1, projected: the first by a scale, the second by a level."""
    if L2_NORM:
        square = _l2_step(out, grad, x_adv, x, size, d, CHUNK)
        tl.debug_barrier()  # another thread may read what this one wrote
        scale = _find_scale(out, x, square, eps, d, EXACT, CHUNK)
        level = scale * 0.0
    else:
        high = _l1_step(out, grad, x_adv, x, size, keep, d, CHUNK)
        tl.debug_barrier()  # likewise
        level = _find_level(out, x, high, eps, d, EXACT, CHUNK)
        scale = level * 0.0 + 1.0
    _finish(out, x, scale, level, d, CHUNK)


@triton.jit(do_not_specialize=["rows"])
def step_long_rows(
    grad_ptr, x_adv_ptr, x_ptr, out_ptr, eps_ptr, size_ptr, keep_ptr, rows, d,
    KINDS: tl.constexpr, COUNT: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """out[c, row] <- the step of ball KINDS[c], as in `rows.step_rows`."""
    row = tl.program_id(0).to(tl.int64)  # row * d may exceed 32 bits
    grad, x_adv, x = grad_ptr + row * d, x_adv_ptr + row * d, x_ptr + row * d
    keep = tl.load(keep_ptr + row).to(tl.int32)
    for c in tl.static_range(COUNT):
        at = c * rows + row
        eps, size, out = tl.load(eps_ptr + at), tl.load(size_ptr + at), out_ptr + at * d
        if KINDS[c] == _LINF:
            _linf(out, grad, x_adv, x, eps, size, d, CHUNK)
        elif KINDS[c] == _L2:
            _step_and_project(out, grad, x_adv, x, eps, size, keep, d, True, False, CHUNK)
        elif KINDS[c] == _L2_EXACT:
            _step_and_project(out, grad, x_adv, x, eps, size, keep, d, True, True, CHUNK)
        elif KINDS[c] == _L1:
            _step_and_project(out, grad, x_adv, x, eps, size, keep, d, False, False, CHUNK)
        else:
            _step_and_project(out, grad, x_adv, x, eps, size, keep, d, False, True, CHUNK)
