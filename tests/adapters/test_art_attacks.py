"""adapters/mrt_art/ (attack_base.py, one_ball.py, union.py, motions.py, learned.py, host_named.py): Our attacks as
ART's: treated as the host treats its own, over clip values, shapes, layouts and preprocessing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import art.attacks.evasion as theirs
import mrt_art as ours
import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoAttack
from art.defences.preprocessor import SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.defences.trainer import AdversarialTrainer, AdversarialTrainerAWPPyTorch, AdversarialTrainerTRADESPyTorch
from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing
from art.estimators.classification import BlackBoxClassifier
from art.exceptions import EstimatorError
from torch import Tensor, nn

import mrt
from mrt.generators import L2LGenerator, L2LStar, PGNGenerator
from tests.adapters.support import (
    BOUNDS,
    CLASSES,
    SHAPES,
    Unasked,
    classifier,
    dyadic,
    generated,
    net,
    state,
    unchanged,
    victim,
)
from tests.support import digits, small_net

EPS = {"inf": 0.1, "2": 1.0, "1": 4.0}
RADII, STEPS = np.array([4.0, 4.0, 2.0, 2.0, 4.0, 1.0, 1.0]), np.array([1.0, 0.5, 0.5, 0.5, 1.0, 1.0, 0.5])
Factory = Callable[[Any, float, tuple[int, int, int]], Any]
MAKE: dict[str, tuple[Factory, str]] = {  # classifier, width, shape -> attack; its norm
    "SLIDE": (lambda c, w, s: ours.SLIDE(c, eps=4.0 * w, max_iter=5), "1"),
    "SLIDE random": (lambda c, w, s: ours.SLIDE(c, 4.0 * w, w, 5, keep=(2, 9), num_random_init=2), "1"),
    "PGD inf": (lambda c, w, s: ours.PGD(c, eps=0.1 * w, max_iter=5), "inf"),
    "PGD 1": (lambda c, w, s: ours.PGD(c, 1, 4.0 * w, max_iter=5, loss_type="margin"), "1"),
    "APGD 2": (lambda c, w, s: ours.APGD(c, norm=2, eps=1.0 * w, max_iter=6), "2"),
    "APGD 1": (lambda c, w, s: ours.APGD(c, norm="1", eps=4.0 * w, max_iter=6, loss_type="dlr"), "1"),
    "MSD": (lambda c, w, s: ours.MSD(c, {n: e * w for n, e in EPS.items()}, max_iter=4), "any"),
    "MSD random": (
        lambda c, w, s: ours.MSD(
            c, {"1": 4.0 * w, "inf": 0.1 * w}, {"inf": 0.03 * w, "1": 1.2 * w}, 4, (2, 9), num_random_init=2,
            loss_type="margin",
        ), "any",
    ),
    "ProjectedGradientDescent": (
        lambda c, w, s: ours.ProjectedGradientDescent(c, 2, 1.0 * w, 0.3 * w, 0.9, 5, num_random_init=1), "2",
    ),
    "ProjectedGradientDescent array": (
        lambda c, w, s: ours.ProjectedGradientDescent(c, 1, RADII * w, STEPS * w, max_iter=5), "1",
    ),
    "AutoProjectedGradientDescent": (
        lambda c, w, s: ours.AutoProjectedGradientDescent(
            c, np.inf, 0.1 * w, 0.25 * w, 6, nb_random_init=2, loss_type="difference_logits_ratio"
        ), "inf",
    ),
    "RotationTranslation": (lambda c, w, s: ours.RotationTranslation(c, 40, 3, grid=(2, 2, 5)), "rt"),
    "Affine": (lambda c, w, s: ours.Affine(c, {"inf": 0.2 * w, 1: 8 * w}, max_iter=2, num_random_init=2), "rt"),
    "RotationTranslation random": (lambda c, w, s: ours.RotationTranslation(c, 40, 3, samples=4), "rt"),
    "Affine moved": (lambda c, w, s: ours.Affine(c, {"inf": 0.2 * w}, 30, 0, 1, 2, samples=3), "rt"),
    "L2LDA": (lambda c, w, s: ours.L2LDA(c, generated(L2LGenerator, s, steps=2), 0.1 * w, 3), "inf"),
    "PGN": (lambda c, w, s: ours.PGN(c, generated(PGNGenerator, s), "inf", 0.1 * w), "inf"),
}  # fmt: skip


def each_alone(module: Any, x: Tensor, y: Tensor, rng: Tensor) -> Tensor:
    found = []
    for i, (eps, step) in enumerate(zip(RADII.tolist(), STEPS.tolist(), strict=True)):
        row = slice(i, i + 1)
        found.append(mrt.PGD(mrt.L1(eps), steps=5, step_size=step)(module, x[row], y[row], rng=rng[row]))
    return torch.cat(found)


TWIN: dict[str, Callable[[], Any]] = {  # what each is in [0, 1] and mrt's words
    "SLIDE": lambda: mrt.SLIDE(mrt.L1(4.0), steps=5),
    "SLIDE random": lambda: mrt.SLIDE(
        mrt.L1(4.0), steps=5, step_size=1.0, keep=(2, 9), restarts=2, random_start=True
    ),
    "PGD inf": lambda: mrt.PGD(mrt.Linf(0.1), steps=5, random_start=False),
    "PGD 1": lambda: mrt.PGD(mrt.L1(4.0), steps=5, loss="margin"),
    "APGD 2": lambda: mrt.APGD(mrt.L2(1.0), steps=6),
    "APGD 1": lambda: mrt.APGD(mrt.L1(4.0), steps=6, loss="dlr"),
    "MSD": lambda: mrt.MSD((mrt.Linf(0.1), mrt.L2(1.0), mrt.L1(4.0)), steps=4, best="broken"),
    "MSD random": lambda: mrt.MSD(
        (mrt.L1(4.0), mrt.Linf(0.1)), steps=4, step_size=(1.2, 0.03), keep=(2, 9), restarts=2, random_start=True,
        loss="margin", best="broken",
    ),
    "ProjectedGradientDescent": lambda: mrt.MIM(mrt.L2(1.0), steps=5, step_size=0.3, decay=0.9, random_start=True),
    "ProjectedGradientDescent array": lambda: each_alone,
    "AutoProjectedGradientDescent": lambda: mrt.APGD(mrt.Linf(0.1), steps=6, step_size=0.25, restarts=2, loss="dlr"),
    "RotationTranslation": lambda: mrt.RTGrid(mrt.RotationTranslation(40, 3), grid=(2, 2, 5)),
    "Affine": lambda: mrt.AffineAttack(mrt.Affine((mrt.Linf(0.2), mrt.L1(8.0))), steps=2, restarts=2),
    "RotationTranslation random": lambda: mrt.RTWorstOf(mrt.RotationTranslation(40, 3), k=4),
    "Affine moved": lambda: mrt.AffineAttack(
        mrt.Affine((mrt.RotationTranslation(30, 0), mrt.Linf(0.2))), steps=1, restarts=2, k=3
    ),
    "L2LDA": lambda: mrt.GeneratorAttack(generated(L2LGenerator, SHAPES[0], steps=2), mrt.Linf(0.1), 3),
    "PGN": lambda: mrt.GeneratorAttack(generated(PGNGenerator, SHAPES[0]), mrt.Linf(0.1)),
}  # fmt: skip
SAME = {"PGD inf", "AutoProjectedGradientDescent", "L2LDA", "PGN"}  # as in test_foolbox_attacks.py
LEARNED = {"L2LDA", "PGN"}
MOVING = {"RotationTranslation", "RotationTranslation random", "Affine", "Affine moved"}
every_attack = pytest.mark.parametrize("name", list(MAKE))
BALLS = [name for name in MAKE if name not in LEARNED | MOVING]


def normalised(bounds: tuple[float, float]) -> dict[str, Any]:
    """What makes the classifier see [0, 1]."""
    return {"preprocessing": (bounds[0], bounds[1] - bounds[0])}


def inside(norm: str, x: Any, x_adv: Any, width: float) -> bool:
    delta = torch.from_numpy(x_adv.astype(np.float64) - x).flatten(1) / width
    size = {"inf": delta.abs().amax(1), "2": delta.norm(dim=1), "1": delta.abs().sum(1)}
    of = EPS if norm == "any" else {norm: EPS[norm]}
    return bool((torch.stack([size[n] / eps for n, eps in of.items()]).amin(0) <= 1 + 1e-6).all())


def test_every_attack_is_tested() -> None:
    exported = {n for n in ours.__all__ if "Trainer" not in n and n[0].isupper() and not n.startswith("ART")}
    tested = {name.split()[0] for name in MAKE} | {"ProjectedGradientDescentPyTorch", "TRAINERS"}
    assert tested == exported


@pytest.mark.parametrize("shape", SHAPES)
@every_attack
def test_the_hosts_conventions(name: str, shape: tuple[int, int, int]) -> None:
    """Arrays and tensors in, float32 arrays out, clip values, radius, nothing touched, the same in all clip values."""
    make, norm = MAKE[name]
    found = []
    for bounds in BOUNDS:
        width, module = bounds[1] - bounds[0], net(shape)
        host = classifier(module, bounds, shape, **normalised(bounds))
        attack, images = make(host, width, shape), dyadic(shape, 7, bounds)
        attack.set_params(verbose=False, batch_size=4)
        x = images.numpy()
        y, before, copied = host.predict(x).argmax(1), state(module), x.copy()
        np.random.seed(0)
        x_adv = attack.generate(x, y)
        assert isinstance(x_adv, np.ndarray) and x_adv.dtype == np.float32 and x_adv.shape == x.shape
        assert (x_adv >= bounds[0]).all() and (x_adv <= bounds[1]).all()
        assert norm == "rt" or inside(norm, x, x_adv, width)
        unchanged(before, module)
        assert np.array_equal(x, copied) and x_adv is not x and (x_adv != x).any()
        forms = (np.eye(CLASSES)[y], torch.from_numpy(y), y[:, None]) if bounds == BOUNDS[0] else ()
        for given in (*forms, None):  # which labels are meant does not depend on the bounds
            np.random.seed(0)
            assert np.array_equal(attack.generate(images if given is None else x.astype(np.float64), given), x_adv)
        found.append((x_adv - bounds[0]) / width)
    for other in found[1:]:
        same = (abs(other - found[0]) < 1e-3).mean()
        assert same == 1 or (same > 0.9 and name in SAME)


@every_attack
def test_it_is_the_native_attack(name: str) -> None:
    """With the same seeds the same images as mrt's own attack, whatever the batches."""
    module, x = net(SHAPES[0]), dyadic(SHAPES[0], 7, (0, 1))
    host = classifier(module, (0, 1), SHAPES[0])
    attack, y = MAKE[name][0](host, 1.0, SHAPES[0]), torch.arange(7) % CLASSES
    attack.set_params(batch_size=3, verbose=False)
    np.random.seed(5)
    x_adv = attack.generate(x.numpy(), y.numpy())
    np.random.seed(5)
    seeds = torch.from_numpy(np.random.randint(-(2**63), 2**63 - 1, 7, np.int64))
    assert torch.allclose(torch.from_numpy(x_adv), TWIN[name]()(module, x, y, rng=seeds), atol=1e-6)


