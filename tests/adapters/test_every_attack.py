"""adapters/mrt_foolbox/incoming.py, mrt_art/incoming.py, mrt_autoattack/incoming.py: What holds for every hosted
attack: our protocol, and nothing touched."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any, cast

import mrt_art
import mrt_autoattack
import mrt_foolbox
import numpy as np
import pytest
import torch
from foolbox.attacks import brendel_bethge
from torch import Tensor

import mrt
from mrt.hosts.hosted import Hosted
from mrt.protocols import Attack
from tests.support import digits, digits_net, small_net, torch_seed

LINF, L2, L1, L0, RT = mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0), mrt.L0(6), mrt.RotationTranslation(30, 2)
SMALL: dict[str, Any] = {"binary_search_steps": 2, "steps": 8}
FOOLBOX: tuple[tuple[str, Any, dict[str, Any]], ...] = (
    ("BoundaryAttack", L2, {"steps": 60}),
    ("PointwiseAttack", L1, {}),
    ("PointwiseAttack", L0, {}),
    ("SaltAndPepperNoiseAttack", L0, {"steps": 20}),
    ("L2CarliniWagnerAttack", L2, SMALL),
    ("EADAttack", L1, {**SMALL, "decision_rule": "L1"}),
    ("DDNAttack", L2, {"steps": 20}),
    ("L2DeepFoolAttack", L2, {"steps": 10}),
    ("LinfDeepFoolAttack", LINF, {"steps": 10}),
    ("HopSkipJumpAttack", L2, {"steps": 1}),
    ("HopSkipJumpAttack", LINF, {"steps": 1}),
    ("FGSM", LINF, {"epsilons": (0.05, 0.2)}),
    ("LinfPGD", LINF, {"steps": 5}),
    ("L2PGD", L2, {"steps": 5}),
    ("L1PGD", L1, {"steps": 5}),
    ("LinfBasicIterativeAttack", LINF, {"steps": 5}),
    ("MIFGSM", LINF, {"steps": 5}),
    ("L2RepeatedAdditiveGaussianNoiseAttack", L2, {"repeats": 5}),
    ("SparseL1DescentAttack", L1, {"steps": 5, "random_start": True}),
    ("SpatialAttack", RT, {"num_rotations": 3}),
    ("NewtonFoolAttack", L2, {"steps": 10}),
    ("L2BrendelBethgeAttack", L2, {"steps": 5}),
)
ART: tuple[tuple[str, Any, dict[str, Any]], ...] = (
    ("CarliniL2Method", L2, {"binary_search_steps": 2, "max_iter": 3}),
    ("ElasticNet", L1, {"binary_search_steps": 2, "max_iter": 5}),
    ("AutoProjectedGradientDescent", LINF, {"max_iter": 5, "nb_random_init": 1}),
    ("AutoProjectedGradientDescent", L1, {"max_iter": 5, "nb_random_init": 1}),
    ("SquareAttack", L2, {"max_iter": 20}),
    ("SpatialTransformation", RT, {"num_rotations": 3, "num_translations": 3}),
    ("PixelAttack", L0, {"max_iter": 2}),
    ("BoundaryAttack", L2, {"max_iter": 5}),
    ("HopSkipJump", LINF, {"max_iter": 1, "init_eval": 10, "max_eval": 20}),
    ("ProjectedGradientDescent", L2, {"max_iter": 5, "num_random_init": 1}),
)
AUTO: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (LINF, "standard", ("apgd-ce",)),
    (L2, "standard", ("apgd-t",)),
    (L1, "standard", ("fab-t",)),
    (LINF, "plus", ("apgd-dlr",)),
    (L2, "rand", ("apgd-ce",)),
    (LINF, "custom", ("square",)),
)


pytestmark = pytest.mark.usefixtures("short_autoattack")


@pytest.fixture(scope="module", autouse=True)
def brendel_and_bethge_as_plain_python() -> Iterator[None]:
    """Foolbox has numba compile this attack's solvers, for half a minute. Five small images need no compiled ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BFGSB", "L1Optimizer", "L2Optimizer", "LinfOptimizer"):
            plain = getattr(brendel_bethge, name).__mro__[1]  # the class that numba was given
            patch.setattr(brendel_bethge, name, plain)
        l2 = brendel_bethge.L2BrendelBethgeAttack  # which looks for what numba has added to its solver
        patch.setattr(l2, "instantiate_optimizer", lambda self: cast(Any, brendel_bethge).L2Optimizer())
        yield


