"""mrt/crafting/ (recorded_steps.py, cuda_graphs.py, model_copy.py) and tests/pretend.py: Every attack on a pretended
CUDA device, what a step of it costs there, and that device itself."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.crafting.model_copy import copies_of
from mrt.kernels import cpu
from mrt.models import DigitsCNN, MadryCNN, PreActResNet18
from tests.crafting.support import same
from tests.pretend import Gpu, Mismatch, Refused, per_turn, pretending
from tests.support import images, torch_seed

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="the kernels' twins need a C++ compiler")

LINF, L2, L1 = UNION = (mrt.Linf(0.1), mrt.L2(0.5), mrt.L1(1.5))
RT = mrt.RotationTranslation(10, 1)
ATTACKS: tuple[Any, ...] = (
    mrt.PGD(LINF, steps=4, restarts=2),
    mrt.PGD(L2, steps=4, best="loss"),
    mrt.PGD(mrt.L2(0.5, projection="exact"), steps=4, best="last"),
    mrt.PGD(L1, steps=4, random_start=True),
    mrt.PGD(LINF, steps=3, bn="batch"),
    mrt.SLIDE(L1, steps=4, keep=(0.8, 0.99)),
    mrt.MSD(UNION, steps=4),
    mrt.MSD(UNION, steps=4, bn="batch"),
    mrt.MSD((L2, LINF), steps=3, best="broken", loss="dlr", restarts=2),
    mrt.MSD(UNION, steps=4, fast=mrt.Fast(reuse=True)),
    mrt.APGD(LINF, steps=6),
    mrt.APGD(L2, steps=6, restarts=2),
    mrt.APGD(L1, steps=6),
    mrt.APGD(LINF, steps=3, loss="dlr", targets=2),
    mrt.MIM(LINF, steps=4),
    mrt.CWLinf(LINF, steps=4),
    mrt.FGSM(LINF),
    mrt.FGM(L1),
    mrt.GreedyL0(mrt.L0(3)),
    mrt.RTGrid(RT, grid=(3, 3, 3)),
    mrt.RTWorstOf(RT, k=3),
    mrt.AffineAttack(mrt.Affine((LINF, L1)), steps=2, restarts=2),
    mrt.AffineAttack(mrt.Affine((mrt.RotationTranslation(30, 0), L2)), k=2, steps=2, restarts=1),
    mrt.WorstOf((mrt.PGD(LINF, steps=2), mrt.SLIDE(L1, steps=2))),
    mrt.OneAtRandom((mrt.PGD(LINF, steps=2), mrt.SLIDE(L1, steps=2))),
)
TARGETED = (mrt.APGD(LINF, steps=4), mrt.APGD(L1, steps=4, loss="margin"), mrt.MSD(UNION, steps=3))

RECORDED: dict[str, Callable[[int, mrt.Fast], Any]] = {
    "PGD": lambda steps, fast: mrt.PGD(LINF, steps=steps, best="last", fast=fast),
    "PGD best": lambda steps, fast: mrt.PGD(LINF, steps=steps, fast=fast),
    "SLIDE": lambda steps, fast: mrt.SLIDE(L1, steps=steps, best="last", fast=fast),
    "MSD": lambda steps, fast: mrt.MSD(UNION, steps=steps, fast=fast),
    "MSD reuse": lambda steps, fast: mrt.MSD(UNION, steps=steps, fast=replace(fast, reuse=True)),
    "APGD linf": lambda steps, fast: mrt.APGD(LINF, steps=steps, fast=fast),
    "APGD l1": lambda steps, fast: mrt.APGD(L1, steps=steps, fast=fast),
}
UNRECORDED = {"MSD": 1, "MSD reuse": 1, "APGD linf": 1}  # MSD's last step needs no gradient, APGD's first no momentum
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "mnist": (lambda: MadryCNN(width=4), (1, 28, 28)),
    "preact": (lambda: PreActResNet18(width=4), (3, 32, 32)),
}
# Operations of a recorded step, (float32, bfloat16), as counted when this was written.
NODES: dict[tuple[str, str], tuple[int, int]] = {
    ("mnist", "PGD"): (27, 31),
    ("mnist", "PGD best"): (46, 50),
    ("mnist", "SLIDE"): (27, 31),
    ("mnist", "MSD"): (38, 44),
    ("mnist", "MSD reuse"): (59, 67),
    ("preact", "PGD"): (133, 137),
    ("preact", "PGD best"): (152, 156),
    ("preact", "SLIDE"): (133, 137),
    ("preact", "MSD"): (197, 203),
    ("preact", "MSD reuse"): (297, 305),
    ("mnist", "APGD linf"): (74, 78),
    ("mnist", "APGD l1"): (57, 61),
    ("preact", "APGD linf"): (180, 184),
    ("preact", "APGD l1"): (163, 167),
}
# Launches beside the replays: the number of entries that an l1 step moves, and the copy into the recording; APGD's own
# bookkeeping between replays where, in so few steps, each is followed by a checkpoint.
BESIDE = {"APGD linf": 60, "APGD l1": 60}
ROOM = 1.15


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    with pretending() as device:
        yield device


def batch(shape: tuple[int, ...] = (1, 8, 8), n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels, seeds; on the host."""
    return images(shape, n, seed), torch.arange(n) + seed, torch.arange(n) + 100 * seed


