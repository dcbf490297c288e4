"""Rung 2: the life of graphs, recorded, replayed beside eager steps, dropped, recorded again; and what a model that
cannot be recorded leaves behind."""

from __future__ import annotations

import copy
import gc
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks.ladder.context import Context
from mrt.crafting.model_copy import copies_of
from mrt.crafting.recorded_steps import recordings_of
from mrt.fast import Fast
from mrt.models import PreActResNet18

UNION = (mrt.Linf(8 / 255), mrt.L2(0.5), mrt.L1(12.0))
ATTACKS: dict[str, tuple[Any, Fast]] = {
    "PGD": (mrt.PGD(UNION[0], steps=1, best="last"), Fast(graph=True)),
    "PGD l2, best": (mrt.PGD(UNION[1], steps=1), Fast(graph=True)),
    "SLIDE": (mrt.SLIDE(UNION[2], steps=1), Fast(graph=True)),
    "MSD": (mrt.MSD(UNION, steps=2), Fast(graph=True)),  # whose last step is never recorded
    "MSD, reuse": (mrt.MSD(UNION, steps=2), Fast(graph=True, reuse=True)),
    "APGD linf": (mrt.APGD(UNION[0], steps=2), Fast(graph=True)),  # nor the first of APGD's
    "APGD l1": (mrt.APGD(UNION[2], steps=1), Fast(graph=True)),
}
FURTHER = 10  # steps, after which only losses are compared: roundings have grown by then
TINY = ("PGD", "MSD", "APGD l1")
Batch = tuple[Tensor, Tensor, Tensor]


def run(context: Context) -> None:
    """All of it, in order; what breaks the process for graphs comes last."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in TINY if context.tiny else ATTACKS:
        attack, fast = ATTACKS[name]
        with context.attempt(f"life: {name}"):
            beside_eager(context, name, attack, fast)
    for part in (dropped, two_alive, two_streams, freed):
        with context.attempt(f"life: {part.__name__}"):
            part(context)
    for kind in (Looking, Waiting):
        with context.attempt(f"life: after {kind.__name__}"):
            refused(context, kind)


def network(context: Context, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return PreActResNet18(width=4 if context.tiny else 32).to(context.place).eval()


def batch(context: Context, n: int = 32, seed: int = 0) -> Batch:
    n = n // 8 if context.tiny else n
    x = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed)).to(context.place)
    return x, (torch.arange(n) % 10).to(context.place), torch.arange(n, device=context.place)


def recorded(context: Context, what: str, net: nn.Module) -> None:
    """That there is a recording; on a CPU there is none."""
    context.record(f"life: {what}: recorded", int(recordings_of(net) > 0), "", goal=int(context.on_gpu))


def recordings(net: nn.Module) -> set[int]:
    """Which there are."""
    return {id(held) for twin in copies_of(net) for held in twin.recordings.values()}


def losses(net: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return nn.functional.cross_entropy(net(x_adv), y, reduction="none")


def compared(context: Context, what: str, net: nn.Module, attack: Any, fast: Fast, at: Batch) -> None:
    """A step beside eager, in pixels; further ones in the loss that they reach."""
    x, y, seeds = at
    plain = attack(copy.deepcopy(net), x, y, rng=seeds)
    quick = replace(attack, fast=fast)(net, x, y, rng=seeds)
    apart = float((~((quick - plain).abs() <= 1e-5)).float().mean())  # what is no number is apart
    context.record(f"life: {what}: share of pixels that differ after a step", apart, "", **{"at most": 1e-3})
    longer = replace(attack, steps=3 if context.tiny else FURTHER)
    gap = losses(net, replace(longer, fast=fast)(net, x, y, rng=seeds), y).mean()
    gap = gap / losses(net, longer(copy.deepcopy(net), x, y, rng=seeds), y).mean() - 1
    context.record(f"life: {what}: loss after {FURTHER} steps, relative gap", abs(float(gap)), "", **{"at most": 0.02})


def changed(net: nn.Module) -> None:
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(1.05)


def beside_eager(context: Context, name: str, attack: Any, fast: Fast) -> None:
    """A recorded step is the eager one, also after the weights have changed, and for fewer examples."""
    net = network(context)
    compared(context, name, net, attack, fast, batch(context))
    recorded(context, name, net)
    before = recordings(net)
    changed(net)
    compared(context, f"{name}, other weights", net, attack, fast, batch(context, seed=1))
    compared(context, f"{name}, fewer examples", net, attack, fast, batch(context, 20, seed=2))
    context.record(f"life: {name}: recordings made again", len(recordings(net) - before), "", **{"at most": 0})


def dropped(context: Context) -> None:
    """A model goes, and with it its recordings; another comes; three times."""
    attack, fast = ATTACKS["MSD"]
    for turn in range(3):
        net = network(context, turn)
        compared(context, f"model {turn + 1}", net, attack, fast, batch(context, seed=turn))
        recorded(context, f"model {turn + 1}", net)
        del net
        gc.collect()


def two_alive(context: Context) -> None:
    """One of two goes, the other is replayed."""
    attack, fast = ATTACKS["MSD"]
    one, other = network(context, 1), network(context, 2)
    for net in (one, other):
        compared(context, "one of two", net, attack, fast, batch(context))
    del one, net
    gc.collect()
    if context.on_gpu:
        torch.cuda.empty_cache()
    junk = [torch.full((1 << 20,), torch.nan, device=context.place) for _ in range(64)]  # where the other's memory was
    del junk
    compared(context, "the other of two", other, attack, fast, batch(context, seed=3))
    recorded(context, "the other of two", other)


def two_streams(context: Context) -> None:
    """A recording that is asked for on two streams at once answers both."""
    if not context.on_gpu:
        return
    attack, net = replace(ATTACKS["PGD"][0], steps=FURTHER, fast=Fast(graph=True)), network(context)
    batches = [batch(context, seed=seed) for seed in range(4)]
    expected = [attack(net, x, y, rng=seeds) for x, y, seeds in batches]
    streams, found = [torch.cuda.Stream() for _ in range(2)], []
    torch.cuda.synchronize()
    for number, (x, y, seeds) in enumerate(batches):
        with torch.cuda.stream(streams[number % 2]):
            found.append(attack(net, x, y, rng=seeds))
    torch.cuda.synchronize()
    apart = max(float((a != b).float().mean()) for a, b in zip(expected, found, strict=True))
    context.record("life: two streams: share of pixels that differ", apart, "", **{"at most": 1e-3})


def freed(context: Context) -> None:
    """Memory that is still held once every model is gone."""
    if not context.on_gpu:
        return
    gc.collect()
    torch.cuda.empty_cache()
    held = []
    for turn in range(3):
        net = network(context, turn)
        replace(ATTACKS["MSD"][0], fast=Fast("bfloat16", graph=True))(net, *batch(context)[:2])
        del net
        torch.cuda.empty_cache()
        held.append(torch.cuda.memory_reserved() / 2**20)
    context.record("life: memory that a dropped model leaves behind", held[2] - held[0], "MiB", **{"at most": 64})


class Looking(nn.Module):
    """A model that looks at a value, which a recording cannot."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out * (1.0 if out.sum().item() < 1e30 else 2.0)


