"""adapters/mrt_foolbox/ (attack_base.py, one_ball.py, union.py, motions.py, learned.py): Our attacks as Foolbox's:
treated as the host treats its own, over bounds, shapes and tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import eagerpy as ep
import mrt_foolbox as ours
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mrt
from mrt.generators import L2LGenerator, L2LStar, PGNGenerator
from mrt.threats.gauge import gauge
from tests.adapters.support import BOUNDS, CLASSES, SHAPES, dyadic, generated, net, state, unchanged, victim
from tests.support import digits, small_net, torch_seed

import foolbox  # isort: skip - after mrt_foolbox, which keeps it quiet where there is no git
import foolbox.attacks as theirs

Misclassification, Targeted = foolbox.criteria.Misclassification, foolbox.criteria.TargetedMisclassification


ANY: dict[Any, Any] = {1: 1, "linear": nn.Linear(1, 1)}  # what no type checker would let through
Factory = Callable[[tuple[int, int, int], float], Any]
MAKE: dict[str, tuple[Factory, float]] = {  # shape, width of the bounds -> attack; epsilon in [0, 1]
    "SLIDE": (lambda s, w: ours.SLIDE(steps=6), 4.0),
    "SLIDE random": (lambda s, w: ours.SLIDE(steps=6, keep=(2, 9), abs_stepsize=1.5 * w, random_start=True), 4.0),
    "SparseL1DescentAttack": (lambda s, w: ours.SparseL1DescentAttack(steps=6, quantile=0.95), 4.0),
    "LinfPGD": (lambda s, w: ours.LinfPGD(steps=6, rel_stepsize=0.3), 0.1),
    "L2PGD": (lambda s, w: ours.L2PGD(steps=6, rel_stepsize=0.3, loss="margin"), 1.0),
    "L1PGD": (lambda s, w: ours.L1PGD(steps=6, rel_stepsize=0.3), 4.0),
    "PGD": (lambda s, w: ours.PGD("l2", steps=6, abs_stepsize=0.2 * w), 1.0),
    "APGD linf": (lambda s, w: ours.APGD("linf", steps=8, targets=2, loss="dlr"), 0.1),
    "APGD l2": (lambda s, w: ours.APGD("l2", steps=8, random_start=False), 1.0),
    "APGD l1": (lambda s, w: ours.APGD("l1", steps=8, loss="dlr"), 4.0),
    "MSD": (lambda s, w: ours.MSD(linf=0.1 * w, l2=1.0 * w, l1=4.0 * w, steps=5), 1.0),
    "MSD random": (
        lambda s, w: ours.MSD(
            linf=0.1 * w, l2=None, l1=4.0 * w, steps=5, rel_stepsize=0.3, keep=(2, 9), random_start=True, loss="margin"
        ),
        1.0,
    ),
    "RotationTranslation": (lambda s, w: ours.RotationTranslation(40, 3, grid=(2, 2, 5)), 1.0),
    "RotationTranslation random": (lambda s, w: ours.RotationTranslation(40, 3, samples=6), 1.0),
    "Affine": (lambda s, w: ours.Affine(linf=0.2 * w, l1=8 * w, steps=2, restarts=2), 1.0),
    "Affine moved": (lambda s, w: ours.Affine(linf=0.2 * w, l1=None, degrees=30, steps=1, restarts=1, samples=2), 1.0),
    "L2LDA": (lambda s, w: ours.L2LDA(generated(L2LGenerator, s, steps=2), samples=2), 0.1),
    "L2LDA star": (lambda s, w: ours.L2LDA(generated(L2LStar, s)), 0.1),
    "PGN": (lambda s, w: ours.PGN(generated(PGNGenerator, s)), 1.0),
}
RT = mrt.RotationTranslation
TWIN: dict[str, Callable[[float], Any]] = {  # what each is at a share of its radius, in [0, 1] and mrt's words
    "SLIDE": lambda f: mrt.SLIDE(mrt.L1(4 * f), steps=6),
    "SLIDE random": lambda f: mrt.SLIDE(mrt.L1(4 * f), steps=6, keep=(2, 9), step_size=1.5, random_start=True),
    "SparseL1DescentAttack": lambda f: mrt.SLIDE(mrt.L1(4 * f), steps=6, keep=0.95, step_size=0.8 * f),
    "LinfPGD": lambda f: mrt.PGD(mrt.Linf(0.1 * f), steps=6, step_size=0.03 * f, random_start=True),
    "L2PGD": lambda f: mrt.PGD(mrt.L2(f), steps=6, step_size=0.3 * f, loss="margin", random_start=True),
    "L1PGD": lambda f: mrt.PGD(mrt.L1(4 * f), steps=6, step_size=1.2 * f, random_start=True),
    "PGD": lambda f: mrt.PGD(mrt.L2(f), steps=6, step_size=0.2),
    "APGD linf": lambda f: mrt.APGD(mrt.Linf(0.1 * f), steps=8, targets=2, loss="dlr"),
    "APGD l2": lambda f: mrt.APGD(mrt.L2(f), steps=8, random_start=False),
    "APGD l1": lambda f: mrt.APGD(mrt.L1(4 * f), steps=8, loss="dlr"),
    "MSD": lambda f: mrt.MSD((mrt.Linf(0.1 * f), mrt.L2(f), mrt.L1(4 * f)), steps=5, best="broken"),
    "MSD random": lambda f: mrt.MSD(
        (mrt.Linf(0.1 * f), mrt.L1(4 * f)), steps=5, step_size=(0.03 * f, 1.2 * f), keep=(2, 9), random_start=True,
        loss="margin", best="broken",
    ),
    "RotationTranslation": lambda f: mrt.RTGrid(RT(40 * f, 3 * f), grid=(2, 2, 5)),
    "RotationTranslation random": lambda f: mrt.RTWorstOf(RT(40 * f, 3 * f), k=6),
    "Affine": lambda f: mrt.AffineAttack(mrt.Affine((mrt.Linf(0.2 * f), mrt.L1(8 * f))), steps=2, restarts=2),
    "Affine moved": lambda f: mrt.AffineAttack(
        mrt.Affine((RT(30 * f, 0), mrt.Linf(0.2 * f))), steps=1, restarts=1, k=2
    ),
    "L2LDA": lambda f: mrt.GeneratorAttack(generated(L2LGenerator, SHAPES[0], steps=2), mrt.Linf(0.1 * f), 2),
    "L2LDA star": lambda f: mrt.GeneratorAttack(generated(L2LStar, SHAPES[0]), mrt.Linf(0.1 * f)),
    "PGN": lambda f: mrt.GeneratorAttack(generated(PGNGenerator, SHAPES[0]), mrt.L2(f)),
}  # fmt: skip
SAME = {"APGD linf", "PGN", "L2LDA", "L2LDA star"}  # whose every pixel follows the last digit of a gradient's sign
LEARNED = {"L2LDA", "L2LDA star", "PGN"}
every_attack = pytest.mark.parametrize("name", list(MAKE))
untrained = pytest.mark.filterwarnings("ignore:.* fooled the model on no image that it got right")


def model(module: nn.Module, bounds: tuple[float, float]) -> Any:
    how = {"mean": bounds[0], "std": bounds[1] - bounds[0]}
    return foolbox.PyTorchModel(module, bounds=bounds, preprocessing=how, device="cpu")


def wrong(fmodel: Any, x: Tensor, y: Tensor) -> Tensor:
    found: Tensor = fmodel(x).argmax(-1) != y
    return found


def inside(attack: Any, x: Tensor, raw: Tensor, epsilon: float) -> bool:
    """Within epsilon of x in the attack's own distance, computed here in float64, to 1e-6."""
    delta = (raw.double() - x.double()).flatten(1)
    if isinstance(attack, ours.MSD):
        of = {"linf": delta.abs().amax(1), "l2": delta.norm(dim=1), "l1": delta.abs().sum(1)}
        size = torch.stack([of[n] / getattr(attack, n) for n in of if getattr(attack, n)]).amin(0)
    else:
        size = torch.linalg.vector_norm(delta, float(attack.distance.p), dim=1)
    return bool((size <= epsilon * (1 + 1e-6)).all())


