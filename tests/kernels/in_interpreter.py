"""The Triton kernels in Triton's interpreter, on a CPU, beside their float64 twins. A process of its own:

    TRITON_INTERPRET=1 python -m pytest tests/kernels/in_interpreter.py

The interpreter checks arithmetic and masks. It does not see races, nor limits of a GPU: `benchmarks.gpu_check` does.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from triton.runtime import interpreter

import mrt
from mrt.crafting.best import Best
from mrt.crafting.losses import LOSSES, Goal
from mrt.kernels import KINDS, ops, sizes
from mrt.kernels.row_math import next_level
from tests.kernels.support import BALLS, Rows, compared, rows_of

assert os.environ.get("TRITON_INTERPRET") == "1", "see the docstring"


def _as_numbers() -> None:
    """Let a loop's bounds be read from arrays of one entry, as Triton 3.6 does by int(), which numpy 2.5 refuses."""
    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))
        scope.set_attr(tensor, "__bool__", lambda self: self.handle.data.size != 1 or bool(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


_as_numbers()


def stepped(rows: Rows, kinds: list[str]) -> Tensor:
    """The kernel's candidates (C, N, d)."""
    out = torch.full((len(kinds), *rows.x.shape), torch.nan)
    eps, size = (torch.stack([values[kind] for kind in kinds]) for values in (rows.eps, rows.size))
    ops.launch_step(rows.grad, rows.x_adv, rows.x, out, eps, size, rows.keep, [KINDS[k] for k in kinds])
    return out


@triton.jit  # type: ignore[untyped-decorator]
def one_turn(out: Any, level: Any, low: Any, high: Any, spent: Any, slope: Any, eps: Any) -> None:
    level, low, high, done = next_level(level, low, high, spent, slope, eps, 1)
    tl.store(out, level)
    tl.store(out + 1, done.to(tl.float32))


@pytest.mark.parametrize(("spent", "ends"), [(2.0 - 4.8e-7, 3e-6), (2.0, 3e-6), (2.0 + 4.8e-7, 3e-6 + 4.8e-7 / 3)])
def test_the_last_turn_leads_inwards_alone(spent: float, ends: float) -> None:
    """Outwards, across the ends of many entries, the sum rises faster than the few say that are left to shrink. (The
    interpreter's own sums are too rough to see it in a whole step.)"""
    out = torch.zeros(2)
    one_turn[(1,)](out, 3e-6, 2e-6, 1.0, spent, 3.0, 2.0)
    torch.testing.assert_close(out, torch.tensor([ends, 1.0]), rtol=1e-5, atol=0)


ALL = tuple(range(7))


@pytest.mark.parametrize(
    ("entries", "start", "only"),
    [
        *((49, start, ALL) for start in ("l1-exact", "linf")),
        *((d, "l1-exact", (0, 4)) for d in (784, 3072, 12288)),
        (3072, "linf", (0, 1)),
        (12500, "l1-exact", (0, 1, 4, 6)),
    ],
)
def test_every_step_is_its_twins(entries: int, start: str, only: tuple[int, ...]) -> None:
    """Of seven rows: dense, tied, zero, constant, sparse, tiny and huge gradients, each with radii and a count of its
    own. Of long ones, a second each in the interpreter, a few; `benchmarks.gpu_check` has them all."""
    rows = rows_of(entries, seed=entries, start=start, only=only)
    compared(rows, stepped(rows, list(BALLS)))


@pytest.mark.parametrize("entries", [49, 12289])
def test_a_step_alone_is_the_step_among_others(entries: int) -> None:
    rows = rows_of(entries, seed=3, start="l1-exact", only=(0,))
    for kind, among_others in zip(BALLS, stepped(rows, list(BALLS)), strict=True):
        assert torch.equal(stepped(rows, [kind])[0], among_others), kind


def test_a_ball_may_come_twice_and_in_any_order() -> None:
    rows = rows_of(49, seed=5, start="linf", only=(0, 1))
    again = stepped(rows, ["l1", "linf", "l1", "l2"])
    once = dict(zip(BALLS, stepped(rows, list(BALLS)), strict=True))
    for got, kind in zip(again, ("l1", "linf", "l1", "l2"), strict=True):
        assert torch.equal(got, once[kind])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), entries=st.integers(1, 100), start=st.sampled_from(list(BALLS)))
