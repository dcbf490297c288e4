"""MSD's choice among the balls' proposals, in one launch: their losses, the largest, and the best point so far.

Twins: `Best` of `mrt.crafting.best` with `losses.ce`, and indexing by the winner.
"""

import triton
import triton.language as tl


@triton.jit
def _judge(logits, aim, classes, TARGETED: tl.constexpr, CLASSES: tl.constexpr):
    """The cross-entropy of the class `aim`, or minus that where it is the target, -inf where it is no number; and
    whether the goal is reached."""
    # CLASSES is `classes` rounded up to a power of two, as Triton wants a block; beyond `classes` logits are -inf.
    k = tl.arange(0, CLASSES)
    z = tl.load(logits + k, mask=k < classes, other=-float("inf")).to(tl.float32)
    unknown = tl.sum((z != z).to(tl.int32), axis=0) > 0  # NaN alone differs from itself
    largest = tl.max(z, axis=0)  # taken off before the exponential, which would overflow
    logit = tl.sum(tl.where(k == aim, z, 0.0), axis=0)
    loss = tl.log(tl.sum(tl.exp(z - largest), axis=0)) + largest - logit
    if TARGETED:
        loss = -loss
    loss = tl.where(unknown | (loss != loss), -float("inf"), loss)
    predicted = tl.min(tl.where(z == largest, k, CLASSES), axis=0)  # the first of the largest, as torch takes it
    reached = predicted == aim if TARGETED else predicted != aim
    return loss, reached & (unknown == 0)


@triton.jit(do_not_specialize=["rows"])
def pick_rows(
    points_ptr, logits_ptr, aim_ptr, out_ptr, loss_ptr, reached_ptr, winner_ptr,
    best_ptr, best_loss_ptr, best_reached_ptr, rows, d, classes,
    COUNT: tl.constexpr, TARGETED: tl.constexpr, REACHED_FIRST: tl.constexpr,
    CLASSES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Of points[:, row] the one of largest loss is written to out[row], with its loss, whether it reaches the goal, and
    its number; and to best[row], if it is better. Ties keep the earlier."""
    row = tl.program_id(0).to(tl.int64)  # row * d may exceed 32 bits
    aim = tl.load(aim_ptr + row)
    loss, reached = _judge(logits_ptr + row * classes, aim, classes, TARGETED, CLASSES)
    winner = row * 0  # proposal 0, as an int64 like those that may follow
    for c in tl.static_range(1, COUNT):
        other, fooled = _judge(logits_ptr + (c * rows + row) * classes, aim, classes, TARGETED, CLASSES)
        larger = other > loss
        winner = tl.where(larger, c, winner)
        reached = tl.where(larger, fooled, reached)
        loss = tl.where(larger, other, loss)
    old_loss = tl.load(best_loss_ptr + row)
    old_reached = tl.load(best_reached_ptr + row) != 0
    tl.debug_barrier()  # all have read what one of them is about to write
    better = loss > old_loss
    if REACHED_FIRST:  # the policy "broken"
        better = (reached & (old_reached == 0)) | ((reached == old_reached) & better)
    tl.store(winner_ptr + row, winner)
    tl.store(loss_ptr + row, loss)
    tl.store(reached_ptr + row, reached)
    tl.store(best_loss_ptr + row, tl.where(better, loss, old_loss))
    tl.store(best_reached_ptr + row, tl.where(better, reached, old_reached))
    chosen = points_ptr + (winner * rows + row) * d
    for first in range(0, d, CHUNK):
        at = first + tl.arange(0, CHUNK)
        value = tl.load(chosen + at, mask=at < d)
        tl.store(out_ptr + row * d + at, value, mask=at < d)
        if better:
            tl.store(best_ptr + row * d + at, value, mask=at < d)


@triton.jit
def gather_rows(a_ptr, b_ptr, c_ptr, winner_ptr, out_ptr, d, CHUNK: tl.constexpr):
    """Write to out[row] that row of a, b or c, whichever has won. The grid is rows x chunks."""
    # One read of the winner's row, with no more than a pointer for each of the others.
    row = tl.program_id(0).to(tl.int64)
    winner = tl.load(winner_ptr + row)
    at = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    ok = at < d
    if winner == 0:
        value = tl.load(a_ptr + row * d + at, mask=ok)
    elif winner == 1:
        value = tl.load(b_ptr + row * d + at, mask=ok)
    else:
        value = tl.load(c_ptr + row * d + at, mask=ok)
    tl.store(out_ptr + row * d + at, value, mask=ok)