def test_every_attack_is_tested() -> None:
    known = {"FoolboxAttack", "FoolboxSpatial", "SpatialAttack", "Union", "as_model", "attack"}
    aliases = {f"{n}ProjectedGradientDescentAttack" for n in ("L1", "L2", "Linf")}
    assert {name.split()[0] for name in MAKE} == set(ours.__all__) - known - aliases


@untrained
@pytest.mark.parametrize("shape", SHAPES)
@every_attack
def test_the_hosts_conventions(name: str, shape: tuple[int, int, int]) -> None:
    """Shapes, types, bounds, radius, flags, nothing touched, and the same in every bounds."""
    make, radius = MAKE[name]
    found: list[tuple[Tensor, Tensor]] = []
    for bounds in BOUNDS:
        width, module = bounds[1] - bounds[0], net(shape)
        fmodel, attack, x = model(module, bounds), make(shape, width), dyadic(shape, 7, bounds)
        y, before, given = fmodel(x).argmax(-1), state(module), x.clone()
        whole = isinstance(attack, (ours.MSD, ours.RotationTranslation, ours.Affine))
        epsilon = radius if whole else radius * width
        torch.manual_seed(0)
        raws, clipped, success = attack(fmodel, x, y, epsilons=[epsilon, epsilon / 2])
        assert success.shape == (2, 7) and success.dtype == torch.bool
        for k, (raw, cut) in enumerate(zip(raws, clipped, strict=True)):
            assert raw.shape == x.shape and raw.dtype == x.dtype and not raw.requires_grad
            assert bool(((raw >= bounds[0]) & (raw <= bounds[1])).all())
            assert not hasattr(attack, "distance") or inside(attack, x, raw, epsilon / (1 + k))
            assert (raw - cut).abs().max() <= 1e-6 * width
            assert torch.equal(success[k], wrong(fmodel, cut, y))
        torch.manual_seed(0)
        one, _, flags = attack(fmodel, ep.astensor(x), ep.astensor(y), epsilons=np.float32(epsilon))
        assert isinstance(one, ep.Tensor) and isinstance(flags, ep.Tensor) and flags.shape == (7,)
        assert torch.allclose(one.raw, raws[0], atol=1e-4 * width)
        unchanged(before, module)
        assert torch.equal(x, given) and raws[0].data_ptr() != x.data_ptr()
        found.append(((raws[0] - bounds[0]) / width, success))
    for other, flags in found[1:]:
        assert torch.equal(flags, found[0][1])
        same = ((other - found[0][0]).abs() < 1e-3).float().mean()
        assert same == 1 or (same > 0.9 and name in SAME)


