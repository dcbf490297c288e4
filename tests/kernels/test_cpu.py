"""mrt/kernels/cpu.py, rows.cpp, ops.py, mrt/threats/fused.py: The steps compiled for a CPU, and the operators that
lead to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import mrt
from mrt import kernels
from mrt.kernels import cpu
from mrt.threats import fused
from tests import apart
from tests.kernels.support import BALLS, Rows, compared, rows_of
from tests.support import Case, cases, points_that_return

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="there is no C++ compiler here")


def stepped(rows: Rows, kinds: list[str]) -> Tensor:
    """The operator's candidates (C, N, ...)."""
    eps, size = (torch.stack([values[kind] for kind in kinds]) for values in (rows.eps, rows.size))
    numbers = [kernels.KINDS[k] for k in kinds]
    out: Tensor = kernels.step_rows(rows.x_adv, rows.grad, rows.x, eps, size, rows.keep, numbers)
    return out


@pytest.mark.parametrize("start", BALLS)
@pytest.mark.parametrize("entries", [1, 49, 784, 3072, 12288, 20000])
def test_every_step_is_its_twins(entries: int, start: str) -> None:
    """Seven rows: dense, tied, zero, constant, sparse, tiny and huge gradients, each with radii and a count of its
    own."""
    rows = rows_of(entries, seed=entries, start=start)
    compared(rows, stepped(rows, list(BALLS)))


@given(case=cases(), ball=st.sampled_from(list(BALLS.values())), scale=st.sampled_from([0.01, 0.5, 3.0]))
def test_a_mover_is_its_plain_one(case: Case, ball: Any, scale: float) -> None:
    """From any point of the ball, by a size and a count of its own for each example."""
    ball, n = ball.scaled(scale), len(case.x)
    x_adv = ball.apply(case.x, ball.project(case.delta, case.x))
    keep, size = torch.arange(n) * 7 + 1, torch.linspace(0, 2 * scale, n)
    plain = ball.mover(case.x.double())(x_adv.double(), case.grad.double(), size.double(), keep)
    quick = fused.mover(ball, case.x, compiled=True)(x_adv, case.grad, size, keep)
    assert float((quick - plain).abs().max()) <= 1e-5
    assert ball.contains(case.x, quick).all()
    for one in (0.3 * scale, torch.tensor(0.3 * scale)):  # one size, and one entry, for all
        plain = ball.mover(case.x.double())(x_adv.double(), case.grad.double(), 0.3 * scale, None)
        quick = fused.mover(ball, case.x, compiled=True)(x_adv, case.grad, one, None)
        assert float((quick - plain).abs().max()) <= 1e-5


def test_entries_that_end_where_they_began_stay_in_the_ball() -> None:
    delta, radius = points_that_return(300, 784)
    x, ball = torch.zeros_like(delta), mrt.L1(1.0).scaled(radius)
    found = fused.mover(ball, x, compiled=True)(delta, torch.zeros_like(x), 0.0, None)
    assert (found.double().flatten(1).sum(1) <= radius * (1 + 2e-6)).all()


def test_a_mover_may_step_by_another_size_each_time() -> None:
    rows = rows_of(784, seed=0, start="l1")
    plain, quick = mrt.L2(1.0).mover(rows.x), fused.mover(mrt.L2(1.0), rows.x, compiled=True)
    for size in (0.1, 0.4, 0.1):
        want = plain(rows.x_adv, rows.grad, size, None)
        torch.testing.assert_close(quick(rows.x_adv, rows.grad, size, None), want, atol=1e-5, rtol=0)


def test_several_threads_find_what_one_does() -> None:
    rows = [rows_of(20000, seed=s, start="l1") for s in range(3)]
    plain = {name: torch.cat([getattr(r, name) for r in rows]) for name in ("x", "x_adv", "grad", "keep")}
    by_kind = {n: {k: torch.cat([getattr(r, n)[k] for r in rows]) for k in BALLS} for n in ("eps", "size")}
    many = Rows(**plain, **by_kind)  # type: ignore[arg-type]
    alone = stepped(many, list(BALLS))
    torch.set_num_threads(3)
    try:
        assert torch.equal(stepped(many, list(BALLS)), alone)
    finally:
        torch.set_num_threads(1)


def test_any_layout_gives_the_same_images_in_the_layout_of_x() -> None:
    g = torch.Generator().manual_seed(0)
    x, x_adv, grad = (torch.rand(5, 3, 6, 7, generator=g) for _ in range(3))
    propose = fused.proposer(tuple(BALLS.values()), x, compiled=True)
    last = x.contiguous(memory_format=torch.channels_last)
    across = fused.proposer(tuple(BALLS.values()), last, compiled=True)
    odd = fused.proposer(tuple(BALLS.values()), x.mT.contiguous().mT, compiled=True)
    assert propose is not None and across is not None and odd is not None
    sizes, keep = [0.1] * 5, torch.full((5,), 9)
    want = propose(x_adv, grad, sizes, keep)
    for make, layout in ((across, torch.channels_last), (odd, torch.contiguous_format)):
        for given_grad in (grad, grad.contiguous(memory_format=torch.channels_last), grad.mT.contiguous().mT):
            got = make(x_adv, given_grad, sizes, keep)
            torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
            assert got[1].is_contiguous(memory_format=layout)