def test_what_an_attack_returns_is_brought_inside() -> None:
    class Loose(ours.PGD):
        def attack_for(self, width: float) -> Any:
            class Outside:
                threat = mrt.Linf(0.1)

                def __call__(self, model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
                    return (x + 0.10001).clamp(0, 1)

            return Outside()

    x = dyadic((1, 8, 8), 4, (0, 1)).numpy()
    x_adv = Loose(classifier(net((1, 8, 8)), (0, 1), (1, 8, 8))).generate(x, np.arange(4))
    assert inside("inf", x, x_adv, 1.0) and abs(x_adv - x).max() > 0.0999


@every_attack
def test_parameters_are_complete(name: str) -> None:
    host = classifier(net(SHAPES[0]), (0, 1), SHAPES[0])
    attack = MAKE[name][0](host, 1.0, SHAPES[0])
    names = list(inspect.signature(type(attack).__init__).parameters)[2:]
    assert attack.attack_params == names and all(hasattr(attack, n) for n in names)
    assert attack.estimator is host and not attack.targeted and repr(attack).startswith(type(attack).__name__)
    docs = type(attack).__init__.__doc__
    assert "Paper" in str(type(attack).__doc__) and all(f":param {n}:" in str(docs) for n in ("estimator", *names))
    was = {n: getattr(attack, n) for n in names}
    for wrong in ({"batch_size": 0}, {"verbose": 1}, {"no_such": 1}, {"batch_size": 7, "verbose": None}):
        with pytest.raises(ValueError, match=next(iter({*wrong} - {"batch_size"}), "batch_size")):
            attack.set_params(**wrong)
    assert all(getattr(attack, n) is was[n] for n in names)  # nothing half set
    attack.set_params(batch_size=3, verbose=False)
    assert attack.batch_size == 3 and attack.verbose is False


@pytest.mark.parametrize("name", ["SLIDE", "APGD 2", "MSD", "ProjectedGradientDescent", "RotationTranslation"])
def test_it_hurts_and_it_aims(name: str) -> None:
    x, y = (t.numpy() for t in digits(24))
    host = classifier(victim(), (0, 1), (1, 8, 8), 10)
    attack = MAKE[name][0](host, 1.0, (1, 8, 8))
    attack.set_params(verbose=False)
    x_adv = attack.generate(x, y)
    assert (host.predict(x_adv).argmax(1) != y).sum() > (host.predict(x).argmax(1) != y).sum() + 10
    attack.set_params(targeted=True)
    aim = (y + 1) % 10
    hits = host.predict(attack.generate(x, np.eye(10)[aim])).argmax(1) == aim
    assert hits.sum() > (host.predict(x).argmax(1) == aim).sum() + 3
    with pytest.raises(ValueError, match="Target labels"):
        attack.generate(x)


@pytest.mark.parametrize("name", BALLS)
def test_masks(name: str) -> None:
    """What is masked does not move, what is not is searched as well as if it were all: one mask, or one for each."""
    shape = SHAPES[0]
    host = classifier(net(shape), (0, 1), shape)
    x = dyadic(shape, 7, (0, 1)).numpy()
    attack = MAKE[name][0](host, 1.0, shape)
    attack.set_params(verbose=False)
    y = host.predict(x).argmax(1)
    one = np.zeros(shape, dtype=np.float32)
    one[:, 4:12] = 0.3
    each = np.random.RandomState(0).rand(7, *shape) < 0.5
    each[0] = False
    for mask in (one, each):
        x_adv = attack.generate(x, y, mask=mask)
        kept = np.broadcast_to(mask == 0, x.shape)
        assert np.array_equal(x_adv[kept], x[kept]) and (x_adv != x).any()
        assert inside(MAKE[name][1], x, x_adv, 1.0)
    np.random.seed(0)
    whole = attack.generate(x, y, mask=np.ones(shape, dtype=bool))
    assert inside(MAKE[name][1], x, whole, 1.0)
    left = (host.predict(whole).argmax(1) == y).sum()
    assert abs(int(left) - int((host.predict(attack.generate(x, y)).argmax(1) == y).sum())) <= 1
    for wrong in (-one, one[:, :3], np.ones(shape, dtype=int)):
        with pytest.raises(ValueError, match="mask must"):
            attack.generate(x, y, mask=wrong)


def test_masks_are_for_balls() -> None:
    host = classifier(net(SHAPES[0]), (0, 1), SHAPES[0])
    x = dyadic(SHAPES[0], 2, (0, 1))
    for name in LEARNED | MOVING:
        with pytest.raises(ValueError, match=f"{name.split()[0]} takes no mask"):
            MAKE[name][0](host, 1.0, SHAPES[0]).generate(x, mask=np.ones(SHAPES[0], dtype=bool))


X, Y = np.random.RandomState(0).rand(4, 1, 8, 8).astype(np.float32), np.arange(4)
ANY: dict[Any, Any] = {
    "no": "no",
    0.3: 0.3,
    "linear": nn.Linear(1, 1),
    "slide": ours.SLIDE,
}  # what no type checker would let through
BAD: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda c: ours.SLIDE(object()), EstimatorError, "requires an estimator"),
    (lambda c: ours.MSD(BlackBoxClassifier(lambda x: x, (1, 8, 8), 5)), EstimatorError, "requires an estimator"),
    (lambda c: ANY["slide"](c, epsilon=1.0), TypeError, "epsilon"),
    (lambda c: ours.SLIDE(c, eps=-1), ValueError, "eps.*-1"),
    (lambda c: ours.SLIDE(c, eps_step=-1), ValueError, "eps_step.*-1"),
    (lambda c: ours.SLIDE(c, max_iter=0), ValueError, "max_iter.*0"),
    (lambda c: ours.SLIDE(c, keep=1.5), ValueError, "keep.*1.5"),
    (lambda c: ours.SLIDE(c, num_random_init=-1), ValueError, "num_random_init.*-1"),
    (lambda c: ours.SLIDE(c, targeted=ANY["no"]), ValueError, "targeted.*'no'"),
    (lambda c: ours.PGD(c, norm=3), ValueError, "norm.*3"),
    (lambda c: ours.PGD(c, norm=True), ValueError, "norm.*True"),
    (lambda c: ours.MSD(c, eps={"1": 1.0}, eps_step={"1": 1.0, 1: 2.0}), ValueError, "eps_step names a norm twice"),
    (lambda c: ours.L2LDA(c, generated(L2LStar, (3, 8, 8))).generate(X), ValueError, "3, 8, 8"),
    (lambda c: ours.RotationTranslation(c).generate(X, mask=X > 0), ValueError, "takes no mask"),
    (lambda c: ours.PGD(c, loss_type="mse"), ValueError, "loss_type.*mse"),
    (lambda c: ours.APGD(c, eps=float("nan")), ValueError, "eps.*nan"),
    (lambda c: ours.MSD(c, eps=ANY[0.3]), ValueError, "eps must be a dict"),
    (lambda c: ours.MSD(c, eps={"3": 1.0}), ValueError, "norm.*3"),
    (lambda c: ours.MSD(c, eps={"1": 1.0, 1: 2.0}), ValueError, "names a norm twice"),
    (lambda c: ours.MSD(c, eps={"1": 1.0}, eps_step={"2": 1.0}), ValueError, "eps_step must be"),
    (lambda c: ours.L2LDA(c, ANY["linear"]), ValueError, "L2LGenerator; got Linear"),
    (lambda c: ours.PGN(c, ANY["linear"]), ValueError, "PGNGenerator; got Linear"),
    (lambda c: ours.ProjectedGradientDescent(c, eps=np.ones(3)), TypeError, "eps and eps_step must both"),
    (lambda c: ours.ProjectedGradientDescent(c, summary_writer=True), ValueError, "summary_writer must be False"),
    (lambda c: ours.AutoProjectedGradientDescent(c, loss_type="mse"), ValueError, "loss_type.*mse"),
    (lambda c: ours.SLIDE(c).generate(X * 255, Y), ValueError, r"within their bounds \(0 to 1\)"),
    (lambda c: ours.SLIDE(c).generate(X / np.inf * np.inf, Y), ValueError, "NaN"),
    (lambda c: ours.SLIDE(c).generate(X[:, 0], Y), ValueError, r"shape \(N, 1, 8, 8\)"),
    (lambda c: ours.SLIDE(c).generate(X.astype(object), Y), ValueError, "numbers; got an array of object"),
    (lambda c: ours.SLIDE(c).generate(X, Y[:3]), ValueError, "labels must be numbers of shape"),
    (lambda c: ours.SLIDE(c).generate(X, Y + 7), ValueError, "from 0 to 4; got 7 to 10"),
    (lambda c: ours.SLIDE(c).generate(X, Y + 0.5), ValueError, "class numbers"),
    (lambda c: ours.SLIDE(c).generate(X, Y, steps=3), TypeError, "steps"),
    (
        lambda c: ours.ProjectedGradientDescent(c, eps=np.ones(3), eps_step=np.ones(3)).generate(X, Y),
        ValueError,
        "4 images",
    ),
]