@every_attack
def test_it_is_the_native_attack(name: str) -> None:
    """With the same seed the same images as mrt's own attack, at either radius, and after repeat(2) as with 2
    restarts."""
    module, x = net(SHAPES[0]), dyadic(SHAPES[0], 7, (0, 1))
    fmodel, attack, radius = model(module, (0, 1)), MAKE[name][0](SHAPES[0], 1.0), MAKE[name][1]
    y = fmodel(x).argmax(-1)
    for factor in (1.0, 0.5):
        twin = TWIN[name](factor)
        pairs = [(attack, twin)]
        if name.split()[0] in ("SLIDE", "LinfPGD", "APGD", "MSD"):
            pairs.append((attack.repeat(2), replace(twin, restarts=2)))
        for host, own in pairs:
            torch.manual_seed(5)
            raw = host.run(fmodel, x, y, epsilon=radius * factor)
            torch.manual_seed(5)
            assert torch.allclose(raw, own(module, x, y), atol=1e-6)


def test_factors_reach_a_grid_and_targets_a_ratio_loss() -> None:
    module, x = net(SHAPES[0]), dyadic(SHAPES[0], 7, (0, 1))
    fmodel, y = model(module, (0, 1)), module(x).argmax(-1)
    found, _, _ = ours.RotationTranslation(40, 3, grid=(2, 2, 5))(fmodel, x, y, epsilons=(1, 0.5, 0))
    assert torch.equal(found[2], x)
    for image, factor in zip(found, (1.0, 0.5), strict=False):
        assert torch.allclose(image, TWIN["RotationTranslation"](factor)(module, x, y), atol=1e-6)
    aim = (y + 1) % CLASSES
    raw = ours.PGD("l2", steps=6, loss="dlr").run(fmodel, x, Targeted(aim), epsilon=1.0)
    assert torch.allclose(raw, mrt.PGD(mrt.L2(1.0), steps=6, loss="dlr")(module, x, y, target=aim), atol=1e-6)


