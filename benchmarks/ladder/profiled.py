"""Rung 4: what the GPU does during three updates of a training, and what it waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import mrt
from benchmarks.attack_loop import CIFAR, MNIST
from benchmarks.ladder.context import Context
from benchmarks.ladder.watched import Watched, clock, noise_set
from mrt.crafting.recorded_steps import recordings_of
from mrt.fast import Fast
from mrt.models import MadryCNN, PreActResNet18
from mrt.protocols import Step

WARM_UP, UPDATES, TOP = 6, 3, 25
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
COPIES = ("cudaMemcpyAsync", "cudaMemcpy")
SHARES = 5  # of the kernels, in the table at the end


def run(context: Context) -> None:
    """Both networks."""
    steps, batch = (2, 8) if context.tiny else (100, 100)
    cases: tuple[Any, ...] = (
        ("preact msd-10 x 128", PreActResNet18, (3, 32, 32), CIFAR, min(steps, 10), 8 if context.tiny else 128),
        ("mnist msd-100 x 100", MadryCNN, (1, 28, 28), MNIST, steps, batch),
    )
    for title, make, shape, union, many, size in cases:
        with context.attempt(f"profile of {title}"):
            model: nn.Module = make(**context.narrow).to(context.place)
            strategy = mrt.MSDTraining(union, steps=many)
            seconds, events, recorded = watched_updates(context, model, strategy, noise_set(shape, size, context.place))
            told(context, title, seconds, events, recorded)


def watched_updates(context: Context, model: nn.Module, strategy: Any, data: Any) -> tuple[float, Any, bool]:
    """Seconds of the updates, the profiler's events in them, and whether steps were recorded."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if context.on_gpu else [])]
    profiler, times, recorded = profile(activities=kinds, acc_events=True), list[float](), list[bool]()
    first = 1 if context.tiny else WARM_UP

    def begin(model: nn.Module, step: Step) -> None:
        clock(context.place)
        profiler.start()
        times.append(clock(context.place))

    def end(model: nn.Module, step: Step) -> None:
        times.append(clock(context.place))
        profiler.stop()
        recorded.append(recordings_of(model) > 0)

    fast = Fast("bfloat16", graph=True) if context.on_gpu else Fast()
    before: dict[int | None, Any] = {first: begin, first + UPDATES: end}
    how: dict[str, Any] = {"iterations": first + UPDATES + 1, "batch_size": len(data[1]) // 4, "progress": False}
    mrt.fit(model, Watched(strategy, before), data, fast=fast, device=context.device, **how)
    return times[1] - times[0], profiler.profiler.kineto_results.events(), recorded[0]  # type: ignore[union-attr]


def told(context: Context, title: str, seconds: float, events: Any, recorded: bool) -> None:
    """The figures. Inside graphs the profiler may see less than there is; the busy share then says too little."""
    cuda = DeviceType.CUDA
    on_device = [(e.name(), e.start_ns(), e.duration_ns()) for e in events if e.device_type() == cuda]
    calls = Counter(e.name() for e in events if e.device_type() != cuda)
    each = 1000 * seconds / UPDATES
    context.record(f"{title}: an update under the profiler", each, "ms", recorded=recorded, top=True)
    if on_device:
        share = busy((start, length) for _, start, length in on_device) / 1e9 / seconds
        context.record(f"{title}: busy share of the GPU", share, "", top=True, events=len(on_device))
    for name, kinds in (
        ("launches", LAUNCHES),
        ("graph launches", LAUNCHES[-1:]),
        ("waits", WAITS),
        ("copies", COPIES),
    ):
        count = sum(calls[kind] for kind in kinds)
        context.record(f"{title}: {name} an update", count / UPDATES, "", top=name in ("launches", "waits"))
    shown = on_device or [(e.name(), e.start_ns(), e.duration_ns()) for e in events]
    spent, times = Counter[str](), Counter[str]()
    for name, _, length in shown:
        spent[name] += length
        times[name] += 1
    whole = sum(spent.values())
    for place, (name, length) in enumerate(spent.most_common(TOP), 1):
        share = length / max(whole, 1)
        context.record(
            f"{title}: kernel {place}", share, "of kernel time", name=name[:200],
            times=times[name] / UPDATES, us=length / 1000 / UPDATES,
        )  # fmt: skip


def busy(intervals: Iterable[tuple[int, int]]) -> int:
    """Nanoseconds in which at least one of these (start, length) goes on."""
    total = until = 0
    for start, length in sorted(intervals):
        total += max(0, start + length - max(start, until))
        until = max(until, start + length)
    return total
