"""One step of every ball from one point, for rows that fit into a GPU's registers.

One program holds one example: it reads grad, x_adv and x once, and writes one candidate per ball. Its twin is
`mover(x)(x_adv, grad, size, keep)` of `mrt.threats`' Linf, L2 and L1, one after the other, where the formulas are
explained. A row is held as PARTS blocks of EACH entries, so that 3 x 32 x 32 needs no padding; the arrays below are
tuples of such blocks, (EACH,) each. What lies beyond the row's d entries is zero, and adds to no sum or count below.
"""

import triton
import triton.language as tl

from mrt.kernels.row_math import INWARDS, TINY, TINY_BITS, next_level, next_scale, signed, sums, without_blocked
from mrt.kernels.sizes import L1, L1_EXACT, L2, L2_EXACT, LINF

# A kernel may read a global only if it is a constexpr.
_LINF, _L2, _L2_EXACT = tl.constexpr(LINF), tl.constexpr(L2), tl.constexpr(L2_EXACT)
_L1, _L1_EXACT = tl.constexpr(L1), tl.constexpr(L1_EXACT)


@triton.jit
def _count(sizes, least, PARTS: tl.constexpr):
    """How many of the sizes are at least `least`."""
    count = (sizes[0] >= least).to(tl.int32)
    for p in tl.static_range(1, PARTS):
        count += (sizes[p] >= least).to(tl.int32)
    return tl.sum(count, axis=0)


@triton.jit
def _find_cut(sizes, k, PARTS: tl.constexpr):
    """A size that the k largest and their ties reach, and no other. Sizes and result are the bits of floats, which are
    ordered as the positive floats are."""
    # From the highest bit down: a bit stays set if k sizes still reach the number with it. Nothing is sorted or stored.
    cut = tl.zeros((), tl.int32)
    bit = tl.full((), 1 << 30, tl.int32)
    reaching = tl.zeros((), tl.int32)
    while (bit > 0) & (reaching != k):  # once exactly k reach it, it need not be the k-th largest itself
        candidate = cut | bit
        reaching = _count(sizes, candidate, PARTS)
        cut = tl.where(reaching >= k, candidate, cut)
        bit = bit >> 1
    return cut


@triton.jit
def _largest_and_norm(grad, PARTS: tl.constexpr):
    """The largest |grad|, and the norm of grad / largest (at least 1, also where grad is zero): grad is divided first
    since squares of 1e-30 are zero."""
    top = tl.abs(grad[0])
    for p in tl.static_range(1, PARTS):
        top = tl.maximum(top, tl.abs(grad[p]))
    largest = tl.maximum(tl.max(top, axis=0), TINY)
    square = (grad[0] / largest) * (grad[0] / largest)
    for p in tl.static_range(1, PARTS):
        square += (grad[p] / largest) * (grad[p] / largest)
    return largest, tl.maximum(tl.sqrt(tl.sum(square, axis=0)), 1.0)


@triton.jit
def _norm(sizes, PARTS: tl.constexpr):
    """The l2 norm of the whole row."""
    square = sizes[0] * sizes[0]
    for p in tl.static_range(1, PARTS):
        square += sizes[p] * sizes[p]
    return tl.sqrt(tl.sum(square, axis=0))


@triton.jit
def _split_signs(z, PARTS: tl.constexpr):
    """|z|, and the signs of all parts in one block of ints, a bit for each part: a third of the registers that z itself
    would take."""
    sizes = ()
    signs = tl.zeros_like(z[0]).to(tl.int32)
    for p in tl.static_range(PARTS):
        sizes = sizes + (tl.abs(z[p]),)
        signs |= (z[p] < 0).to(tl.int32) << p
    return sizes, signs


@triton.jit
def _room(x_ptr, signs, p: tl.constexpr, d, EACH: tl.constexpr):
    """How far the pixel box lets part p of x go in the direction of its signs."""
    # x is read again, from a cache, since registers are short: so none are spilled up to ON_CHIP entries. `volatile`
    # keeps the compiler from holding on to an earlier read.
    i = p * EACH + tl.arange(0, EACH)
    x = tl.load(x_ptr + i, mask=i < d, other=0.0, volatile=True)
    return tl.where((signs >> p) & 1 == 1, x, 1 - x)


