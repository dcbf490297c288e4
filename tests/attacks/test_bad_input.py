"""mrt/attacks/ and mrt/crafting/gradient.py: Bad input is a ValueError that names what was given and what is
allowed, before the model runs wherever it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import mrt
from mrt.crafting.gradient import crafting
from tests.support import UNION, RowWise

LINF, L2, L1 = UNION
X, Y = torch.rand(3, 1, 8, 8), torch.arange(3)
RT = mrt.RotationTranslation()

CONSTRUCTORS: tuple[tuple[Callable[[], object], str], ...] = (
    (lambda: mrt.Linf(-0.1), r"eps.*at least 0; got -0\.1"),
    (lambda: mrt.L2(float("nan")), "eps.*nan"),
    (lambda: mrt.L1(float("inf")), "eps.*inf"),
    (lambda: mrt.L1(True), "eps.*True"),
    (lambda: mrt.Linf("8/255"), "eps.*'8/255'"),  # type: ignore[arg-type]
    (lambda: mrt.L1(1.0, projection="euclid"), "projection.*'exact', 'clip'.*'euclid'"),  # type: ignore[arg-type]
    (lambda: mrt.L0(-1), "count.*-1"),
    (lambda: mrt.L0(2.5), "count.*2.5"),  # type: ignore[arg-type]
    (lambda: mrt.RotationTranslation(degrees=200), "degrees.*at most 180.*200"),
    (lambda: mrt.RotationTranslation(pixels=-1), "pixels.*-1"),
    (lambda: mrt.AnyOf(()), "threats.*non-empty"),
    (lambda: mrt.AnyOf((3,)), "threats.*3"),  # type: ignore[arg-type]
    (lambda: mrt.AnyOf(LINF), "threats.*tuple.*Linf"),  # type: ignore[arg-type]
    (lambda: mrt.MSD(LINF), "threats.*tuple of balls.*Linf"),  # type: ignore[arg-type]
    (lambda: mrt.PGD(mrt.Linf), "PGD.*Linf.0.3.*class"),  # type: ignore[arg-type]
    (lambda: mrt.Affine((LINF,)), "two or more"),
    (lambda: mrt.Affine((LINF, RT)), "first of them"),
    (lambda: LINF.scaled(-1.0), "factor.*-1"),
    (lambda: LINF.scaled(torch.ones(2, 2)), "factor.*(2, 2)"),
    (lambda: mrt.PGD(RT), "PGD.*ball.*RotationTranslation"),  # type: ignore[arg-type]
    (lambda: mrt.PGD(LINF, steps=0), "steps.*at least 1; got 0"),
    (lambda: mrt.PGD(LINF, steps=2.0), "steps.*2.0"),  # type: ignore[arg-type]
    (lambda: mrt.PGD(LINF, step_size=0.0), "step_size.*above 0.*0"),
    (lambda: mrt.PGD(LINF, restarts=0), "restarts.*0"),
    (lambda: mrt.PGD(LINF, loss="mse"), "loss.*'ce', 'margin', 'dlr'.*'mse'"),
    (lambda: mrt.PGD(LINF, best="worst"), "best.*'worst'"),  # type: ignore[arg-type]
    (lambda: mrt.PGD(LINF, best="last", restarts=2), "one run.*restarts=2"),
    (lambda: mrt.APGD(LINF, best="last"), "best.*'last'"),
    (lambda: mrt.APGD(LINF, share=0), "share.*0"),
    (lambda: mrt.APGD(L1, radii=(3, 2)), r"radii.*fall to 1.*\(3.0, 2.0\)"),
    (lambda: mrt.APGD(L1, radii=(2, 3, 1)), "radii.*fall to 1"),
    (lambda: mrt.APGD(L1, radii=(2, 0, 1)), "radii.*0"),
    (lambda: mrt.APGD(L1, radii=3), "radii.*3"),  # type: ignore[arg-type]
    (lambda: mrt.APGD(L1, radii=(3, 2, 1), steps=4), "radii.*step.*steps=4"),
    (lambda: mrt.MSD((LINF,), best="last"), "best.*'last'"),
    (lambda: mrt.RTWorstOf(bn="train"), "bn.*'train'"),  # type: ignore[arg-type]
    (lambda: mrt.AffineAttack(mrt.Affine((LINF, mrt.L2(1.0))), fast=True), "Fast.*True"),  # type: ignore[arg-type]
    (lambda: mrt.PGD(LINF, bn="train"), "bn.*'train'"),  # type: ignore[arg-type]
    (lambda: mrt.PGD(LINF, random_start=2), "random_start.*2"),  # type: ignore[arg-type]
    (lambda: mrt.PGD(LINF, fast=True), "fast.*True"),  # type: ignore[arg-type]
    (lambda: mrt.FGSM(L2), "FGSM.*Linf.*L2"),  # type: ignore[arg-type]
    (lambda: mrt.SLIDE(L2), "SLIDE.*L1.*L2"),
    (lambda: mrt.SLIDE(L1, keep=0.0), "keep.*strictly between 0 and 1.*0.0"),
    (lambda: mrt.SLIDE(L1, keep=1.0), "keep.*1.0"),
    (lambda: mrt.SLIDE(L1, keep=0), "keep.*0"),
    (lambda: mrt.SLIDE(L1, keep=(20, 5)), "keep.*(20, 5)"),
    (lambda: mrt.SLIDE(L1, keep=(1, 0.5)), "keep"),
    (lambda: mrt.MSD((LINF, RT)), "MSD.*ball.*RotationTranslation"),  # type: ignore[arg-type]
    (lambda: mrt.MSD(UNION, step_size=(0.1, 0.2)), "step_size.*3 threats"),
    (lambda: mrt.MSD(UNION, step_size=(0.1, 0.2, -1)), "step_size.*-1"),
    (lambda: mrt.MIM(LINF, decay=-1), "decay.*-1"),
    (lambda: mrt.APGD(LINF, targets=-1), "targets.*-1"),
    (lambda: mrt.CWLinf(L2), "CWLinf.*Linf"),
    (lambda: mrt.CWLinf(LINF, loss="ce"), "margin.*'ce'"),
    (lambda: mrt.GreedyL0(L1), "GreedyL0.*L0"),  # type: ignore[arg-type]
    (lambda: mrt.RTGrid(LINF), "RTGrid.*RotationTranslation"),  # type: ignore[arg-type]
    (lambda: mrt.RTGrid(RT, grid=(5, 5)), "grid.*three"),  # type: ignore[arg-type]
    (lambda: mrt.RTGrid(RT, grid=(5, 0, 5)), "grid.*0"),
    (lambda: mrt.RTWorstOf(RT, k=0), "k.*0"),
    (lambda: mrt.AffineAttack(LINF), "AffineAttack.*Affine"),  # type: ignore[arg-type]
    (lambda: mrt.AffineAttack(mrt.Affine((LINF, L1)), weights=(0.9, 0.9)), "weights.*at most 1"),
    (lambda: mrt.WorstOf(()), "WorstOf.*one or more"),
    (lambda: mrt.OneAtRandom((LINF,)), "OneAtRandom.*attacks"),  # type: ignore[arg-type]
    (lambda: mrt.SLIDE.reference("svhn"), "'mnist', 'cifar10'.*'svhn'"),  # type: ignore[arg-type]
    (lambda: mrt.Fast(precision="float16"), "precision.*'float16'"),  # type: ignore[arg-type]
)


@pytest.mark.parametrize(("make", "message"), CONSTRUCTORS, ids=[m for _, m in CONSTRUCTORS])
def test_constructors(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


CALLS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"x": (X * 255).to(torch.uint8)}, "float32.*uint8"),
    ({"x": X.double()}, "float32.*float64"),
    ({"x": X.numpy()}, "float32.*ndarray"),
    ({"x": X + 0.5}, r"\[0, 1\].*got values from"),
    ({"x": X - 0.5}, r"\[0, 1\]"),
    ({"x": X * float("nan")}, "NaN"),
    ({"x": X[:0], "y": Y[:0]}, "non-empty.*(0, 1, 8, 8)"),
    ({"y": Y[:2]}, r"shape \(3,\).*\(2,\)"),
    ({"y": torch.eye(3)}, "int64.*float32"),
    ({"y": Y.int()}, "int64.*int32"),
    ({"y": Y - 1}, "at least 0; got -1"),
    ({"target": Y - 1}, "target.*-1"),
    ({"target": Y[:1]}, "target.*shape"),
    ({"rng": Y[:2]}, r"int64 of shape \(3,\)"),
    ({"rng": 3}, "rng must be"),
    ({"start": X[:2]}, "start.*shape"),
    ({"start": X + 2}, r"start.*\[0, 1\]"),
    ({"model": "resnet"}, "model.*callable.*str"),
)


@pytest.mark.parametrize(("change", "message"), CALLS, ids=[m for _, m in CALLS])
@pytest.mark.parametrize(
    "attack", [mrt.PGD(LINF, steps=1), mrt.MSD(UNION, steps=1), mrt.FGM(L2)], ids=lambda a: type(a).__name__
)
def test_calls_fail_before_the_model_runs(attack: Any, change: dict[str, Any], message: str) -> None:
    def never(x: Tensor) -> Tensor:
        raise AssertionError("the model ran")

    arguments: dict[str, Any] = {"model": never, "x": X, "y": Y, **change}
    with pytest.raises(ValueError, match=message):
        attack(**arguments)


OUTPUTS: tuple[tuple[Callable[[Tensor], Any], str], ...] = (
    (lambda x: x, r"shape \(3, K\).*\(3, 1, 8, 8\)"),
    (lambda x: x.flatten(1)[:2], r"\(2, 64\)"),
    (lambda x: x.flatten(1)[:, :1], r"at least 2; got \(3, 1\)"),
    (lambda x: x.flatten(1).argmax(1), "floating-point.*int64"),
    (lambda x: (x, x), "floating-point.*tuple"),
    (lambda x: x.flatten(1)[:, :2], "from 0 to 1.*2 classes; got 2"),
)


@pytest.mark.parametrize(("model", "message"), OUTPUTS, ids=[m for _, m in OUTPUTS])
def test_a_model_that_answers_wrongly(model: Callable[[Tensor], Any], message: str) -> None:
    for attack in (mrt.PGD(LINF, steps=1), mrt.RTWorstOf(RT, k=1), mrt.GreedyL0(mrt.L0(1))):
        with pytest.raises(ValueError, match=message):
            attack(model, X, Y)


def test_what_the_first_answer_shows_is_said_at_once() -> None:
    """Labels and targets above the model's classes, and a model that knows no numbers: after a pass or two."""
    x, low, high = torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), torch.tensor([0, 5])
    passes = []

    def model(z: Tensor) -> Tensor:
        passes.append(len(z))
        return z.flatten(1)[:, :3] * (torch.nan if len(passes) < 3 else 1.0)

    attack = mrt.PGD(mrt.L2(0.5), steps=9)
    for y, target in ((high, None), (high, low), (low, high)):
        passes.clear()
        with pytest.raises(ValueError, match="class numbers from 0 to 2.*got 5"):
            attack(model, x, y, target=target)
        assert len(passes) == 1
    passes.clear()
    with pytest.raises(ValueError, match="must return numbers for clean images"):
        attack(model, x, low)
    assert len(passes) == 2