def everything() -> list[Any]:
    """Every attack, made when asked for, with a name for the test."""
    pool = digits(200, "train")
    made: list[Any] = [
        (f"foolbox.{n}-{t.name}", lambda n=n, t=t, s=s: mrt_foolbox.attack(n, t, pool=pool, **s)) for n, t, s in FOOLBOX
    ]
    made += [(f"art.{n}-{t.name}", lambda n=n, t=t, s=s: mrt_art.attack(n, t, pool=pool, **s)) for n, t, s in ART]
    made += [
        (f"aa.{v}-{p[0]}-{t.name}", lambda t=t, v=v, p=p: mrt_autoattack.attack(t, v, p, queries=30))
        for t, v, p in AUTO
    ]
    return [pytest.param(make, id=name) for name, make in made]


def numpy_state() -> Any:
    state: Any = np.random.get_state()
    return state[1]


def inside(attack: Any, x: Tensor, y: Tensor, x_adv: Tensor, seeds: Tensor) -> Tensor:
    delta = attack.search(digits_net(), x, y, rng=seeds) if hasattr(attack, "search") else None
    held: Tensor = attack.threat.contains(x, x_adv, delta)
    return held


@pytest.mark.parametrize("make", everything())
def test_keeps_the_protocol_and_touches_nothing(make: Any) -> None:
    attack, net = make(), digits_net()
    x, y = digits(5)
    seeds = torch.arange(5)
    assert isinstance(attack, Attack)
    names = {"mrt_foolbox": mrt_foolbox, "mrt_art": mrt_art, "mrt_autoattack": mrt_autoattack}
    assert eval(repr(attack), {**names, **{kind: getattr(mrt, kind) for kind in mrt.__all__}}) == attack
    states = random.getstate(), numpy_state().tolist(), torch.get_rng_state(), sys.gettrace()
    kept, given = {k: v.clone() for k, v in net.state_dict().items()}, x.clone()
    for module in net.modules():
        module.training = True
    try:
        with torch.no_grad():
            first = attack(net, x, y, rng=seeds)
            attempt = attack.attempt(net, x, y, rng=seeds) if isinstance(attack, Hosted) else None
        assert all(m.training for m in net.modules())
    finally:
        net.eval()
    if attempt is None:
        assert torch.equal(first, attack(net, x, y, rng=seeds))
    else:
        assert not attempt.failed.any(), attempt.why
        held = attack.threat.contains(x, attempt.found)
        assert torch.equal(first[held], attempt.found[held])  # the same again
        fooled, same = net(attempt.found).argmax(1) != y, (attempt.found == x).flatten(1).all(1)
        assert (fooled | same).all() or not getattr(attack, "minimal", False)
    assert first.dtype == torch.float32 and not first.requires_grad and first.shape == x.shape
    assert inside(attack, x, y, first, seeds).all()
    assert torch.equal(x, given) and all(torch.equal(v, net.state_dict()[k]) for k, v in kept.items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert random.getstate() == states[0] and numpy_state().tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2]) and sys.gettrace() is states[3]
    assert np.random.RandomState.__module__.startswith("numpy")


@pytest.mark.parametrize(("name", "threat"), [("LinfinityBrendelBethgeAttack", LINF), ("L1BrendelBethgeAttack", L1)])
def test_brendel_and_bethge_in_the_other_norms(name: str, threat: Any) -> None:
    attack: Any = mrt_foolbox.attack(name, threat, pool=digits(200, "train"), steps=5)
    x, y = digits(4)
    attempt = attack.attempt(digits_net(), x, y, rng=torch.arange(4))
    assert not attempt.failed.any() and (digits_net()(attempt.found).argmax(1) != y).all()


@pytest.mark.parametrize("make", everything())
def test_a_model_that_raises_is_heard(make: Any) -> None:
    """A failure of the model is not a failure of the host on an unlucky example."""
    (x, y), net = digits(3), digits_net()

    def model(z: Tensor) -> Tensor:
        model.calls += 1  # type: ignore[attr-defined]
        if model.calls > 2:  # type: ignore[attr-defined]
            raise KeyError("out of order")
        logits: Tensor = net(z)
        return logits

    model.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(KeyError, match="out of order"):
        for _ in range(3):
            make()(model, x, y, rng=torch.arange(3))