@pytest.mark.parametrize(("call", "kind", "says"), BAD)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input_ends_before_the_model_is_called(call: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        call(classifier(Unasked(), (0, 1), (1, 8, 8)))


@pytest.mark.parametrize(
    "name", ["ProjectedGradientDescent", "ProjectedGradientDescentPyTorch", "AutoProjectedGradientDescent"]
)
def test_signatures_hold_the_hosts(name: str) -> None:
    mine, host = (dict(inspect.signature(getattr(m, name).__init__).parameters) for m in (ours, theirs))
    for key, parameter in host.items():
        assert mine[key].kind == parameter.kind and mine[key].default == parameter.default
    more = [key for key in mine if key not in host]
    assert list(mine) == [*host, *more] and more in ([], ["loss_type"])  # theirs first, for positional arguments


SCRIPT = """
def judged(attack):
    return (classifier.predict(attack.generate(x=x, y=np.eye(10)[y])).argmax(1) == y).mean()

linf = evasion.ProjectedGradientDescent(estimator=classifier, norm=np.inf, eps=0.3, eps_step=0.05, max_iter=10, verbose=False)
l1 = evasion.ProjectedGradientDescent(classifier, 1, 3.0, 0.4, None, 20, False, 1, 64, verbose=False)
auto = evasion.AutoProjectedGradientDescent(classifier, norm=2, eps=1.5, eps_step=0.2, max_iter=10, nb_random_init=1, verbose=False)
fast = evasion.ProjectedGradientDescentPyTorch(classifier, eps=0.3, max_iter=5, random_eps=True, verbose=False)
left = [judged(attack) for attack in (linf, l1, auto, fast)]
"""  # noqa: E501


def test_a_script_of_the_hosts_runs_with_another_import_and_l1_holds() -> None:
    left = {}
    for module in (theirs, ours):
        x, y = (t.numpy() for t in digits(40))
        names: dict[str, Any] = {"evasion": module, "np": np, "x": x, "y": y}
        names["classifier"] = classifier(victim(), (0, 1), (1, 8, 8), 10)
        np.random.seed(0)
        torch.manual_seed(0)
        exec(SCRIPT, names)
        left[module] = names["left"]
    assert all(a <= b + 0.05 for a, b in zip(left[ours][:3], left[theirs][:3], strict=True))
    assert left[theirs][1] > left[ours][1] + 0.2  # ART's l1 wastes its steps on pixels that cannot move


def test_batches_targets_progress_and_other_norms(capfd: pytest.CaptureFixture[str]) -> None:
    """No more images at once than batch_size; targets with a ratio loss as in mrt; a bar unless verbose is False; the
    usual radius follows the norm, one that was given does not."""
    module: Any = net(SHAPES[0])
    x = dyadic(SHAPES[0], 7, (0, 1))
    sizes: list[int] = []
    module[0].register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])))  # ART calls a Sequential's parts
    host, aim = classifier(module, (0, 1), SHAPES[0]), torch.arange(7) % CLASSES
    attack = ours.PGD(host, 2, 1.0, max_iter=6, loss_type="dlr", targeted=True, batch_size=3)
    x_adv = attack.generate(x, aim)
    assert max(sizes) == 3 and "PGD" in capfd.readouterr().err
    own = mrt.PGD(mrt.L2(1.0), steps=6, loss="dlr")(module, x, module(x).argmax(1), target=aim)
    assert torch.allclose(torch.from_numpy(x_adv), own, atol=1e-6)
    attack.set_params(verbose=False)
    attack.generate(x, aim)
    assert not capfd.readouterr().err
    usual, given = ours.PGD(host), ours.PGD(host, eps=0.3)
    usual.set_params(norm=1)
    given.set_params(norm=1)
    assert (usual.eps, given.eps) == (12.0, 0.3)
    given.set_params(eps=None, norm=2)
    assert given.eps == 0.5