def test_what_an_attack_returns_is_brought_inside() -> None:
    """The host trusts raw results, so that one outside by rounding is shortened."""

    class Loose(ours.LinfPGD):
        def attack_for(self, epsilon: float, width: float) -> Any:
            class Outside:
                threat = mrt.Linf(epsilon / width)

                def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
                    return (x + 1.0001 * epsilon / width).clamp(0, 1)

            return Outside()

    x = dyadic((1, 8, 8), 4, (0, 1))
    raw = Loose().run(model(net((1, 8, 8)), (0, 1)), x, torch.arange(4), epsilon=0.1)
    assert inside(Loose(), x, raw, 0.1) and float((raw - x).abs().max()) > 0.0999


@untrained
@every_attack
def test_it_hurts_and_it_aims(name: str) -> None:
    """What Foolbox's own tests ask of an attack: accuracy falls, and targeted hits rise."""
    x, y = digits(24)
    module = victim()
    fmodel = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    kind = MAKE[name][0]
    attack = kind((1, 8, 8), 1.0) if name not in LEARNED else fitted(name)
    epsilon = {"linf": 0.25, "l2": 1.5, "l1": 6.0}.get(getattr(attack, "norm", ""), 1.0)
    epsilon = 0.25 if name.startswith("L2LDA") else 3.0 if name.startswith("MSD") else epsilon
    if name in LEARNED:
        x = x * 0.8 + 0.1  # PGN's hardly moves pixels on the bounds
        raw, _, _ = attack(fmodel, x, y, epsilons=epsilon)
        assert nn.functional.cross_entropy(fmodel(raw), y) > 1.3 * nn.functional.cross_entropy(fmodel(x), y)
    else:
        raw, _, success = attack(fmodel, x, y, epsilons=epsilon)
        assert wrong(fmodel, raw, y).sum() > wrong(fmodel, x, y).sum() + 2 and success.any()
    aim = (fmodel(x).argmax(-1) + 1) % 10
    if name in LEARNED:
        with pytest.raises(ValueError, match="unsupported criterion"):
            attack(fmodel, x, Targeted(aim), epsilons=epsilon)
        return
    if name == "APGD linf":  # which chooses its own targets
        with pytest.raises(ValueError, match="unsupported criterion"):
            attack(fmodel, x, Targeted(aim), epsilons=epsilon)
        return
    raw, _, success = attack(fmodel, x, Targeted(aim), epsilons=epsilon)
    hits = fmodel(raw).argmax(-1) == aim
    assert hits.any() and torch.equal(success, hits)


def fitted(name: str) -> Any:
    """A generator that has learned to fool the digits network a little."""
    data, module = mrt.data.digits("train"), victim()
    torch.manual_seed(0)
    if name == "PGN":
        squeezed = (data.x * 0.8 + 0.1, data.y)
        made: Any = PGNGenerator((1, 8, 8), 10, width=8, penalty=0.0)
        mrt.fit_generator(made, module, squeezed, mrt.L2(1.5), iterations=30, progress=False)
        return ours.PGN(made)
    made = L2LStar((1, 8, 8), 10, width=8) if "star" in name else L2LGenerator((1, 8, 8), 10, width=8, steps=2)
    mrt.fit_generator(made, module, data, mrt.Linf(0.25), iterations=30, progress=False)
    return ours.L2LDA(made)