@triton.jit
def _find_scale(sizes, signs, x_ptr, eps, d, PARTS: tl.constexpr, EACH: tl.constexpr):
    """The largest scale <= 1 with |min(scale sizes, room)|_2 <= eps."""
    # From below: without a box this scale would fit, and with one it fits all the more.
    scale = tl.minimum(eps / tl.maximum(_norm(sizes, PARTS), TINY), 1.0)
    before = scale - 1.0
    turn = 0
    while (scale < 1.0) & (scale > before) & (turn < 40):
        before = scale
        active = tl.zeros_like(sizes[0])
        clipped = tl.zeros_like(sizes[0])
        for p in tl.static_range(PARTS):
            room = _room(x_ptr, signs, p, d, EACH)
            free = scale * sizes[p] < room
            bounded = tl.where(free, sizes[p], room)
            active += tl.where(free, bounded * bounded, 0.0)
            clipped += tl.where(free, 0.0, bounded * bounded)
        active, clipped = sums(active, clipped)
        scale = next_scale(scale, active, clipped, eps)
        turn += 1
    return scale


@triton.jit
def _find_level(sizes, signs, x_ptr, eps, d, EXACT: tl.constexpr, PARTS: tl.constexpr, EACH: tl.constexpr):
    """The least level with sum min((sizes - level)+, room) <= eps; without EXACT there is room for all."""
    top = sizes[0]
    for p in tl.static_range(1, PARTS):
        top = tl.maximum(top, sizes[p])
    high = tl.max(top, axis=0)
    level, low = high * 0.0, high * 0.0
    done = high < 0  # never
    turn = 0
    while (turn < 40) & (done == 0):
        spent = tl.zeros_like(sizes[0])
        slope = tl.zeros_like(sizes[0])
        for p in tl.static_range(PARTS):
            above = tl.maximum(sizes[p] - level, 0.0)
            if EXACT:
                room = _room(x_ptr, signs, p, d, EACH)
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
def _load(pointer, d, PARTS: tl.constexpr, EACH: tl.constexpr):
    """A row in float32, zero beyond its d entries."""
    parts = ()
    for p in tl.static_range(PARTS):
        i = p * EACH + tl.arange(0, EACH)
        parts = parts + (tl.load(pointer + i, mask=i < d, other=0.0).to(tl.float32),)
    return parts


@triton.jit
def _store(out, x_ptr, shrunk, signs, d, PARTS: tl.constexpr, EACH: tl.constexpr):
    """Write x + delta, in [0, 1], where delta has the sizes `shrunk` and those signs: the projection on the box."""
    for p in tl.static_range(PARTS):
        i = p * EACH + tl.arange(0, EACH)
        x = tl.load(x_ptr + i, mask=i < d, other=0.0, cache_modifier=".cg")
        delta = tl.where((signs >> p) & 1 == 1, -shrunk[p], shrunk[p])
        tl.store(out + i, tl.minimum(tl.maximum(x + delta, 0.0), 1.0), mask=i < d)


@triton.jit
def _linf(out, grad, x_adv, x, eps, size, d, PARTS: tl.constexpr, EACH: tl.constexpr):
    """Write the step of Linf."""
    moved = ()
    for p in tl.static_range(PARTS):
        sign = tl.where(grad[p] > 0, 1.0, tl.where(grad[p] < 0, -1.0, 0.0))
        lowest, highest = tl.maximum(x[p] - eps, 0.0), tl.minimum(x[p] + eps, 1.0)
        moved = moved + (tl.minimum(tl.maximum(x_adv[p] + size * sign, lowest), highest),)
    for p in tl.static_range(PARTS):
        i = p * EACH + tl.arange(0, EACH)
        tl.store(out + i, moved[p], mask=i < d)