def own_margin(logits: Tensor, labels: Tensor) -> Tensor:
    true = nn.functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(true, -torch.inf).amax(1) - logits[true]


@pytest.mark.parametrize(
    ("name", "settings", "same"),
    [
        ("SLIDE", {"max_iter": 3}, "margin"),
        ("PGD", {"max_iter": 3}, "margin"),
        ("APGD", {"max_iter": 3}, "margin"),
        ("MSD", {"max_iter": 3}, "margin"),
        ("RotationTranslation", {"samples": 3}, "margin"),
        ("Affine", {"max_iter": 2, "num_random_init": 2}, "margin"),
        ("ProjectedGradientDescent", {"max_iter": 3}, "margin"),
        ("ProjectedGradientDescent", {"max_iter": 3, "decay": 0.5}, "margin"),
        ("AutoProjectedGradientDescent", {"max_iter": 3, "nb_random_init": 1}, "cross_entropy"),
    ],
)
def test_a_loss_of_ones_own(name: str, settings: dict[str, Any], same: str) -> None:
    """It finds what the loss of ours that says the same finds, and not what another one does."""
    host, x = classifier(net(SHAPES[0]), (0, 1), SHAPES[0]), dyadic(SHAPES[0], 6, (0, 1))
    aim = torch.arange(6) % CLASSES
    own = own_margin if same == "margin" else functools.partial(nn.functional.cross_entropy, reduction="none")
    found = []
    for loss, targeted in ((own, False), (same, False), (own, True), (same, True), (upside_down, False)):
        np.random.seed(0)
        attack = getattr(ours, name)(host, loss_type=loss, targeted=targeted, verbose=False, **settings)
        found.append(attack.generate(x.numpy(), aim.numpy()))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[2], found[3])
    assert not np.array_equal(found[0], found[4])
    for arts, own_word in ((None, "ce"), ("cross_entropy", "ce"), ("difference_logits_ratio", "dlr")):
        both = [getattr(ours, name)(host, loss_type=loss, **settings).attack_for(1.0) for loss in (arts, own_word)]
        assert both[0] == both[1]
    for wrong in ("mse", ["ce"], nn.CrossEntropyLoss):
        with pytest.raises(ValueError, match="loss_type must be one of .*, or a function"):
            getattr(ours, name)(host, loss_type=wrong, **settings)