def counting(calls: list[int], shape: tuple[int, int, int] = (1, 8, 8)) -> Any:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_net(shape, CLASSES).eval()

        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            out: Tensor = self.inner(x)
            return out

    return foolbox.PyTorchModel(Counted().eval(), bounds=(0, 1), device="cpu")


class Other(foolbox.criteria.Criterion):
    def __repr__(self) -> str:
        return "Other()"

    def __call__(self, perturbed: Any, outputs: Any) -> Any:
        return outputs


X, Y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"criterion": Other()}, ValueError, r"unsupported criterion Other\(\)"),
    ({"criterion": Misclassification(Y) & Misclassification(Y)}, ValueError, "unsupported criterion"),
    ({"criterion": Y[:3]}, ValueError, "criterion's classes must have shape"),
    ({"criterion": Y.float()}, ValueError, "integer torch tensor.*float32"),
    ({"criterion": Y.numpy()}, ValueError, "integer torch tensor.*ndarray"),
    ({"criterion": -Y}, ValueError, "at least 0"),
    ({"inputs": X.numpy()}, ValueError, "run on PyTorch; got inputs of type ndarray"),
    ({"inputs": X * 255}, ValueError, r"within their bounds \(0 to 1\)"),
    ({"inputs": X / 0 * 0}, ValueError, "NaN"),
    ({"inputs": X[:0]}, ValueError, "non-empty batch"),
    ({"inputs": (X * 255).byte()}, ValueError, "floats; got torch.uint8"),
    ({"epsilons": -0.1}, ValueError, "epsilons.*-0.1"),
    ({"epsilons": [0.1, float("nan")]}, ValueError, "epsilons.*nan"),
    ({"epsilons": []}, ValueError, "got none"),
    ({"epsilons": "0.1"}, TypeError, "epsilons must be a number"),
    ({"step": 5}, TypeError, "unexpected keyword argument 'step'"),
    ({"model": lambda x: x}, ValueError, "only a foolbox.Model"),
    ({"model": foolbox.NumPyModel(lambda x: x, bounds=(0, 1))}, ValueError, "got NumPyModel, a model of NumPy"),
]


@pytest.mark.parametrize(("how", "kind", "says"), BAD)
@pytest.mark.parametrize("name", ["LinfPGD", "MSD", "RotationTranslation"])
def test_bad_calls_end_before_the_model_is_called(name: str, how: Any, kind: type[Exception], says: str) -> None:
    calls: list[int] = []
    call = {"model": counting(calls), "inputs": X, "criterion": Y, "epsilons": 0.1, **how}
    with pytest.raises(kind, match=says):
        MAKE[name][0]((1, 8, 8), 1.0)(**call)
    assert not calls