def test_short_rows_of_any_length(seed: int, entries: int, start: str) -> None:
    rows = rows_of(entries, seed=seed, start=start, only=(seed % 7,))
    compared(rows, stepped(rows, list(BALLS)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # numpy's, at answers that are no numbers
@pytest.mark.filterwarnings("ignore::RuntimeWarning:numpy")
@pytest.mark.parametrize("policy", ["loss", "broken"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_pick_is_the_loops(policy: str, targeted: bool, classes: int) -> None:
    """Of random, tied and undefined answers, against what `Best` keeps."""
    g = torch.Generator().manual_seed(classes)
    n, d = 9, 33
    points, logits = torch.rand(3, n, d, generator=g), torch.randn(3, n, classes, generator=g) * 3
    logits[:, 0] = logits[0, 0]  # a tie of all three: the first wins
    logits[1, 1, 1], logits[2, 2] = torch.nan, torch.inf
    logits[:, 3] = torch.nan
    logits[:, 4] = 0.0  # a tie of all classes
    y, target = torch.arange(n) % classes, (torch.arange(n) + 1) % classes
    goal = Goal(LOSSES["ce"], y, target if targeted else None)
    mine, twin = Best(policy).start_at(points[0]), Best(policy).start_at(points[0])  # type: ignore[arg-type]
    for best in (mine, twin):
        best.state = best.point, torch.linspace(-3, 3, n), torch.arange(n) % 2 == 0
    x_adv, winner = twin.pick(list(points), list(logits), goal)
    aim = target if targeted else y
    got = ops.launch_pick(points, logits, aim, *mine.state, targeted, policy == "broken")
    assert torch.equal(got[0], x_adv) and torch.equal(got[3], winner)
    picked = logits[winner, torch.arange(n)]
    torch.testing.assert_close(got[1], goal(picked).nan_to_num(nan=-torch.inf), atol=1e-5, rtol=1e-5)
    assert torch.equal(got[2], goal.reached(picked))
    assert torch.equal(mine.point, twin.point) and torch.equal(mine.broken, twin.broken)
    torch.testing.assert_close(mine.loss, twin.loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.bool, torch.int64])
@pytest.mark.parametrize("count", [2, 3])
def test_rows_of_the_winners(kind: torch.dtype, count: int) -> None:
    parts = [(torch.rand(5, 3, 7, 11) * 9).to(kind).contiguous(memory_format=torch.channels_last) for _ in range(count)]
    winner = torch.arange(5) % count
    got = ops.launch_gather(parts, winner)
    assert torch.equal(got, torch.stack(parts)[winner, torch.arange(5)]) and got.stride() == parts[0].stride()


def test_the_table_of_sizes_covers_every_row() -> None:
    for entries in range(1, sizes.ON_CHIP + 1):
        parts, each, warps = sizes.layout(entries)
        assert parts * each >= entries and each & (each - 1) == 0 and warps in (4, 8, 16, 32)
        assert parts * each == 16 or parts * each < 2 * entries + 32 * parts
    assert sizes.layout(3072)[:2] == (3, 1024) and sizes.layout(12288)[:2] == (3, 4096), "no padding"


def test_the_twins_are_the_threats() -> None:
    assert {k: type(b) for k, b in BALLS.items()} == {
        "linf": mrt.Linf, "l2": mrt.L2, "l2-exact": mrt.L2, "l1": mrt.L1, "l1-exact": mrt.L1,
    } == {b.kernel: type(b) for b in BALLS.values()}  # fmt: skip
    assert set(BALLS) == set(KINDS)