def upside_down(logits: Tensor, labels: Tensor) -> Tensor:
    return -own_margin(logits, labels)


def test_a_classifier_that_predicts_in_a_way_of_its_own_is_refused() -> None:
    how = {"loss": nn.CrossEntropyLoss(), "input_shape": (1, 8, 8), "nb_classes": 5, "clip_values": (0, 1)}
    smoothed = PyTorchRandomizedSmoothing(
        small_net((1, 8, 8), 5).eval(), **how, device_type="cpu", sample_size=4, scale=0.5
    )
    with pytest.raises(ValueError, match="PyTorchRandomizedSmoothing.predict answers other logits"):
        ours.PGD(smoothed, max_iter=1, verbose=False).generate(X, Y)


def test_a_radius_for_each_image() -> None:
    host = classifier(net((1, 8, 8)), (0, 1), (1, 8, 8))
    eps = np.array([0.1, 0.3, 0.1, 0.0], dtype=np.float64).reshape(-1, 1, 1, 1)
    attack = ours.ProjectedGradientDescent(host, eps=eps, eps_step=np.full_like(eps, 0.1), max_iter=5, verbose=False)
    moved = abs(attack.generate(X, Y) - X).max((1, 2, 3))
    assert np.allclose(moved, eps.ravel(), atol=1e-6)