def test_epsilons_may_not_be_left_out_where_they_are_a_radius() -> None:
    fmodel = counting([])
    with pytest.raises(TypeError, match="epsilons"):
        ours.LinfPGD()(fmodel, X, Y)  # type: ignore[call-arg]
    assert ours.RotationTranslation()(fmodel, X, Y)[2].shape == (4,)  # as Foolbox's SpatialAttack is called


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ours.SLIDE(steps=0), "steps.*0"),
        (lambda: ours.SLIDE(keep=1.5), "keep.*1.5"),
        (lambda: ours.SLIDE(rel_stepsize=0), "rel_stepsize.*0"),
        (lambda: ours.SLIDE(abs_stepsize=-1), "abs_stepsize.*-1"),
        (lambda: ours.SLIDE(random_start=ANY[1]), "random_start.*1"),
        (lambda: ours.SLIDE(loss="mse"), "loss.*mse"),
        (lambda: ours.SparseL1DescentAttack(quantile=1.5), "quantile.*1.5"),
        (lambda: ours.PGD("l3"), "norm.*l3"),
        (lambda: ours.APGD("l3"), "norm.*l3"),
        (lambda: ours.APGD(targets=-1), "targets.*-1"),
        (lambda: ours.MSD(linf=None, l2=None, l1=None), "at least one of linf, l2, l1"),
        (lambda: ours.MSD(linf=0), "linf.*0"),
        (lambda: ours.MSD(keep=0), "keep.*0"),
        (lambda: ours.Affine(linf=None), "Affine needs two of linf, l2 and l1"),
        (lambda: ours.RotationTranslation(degrees=200), "degrees.*200"),
        (lambda: ours.RotationTranslation(samples=0), "k must be.*0"),
        (lambda: ours.L2LDA(ANY["linear"]), "L2LGenerator; got Linear"),
        (lambda: ours.PGN(generated(PGNGenerator, (1, 16, 16)), norm="l0"), "norm.*l0"),
        (lambda: ours.LinfPGD().repeat(0), "times.*0"),
        (lambda: ours.RotationTranslation().repeat(2), "repeat is not supported"),
    ],
)
def test_bad_settings(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
    with pytest.raises(TypeError):
        ours.SLIDE(epsilon=1.0)  # type: ignore[call-arg]


HOSTED = ["LinfPGD", "L2PGD", "L1PGD", "PGD", "SparseL1DescentAttack"]
HOSTED += [f"{norm}ProjectedGradientDescentAttack" for norm in ("Linf", "L2", "L1")]


@pytest.mark.parametrize("name", HOSTED)
def test_signatures_hold_the_hosts(name: str) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters
    for key, parameter in inspect.signature(getattr(theirs, name)).parameters.items():
        assert mine[key].kind == parameter.kind
        assert mine[key].default == parameter.default or name == "PGD"  # ours has three norms, each with its own


SCRIPT = """
attacks = [
    fa.LinfPGD(steps=10, rel_stepsize=0.1),
    fa.L2PGD(steps=10, abs_stepsize=0.1, random_start=False),
    fa.L1PGD(steps=10),
    fa.SparseL1DescentAttack(quantile=0.95, steps=10, random_start=True),
    fa.LinfProjectedGradientDescentAttack(steps=5).repeat(2),
]
fmodel = fb.PyTorchModel(net, bounds=(0, 1), device="cpu")
epsilons = [0.0, 0.05, 0.5]
success = []
for attack in attacks:
    raw, clipped, flags = attack(fmodel, images, labels, epsilons=epsilons)
    assert len(raw) == len(clipped) == 3 and flags.shape == (3, len(images))
    success.append(flags.float().mean(-1))
robust = 1 - torch.stack(success).amax(0)
"""


@pytest.mark.parametrize("module", [theirs, ours])
def test_a_script_of_the_hosts_runs_with_another_import(module: Any) -> None:
    x, y = digits(12)
    names: dict[str, Any] = {"fa": module, "fb": foolbox, "torch": torch, "net": victim(), "images": x, "labels": y}
    exec(SCRIPT, names)
    assert names["robust"][0] == names["robust"].amax() and names["robust"][2] < 0.5


def test_repeat_runs_only_what_still_stands() -> None:
    calls: list[int] = []
    fmodel, x = counting(calls), dyadic((1, 8, 8), 12, (0, 1))
    y = fmodel(x).argmax(-1)
    attack = ours.LinfPGD(steps=3, rel_stepsize=0.5)
    epsilon = next(e for e in (0.1, 0.2, 0.3, 0.5) if 2 < attack(fmodel, x, y, epsilons=e)[2].sum() < 11)
    torch.manual_seed(0)
    once = attack(fmodel, x, y, epsilons=epsilon)[2]
    calls.clear()
    torch.manual_seed(0)
    many = attack.repeat(2).repeat(2)(fmodel, x, y, epsilons=epsilon)[2]
    assert bool((many | ~once).all())
    assert calls[:4] == [12] * 4 and max(calls[4:-1]) == 12 - int(once.sum()) and calls[-1] == 12
    assert attack.repeat(2).repeat(3).times == 6 and attack.repeat(2).attack is attack
    assert repr(ours.LinfPGD(steps=3).repeat(3)) == "LinfPGD(steps=3).repeat(3)"
    assert ours.RotationTranslation(samples=3).repeat(4).samples == 12
    assert ours.Affine(restarts=2).repeat(3).restarts == 6


def test_motions_have_an_end() -> None:
    """epsilons are factors; in degrees, as they are easily misread, they would turn images out of sight."""
    for attack in (ours.RotationTranslation(), ours.Affine(linf=0.1, l1=None, degrees=30)):
        calls: list[int] = []
        with pytest.raises(ValueError, match="degrees must be.*at most 180; got 900"):
            attack(counting(calls), X, Y, epsilons=[1.0, 30])
        assert not calls


def test_reprs_are_short() -> None:
    assert repr(ours.Affine(restarts=3)) == "Affine(restarts=3)" == repr(ours.Affine(restarts=1).repeat(3))
    assert repr(ours.SLIDE()) == "SLIDE()" and repr(ours.SLIDE(steps=5, keep=3)) == "SLIDE(steps=5, keep=3)"
    assert repr(ours.L2LDA(generated(L2LStar, (1, 16, 16)))) == "L2LDA(generator=L2LGenerator)"
    assert repr(ours.MSD(l1=None).distance) == f"Union(linf={8 / 255:g}, l2=0.5)"


@given(st.integers(0, 10**6), st.floats(0.05, 4), st.floats(0.1, 3))
@settings(max_examples=30)
def test_the_unions_distance_is_a_gauge(seed: int, size: float, factor: float) -> None:
    """The least of the three ratios; homogeneous; clipping reaches the factor and leaves what is inside alone."""
    distance = ours.MSD(linf=0.2, l2=0.7, l1=2.0).distance
    x = torch.rand(5, 1, 4, 4, generator=torch_seed(seed))
    delta = torch.randn(5, 1, 4, 4, generator=torch_seed(seed + 1)) * size * 0.1
    flat = delta.flatten(1).double()
    plain = torch.stack([flat.abs().amax(1) / 0.2, flat.norm(dim=1) / 0.7, flat.abs().sum(1) / 2.0]).amin(0)
    assert torch.allclose(distance(x, x + delta).double(), plain, rtol=1e-4)
    assert torch.allclose(distance(x, x + delta / 2), distance(x, x + delta) / 2, rtol=1e-3)
    cut = distance.clip_perturbation(x, x + delta, factor)
    now = distance(x, cut)
    assert bool((now <= factor * (1 + 1e-5)).all())
    within = plain < factor * (1 - 1e-4)
    assert torch.equal(cut[within], (x + delta)[within])
    assert torch.allclose(now[~within], torch.full_like(now[~within], factor), rtol=1e-3)
    assert torch.equal(distance(x, x), torch.zeros(5))


def test_msd_is_the_union_at_one_and_a_curve_otherwise() -> None:
    x, y = digits(40)
    fmodel = foolbox.PyTorchModel(victim(), bounds=(0, 1), device="cpu")
    attack = ours.MSD(linf=0.2, l2=0.7, l1=2.0, steps=10)
    raw, _, success = attack(fmodel, x, y, epsilons=[0.3, 1.0])
    union = mrt.AnyOf((mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0)))
    assert bool(union.contains(x, raw[1]).all()) and bool(union.scaled(0.3).contains(x, raw[0]).all())
    assert float(gauge(union, x, raw[1]).max()) > 0.9 and success[1].sum() > success[0].sum()
    assert torch.equal(attack(fmodel, x, y, epsilons=0)[0], x)


