"""The arithmetic that `rows.py` and `long_rows.py` share: signs, what the pixel box bars, and a turn of each search."""

import triton
import triton.language as tl

# The least normal float32, as bits and as a number: no gradient below it is followed, and no division by less.
TINY_BITS = tl.constexpr(1 << 23)
TINY = tl.constexpr(2.0**-126)
INWARDS = tl.constexpr(1 + 2.0**-23)  # so that the rounding left over errs to the inside


@triton.jit
def sums(a, b):
    """The sums of both blocks, in one exchange between the threads that hold them."""
    return tl.split(tl.sum(tl.join(a, b), axis=0))


@triton.jit
def without_blocked(grad, x_adv):
    """grad, but zero where the pixel already stands on the bound it is pushed against."""
    return tl.where(((grad > 0) & (x_adv >= 1)) | ((grad < 0) & (x_adv <= 0)), 0.0, grad)


@triton.jit
def signed(size, like):
    """size, which is not negative, with the sign of `like`; positive where that is zero."""
    return tl.where(like < 0, -size, size)


@triton.jit
def next_level(level, low, high, spent, slope, eps, turn):
    """One turn of the search for the least level >= 0 with sum min((|z| - level)+, room) <= eps: the next level, the
    bracket (low, high) about the answer, and whether it is done. A Newton step is exact on its piece of the sum;
    bisection takes over where it leaves the bracket. `spent` is the sum at this level, `slope` the number of entries
    that still shrink with it."""
    # Line for line `_search_level` of `mrt.threats.projections`, which explains it: the answers are the same.
    excess = spent - eps
    within = (excess <= 0) & (level == 0)
    low = tl.where(excess > 0, level, low)
    high = tl.where(excess > 0, high, level)
    newton = level + excess / tl.maximum(slope, 1.0)
    settled = tl.abs(excess) <= 4e-7 * spent
    newton = tl.where(settled, tl.maximum(newton, level), newton)
    useful = settled | ((slope > 0) & (newton > low) & (newton < high) & (turn < 20))
    closed = (high - low <= 1e-7 * high) & (settled == 0)
    step = tl.where(useful, newton, (low + high) * 0.5)
    level = tl.where(within, level, tl.where(closed, high, step))
    return level, low, high, within | settled | closed


@triton.jit
def next_scale(scale, active, clipped, eps):
    """One turn of the search for the largest scale <= 1 with sum min(scale |z|, room)^2 <= eps^2: exact if no further
    entry meets its bound, too small otherwise. `active`: sum |z|^2 below the bounds; `clipped`: sum room^2 of the
    others."""
    # Below the answer the scale can only grow towards it, which is why the callers may stop once it does not.
    exact = tl.sqrt(tl.maximum(eps * eps - clipped, 0.0) / tl.maximum(active, TINY))
    return tl.minimum(tl.where(active > 0, tl.maximum(exact, scale), 1.0), 1.0)
