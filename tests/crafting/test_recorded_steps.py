"""mrt/crafting/recorded_steps.py, task.py: Fast(...) changes how an attack runs and not what it finds.

There is no CUDA graph without a GPU. What stands in for one is a trace of the step in torch's operators: like
a graph it holds the addresses of the tensors that it met, and as a constant whatever else Python computed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import mrt
from mrt import kernels
from mrt.crafting import cuda_graphs as recording
from mrt.crafting import gradient as gradients
from mrt.crafting import model_copy as twins
from mrt.crafting import recorded_steps
from mrt.crafting.best import Best
from mrt.crafting.checked_model import CheckedModel
from mrt.crafting.losses import LOSSES, Goal
from mrt.crafting.task import Task
from mrt.kernels import cpu
from mrt.threats import fused
from tests.crafting.support import Net, batch, fast, same
from tests.support import UNION

LINF, L2, L1 = UNION
COMPILER = pytest.mark.skipif(cpu.library() is None, reason="there is no C++ compiler here")


ATTACKS: tuple[Any, ...] = (
    mrt.PGD(LINF, steps=5),
    mrt.PGD(L2, steps=5, best="last", loss="margin"),
    mrt.PGD(mrt.L2(0.7, projection="exact"), steps=4, best="loss", restarts=2),
    mrt.SLIDE(L1, steps=5, keep=(0.8, 0.99)),
    mrt.SLIDE(mrt.L1(2.0, projection="clip"), steps=5, restarts=2),
    mrt.MSD(UNION, steps=5),
    mrt.MSD((L2, LINF, mrt.L2(0.3)), steps=4, best="broken", loss="dlr", restarts=2),
    mrt.MSD((L1, LINF), steps=1),
    mrt.MIM(LINF, steps=4),
    mrt.APGD(L1, steps=8),
    mrt.APGD(L2, steps=8, loss="dlr"),
    mrt.AffineAttack(mrt.Affine((LINF, L1)), steps=3, restarts=1, ends=False),
)
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: repr(a)[:60])


class Traces:
    """How often a step was recorded and replayed."""

    made = 0
    replayed = 0


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """A CPU that takes itself for a GPU: it looks at no values, and records steps."""
    if cpu.library() is None:
        pytest.skip("there is no C++ compiler here")
    traces = Traces()

    def capture(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
        for _ in range(3):
            body()
        traces.made += 1
        trace = make_fx(lambda: body())()

        def replay() -> None:
            traces.replayed += 1
            trace()

        return replay

    monkeypatch.setattr("mrt.crafting.cuda_graphs.capture", capture)
    monkeypatch.setattr(recorded_steps, "can_capture", lambda x: kernels.takes(x, True))
    looking = ("threats.fused", "threats.projections", "threats.balls", "crafting.best", "crafting.gradient")
    for module in (*looking, "crafting.winner_gradient", "attacks.msd"):
        monkeypatch.setattr(f"mrt.{module}.no_sync", lambda tensor: True)
    return traces


@COMPILER
@pytest.mark.parametrize("ball", UNION, ids=str)
def test_a_fused_step_takes_another_length_each_time(ball: Any) -> None:
    (x, _), grad = batch(4), torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    move, plain = fused.mover(ball, x, True), ball.mover(x)
    for size in (0.05, 0.4, 0.05):
        torch.testing.assert_close(move(x, grad.clone(), size, None), plain(x, grad.clone(), size, None))


@COMPILER
@every_attack
def test_compiled_steps_find_the_same(attack: Any) -> None:
    x, y = batch(9)
    same(fast(attack, compile=True)(Net(), x, y, rng=torch.arange(9)), attack(Net(), x, y, rng=torch.arange(9)), x)


@every_attack
def test_without_a_gpu_a_graph_is_no_other_path(attack: Any) -> None:
    x, y = batch()
    seeds = torch.arange(6)
    assert torch.equal(fast(attack, graph=True)(Net(), x, y, rng=seeds), attack(Net(), x, y, rng=seeds))


@pytest.mark.parametrize(
    ("attack", "how"),
    [*((a, {}) for a in ATTACKS), *((a, {"reuse": True}) for a in ATTACKS if isinstance(a, mrt.MSD))],  # MSD's alone
    ids=lambda value: repr(value)[:60],
)
def test_replayed_steps_find_the_same(attack: Any, how: dict[str, bool], graphs: Traces) -> None:
    """Over batches one after another, targets, and weights that change in between."""
    net = Net()
    for turn in range(3):
        x, y = batch(6, seed=turn)
        target = (y + 1) % 5 if turn == 2 else None
        expected = fast(attack, compile=True)(copy.deepcopy(net), x, y, rng=torch.arange(6) + turn, target=target)
        found = fast(attack, compile=True, graph=True, **how)(net, x, y, rng=torch.arange(6) + turn, target=target)
        same(found, expected, x, 0.97)
        with torch.no_grad():
            for weight in net.parameters():
                weight.mul_(1.2)
    recorded = isinstance(attack, (mrt.PGD, mrt.SLIDE, mrt.MSD, mrt.APGD)) and attack.steps > 1
    assert (graphs.made > 0) == recorded
    assert graphs.made <= 2 * attack.restarts if recorded else graphs.replayed == 0
    if recorded and attack.restarts == 1:
        # MSD's last step needs no gradient, and APGD's first with momentum has no step before it.
        alone = isinstance(attack, mrt.MSD) or isinstance(attack, mrt.APGD) and attack.threat != L1
        per_call = attack.steps - alone
        assert graphs.made == 2 and graphs.replayed == 3 * per_call, "the two kinds of goal, each recorded once"


@pytest.mark.parametrize("attack", [mrt.PGD(LINF, steps=3), mrt.SLIDE(L1, steps=3)], ids=["PGD", "SLIDE"])
def test_smaller_batches_fill_a_recording_up(attack: Any, graphs: Traces) -> None:
    net = Net()
    quick = fast(attack, graph=True, compile=True)
    for n, made in ((6, 1), (7, 2), (8, 2), (5, 2), (4, 3), (3, 3), (9, 4), (8, 4), (1, 5)):  # up to 8, 4, 16 and 1
        x, y = batch(n, seed=n)
        replayed = graphs.replayed
        same(quick(net, x, y, rng=torch.arange(n)), attack(net, x, y, rng=torch.arange(n)), x)
        assert graphs.made == made and graphs.replayed > replayed


def test_a_filled_up_batch_leaves_its_statistics_alone(graphs: Traces) -> None:
    """With BatchNorm over the batch, only a batch of a recording's own size replays it."""
    attack, net = mrt.PGD(L2, steps=3, bn="batch"), Net()
    for n, made in ((6, 1), (5, 2), (6, 2)):
        x, y = batch(n, seed=n)
        same(fast(attack, graph=True, compile=True)(net, x, y), attack(net, x, y), x)
        assert graphs.made == made