class Waiting(Looking):
    """A model that waits for the GPU in a way that no mode of torch's notices: it breaks off a recording that has
    begun."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            torch.cuda.synchronize()
        out: Tensor = self.inner(x)
        return out


def refused(context: Context, kind: type[Looking]) -> None:
    """It runs as it would without; then dropout and a new recording still work."""
    attack, fast = ATTACKS["MSD"]
    net, (x, y, seeds) = kind(network(context)).eval(), batch(context)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = replace(attack, fast=fast)(net, x, y, rng=seeds)
    plain = attack(copy.deepcopy(net), x, y, rng=seeds)
    name = f"life: {kind.__name__}"
    context.record(
        f"{name}: share of pixels that differ", float((found != plain).float().mean()), "", **{"at most": 1e-3}
    )
    if context.on_gpu:
        context.record(f"{name}: recordings", recordings_of(net), "", **{"at most": 0})
        told = [str(w.message)[:200] for w in said]
        context.record(f"{name}: warnings", len(told), "", goal=1, told=told)
        junk = torch.ones(1 << 28, dtype=torch.uint8, device=context.place)
        del junk
        held = torch.cuda.memory_reserved()
        torch.cuda.empty_cache()
        given = (held - torch.cuda.memory_reserved()) / 2**20
        context.record(f"{name}: memory that is still given back", given, "MiB", goal=200)
    share = float(nn.functional.dropout(torch.ones(100_000, device=context.place), 0.5).eq(0).float().mean())
    context.record(f"{name}: dropout afterwards, distance from a half", abs(share - 0.5), "", **{"at most": 0.02})
    again = network(context, 5)
    compared(context, f"after {kind.__name__}", again, attack, fast, batch(context, seed=5))
    recorded(context, f"after {kind.__name__}", again)