def made(make: Callable[[], nn.Module] = lambda: DigitsCNN(width=4)) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def on_both(attack: Any, plain: Any, seed: int, nets: tuple[nn.Module, nn.Module], **target: Tensor) -> None:
    """`attack` with the second network on the device finds what `plain` finds with the first on the host.

    A step's arithmetic is that of the fused kernels there, and torch's own here: where a gradient or a choice is a tie
    up to rounding, some pixels go another way.
    """
    x, y, seeds = batch(seed=seed)
    expected = plain(nets[0], x, y, rng=seeds, **target)
    there = {name: t.to("cuda") for name, t in target.items()}
    found = attack(nets[1], x.to("cuda"), y.to("cuda"), rng=seeds.to("cuda"), **there)
    assert found.is_cuda
    same(found.cpu(), expected, x, 0.97)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: repr(a)[:60])
def test_an_attack_finds_what_it_finds_on_the_host(attack: Any, gpu: Gpu) -> None:
    on_both(attack, attack, 0, (made(), made().to("cuda")))
    assert gpu.counts.launches > 0


@pytest.mark.parametrize("attack", TARGETED, ids=lambda a: repr(a)[:60])
def test_a_targeted_attack_finds_what_it_finds_on_the_host(attack: Any, gpu: Gpu) -> None:
    on_both(attack, attack, 0, (made(), made().to("cuda")), target=(torch.arange(6) + 1) % 10)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_attack_does_too(name: str, precision: Any, gpu: Gpu) -> None:
    """Over batches, and over weights that change between two of them."""
    here, there = made(), made().to("cuda")
    attack, plain = (RECORDED[name](4, mrt.Fast(precision, graph=graph)) for graph in (True, False))
    for seed in range(3):
        on_both(attack, plain, seed, (copy.deepcopy(here), there))
        with torch.no_grad():
            for mine, other in zip(here.parameters(), there.parameters(), strict=True):
                mine.copy_(torch.rand(mine.shape, generator=torch_seed(seed)) - 0.5)
                other.copy_(mine)
    assert gpu.counts.recorded == 1 and gpu.counts.replays == 3 * (4 - UNRECORDED.get(name, 0))


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize(("net", "precision"), [("mnist", "float32"), ("mnist", "bfloat16"), ("preact", "bfloat16")])
def test_a_recorded_step_is_one_replay_and_waits_for_nothing(net: str, name: str, precision: Any, gpu: Gpu) -> None:
    make, shape = NETS[net]
    model, fast = made(make).to("cuda"), mrt.Fast(precision, graph=True)
    x, y, seeds = (t.to("cuda") for t in batch(shape, 3))
    step, _ = per_turn(gpu, lambda steps: RECORDED[name](steps, fast)(model, x, y, rng=seeds), 2, 3)
    assert step.replays == 1 and step.waits == 0, step.places
    assert step.launches <= BESIDE.get(name, 2), step.launches
    assert step.replayed <= ROOM * NODES[net, name][precision == "bfloat16"], step.replayed