def test_slide_aims_and_stays_inside_where_foolboxs_does_not() -> None:
    """Foolbox masks pixels on the bounds by the wrong sign when it aims, and its projection ends outside the ball."""
    x, y = digits(60)
    fmodel = foolbox.PyTorchModel(victim(), bounds=(0, 1), device="cpu")
    aim = Targeted((y + 1) % 10)
    hits, largest = {}, {}
    for module in (theirs, ours):
        attack = module.SparseL1DescentAttack(steps=20)
        hits[module] = int(attack(fmodel, x, aim, epsilons=3.0)[2].sum())
        raw = attack(fmodel, x, y, epsilons=1.0)[0]
        largest[module] = float((raw.double() - x.double()).abs().flatten(1).sum(1).max())
    assert hits[ours] > hits[theirs] + 20
    assert largest[theirs] > 1.01 and largest[ours] <= 1 + 1e-6


def test_doubles_wrappers_and_no_grad() -> None:
    """A model of doubles, Foolbox's own wrappers, int32 labels, and calls under no_grad and inference mode."""
    x, y = dyadic((1, 8, 8), 6, (0, 1)), torch.arange(6, dtype=torch.int32) % CLASSES
    wide = foolbox.PyTorchModel(small_net((1, 8, 8), CLASSES).double().eval(), bounds=(0, 1), device="cpu")
    raw, _, _ = ours.LinfPGD(steps=3)(wide, x.double(), y, epsilons=0.1)
    assert raw.dtype == torch.float64 and inside(ours.LinfPGD(), x, raw, 0.1)
    module = small_net((1, 8, 8), CLASSES).eval()
    plain = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    moved = foolbox.models.TransformBoundsWrapper(plain, (-2, 2))
    results = []
    for fmodel, images, size in ((plain, x, 0.1), (moved, x * 4 - 2, 0.4)):
        with torch.no_grad():
            torch.manual_seed(0)
            raw = ours.L2PGD(steps=3)(fmodel, images, y, epsilons=5 * size)[0]
        results.append(raw if fmodel is plain else (raw + 2) / 4)
    assert torch.allclose(results[0], results[1], atol=1e-5)
    nearly = x + 1e-6 * (x == 1)  # as the host's clipped images can be, which its own attacks do not take back
    raw, clipped, _ = ours.L2PGD(steps=3)(plain, nearly, y, epsilons=0.5)
    assert raw.max() <= 1 and clipped.max() <= 1 + 1e-6
    with torch.inference_mode():
        assert ours.SLIDE(steps=2)(plain, x.clone(), y, epsilons=1.0)[2].shape == (6,)
    module.train()
    before = state(module)
    with pytest.warns(UserWarning, match="training mode"):
        busy = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    ours.LinfPGD(steps=3).run(busy, x, y.long(), epsilon=0.1)
    unchanged(before, module)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile's own
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrapped_modules(wrap: Any) -> None:
    x, module = dyadic((1, 8, 8), 5, (0, 1)), net((1, 8, 8))
    plain = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    y = plain(x).argmax(-1)
    torch.manual_seed(0)
    want = ours.MSD(linf=0.1, l2=0.5, l1=2, steps=3)(plain, x, y, epsilons=1.0)[0]
    before, wrapped = state(module), foolbox.PyTorchModel(wrap(module).eval(), bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    raw = ours.MSD(linf=0.1, l2=0.5, l1=2, steps=3)(wrapped, x, y, epsilons=1.0)[0]
    assert torch.allclose(raw, want, atol=1e-5)
    unchanged(before, module)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_attack
def test_on_a_cuda_device(name: str) -> None:
    make, radius = MAKE[name]
    module, x = net((1, 16, 16)).cuda(), dyadic((1, 16, 16), 6, (0, 1)).cuda()
    fmodel = foolbox.PyTorchModel(module, bounds=(0, 1))
    attack = make((1, 16, 16), 1.0)
    if name in LEARNED:
        attack.generator.cuda()
    raw, _, success = attack(fmodel, x, fmodel(x).argmax(-1), epsilons=radius)
    assert raw.is_cuda and success.is_cuda
    assert not hasattr(attack, "distance") or inside(attack, x, raw, radius)