@triton.jit
def _l2(out, x_ptr, grad, delta, eps, size, d, EXACT: tl.constexpr, PARTS: tl.constexpr, EACH: tl.constexpr):
    """Write the step of L2, from the gradient that the box lets move, and delta = x_adv - x."""
    largest, norm = _largest_and_norm(grad, PARTS)
    z = ()
    for p in tl.static_range(PARTS):
        z = z + (grad[p] / largest * (size / norm) + delta[p],)
    sizes, signs = _split_signs(z, PARTS)
    if EXACT:
        scale = _find_scale(sizes, signs, x_ptr, eps, d, PARTS, EACH)
    else:
        scale = tl.minimum(eps / tl.maximum(_norm(sizes, PARTS), TINY), 1.0)
    shrunk = ()
    for p in tl.static_range(PARTS):
        shrunk = shrunk + (sizes[p] * scale,)
    _store(out, x_ptr, shrunk, signs, d, PARTS, EACH)


@triton.jit
def _l1(out, x_ptr, grad, delta, eps, size, keep, d, EXACT: tl.constexpr, PARTS: tl.constexpr, EACH: tl.constexpr):
    """Write the step of L1, from the gradient that the box lets move, and delta = x_adv - x."""
    bits = ()
    for p in tl.static_range(PARTS):
        bits = bits + (tl.abs(grad[p]).to(tl.int32, bitcast=True),)
    least = tl.maximum(_find_cut(bits, keep, PARTS), TINY_BITS)  # entries of zero are no ties
    length = size / tl.maximum(_count(bits, least, PARTS), 1).to(tl.float32)
    z = ()
    for p in tl.static_range(PARTS):
        z = z + (tl.where(bits[p] >= least, signed(length, grad[p]), 0.0) + delta[p],)
    sizes, signs = _split_signs(z, PARTS)
    level = _find_level(sizes, signs, x_ptr, eps, d, EXACT, PARTS, EACH)
    shrunk = ()
    for p in tl.static_range(PARTS):
        shrunk = shrunk + (tl.maximum(sizes[p] - level, 0.0),)
    # min(shrunk, room), on which the level has counted, is the cut with the box in `_store`.
    _store(out, x_ptr, shrunk, signs, d, PARTS, EACH)


@triton.jit(do_not_specialize=["rows"])
def step_rows(
    grad_ptr, x_adv_ptr, x_ptr, out_ptr, eps_ptr, size_ptr, keep_ptr, rows, d,
    KINDS: tl.constexpr, COUNT: tl.constexpr, PARTS: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """out[c, row] <- the step of ball KINDS[c], of radius eps[c, row] and length size[c, row], from x_adv[row]. An l1
    step moves keep[row] entries and their ties."""
    row = tl.program_id(0).to(tl.int64)  # row * d may exceed 32 bits
    x_adv = _load(x_adv_ptr + row * d, d, PARTS, EACH)
    x = _load(x_ptr + row * d, d, PARTS, EACH)
    grad = _load(grad_ptr + row * d, d, PARTS, EACH)
    free, delta = (), ()
    for p in tl.static_range(PARTS):
        free = free + (without_blocked(grad[p], x_adv[p]),)
        delta = delta + (x_adv[p] - x[p],)
    for c in tl.static_range(COUNT):
        at = c * rows + row
        eps, size, out = tl.load(eps_ptr + at), tl.load(size_ptr + at), out_ptr + at * d
        if KINDS[c] == _LINF:
            _linf(out, grad, x_adv, x, eps, size, d, PARTS, EACH)
        elif KINDS[c] == _L2:
            _l2(out, x_ptr + row * d, free, delta, eps, size, d, False, PARTS, EACH)
        elif KINDS[c] == _L2_EXACT:
            _l2(out, x_ptr + row * d, free, delta, eps, size, d, True, PARTS, EACH)
        elif KINDS[c] == _L1:
            keep = tl.load(keep_ptr + row).to(tl.int32)
            _l1(out, x_ptr + row * d, free, delta, eps, size, keep, d, False, PARTS, EACH)
        else:
            keep = tl.load(keep_ptr + row).to(tl.int32)
            _l1(out, x_ptr + row * d, free, delta, eps, size, keep, d, True, PARTS, EACH)