TARGETED = [
    (mrt_foolbox.attack, "LinfPGD", LINF, {"steps": 20}),
    (mrt_foolbox.attack, "DDNAttack", mrt.L2(4.0), {"steps": 60}),
    (mrt_art.attack, "ProjectedGradientDescent", LINF, {"max_iter": 20}),
    (mrt_art.attack, "AutoProjectedGradientDescent", mrt.L2(4.0), {"max_iter": 20, "nb_random_init": 1}),
]


@pytest.mark.parametrize(("host", "name", "threat", "settings"), TARGETED)
def test_targets_are_reached(host: Any, name: str, threat: Any, settings: dict[str, Any]) -> None:
    x, y = digits(12)
    target = (y + 1) % 10
    x_adv = host(name, threat, **settings)(digits_net(), x, y, target=target, rng=torch.arange(12))
    reached = digits_net()(x_adv).argmax(1) == target
    before = digits_net()(x).argmax(1) == target
    assert reached.sum() > before.sum() + 2
    assert threat.contains(x, x_adv).all()


@pytest.mark.parametrize(
    "attack",
    [mrt_foolbox.attack("FGSM", LINF), mrt_art.attack("SquareAttack", LINF), mrt_autoattack.attack(LINF)],
    ids=["foolbox", "art", "autoattack"],
)
def test_a_target_that_makes_no_sense_is_refused(attack: Any) -> None:
    x, y = digits(2)
    with pytest.raises(ValueError, match="aim"):
        attack(digits_net(), x, y, target=(y + 1) % 10)


BAD: list[tuple[Any, str]] = [
    (lambda: mrt_foolbox.attack("BoundryAttack", L2), "did you mean BoundaryAttack"),
    (lambda: mrt_foolbox.attack(cast(Any, mrt_foolbox), L2), "such as 'L2PGD'"),
    (lambda: mrt_art.attack(cast(Any, 3), L2), "such as 'SquareAttack'"),
    (lambda: mrt_foolbox.attack("BoundaryAttack", L2, step=3), "no setting 'step'"),
    (lambda: mrt_foolbox.attack("L2PGD", LINF), "searches an L2 distance ball"),
    (lambda: mrt_foolbox.attack("DDNAttack", RT), "threat of type Linf"),
    (lambda: mrt_foolbox.attack("DDNAttack", L2, epsilons=(0.1,)), "closest point"),
    (lambda: mrt_foolbox.attack("SpatialAttack", L2), "RotationTranslation"),
    (lambda: mrt_foolbox.attack("SpatialAttack", RT, grid=True), "no setting 'grid'"),
    (lambda: mrt_art.attack("Square", LINF), "did you mean SquareAttack"),
    (lambda: mrt_art.attack("SquareAttack", LINF, steps=3), "no setting 'steps'"),
    (lambda: mrt_art.attack("SquareAttack", LINF, eps=0.1), "eps of SquareAttack follows"),
    (lambda: mrt_art.attack("SquareAttack", L0), "Linf, L2 or L1"),
    (lambda: mrt_art.attack("PixelAttack", L2), "type L0"),
    (lambda: mrt_art.attack("SpatialTransformation", L2), "RotationTranslation"),
    (lambda: mrt_autoattack.attack(L0), "Linf, L2 or L1"),
    (lambda: mrt_autoattack.attack(LINF, "standrad"), "version"),
    (lambda: mrt_autoattack.attack(LINF, attacks=("apgd",)), "attacks"),
    (lambda: mrt_autoattack.attack(LINF, "custom"), "custom"),
    (lambda: mrt_autoattack.attack(LINF, queries=0), "queries"),
    (lambda: mrt_autoattack.resolve("apgd", LINF), "AutoAttack"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_settings_are_refused_when_the_attack_is_made(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_results_follow_the_seed() -> None:
    x, y = digits(4)
    for attack in (mrt_foolbox.attack("LinfPGD", LINF, steps=2), mrt_art.attack("SquareAttack", LINF, max_iter=5)):
        first, other = (attack(digits_net(), x, y, rng=torch.arange(4) + k) for k in (0, 100))
        assert not torch.equal(first, other)
    x, y = torch.rand(3, 1, 8, 8, generator=torch_seed(0)), torch.tensor([0, 1, 2])
    attack = mrt_foolbox.attack("LinfPGD", LINF, steps=2)
    assert torch.equal(*(attack(small_net(), x, y, rng=torch.arange(3)) for _ in range(2)))