def test_a_recording_asked_for_on_two_streams_serves_one_after_the_other(gpu: Gpu) -> None:
    net, attack = made().to("cuda"), RECORDED["PGD"](3, mrt.Fast(graph=True))
    x, y, seeds = (t.to("cuda") for t in batch())
    attack(net, x, y, rng=seeds)
    one, other = torch.cuda.Stream(), torch.cuda.Stream()
    gpu.log.clear()
    for stream in (one, other):
        with torch.cuda.stream(stream):
            attack(net, x, y, rng=seeds)
    assert ("event", other, one) in gpu.log and gpu.counts.recorded == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recording_goes_with_its_model_at_once(precision: Any, gpu: Gpu) -> None:
    """And with it its graph, without the garbage collector, which might come while another is being recorded."""
    net, (x, y, _) = made().to("cuda"), (t.to("cuda") for t in batch())
    gc.collect()
    gc.disable()
    try:
        for name in ("MSD reuse", "APGD l1"):
            RECORDED[name](3, mrt.Fast(precision, graph=True))(net, x, y)
        held: list[Any] = [recording for twin in copies_of(net) for recording in twin.recordings.values()]
        gone = [weakref.ref(part) for one in held for part in (one, one.body, one.replay.__self__)]
        assert len(gone) == 6 and all(part() is not None for part in gone)
        del net, held
        assert all(part() is None for part in gone)
    finally:
        gc.enable()


def test_a_model_that_looks_at_values_runs_unrecorded_and_harms_no_other(gpu: Gpu) -> None:
    class Curious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = made()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x) * (1.0 + float(x.detach().mean()))
            return out

    x, y, seeds = (t.to("cuda") for t in batch())
    for model, records in ((Curious(), False), (made(), True)):
        gpu.counts.recorded = 0
        attack = RECORDED["PGD"](3, mrt.Fast(graph=True))
        if records:
            attack(model.to("cuda"), x, y, rng=seeds)
        else:
            with pytest.warns(UserWarning, match="record"):
                attack(model.to("cuda"), x, y, rng=seeds)
        assert gpu.stream is gpu.first and gpu.tape is None and gpu.sync_debug == 0
        assert (gpu.counts.replays == 3) == records


@pytest.mark.parametrize("kind", ["exact", "clip", "radii by example"])
def test_a_random_start_in_l1_is_a_few_launches(kind: Any, gpu: Gpu) -> None:
    """The search for the level that the radius asks for is one kernel, where torch's operators were 1,800 launches."""
    x, seeds = images((1, 8, 8), 4, 0), torch.arange(4)
    ball: Any = L1 if kind == "radii by example" else mrt.L1(1.5, projection=kind)
    factors = torch.linspace(0.5, 1.5, 4)
    expected = (ball.scaled(factors) if ball is L1 else ball).sample(x, seeds)
    ball = ball.scaled(factors.to("cuda")) if ball is L1 else ball
    before = gpu.counts.launches
    found = ball.sample(x.to("cuda"), seeds.to("cuda"))
    assert gpu.counts.launches - before <= 70
    torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=0)
    assert ball.contains(x.to("cuda"), x.to("cuda") + found).all()


def test_what_a_recording_needs_is_sent_once(gpu: Gpu) -> None:
    """Another attack of the same kind, on another batch, waits for nothing but the check of its images and labels and,
    at the end, for what the model answered."""
    net = made().to("cuda")
    for seed in range(2):
        x, y, seeds = (t.to("cuda") for t in batch(seed=seed))
        before = gpu.counts.waits
        mrt.MSD(UNION, steps=3)(net, x, y, rng=seeds)
    assert gpu.counts.waits - before <= 3, gpu.counts.places