CHANGES: tuple[tuple[Any, Any], ...] = (
    (mrt.PGD(L2, steps=5, step_size=1.0), mrt.SLIDE(L1, steps=5, step_size=1.0)),  # without and with counts of entries
    (mrt.PGD(LINF, steps=5, step_size=0.1), mrt.PGD(mrt.Linf(0.3), steps=5, step_size=0.1)),
    (mrt.PGD(LINF, steps=5), mrt.PGD(LINF, steps=5, loss="margin")),
    (mrt.PGD(L2, steps=5, best="last"), mrt.PGD(L2, steps=5, best="loss")),
    (mrt.PGD(L2, steps=5, best="loss"), mrt.PGD(L2, steps=5, best="broken")),
    (mrt.PGD(L2, steps=5, step_size=0.1), mrt.PGD(L2, steps=5, step_size=0.5)),
    (mrt.MSD(UNION, steps=5, step_size=(0.1, 0.2, 0.3)), mrt.MSD(UNION, steps=5, step_size=(0.01, 0.9, 0.3))),
    (mrt.MSD(UNION, steps=5, best="loss"), mrt.MSD(UNION, steps=5, best="broken")),
    (mrt.MSD(UNION, steps=4), mrt.MSD(UNION[::-1], steps=4)),
)


@pytest.mark.parametrize(("one", "other"), CHANGES, ids=lambda a: repr(a)[:40])
def test_another_attack_is_another_recording(one: Any, other: Any, graphs: Traces) -> None:
    net, (x, y) = Net(), batch(8)
    for attack in (one, other, one):
        found = fast(attack, graph=True, compile=True)(net, x, y, rng=torch.arange(8))
        same(found, attack(net, x, y, rng=torch.arange(8)), x)
    assert graphs.made == 2


