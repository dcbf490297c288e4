"""A CUDA device that is not there: tensors that say cuda:0 and compute on the host.

Inside `pretending()` whatever asks for "cuda" gets such tensors, and mrt takes the branches that it takes on a GPU.
What a GPU refuses is refused: operands on two devices, and waiting for the device while a graph is recorded or
while synchronisations are errors. Launches and waits are counted. A graph is a tape of the operations that were
launched while it was recorded; its replay does these again on the same memory, so that whatever Python computed stays
what it was then.

Launches are those of torch's operators: one may be several kernels on a GPU, and none is timed.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from functools import partial
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing

from mrt import kernels
from mrt.crafting import cuda_graphs

DEVICE = torch.device("cuda:0")
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "bincount", "equal"}
"""Operators whose result the host must know."""
INDEXED = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
IDLE = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "_unsafe_view", "_reshape_alias"}
"""Operators that launch nothing and are no views by their signature."""
ERROR = 2  # torch's number for the mode in which every synchronisation is an error


class Mismatch(RuntimeError):
    """An operation on tensors of two devices."""


class Refused(RuntimeError):
    """A wait for the device where there must be none."""


@dataclass
class Counts:
    """What the host has asked of the device: `launches` one by one, `replays` of graphs with `replayed` operations in
    them; and how often it had to wait, copies that block included. `places` says where it waited."""

    launches: float = 0
    waits: float = 0
    replays: float = 0
    replayed: float = 0
    recorded: float = 0
    places: Counter[str] = field(default_factory=Counter)


class GpuTensor(torch.Tensor):
    """A tensor on the pretended device; its values lie in `host`. To torch's C++ it is a CPU tensor, because the
    backward pass of a CUDA tensor needs a CUDA device."""

    host: Tensor
    gpu: Gpu

    @staticmethod
    def __new__(cls: type[GpuTensor], host: Tensor, gpu: Gpu) -> GpuTensor:
        how: dict[str, Any] = {"strides": host.stride(), "storage_offset": host.storage_offset(), "dtype": host.dtype}
        made: GpuTensor = torch.Tensor._make_wrapper_subclass(cls, host.size(), **how)
        made.host, made.gpu = host.detach(), gpu
        return made

    def __init__(self, host: Tensor, gpu: Gpu) -> None:
        pass

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        gpu = next(t.gpu for t in _tensors((args, kwargs)) if isinstance(t, GpuTensor))
        return gpu.run(func, args, kwargs or {})

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def cpu(self, *args: Any, **kwargs: Any) -> Any:
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        device, dtype, non_blocking, layout = _destination(args, kwargs)
        if device is not None and device.type == "cpu":
            found = self.gpu.download(self.host, non_blocking)
            return found if dtype is None else found.to(dtype)
        how = {} if layout is None else {"memory_format": layout}
        return self if dtype is None and not how else super().to(dtype or self.dtype, **how)

    def tolist(self) -> Any:
        return self.to("cpu").tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copy = self.detach().clone()
            held = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(copy, self.requires_grad) if held else copy
        return memo[id(self)]

    def __repr__(self, **how: Any) -> str:  # type: ignore[override]
        return f"GpuTensor({self.host!r})"


class Gpu(TorchDispatchMode):
    """The device, through which every operation goes while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counts()
        self.tape: list[tuple[Any, Any, Any, list[Any]]] | None = None  # of the graph that is being recorded
        self.broken = False  # is it beyond saving?
        self.sync_debug = 0
        self.streams = 0
        self.stream = self.first = Stream(self)
        self.calls: list[bool] = []  # of torch, one in the other: has a tensor here been given to it?
        self.pinned: list[Tensor] = []
        self.under_way: list[tuple[Tensor, Tensor]] = []  # pinned memory, and what has not arrived there yet
        self.arrived = 0  # how many have
        self.log: list[tuple[str, Any, Any]] = []  # which stream waited for what, in order
        self.handles = 0  # of memory pools
        self.open_pools: set[Any] = set()  # that the allocator records to
        self.released: list[Any] = []
        self.closes_pools = False  # where a recording breaks off, as torch 2.12 and later

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operator, here or on the host."""
        name = func._schema.name.removeprefix("aten::")
        tensors = _tensors((args, kwargs))
        mine = [t for t in tensors if isinstance(t, GpuTensor)]
        device = kwargs.get("device")
        made_here = not tensors and bool(self.calls) and self.calls[-1]  # torch's own, within an operation here
        if device is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        if not mine and not made_here and (device is None or device.type != "cuda"):
            return func(*args, **kwargs)
        if name == "copy_" and len(mine) == 1:
            return self._across(func, args, kwargs)
        self._check(name, func, args, tensors)
        if kwargs.pop("pin_memory", False):
            raise RuntimeError("only memory of the host can be pinned")
        host = self._launch(name, func, args, kwargs)
        out = _changed(lambda t: GpuTensor(t, self), host)
        ours = name.startswith("mrt::") or not mine
        return out if ours else return_and_correct_aliasing(func, args, kwargs, out)

    def _check(self, name: str, func: Any, args: Any, tensors: list[Tensor]) -> None:
        """Are its operands on one device, and need the host not wait?"""
        away = [t for t in tensors if not isinstance(t, GpuTensor) and t.ndim]  # a single number may be anywhere
        index = name in INDEXED and isinstance(args[0], GpuTensor)
        if away and index and all(t.dtype == torch.int64 for t in away):
            self.wait(f"{name} with an index on the host")
        elif away:
            told = ", ".join(f"{t.device.type}{tuple(t.shape)}" for t in tensors)
            raise Mismatch(f"{func} on {told} at {_place()}")
        masks = index and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if name in WAITS or masks or name == "repeat_interleave" and len(args) == 1:
            self.wait(name)

    def _launch(self, name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute it on the host, and keep it for replays if a graph is being recorded."""
        run = HOSTED.get(name, func)
        held, named = _changed(self._baked, args), _changed(self._baked, kwargs)
        out = run(*held, **named)
        if not (func.is_view or name in IDLE or name == "_local_scalar_dense"):
            self.launched(run, held, named, out)
        return out

    def _baked(self, tensor: Tensor) -> Tensor:
        """An argument as the device sees it: a number from the host is read when the operation is launched."""
        if isinstance(tensor, GpuTensor):
            return tensor.host
        return tensor if self.tape is None else tensor.clone()

    def launched(self, run: Any, args: Any, kwargs: Any, out: Any) -> None:
        if self.tape is None:
            self.counts.launches += 1
        else:
            self.tape.append((run, args, kwargs, _tensors(out)))

    def wait(self, why: str) -> None:
        """The host waits for all that the device has been given."""
        self.counts.waits += 1
        self.counts.places[f"{why} at {_place()}"] += 1
        self.arrive()
        if self.tape is not None:
            self.broken = True
            raise Refused(f"{why} while a graph is recorded, at {_place()}")
        if self.sync_debug == ERROR:
            raise Refused(f"{why} is a synchronisation, which are errors now, at {_place()}")

    def set_sync_debug(self, mode: int | str) -> None:
        self.sync_debug = mode if isinstance(mode, int) else ("default", "warn", "error").index(mode)

    def upload(self, values: Tensor, non_blocking: bool) -> Tensor:
        """A copy of what lies on the host."""
        here = GpuTensor(torch.empty_like(values), self)
        self._copy(here.host, values, values, non_blocking, "a copy to the device")
        return here

    def download(self, values: Tensor, non_blocking: bool) -> Tensor:
        """A copy on the host: pinned, as torch makes it, where it is not waited for."""
        there = torch.empty_like(values)
        if non_blocking:
            self.pinned.append(there)
        self._copy(there, values, there, non_blocking, "a copy to the host")
        return there

    def _across(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """copy_ from one device to the other."""
        to, values = args[:2]
        on_host = values if isinstance(to, GpuTensor) else to
        non_blocking = bool(args[2]) if len(args) > 2 else bool(kwargs.get("non_blocking"))
        self._copy(getattr(to, "host", to), getattr(values, "host", values), on_host, non_blocking, "copy_")
        return to

    def _copy(self, to: Tensor, values: Tensor, on_host: Tensor, non_blocking: bool, why: str) -> None:
        pinned = self.is_pinned(on_host)
        if not (pinned and non_blocking):
            self.wait(f"{why}, {'blocking' if pinned else 'pageable'},")
        with _plain():
            if pinned and non_blocking and to is on_host:  # until an event is waited for there is nothing to be read
                self.under_way.append((to, values.clone()))
                to.fill_(torch.nan if to.is_floating_point() else -1)
            else:
                to.copy_(values)
        self.launched(Tensor.copy_, (to, values), {}, to)

    def arrive(self, until: int | None = None) -> None:
        """So many copies to pinned memory, or all, have come to their end."""
        count = len(self.under_way) if until is None else max(until - self.arrived, 0)
        with _plain():
            for to, values in self.under_way[:count]:
                to.copy_(values)
        del self.under_way[:count]
        self.arrived += count

    def new_pool(self) -> tuple[int, int]:
        """torch.cuda.graph_pool_handle."""
        self.handles += 1
        return 0, self.handles

    def end_pool(self, device: int, pool: Any) -> None:
        """torch._C._cuda_endAllocateToPool."""
        if pool not in self.open_pools:
            raise RuntimeError("not recording to that pool")
        self.open_pools.discard(pool)

    def is_pinned(self, tensor: Tensor) -> bool:
        """Does it lie in memory that was pinned? Whatever was stays alive, so that no address is used again."""
        storage = tensor.untyped_storage().data_ptr()
        return any(storage == t.untyped_storage().data_ptr() for t in self.pinned)


class _Calls(TorchFunctionMode):
    """What must be seen before torch's C++ sees it, for which the device is a CPU."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name, gpu = dict(kwargs or {}), getattr(func, "__name__", ""), self.gpu
        first = args[0] if args else None
        if isinstance(first, Tensor) and not isinstance(first, GpuTensor):
            if name in ("to", "cuda"):
                given = args[1:] if name == "to" else (DEVICE,)
                device, dtype, non_blocking, _ = _destination(given, kwargs)
                if device is not None and device.type == "cuda":
                    return gpu.upload(first.detach().to(dtype or first.dtype), non_blocking)
            if name == "pin_memory":
                return self._pinned(first.clone())
            if name == "is_pinned":
                return gpu.is_pinned(first)
        if name in ("tensor", "as_tensor") and torch.device(kwargs.get("device") or "cpu").type == "cuda":
            if isinstance(first, GpuTensor):
                return first.to(kwargs.get("dtype"))
            return gpu.upload(func(*args, **kwargs | {"device": "cpu"}), False)
        if name == "one_hot" and isinstance(first, GpuTensor) and len(args) > 1:  # a CPU looks at the labels first
            return (first.unsqueeze(-1) == torch.arange(args[1], device=DEVICE)).long()
        pinned = kwargs.pop("pin_memory", False)
        gpu.calls.append(any(isinstance(t, GpuTensor) for t in _tensors((args, kwargs))))
        try:
            out = func(*args, **kwargs)
        finally:
            gpu.calls.pop()
        return self._pinned(out) if pinned else out

    def _pinned(self, tensor: Tensor) -> Tensor:
        self.gpu.pinned.append(tensor)
        return tensor


class Stream:
    """torch.cuda.Stream. Here everything is done in the order in which it was asked for."""

    def __init__(self, gpu: Gpu, *args: Any, **kwargs: Any) -> None:
        self.gpu, self.cuda_stream = gpu, gpu.streams and 1 + (gpu.streams - 1) % 32  # the first, then 32 in turn
        gpu.streams += 1

    def wait_stream(self, other: Stream) -> None:
        self.gpu.log.append(("stream", self, other))

    def wait_event(self, event: Event) -> None:
        self.gpu.log.append(("event", self, event.recorded_on))

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event(self.gpu)
        event.record(self)
        return event

    def is_capturing(self) -> bool:
        return self.gpu.tape is not None

    def synchronize(self) -> None:
        self.gpu.wait("stream.synchronize")


class Event:
    """torch.cuda.Event. To wait for one keeps the device idle only if it has nothing else to do."""

    def __init__(self, gpu: Gpu, *args: Any, **kwargs: Any) -> None:
        self.gpu, self.after, self.until, self.recorded_on = gpu, -1.0, 0, gpu.stream

    def record(self, stream: Stream | None = None) -> None:
        self.after = self.gpu.counts.launches + self.gpu.counts.replays
        self.until = self.gpu.arrived + len(self.gpu.under_way)
        self.recorded_on = stream or self.gpu.stream

    def wait(self, stream: Stream | None = None) -> None: ...

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        if self.gpu.tape is not None or self.after == self.gpu.counts.launches + self.gpu.counts.replays:
            self.gpu.wait("event.synchronize")
        self.gpu.arrive(self.until)


class Graph:
    """torch.cuda.CUDAGraph."""

    def __init__(self, gpu: Gpu, *args: Any, **kwargs: Any) -> None:
        self.gpu, self.tape, self.recorded_on = gpu, list[tuple[Any, Any, Any, list[Any]]](), gpu.first
        self.pool: Any = None
        self.how: dict[str, Any] = {}

    def capture_begin(self, pool: Any = None, **how: Any) -> None:
        if self.gpu.tape is not None or self.gpu.stream is self.gpu.first:
            raise RuntimeError("a graph is recorded on a stream of its own, one at a time")
        self.gpu.tape, self.gpu.broken, self.recorded_on = [], False, self.gpu.stream
        self.pool, self.how = pool or self.gpu.new_pool(), how
        self.gpu.open_pools.add(self.pool)

    def capture_end(self) -> None:
        found, self.gpu.tape = self.gpu.tape, None
        broken = found is None or self.gpu.broken or self.gpu.stream is not self.recorded_on
        if not broken or self.gpu.closes_pools:
            self.gpu.open_pools.discard(self.pool)
        if broken:
            raise RuntimeError("the recording of this graph broke off")
        self.tape = found or []
        self.gpu.counts.recorded += 1

    def replay(self) -> None:
        if self.gpu.tape is not None or not self.tape:
            raise RuntimeError("there is nothing to replay, or a recording is under way")
        self.gpu.counts.replays += 1
        self.gpu.counts.replayed += len(self.tape)
        with _plain():
            for run, args, kwargs, outs in self.tape:
                found = _tensors(run(*args, **kwargs))
                for old, new in zip(outs, found, strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class _Recorded:
    """torch.cuda.graph: like torch's, it stays on the graph's stream where the recording breaks off."""

    def __init__(self, gpu: Gpu, graph: Graph, pool: Any = None, stream: Any = None, **how: Any) -> None:
        self.gpu, self.graph, self.stream, self.before = gpu, graph, stream or Stream(gpu), gpu.stream
        self.pool, self.how = pool, how

    def __enter__(self) -> None:
        self.gpu.wait("torch.cuda.graph")
        self.before, self.gpu.stream = self.gpu.stream, self.stream
        self.graph.capture_begin(self.pool, **self.how)

    def __exit__(self, *error: Any) -> None:
        self.graph.capture_end()
        self.gpu.stream = self.before


class _HostAutocast(torch.autocast):
    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


@contextmanager
def pretending() -> Iterator[Gpu]:
    """There is a CUDA device in the block; afterwards torch and mrt are what they were."""
    gpu = Gpu()
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _runtime(gpu).items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch.accelerator, "current_stream", lambda device=None: gpu.stream)
        for where in (torch, torch.amp):
            patch.setattr(where, "autocast", _HostAutocast)
        optimizer: Any = importlib.import_module("torch.optim.optimizer")  # which torch.optim does not keep
        patch.setattr(optimizer, "_foreach_supported_types", [*optimizer._foreach_supported_types, GpuTensor])
        patch.setattr(torch._C, "_cuda_endAllocateToPool", gpu.end_pool, raising=False)
        patch.setattr(torch._C, "_cuda_releasePool", lambda device, pool: gpu.released.append(pool), raising=False)
        patch.setattr(cuda_graphs, "_streams", {})
        patch.setattr(kernels.ops, "_triton_reaches_gpu", lambda: True)
        for module in (kernels, kernels.ops):
            patch.setattr(module, "has_triton", lambda: True)
        # Else a module keeps its parameters when it moves, and these cannot become tensors of another class.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with _Calls(gpu), gpu:
                yield gpu
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrite)


def _runtime(gpu: Gpu) -> dict[str, Any]:
    """What stands in for parts of torch.cuda."""

    @contextmanager
    def stream(to: Stream) -> Iterator[None]:
        before, gpu.stream = gpu.stream, to
        try:
            yield
        finally:
            gpu.stream = before

    return {
        "Stream": partial(Stream, gpu),
        "Event": partial(Event, gpu),
        "CUDAGraph": partial(Graph, gpu),
        "graph": partial(_Recorded, gpu),
        "stream": stream,
        "current_stream": lambda device=None: gpu.stream,
        "default_stream": lambda device=None: gpu.first,
        "graph_pool_handle": gpu.new_pool,
        "is_current_stream_capturing": lambda: gpu.tape is not None,
        "device": lambda device: nullcontext(),
        "device_of": lambda tensor: nullcontext(),
        "synchronize": lambda device=None: gpu.wait("torch.cuda.synchronize"),
        "set_sync_debug_mode": gpu.set_sync_debug,
        "get_sync_debug_mode": lambda: gpu.sync_debug,
        "mem_get_info": lambda device=None: (64 * 2**30, 80 * 2**30),
        "empty_cache": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "get_rng_state": lambda device=None: torch.zeros(0, dtype=torch.uint8),
        "set_rng_state": lambda state, device=None: None,
        "manual_seed_all": lambda seed: None,
    }


def per_turn(gpu: Gpu, run: Callable[[int], object], few: int, many: int, warm: bool = True) -> tuple[Counts, Counts]:
    """(what one more turn of `run(turns)` costs, what a run costs beside its turns): from the difference of two runs.
    `warm`: each is done once before, when recordings are made and constants sent."""
    found = []
    for turns in (few, many):
        if warm:
            run(turns)
        gpu.counts = Counts()
        run(turns)
        found.append(gpu.counts)
        gpu.counts = Counts()
    short, long = found
    numbers = [f.name for f in fields(Counts) if f.name != "places"]
    each = Counts(**{n: (getattr(long, n) - getattr(short, n)) / (many - few) for n in numbers})
    each.places = long.places - short.places
    return each, Counts(**{n: getattr(short, n) - few * getattr(each, n) for n in numbers})


def _destination(args: Any, kwargs: dict[str, Any]) -> tuple[torch.device | None, torch.dtype | None, bool, Any]:
    """Where and as what Tensor.to is to put a tensor: (device, dtype, non_blocking, memory format)."""
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    found: Any = torch._C._nn._parse_to(*args, **{k: v for k, v in kwargs.items() if k != "copy"})
    return found  # type: ignore[no-any-return]


def _tensors(value: Any) -> list[Tensor]:
    """Those among nested arguments or results."""
    if isinstance(value, Tensor):
        return [value]
    found: list[Tensor] = []
    for one in value.values() if isinstance(value, dict) else value or ():
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, (tuple, list, dict)):
            found += _tensors(one)
    return found


def _changed(change: Callable[[Tensor], Any], value: Any) -> Any:
    """Nested arguments or results with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _changed(change, one) for name, one in value.items()}
    return type(value)(_changed(change, one) for one in value) if isinstance(value, (list, tuple)) else value