def test_the_device_refuses_tensors_of_the_host(gpu: Gpu) -> None:
    here = torch.rand(3, device="cuda")
    with pytest.raises(Mismatch, match=r"cuda\(3,\), cpu\(3,\)"):
        here + torch.rand(3)
    with pytest.raises(Mismatch):
        torch.zeros(3, 3)[torch.arange(2, device="cuda")]
    assert (here + torch.tensor(1.0)).is_cuda, "a single number may lie anywhere"
    with pytest.raises(TypeError, match="numpy"):
        here.numpy()


WAITS: tuple[Callable[[Tensor], object], ...] = (
    lambda x: x.sum().item(),
    lambda x: bool((x > 0).any()),
    lambda x: x[x > 0],
    lambda x: (x > 0).nonzero(),
    lambda x: x.cpu(),
    lambda x: x.tolist(),
    lambda x: x.copy_(torch.rand(3)),
    lambda x: torch.rand(3).copy_(x),
    lambda x: torch.rand(3).to("cuda"),
    lambda x: torch.rand(3).to("cuda", non_blocking=True),
    lambda x: torch.rand(3).pin_memory().to("cuda"),
    lambda x: torch.tensor([1.0, 2.0], device="cuda"),
    lambda x: x[torch.tensor([0, 1])],
    lambda x: torch.cuda.synchronize(),
)


@pytest.mark.parametrize("number", range(len(WAITS)))
def test_waiting_is_counted_and_refused_where_it_must_not_be(number: int, gpu: Gpu) -> None:
    x, graph, stream = torch.rand(3, device="cuda"), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    WAITS[number](x)
    assert gpu.counts.waits == 1
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(Refused):
        WAITS[number](x)
    torch.cuda.set_sync_debug_mode("default")
    with torch.cuda.stream(stream):
        graph.capture_begin()
        with pytest.raises(Refused):
            WAITS[number](x)
        with pytest.raises(RuntimeError, match="broke off"):
            graph.capture_end()
    assert gpu.counts.recorded == 0 and gpu.tape is None


def test_pinned_copies_do_not_wait(gpu: Gpu) -> None:
    there = torch.rand(3).pin_memory().to("cuda", non_blocking=True)
    back = torch.empty(3, pin_memory=True)
    back.copy_(there, non_blocking=True)
    again = there.to("cpu", non_blocking=True)
    assert gpu.counts.waits == 0 and back.isnan().all(), "nothing has arrived yet"
    arrived = torch.cuda.current_stream().record_event()
    there.add_(1)
    arrived.synchronize()
    assert torch.equal(back, again) and torch.equal(back + 1, there.cpu())


def test_a_replay_reads_and_writes_the_recorded_memory(gpu: Gpu) -> None:
    """What Python computed while it was recorded is a constant."""
    x, factor, graph = torch.ones(3, device="cuda"), 2.0, torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        out = x * factor
        total = out.sum() + torch.tensor(factor)
    factor = 5.0
    x.fill_(3.0)
    graph.replay()
    assert out.tolist() == [6.0] * 3 and total.item() == 20.0
    assert gpu.counts.replays == 1 and gpu.counts.replayed == 3


def test_afterwards_torch_is_what_it_was() -> None:
    names = ("Stream", "graph", "CUDAGraph", "is_available", "synchronize", "current_stream", "_lazy_init")
    before = [getattr(torch.cuda, name) for name in names], torch.autocast, torch.amp.autocast, mrt.kernels.has_triton
    with pytest.raises(KeyError), pretending():
        assert torch.zeros(2, device="cuda").is_cuda
        raise KeyError
    assert before == (
        [getattr(torch.cuda, name) for name in names],
        torch.autocast,
        torch.amp.autocast,
        mrt.kernels.has_triton,
    )
    assert type(torch.rand(2) + 1) is Tensor and not torch.__future__.get_overwrite_module_params_on_conversion()