def test_another_layout_is_another_recording(graphs: Traces) -> None:
    attack, net, (x, y) = mrt.MSD(UNION, steps=3), Net(), batch(8)
    for layout in (x, x.contiguous(memory_format=torch.channels_last), x.mT.contiguous().mT):
        found = fast(attack, graph=True, compile=True)(net, layout, y, rng=torch.arange(8))
        same(found, attack(net, x, y, rng=torch.arange(8)), x)
    assert graphs.made == 2, "rows of an odd order are put into the plain one"


def test_results_do_not_change_with_the_next_replay(graphs: Traces) -> None:
    attacks = mrt.PGD(L2, steps=3, best="last"), mrt.MSD(UNION, steps=3), mrt.APGD(L1, steps=12)
    net, quick = Net(), [fast(attack, graph=True, compile=True) for attack in attacks]
    for attack in quick:
        first = attack(net, *batch(6, seed=0))
        kept = first.clone()
        attack(net, *batch(6, seed=1))
        assert torch.equal(first, kept)


def test_labels_are_checked_before_a_replay(graphs: Traces) -> None:
    attack, net, (x, y) = fast(mrt.PGD(L2, steps=3, best="last"), graph=True, compile=True), Net(), batch(6)
    attack(net, x, y)
    with pytest.raises(ValueError, match="class numbers from 0 to 4.*got 5"):
        attack(net, x, torch.full_like(y, 5))