def test_random_eps_shrinks_radius_and_step_alike() -> None:
    host = classifier(net((1, 8, 8)), (0, 1), (1, 8, 8))
    attack = ours.ProjectedGradientDescent(host, eps=0.2, eps_step=0.2, max_iter=1, random_eps=True, verbose=False)
    np.random.seed(0)
    reached = [float(abs(attack.generate(X, Y) - X).max()) for _ in range(40)]
    assert max(reached) <= 0.2 + 1e-6 and min(reached) < 0.05 < 0.1 < max(reached) and attack.eps == 0.2
    assert 0.05 < np.mean(reached) < 0.1  # of |N(0, 0.1)|, cut at 0.2: 0.0730
    attack.set_params(eps_step=0.05, max_iter=3)  # which reaches three quarters of whatever radius
    reached = [float(abs(attack.generate(X, Y) - X).max()) for _ in range(40)]
    assert max(reached) <= 0.15 + 1e-6 and np.mean(reached) < 0.064


class Blur(PreprocessorPyTorch):  # type: ignore[misc]
    """The mean of three by three pixels."""

    def __init__(self, window_size: int) -> None:
        super().__init__(device_type="cpu")
        self.window_size = window_size

    def forward(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        return nn.functional.avg_pool2d(x, self.window_size, 1, self.window_size // 2), y


@pytest.mark.parametrize("kind", [Blur, SpatialSmoothing])
def test_preprocessing_of_tensors_and_of_arrays(kind: Any) -> None:
    """Attacks go through what predictions go through, be it ART's torch code or, with its estimated gradient, numpy."""
    x, y = (t.numpy() for t in digits(16))
    bounds = (0.0, 255.0)
    how = {"preprocessing_defences": [kind(window_size=3)], "preprocessing": (0.0, 255.0)}
    host = classifier(victim(), bounds, (1, 8, 8), 10, **how)
    assert host.all_framework_preprocessing == (kind is Blur)
    before = host.predict(x * 255).argmax(1)
    x_adv = ours.PGD(host, eps=0.3 * 255, verbose=False, max_iter=10).generate(x * 255, before)
    assert (host.predict(x_adv).argmax(1) == before).mean() < 0.5
    assert abs(x_adv - x * 255).max() <= 0.3 * 255 * (1 + 1e-6)


def test_channels_last_clip_arrays_and_no_clip_values() -> None:
    shape, module = (3, 12, 20), net((3, 12, 20))

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x.permute(0, 3, 1, 2))
            return out

    x = dyadic(shape, 5, (0, 1)).numpy()
    first = classifier(module, (0, 1), shape)
    last = classifier(Last().eval(), (0, 1), (12, 20, 3), channels_first=False)
    y = first.predict(x).argmax(1)
    for name in ("SLIDE", "MSD", "RotationTranslation", "L2LDA"):
        results = []
        for host, images in ((first, x), (last, x.transpose(0, 2, 3, 1))):
            attack = MAKE[name][0](host, 1.0, shape)
            attack.set_params(verbose=False)
            np.random.seed(0)
            results.append(attack.generate(images, y))
        assert np.allclose(results[0], results[1].transpose(0, 3, 1, 2), atol=1e-4)
    mask = np.zeros((12, 20, 3), dtype=bool)
    mask[:6, :, 1:] = True
    attack = ours.PGD(last, eps=0.3, max_iter=3, verbose=False)
    changed = attack.generate(x.transpose(0, 2, 3, 1), y, mask=mask) != x.transpose(0, 2, 3, 1)
    assert changed.any() and not changed[:, ~mask].any()
    lows = np.array([0.0, 1.0, -2.0], dtype=np.float32)
    for low in (lows, lows.reshape(1, 1, 3)):
        shifted = classifier(Last().eval(), (low, low + 1), (12, 20, 3), channels_first=False)
        x_adv = ours.PGD(shifted, eps=0.3, max_iter=3, verbose=False).generate(x.transpose(0, 2, 3, 1) + lows, y)
        assert (x_adv >= lows).all() and (x_adv <= lows + 1).all() and (x_adv.min((0, 1, 2)) < lows + 0.1).all()
    arrays = classifier(module, (np.zeros((3, 1, 1)), np.ones((3, 1, 1))), shape)
    open_ended = classifier(module, None, shape)
    for host in (arrays, open_ended):
        attack = ours.PGD(host, norm=2, eps=0.5, max_iter=5, verbose=False)
        x_adv = attack.generate(x, y)
        assert inside("2", x, x_adv, 0.5)
        assert (x_adv.min() >= 0 and x_adv.max() <= 1) == (host is arrays)
    wide = ours.MSD(open_ended, EPS, max_iter=3, verbose=False).generate(x, y)
    assert inside("any", x, wide, 1.0) and wide.min() < 0 and wide.max() > 1
    for make in (ours.RotationTranslation, lambda c: ours.Affine(c, pixels=1.0)):
        with pytest.raises(ValueError, match="give clip_values"):
            make(open_ended)
    assert ours.Affine(open_ended, max_iter=1, num_random_init=1, verbose=False).generate(x, y).shape == x.shape
    with pytest.raises(ValueError, match="two perturbations or more"):
        ours.Affine(arrays, eps={"inf": 0.1})
    assert "generator=L2LGenerator," in repr(MAKE["L2LDA"][0](arrays, 1.0, shape))


def test_no_images_and_defaults() -> None:
    host = classifier(Unasked(), (0.0, 255.0), (1, 8, 8))
    for name in ("SLIDE", "PGD", "APGD", "MSD", "RotationTranslation", "Affine", "ProjectedGradientDescent"):
        attack = getattr(ours, name)(host)
        assert attack.generate(X[:0]).shape == (0, 1, 8, 8)
    assert ours.SLIDE(host).eps == 12 * 255 and ours.PGD(host, norm=2).eps == 0.5 * 255
    assert ours.MSD(host).eps == {"inf": 8.0, "2": 127.5, "1": 3060.0}


def test_a_model_in_train_mode_stays_in_it() -> None:
    module = small_net((1, 8, 8), CLASSES)
    before, host = state(module), classifier(module, (0, 1), (1, 8, 8))
    attack = ours.PGD(host, max_iter=2, verbose=False)
    with pytest.warns(UserWarning, match="stays in train mode, where ART's own attacks leave it in eval mode"):
        attack.generate(X)
    attack.generate(X)  # said once
    unchanged(before, module)
    module.eval()
    with torch.inference_mode():
        assert ours.SLIDE(classifier(module, (0, 1), (1, 8, 8)), verbose=False).generate(X, Y).shape == X.shape


@pytest.mark.parametrize("name", ["SLIDE", "MSD"])
def test_inside_arts_trainers(name: str) -> None:
    """AdversarialTrainer, TRADES and AWP take our attacks unchanged, and learn from them."""
    data = mrt.data.digits("train").take(400)
    x, y = data.x.numpy(), data.y.numpy()
    for kind in (AdversarialTrainer, AdversarialTrainerTRADESPyTorch, AdversarialTrainerAWPPyTorch):
        torch.manual_seed(0)
        np.random.seed(0)
        module = mrt.models.DigitsCNN(width=4)
        host = classifier(module, (0, 1), (1, 8, 8), 10, optimizer=torch.optim.Adam(module.parameters(), 1e-2))
        attack = MAKE[name][0](host, 0.2, (1, 8, 8))
        before = (host.predict(x).argmax(1) == y).mean()
        if kind is AdversarialTrainer:
            trainer = kind(host, attack, ratio=1.0)
        elif kind is AdversarialTrainerTRADESPyTorch:
            trainer = kind(host, attack, beta=1.0)
        else:
            torch.manual_seed(0)
            proxy = mrt.models.DigitsCNN(width=4)
            other = classifier(proxy, (0, 1), (1, 8, 8), 10, optimizer=torch.optim.SGD(proxy.parameters(), 1e-2))
            trainer = kind(host, other, attack, mode="PGD", gamma=0.01, beta=1.0, warmup=0)
        trainer.fit(x, np.eye(10, dtype=np.float32)[y], nb_epochs=2, batch_size=50)
        assert (host.predict(x).argmax(1) == y).mean() > before + 0.2


def test_inside_arts_autoattack() -> None:
    x, y = (t.numpy() for t in digits(16))
    host = classifier(victim(), (0, 1), (1, 8, 8), 10)
    attacks = [ours.SLIDE(host, eps=2.0, verbose=False), ours.APGD(host, norm=1, eps=2.0, max_iter=20, verbose=False)]
    for targeted in (False, True):
        whole = AutoAttack(host, norm=1, eps=2.0, attacks=attacks, targeted=targeted)
        x_adv = whole.generate(x, y)
        assert (host.predict(x_adv).argmax(1) == y).mean() < 0.3
        assert abs(x_adv - x).sum((1, 2, 3)).max() <= 2.0 * (1 + 1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile's own
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrapped_modules(wrap: Any) -> None:
    shape, module = (1, 8, 8), net((1, 8, 8))
    results = []
    for each in (module, wrap(module).eval()):
        before = state(module)
        np.random.seed(0)
        results.append(ours.MSD(classifier(each, (0, 1), shape), EPS, max_iter=3, verbose=False).generate(X, Y))
        unchanged(before, module)
    assert np.allclose(results[0], results[1], atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_attack
def test_on_a_cuda_device(name: str) -> None:
    shape = SHAPES[0]
    host = classifier(net(shape), (0, 1), shape, device_type="gpu")
    attack = MAKE[name][0](host, 1.0, shape)
    if name in LEARNED:
        attack.generator.cuda()
    images = dyadic(shape, 7, (0, 1)).cuda()
    x_adv = attack.generate(images)
    assert MAKE[name][1] == "rt" or inside(MAKE[name][1], images.cpu().numpy(), x_adv, 1.0)