def test_an_empty_batch_has_empty_steps() -> None:
    x = torch.empty(0, 3, 8, 8)
    assert fused.mover(mrt.L1(1.0), x, compiled=True)(x, x, 0.1, None).shape == x.shape


def test_other_images_keep_to_plain_torch() -> None:
    """float64, a ball of the user's own, and whoever does not ask."""
    x = torch.rand(2, 3, 4, 4)

    class Own(mrt.L2):
        kernel = "own"

    assert fused.proposer((mrt.L2(1.0),), x.double(), compiled=True) is None
    assert fused.proposer((Own(1.0),), x, compiled=True) is None
    assert fused.proposer((mrt.L2(1.0),), x) is None
    assert fused.proposer((mrt.Linf(1.0),), x, compiled=True) is None, "three passes of torch's are as fast"
    assert fused.proposer((mrt.L2(1.0),), x, compiled=True) is not None


def test_the_operators_are_torchs_own() -> None:
    """Their schemas, fake implementations and mutations hold; torch.compile takes a step whole."""
    rows = rows_of(49, seed=0, start="l1")
    eps = torch.stack([rows.eps[k] for k in BALLS])
    call = (rows.x_adv, rows.grad, rows.x, eps, eps, rows.keep, [kernels.KINDS[k] for k in BALLS])
    torch.library.opcheck(torch.ops.mrt.step_rows.default, call)
    step = torch.compile(lambda *given: torch.ops.mrt.step_rows(*given).sum(0), backend="aot_eager", fullgraph=True)
    assert torch.equal(step(*call), torch.ops.mrt.step_rows(*call).sum(0))


def test_what_runs_on_a_gpu_alone_has_a_shape_without_one() -> None:
    with FakeTensorMode():
        points, logits = torch.empty(3, 5, 2, 4, 4), torch.empty(3, 5, 7)
        aim, loss, reached = torch.empty(5).long(), torch.empty(5), torch.empty(5).bool()
        got = torch.ops.mrt.pick_rows(points, logits, aim, points[0], loss, reached, False, True)
        assert [(t.shape, t.dtype) for t in got] == [
            ((5, 2, 4, 4), torch.float32), ((5,), torch.float32), ((5,), torch.bool), ((5,), torch.int64),
        ]  # fmt: skip
        half = points[0].bfloat16()
        gathered = torch.ops.mrt.gather_rows([half, half], aim)
        assert gathered.shape == half.shape and gathered.dtype == torch.bfloat16
    with pytest.raises(NotImplementedError, match="CPU"):
        torch.ops.mrt.gather_rows([torch.rand(2, 3)], torch.zeros(2).long())


def alone_in(**variables: str) -> str:
    """The first line of a program that has these environment variables and no others."""
    return f"import os; os.environ.clear(); os.environ.update({variables!r})\n"


def test_without_a_compiler_it_says_so_and_goes_on(tmp_path: Path) -> None:
    code = """if True:
        import warnings, torch, mrt
        x, y = torch.rand(3, 1, 8, 8), torch.arange(3)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            quick = [mrt.SLIDE(mrt.L1(2.0), fast=mrt.Fast(compile=True))(net, x, y) for _ in range(2)]
        assert torch.equal(quick[0], mrt.SLIDE(mrt.L1(2.0))(net, x, y))
        print(*(str(w.message) for w in said if w.category is RuntimeWarning), sep="|")"""
    for compiler, why in (("/no/such/compiler", "No such file"), ("false", "returned non-zero|compiled: ")):
        done = apart.Program(alone_in(PATH="/usr/bin:/bin", CXX=compiler, HOME=str(tmp_path)) + code)
        assert done.wait() == 0, done.errors
        assert done.output.count("attack steps on the CPU run uncompiled") == 1, done.output
        assert any(part in done.output for part in why.split("|")), done.output


def test_it_is_compiled_once(tmp_path: Path) -> None:
    """The library is kept in the user's cache; another source or another processor makes another one."""
    code = alone_in(PATH="/usr/bin:/bin", XDG_CACHE_HOME=str(tmp_path))
    code += "from mrt.kernels import cpu; assert cpu.library() is not None"
    times = []
    for _ in range(2):
        done = apart.Program(code)
        assert done.wait() == 0, done.errors
        made, checksum = sorted((tmp_path / "mrt-robust").iterdir())
        assert made.suffix == ".so" and checksum.name == f"{made.name}.sha256"
        times.append(made.stat().st_mtime_ns)
    assert times[0] == times[1]
    made.unlink()  # not written into: whoever has it loaded would see it change
    made.write_bytes(b"cut off")
    done = apart.Program("import warnings; warnings.simplefilter('error')\n" + code)
    assert done.wait() == 0, done.errors
