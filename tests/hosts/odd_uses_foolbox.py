"""Odd uses of Foolbox's attacks, on its own classes and on ours side by side (`odd_uses.py`).

PYTHONPATH=.:adapters python -m tests.hosts.odd_uses_foolbox
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eagerpy as ep
import mrt_foolbox
import numpy as np
import torch
from torch import Tensor, nn

import mrt
from tests.hosts.odd_uses import Row, print_table, watch
from tests.support import digits, digits_net

import foolbox  # isort: skip - after mrt_foolbox, which keeps it quiet where there is no git

Misclassified, Targeted = foolbox.criteria.Misclassification, foolbox.criteria.TargetedMisclassification
KINDS: dict[str, tuple[dict[str, Any], float]] = {
    "LinfPGD": ({"rel_stepsize": 0.2}, 0.15),
    "L2PGD": ({"rel_stepsize": 0.2}, 1.0),
    "L1PGD": ({"rel_stepsize": 0.2}, 5.0),
    "SparseL1DescentAttack": ({}, 5.0),
}


@dataclass
class Side:
    """One of the two: its module of attacks, and all that a call needs, made afresh for each use."""

    fa: Any
    kind: str = "LinfPGD"

    def __post_init__(self) -> None:
        self.net = copy.deepcopy(digits_net())
        self.x, self.y = digits(8)
        self.model = self.wrap(self.net)
        self.eps = KINDS[self.kind][1]

    def wrap(self, net: Any, bounds: Any = (0, 1), **more: Any) -> Any:
        return foolbox.PyTorchModel(net, bounds=bounds, device="cpu", **more)

    def attack(self, **settings: Any) -> Any:
        return getattr(self.fa, self.kind)(**{"steps": 8, **KINDS[self.kind][0], **settings})

    def go(self, x: Any = None, y: Any = None, epsilons: Any = "usual", model: Any = None, **settings: Any) -> Any:
        call = (self.model if model is None else model, self.x if x is None else x, self.y if y is None else y)
        return self.attack(**settings)(*call, epsilons=self.eps if isinstance(epsilons, str) else epsilons)


Use = Callable[[Side], Any]


class Odd(nn.Module):
    """The network with its answer changed."""

    def __init__(self, net: nn.Module, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.net(x.float()))


class OwnModel(foolbox.models.Model):
    bounds = foolbox.types.Bounds(0, 1)

    def __init__(self, *nets: Any) -> None:
        self.nets = nets

    def __call__(self, inputs: Any) -> Any:
        x, restore = ep.astensor_(inputs)
        return restore(ep.stack([ep.astensor(net(x.raw)) for net in self.nets]).mean(axis=0))


class Duck:
    bounds = foolbox.types.Bounds(0, 1)

    def __init__(self, net: Any) -> None:
        self.net = net

    def __call__(self, inputs: Any) -> Any:
        return ep.astensor(self.net(ep.astensor(inputs).raw))


class OwnCriterion(foolbox.criteria.Criterion):
    def __init__(self, labels: Tensor, **more: Any) -> None:
        self.y = labels
        vars(self).update(more)

    def __repr__(self) -> str:
        return "OwnCriterion()"

    def __call__(self, perturbed: Any, outputs: Any) -> Any:
        out, restore = ep.astensor_(outputs)
        return restore(out.argmax(axis=-1) != ep.astensor(self.y))


class Sure(foolbox.criteria.Misclassification):
    pass


def with_labels(change: Any) -> Use:
    return lambda s: s.go(y=change(s.y))


def with_criterion(make: Any) -> Use:
    return lambda s: s.go(y=make(s))


def with_inputs(change: Any) -> Use:
    return lambda s: s.go(change(s.x))


def with_model(make: Any) -> Use:
    return lambda s: s.go(model=make(s))


def with_epsilons(value: Any) -> Use:
    return lambda s: s.go(epsilons=value() if callable(value) else value)


def with_settings(how: Any) -> Use:
    return lambda s: s.go(**how)


def with_hook(name: str, what: Any) -> Use:
    return lambda s: exact(subclass(s, **{name: what}))


LABELS: dict[str, Use] = {
    f"labels {name}": with_labels(change)
    for name, change in {
        "int64": lambda y: y, "int32": Tensor.int, "int16": Tensor.short, "uint8": Tensor.byte, "bool": lambda y: y > 4,
        "float": Tensor.float, "numpy": lambda y: y.numpy(), "a list": lambda y: y.tolist(), "EagerPy": ep.astensor,
        "(N, 1)": lambda y: y[:, None], "one-hot": lambda y: nn.functional.one_hot(y, 10), "too few": lambda y: y[:3],
        "too many": lambda y: torch.cat([y, y]), "0-d": lambda y: y[0], "negative": lambda y: -y - 1,
        "beyond the model": lambda y: y + 20, "all wrong": lambda y: (y + 1) % 10, "a string": lambda y: "cat",
        "requires no copy": lambda y: y[::1], "not contiguous": lambda y: torch.stack([y, y], 1)[:, 0],
    }.items()
}  # fmt: skip
CRITERIA: dict[str, Use] = {
    f"criterion {name}": with_criterion(make)
    for name, make in {
        "Misclassification": lambda s: Misclassified(s.y), "targeted": lambda s: Targeted((s.y + 1) % 10),
        "targeted at the truth": lambda s: Targeted(s.y), "targeted, int32": lambda s: Targeted(s.y.int()),
        "targeted, numpy": lambda s: Targeted(s.y.numpy()), "targeted beyond the model": lambda s: Targeted(s.y + 20),
        "a subclass": lambda s: Sure(s.y), "of one's own": lambda s: OwnCriterion(s.y),
        "of one's own with target_classes": lambda s: OwnCriterion(s.y, target_classes=ep.astensor((s.y + 1) % 10)),
        "two with &": lambda s: Misclassified(s.y) & Misclassified(s.y), "a class": lambda s: Misclassified,
    }.items()
}  # fmt: skip
INPUTS: dict[str, Use] = {
    f"inputs {name}": with_inputs(change)
    for name, change in {
        "numpy": lambda x: x.numpy(), "a list": lambda x: x.tolist(), "EagerPy": ep.astensor, "uint8": Tensor.byte,
        "int64": Tensor.long, "with grad": lambda x: x.clone().requires_grad_(), "a parameter": nn.Parameter,
        "channels_last": lambda x: x.to(memory_format=torch.channels_last),
        "transposed": lambda x: x.mT.contiguous().mT,
        "expanded": lambda x: x[:1].expand(8, 1, 8, 8), "empty": lambda x: x[:0], "without a batch": lambda x: x[0],
        "NaN": lambda x: x / 0 * 0, "one NaN": lambda x: x.clone().index_fill_(3, torch.tensor(3), torch.nan),
        "infinite": lambda x: x / 0, "too bright": lambda x: x * 2, "too dark": lambda x: x - 1,
        "1e-7 too bright": lambda x: x * (1 + 1.2e-7), "all black": lambda x: x * 0, "all white": lambda x: x * 0 + 1,
    }.items()
}  # fmt: skip
INPUTS |= {
    "inputs double, double model": lambda s: s.go(s.x.double(), model=s.wrap(s.net.double())),
    "inputs half, any model": lambda s: s.go(s.x.half(), model=s.wrap(Odd(s.net, lambda z: z.half()))),
    "inputs bfloat16, any model": lambda s: s.go(s.x.bfloat16(), model=s.wrap(Odd(s.net, lambda z: z.bfloat16()))),
    "inputs double, float model": lambda s: s.go(s.x.double()),
    "inputs one image": lambda s: s.go(s.x[:1], s.y[:1]),
}
MODELS: dict[str, Use] = {
    f"model {name}": with_model(make)
    for name, make in {
        "in train mode": lambda s: s.wrap(s.net.train()), "of one's own": lambda s: OwnModel(s.net),
        "an ensemble": lambda s: OwnModel(s.net, s.model), "a function": lambda s: OwnModel(lambda x: s.net(x * 1.0)),
        "a duck": lambda s: Duck(s.net),
        "EOT": lambda s: foolbox.models.ExpectationOverTransformationWrapper(s.model, 2),
        "thresholding": lambda s: foolbox.models.ThresholdingWrapper(s.model, 0.5), "a bare module": lambda s: s.net,
        "a lambda": lambda s: lambda x: x, "None": lambda s: 3, "NumPy": lambda s: foolbox.NumPyModel(len, (0, 1)),
        "frozen": lambda s: s.wrap(s.net.requires_grad_(False)),
        "DataParallel": lambda s: s.wrap(nn.DataParallel(s.net)),
        "answers a tuple": lambda s: s.wrap(Odd(s.net, lambda z: (z, z))),
        "NaN": lambda s: s.wrap(Odd(s.net, lambda z: z / 0 * 0)),
        "answers (N, 1)": lambda s: s.wrap(Odd(s.net, lambda z: z[:, :1])),
        "constant": lambda s: s.wrap(Odd(s.net, lambda z: z * 0)),
        "answers (N, 10, 1)": lambda s: s.wrap(Odd(s.net, lambda z: z[..., None])),
        "detached": lambda s: s.wrap(Odd(s.net, Tensor.detach)),
        "bounds upside down": lambda s: s.wrap(s.net, (1, 0)), "bounds of no width": lambda s: s.wrap(s.net, (0, 0)),
        "bounds as tensors": lambda s: s.wrap(s.net, (torch.tensor(0.0), torch.tensor(1.0))),
        "moved by transform_bounds": lambda s: s.model.transform_bounds((0, 1)),
        "preprocessed": lambda s: s.wrap(s.net, preprocessing={"mean": 0.1, "std": 1.1}),
        "preprocessed by axis": lambda s: s.wrap(s.net, preprocessing={"mean": [0.1], "std": [1.1], "axis": -3}),
        "flipped": lambda s: s.wrap(s.net, preprocessing={"flip_axis": -3}),
        "inference weights": lambda s: s.wrap(inference(s.net)),
    }.items()
}  # fmt: skip


def inference(net: nn.Module) -> nn.Module:
    with torch.inference_mode():
        return copy.deepcopy(net)


EPSILONS: dict[str, Use] = {
    f"epsilons {name}": with_epsilons(value)
    for name, value in {
        "int": 1, "numpy scalar": np.float32(0.1), "0-d tensor": torch.tensor(0.1), "list": [0.05, 0.1],
        "tuple": (0.05, 0.1),
        "array": np.array([0.05, 0.1]), "tensor": torch.tensor([0.05, 0.1]), "0-d tensors": [torch.tensor(0.1)],
        "one in a list": [0.1],
        "generator": lambda: (e for e in (0.1,)), "zero": 0, "zero in a list": [0, 0.1], "negative": -0.1,
        "NaN": float("nan"),
        "infinite": float("inf"), "None": None, "None in a list": [0.1, None], "empty": [], "True": True, "huge": 1e9,
        "tiny": 1e-12,
        "twice the same": [0.1, 0.1], "falling": [0.2, 0.1], "words": ["0.1"], "a dictionary": {0.1: 1},
        "complex": 1j, "Bounds": foolbox.types.Bounds(0.05, 0.1),
    }.items()
}  # fmt: skip
EPSILONS |= {
    "epsilons left out": lambda s: s.attack()(s.model, s.x, s.y),
    "epsilons in fourth place": lambda s: s.attack()(s.model, s.x, s.y, 0.1),
}
SETTINGS: dict[str, Use] = {
    f"setting {name}": with_settings(how)
    for name, how in {
        "steps=0": {"steps": 0}, "steps=1": {"steps": 1}, "steps=-1": {"steps": -1}, "steps=2.5": {"steps": 2.5},
        "steps=True": {"steps": True},
        "rel_stepsize=0": {"rel_stepsize": 0}, "rel_stepsize<0": {"rel_stepsize": -0.1},
        "rel_stepsize=2": {"rel_stepsize": 2.0},
        "abs_stepsize": {"abs_stepsize": 0.02}, "both None": {"rel_stepsize": None, "abs_stepsize": None},
        "abs_stepsize=NaN": {"abs_stepsize": float("nan")},
        "random_start=False": {"random_start": False}, "random_start=1": {"random_start": 1}, "unknown": {"step": 3},
    }.items()
}  # fmt: skip


def changed_later(s: Side) -> Any:
    attack = s.attack(steps=1)
    attack.steps, attack.rel_stepsize = 8, 0.3
    return attack(s.model, s.x, s.y, epsilons=s.eps)


def in_threads(s: Side) -> Any:
    threads = [threading.Thread(target=lambda: s.go()) for _ in range(3)]
    for thread in threads:
        thread.start()
        # The host's attack writes the parameters' .grad, and threads that do so at once may end the process with a
        # segmentation fault.
        if s.fa is foolbox.attacks:
            thread.join()
    for thread in threads:
        thread.join()
    return all(p.requires_grad for p in s.net.parameters()), s.net.training


def subclass(s: Side, **overridden: Any) -> Any:
    settings, eps = KINDS[s.kind]
    kind = type("Mine", (getattr(s.fa, s.kind),), overridden)
    return kind(steps=3, random_start=False, **settings)(s.model, s.x, s.y, epsilons=eps)


def exact(result: Any) -> Any:
    """The images themselves, where both sides must come to the same."""
    return [round(float(v), 4) for v in result[0].flatten()[::97]], result[2].tolist()


def under(context: Any) -> Use:
    def use(s: Side) -> Any:
        with context():
            return s.go()

    return use


def seeded(s: Side) -> float:
    torch.manual_seed(3)
    return float(s.go()[0].sum())


def under_double(s: Side) -> Any:
    torch.set_default_dtype(torch.float64)
    try:
        return s.go()
    finally:
        torch.set_default_dtype(torch.float32)


def gradients(s: Side) -> Any:
    s.go()
    return "parameters' .grad untouched", all(p.grad is None for p in s.net.parameters())


def kept(s: Side) -> Any:
    given = s.x.clone()
    raw = s.go()[0]
    raw.zero_()
    return torch.equal(given, s.x)


def inside(s: Side) -> Any:
    raw, clipped, _ = s.go(epsilons=[0.05, 0.1])
    far = [float(s.attack().distance(s.x, c).max()) <= e + 1e-6 for c, e in zip(clipped, (0.05, 0.1), strict=True)]
    return far, all(float(r.min()) >= 0 and float(r.max()) <= 1 for r in raw)


OVERRIDDEN: dict[str, Any] = {
    "get_loss_fn": lambda self, model, labels: lambda x: model(x).square().sum(),
    "value_and_grad": lambda self, loss_fn, x: (loss_fn(x), ep.zeros_like(x) + 1),
    "normalize": lambda self, gradients, *, x, bounds: gradients * 0 + 0.5,
    "project": lambda self, x, x0, epsilon: x0 + (x - x0) * 0.5,
    "run": lambda self, model, inputs, criterion, *, epsilon, **kwargs: inputs * 0.5,
    "distance": foolbox.distances.l2,
}
CONTEXTS: dict[str, Use] = {
    f"a subclass's {name}": with_hook(name, what)
    for name, what in OVERRIDDEN.items()
} | {
    "a subclass's own loss attribute": lambda s: subclass(s, loss="mine"),
    "a subclass's own norm attribute": lambda s: subclass(s, norm=7),
    "under no_grad": under(torch.no_grad), "under inference_mode": under(torch.inference_mode),
    "under enable_grad": under(torch.enable_grad),
    "under autocast": under(lambda: torch.autocast("cpu", torch.bfloat16)),
    "under anomaly detection": under(torch.autograd.detect_anomaly), "default dtype double": under_double,
    "three threads": in_threads, "settings changed later": changed_later, "parameters' .grad": gradients,
    "images written to afterwards": kept, "results inside": inside,
    "a pickle": lambda s: type(pickle.loads(pickle.dumps(s.attack()))).__name__,
    "a deep copy": lambda s: copy.deepcopy(s.attack())(s.model, s.x, s.y, epsilons=s.eps),
    "isinstance of the host's": lambda s: isinstance(s.attack(), getattr(foolbox.attacks, s.kind)),
    "distance of the class": lambda s: getattr(s.fa, s.kind).distance,
    "distance is itself": lambda s: s.attack().distance == s.attack().distance,
    "vars": lambda s: {n: v for n, v in vars(s.attack()).items() if not n.startswith("_")},
    "equal to itself": lambda s: s.attack() == s.attack(),
    "repeat(2)": lambda s: s.attack().repeat(2)(s.model, s.x, s.y, epsilons=s.eps),
    "repeat(0)": lambda s: s.attack().repeat(0),
    "repeat(3).times": lambda s: s.attack().repeat(3).times,
    "repeat(2).repeat(3).times": lambda s: s.attack().repeat(2).repeat(3).times,
    "repeat(2) of a list": lambda s: s.attack().repeat(2)(s.model, s.x, s.y, epsilons=[0.05, 0.1]),
    "repeat(2).distance": lambda s: s.attack().repeat(2).distance,
    "run": lambda s: s.attack().run(s.model, s.x, s.y, epsilon=s.eps),
    "run with EagerPy": lambda s: s.attack().run(s.model, ep.astensor(s.x), ep.astensor(s.y), epsilon=s.eps),
    "run without epsilon": lambda s: s.attack().run(s.model, s.x, s.y),
    "run, EagerPy criterion": lambda s: s.attack().run(s.model, s.x, Misclassified(s.y), epsilon=s.eps),
    "an unknown keyword": lambda s: s.attack()(s.model, s.x, s.y, epsilons=0.1, early_stop=1),
    "mask=": lambda s: s.attack()(s.model, s.x, s.y, epsilons=0.1, mask=s.x > 0),
    "loss=function": lambda s: s.go(loss=lambda z, y: z.sum(1)),
    "fast=": lambda s: s.go(fast=mrt.Fast(compile=True)),
    "images of any size": lambda s: s.go(torch.rand(8, 48), model=s.wrap(nn.Sequential(nn.Linear(48, 10)).eval())),
    "seeded twice": lambda s: seeded(s) == seeded(s),
}  # fmt: skip
GRID = (3, 30, 3, 3)  # pixels, degrees, and how many of each
SPATIAL: dict[str, Use] = {
    f"SpatialAttack {name}": use
    for name, use in {
        "plain": lambda s: s.fa.SpatialAttack(*GRID)(s.model, s.x, s.y),
        "with epsilons": lambda s: s.fa.SpatialAttack(*GRID)(s.model, s.x, s.y, epsilons=[0.1]),
        "epsilons=None": lambda s: s.fa.SpatialAttack(*GRID)(s.model, s.x, s.y, epsilons=None),
        "random": lambda s: s.fa.SpatialAttack(grid_search=False, random_steps=9)(s.model, s.x, s.y),
        "targeted": lambda s: s.fa.SpatialAttack(*GRID)(s.model, s.x, Targeted((s.y + 1) % 10)),
        "repeat of a grid": lambda s: s.fa.SpatialAttack().repeat(2),
        "repeat": lambda s: s.fa.SpatialAttack(grid_search=False).repeat(2).random_steps,
        "vars": lambda s: {n: v for n, v in vars(s.fa.SpatialAttack()).items() if n != "_fast"},
        "flat inputs": lambda s: s.fa.SpatialAttack()(s.model, s.x.flatten(1), s.y),
        "own criterion": lambda s: s.fa.SpatialAttack(*GRID)(s.model, s.x, OwnCriterion(s.y)),
        "run": lambda s: s.fa.SpatialAttack(*GRID).run(s.model, s.x, s.y),
        "an unknown keyword": lambda s: s.fa.SpatialAttack(*GRID)(s.model, s.x, s.y, grid=1),
    }.items()
}  # fmt: skip
OTHERS = (
    "labels int32", "labels all wrong", "criterion targeted", "inputs double, double model", "inputs NaN", "model NaN",
    "epsilons list", "epsilons None", "epsilons infinite", "epsilons zero", "under no_grad", "results inside",
    "a pickle", "repeat(2)", "a subclass's get_loss_fn", "a subclass's project",
)  # fmt: skip
USES = LABELS | CRITERIA | INPUTS | MODELS | EPSILONS | SETTINGS | CONTEXTS | SPATIAL

STRICT = "a mistake that Foolbox runs, to an answer that says nothing"
KNOWN: dict[str, str] = {  # where a script notices that the class is ours, and why that is so
    "model NaN": "Foolbox counts NaN as fooled",
    "epsilons negative": STRICT,
    "epsilons NaN": STRICT,
    "epsilons infinite": "Foolbox multiplies its step by infinity, and returns NaN; ours is the whole box",
    "setting steps=0": STRICT,
    "setting steps=-1": STRICT,
    "setting steps=True": STRICT,
    "setting rel_stepsize=0": STRICT,
    "setting rel_stepsize<0": STRICT,
    "setting abs_stepsize=NaN": STRICT,
    "setting random_start=1": STRICT,
    "parameters' .grad": "Foolbox adds to the parameters' gradients; ours leaves the model as it was",
    "a pickle": "the class's own name",
    "SpatialAttack targeted": "other motions: Foolbox's shift of 3 pixels is one of 2.89, and it fills up with 0",
    "SpatialAttack own criterion": "our search reads labels or target classes",
    "SpatialAttack an unknown keyword": "Foolbox passes over it in silence",
}


def compare(every: int = 1) -> list[Row]:
    """Run every use, or one of so many, on both sides; the other classes run some of them."""
    cases = [(name, use, "LinfPGD") for name, use in USES.items()]
    cases += [(name, USES[name], kind) for kind in list(KINDS)[1:] for name in OTHERS]
    host: Any = foolbox.attacks
    sides = [(name if k == "LinfPGD" else f"{k}: {name}", use, k) for name, use, k in cases]
    return [Row(name, *(watch(use, Side(fa, k)) for fa in (host, mrt_foolbox))) for name, use, k in sides[::every]]


if __name__ == "__main__":
    print_table(compare(), KNOWN)