def refuse(monkeypatch: pytest.MonkeyPatch, graphs: Traces, error: RuntimeError) -> None:
    """From now on nothing can be recorded, and why."""

    def refuses(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
        graphs.made += 1
        raise error

    monkeypatch.setattr("mrt.crafting.cuda_graphs.capture", refuses)


def test_a_step_that_cannot_be_recorded_runs_as_it_is(graphs: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once, and said once for each model, on the line of whoever called the attack."""
    refuse(monkeypatch, graphs, RuntimeError("operation not permitted when stream is capturing"))
    attack, (x, y) = mrt.PGD(L2, steps=3), batch(6)
    quick = fast(attack, graph=True, compile=True)
    for count in (1, 2):
        net = Net()
        with pytest.warns(UserWarning, match="cannot be recorded.*not permitted") as said:
            same(quick(net, x, y), attack(net, x, y), x)
        assert [Path(w.filename).name for w in said] == [Path(__file__).name]
        same(quick(net, x, y), attack(net, x, y), x)
        assert graphs.made == 2 * count - 1 and recorded_steps.recordings_of(net) == 0
        fast(mrt.PGD(LINF, steps=3), graph=True, compile=True)(net, x, y)  # refused in silence
        assert graphs.made == 2 * count


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), recording.NoStream("32 alive")])
def test_too_little_room_is_not_for_ever(error: RuntimeError, graphs: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = recording.capture
    monkeypatch.setattr(recorded_steps, "CALLS_BEFORE_RETRY", 4)
    refuse(monkeypatch, graphs, error)
    attack, net, (x, y) = fast(mrt.PGD(L2, steps=3), graph=True, compile=True), Net(), batch(6)
    with pytest.warns(UserWarning, match="there is no room"):
        attack(net, x, y)
    monkeypatch.setattr(recording, "capture", plain)
    for _ in range(recorded_steps.CALLS_BEFORE_RETRY):
        attack(net, x, y)
        assert recorded_steps.recordings_of(net) == 0 and graphs.made == 1
    attack(net, x, y)
    assert recorded_steps.recordings_of(net) == 1


def test_a_step_may_hand_a_tensor_from_one_place_to_another() -> None:
    """APGD's point becomes its previous point: nothing is overwritten before it has been read."""

    def step(state: recorded_steps.State, best: Best, many: Tensor | None) -> recorded_steps.State:
        first, second, third = state
        return second, first, first + third

    state = tuple(torch.tensor([value]) for value in (1.0, 10.0, 100.0))
    addresses = [t.data_ptr() for t in state]
    recorded_steps._write_in_place(step, state, Best("loss").start_at(torch.zeros(1, 1)), None)()
    assert [float(t) for t in state] == [10.0, 1.0, 101.0] and [t.data_ptr() for t in state] == addresses


def test_only_the_latest_recordings_are_kept(graphs: Traces) -> None:
    net, (x, y) = Net(), batch()
    for step in range(recorded_steps.MOST_RECORDINGS + 3):
        fast(mrt.PGD(LINF, steps=2, step_size=0.01 * (1 + step)), graph=True)(net, x, y)
    held = twins.copy_of(net, "eval", mrt.Fast(graph=True)).recordings
    assert len(held) == recorded_steps.MOST_RECORDINGS and graphs.made == recorded_steps.MOST_RECORDINGS + 3
    latest, oldest, new = recorded_steps.MOST_RECORDINGS + 2, 3, recorded_steps.MOST_RECORDINGS + 9
    for step in (latest, oldest, new, oldest):
        fast(mrt.PGD(LINF, steps=2, step_size=0.01 * (1 + step)), graph=True)(net, x, y)
    assert graphs.made == recorded_steps.MOST_RECORDINGS + 4


def test_what_cannot_be_recorded_runs_as_it_is(graphs: Traces) -> None:
    """Radii by example; a model that is no module; a loss of the caller's own (TRADES)."""
    x, y = batch()
    net = Net().eval()
    factors, seeds = torch.linspace(0.5, 1.5, 6), torch.arange(6)
    view: Any = LINF.scaled(factors)
    same(fast(mrt.PGD(view), graph=True)(net, x, y, rng=seeds), mrt.PGD(view)(net, x, y, rng=seeds), x)
    assert torch.equal(
        fast(mrt.PGD(LINF), graph=True)(lambda z: net(z), x, y, rng=seeds), mrt.PGD(LINF)(net, x, y, rng=seeds)
    )
    with gradients.crafting(net, fast=mrt.Fast(graph=True)) as seen:
        task = Task(
            CheckedModel(seen, x, 4), LINF, x, Goal(LOSSES["ce"], y), seeds, fast=mrt.Fast(graph=True), attacked=seen
        )
        assert recorded_steps._can_record(task)
        assert not recorded_steps._can_record(replace(task, goal=Goal(lambda z, *_: z[:, 0], y)))
    assert graphs.made == 0


def test_training_may_be_fast() -> None:
    """A run with every option on a CPU is the plain one up to rounding."""
    runs = []
    for how in (mrt.Fast(), mrt.Fast(compile=True, graph=True, reuse=True)):
        net, (x, y) = Net(), batch(32)
        strategy = mrt.MSDTraining(UNION, steps=3)
        mrt.fit(net, strategy, (x, y), iterations=4, batch_size=8, optimizer=mrt.SGD(0.01), fast=how, progress=False)
        runs.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert float((runs[0] - runs[1]).norm() / runs[0].norm()) < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("how", [{}, {"reuse": True}], ids=str)
@every_attack
def test_a_gpus_graphs_find_the_same(attack: Any, how: dict[str, bool]) -> None:
    net = Net().cuda()
    for turn in range(3):
        x, y = (t.cuda() for t in batch(8 - turn, seed=turn))
        seeds = torch.arange(8 - turn, device="cuda")
        expected = attack(copy.deepcopy(net), x, y, rng=seeds)
        same(fast(attack, graph=True, **how)(net, x, y, rng=seeds), expected, x, 0.97)
        with torch.no_grad():
            for weight in net.parameters():
                weight.mul_(1.2)