def test_losses_and_targets_that_need_more_classes() -> None:
    two, x, y = RowWise((1, 8, 8), classes=2), X, Y.clamp(max=1)
    with pytest.raises(ValueError, match="dlr.*3 classes.*2"):
        mrt.PGD(LINF, loss="dlr")(two, x, y)
    with pytest.raises(ValueError, match="targeted dlr.*4 classes.*2"):
        mrt.PGD(LINF, loss="dlr")(two, x, y, target=1 - y)
    with pytest.raises(ValueError, match="targets.*at most 1.*5"):
        mrt.APGD(LINF, targets=5)(two, x, y)
    with pytest.raises(ValueError, match="chooses its own"):
        mrt.APGD(LINF, targets=1)(two, x, y, target=1 - y)


def test_geometry_refuses_wrong_shapes() -> None:
    for threat in (LINF, L2, L1, mrt.L0(2)):
        with pytest.raises(ValueError, match="delta must have the shape of x"):
            threat.project(X[:1], X)
        with pytest.raises(ValueError, match="x_adv must have the shape of x"):
            threat.contains(X, X[:, :, :4])
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        RT.apply(X, X)
    with pytest.raises(ValueError, match="needs delta"):
        RT.contains(X, X)
    with pytest.raises(ValueError, match="needs delta"):
        mrt.Affine((LINF, L1)).contains(X, X)
    with pytest.raises(ValueError, match=r"images \(N, C, H, W\)"):
        RT.apply(X.flatten(1), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="in pixels"):
        mrt.AnyOf((LINF, RT)).sample(X)
    with pytest.raises(ValueError, match="bn"), crafting(RowWise((1, 8, 8)), bn="train"):  # type: ignore[arg-type]
        pass