@contextmanager
def _plain() -> Iterator[None]:
    """Torch as it is on the host, without a thought for the device."""
    with torch.no_grad(), torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _place() -> str:
    """The line of mrt that led here."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("mrt."):
        frame = frame.f_back
    return "no line of mrt" if frame is None else f"{frame.f_globals['__name__']}:{frame.f_lineno}"


def _pick_rows(
    points: Tensor, logits: Tensor, aim: Tensor, best: Tensor, best_loss: Tensor, best_reached: Tensor,
    targeted: bool, reached_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The kernel's twin."""
    logits, rows = logits.float(), torch.arange(len(aim))
    losses = torch.stack([torch.nn.functional.cross_entropy(z, aim, reduction="none") for z in logits])
    losses = (-losses if targeted else losses).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    winner = losses.argmax(0)
    right = logits.argmax(2) == aim
    reached = ((right if targeted else ~right) & ~logits.isnan().any(2))[winner, rows]
    point, loss = points[winner, rows], losses[winner, rows]
    better = loss > best_loss
    if reached_first:
        better = (reached & ~best_reached) | ((reached == best_reached) & better)
    best[better], best_loss[better], best_reached[better] = point[better], loss[better], reached[better]
    return torch.empty_like(points[0]).copy_(point), loss, reached, winner


def _gather_rows(parts: list[Tensor], winner: Tensor) -> Tensor:
    """The kernel's twin."""
    rows = torch.stack(list(parts))[winner, torch.arange(len(winner))]
    return rows.contiguous(memory_format=kernels.memory_format(parts[0]))


HOSTED: dict[str, Any] = {"mrt::pick_rows": _pick_rows, "mrt::gather_rows": _gather_rows}
