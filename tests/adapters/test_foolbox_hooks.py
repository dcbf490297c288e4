"""adapters/mrt_foolbox/host_named.py: What a user's subclass of a host-named attack overrides is called, and nothing of
it is ignored in silence; losses of the user's own."""

from __future__ import annotations

import pickle
from typing import Any

import eagerpy as ep
import mrt_foolbox as ours
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import mrt
from tests.adapters.support import dyadic, net

import foolbox  # isort: skip - after mrt_foolbox, which keeps it quiet where there is no git
import foolbox.attacks as theirs
from foolbox.attacks.gradient_descent_base import AdamOptimizer, GDOptimizer

NAMES = ["LinfPGD", "L2PGD", "L1PGD", "SparseL1DescentAttack"]
LONG = [f"{norm}ProjectedGradientDescentAttack" for norm in ("Linf", "L2", "L1")]
RADIUS = {"LinfPGD": 0.1, "L2PGD": 1.0, "L1PGD": 4.0, "SparseL1DescentAttack": 4.0, "PGD": 0.1}


def case() -> tuple[Any, Tensor, Tensor]:
    fmodel = foolbox.PyTorchModel(net((1, 16, 16)), bounds=(0, 1), device="cpu")
    x = dyadic((1, 16, 16), 6, (0, 1))
    return fmodel, x, fmodel(x).argmax(-1)


def adaptive(kind: type[Any], hook: str) -> type[Any]:
    """A subclass such as users write, with one hook of the host's overridden."""

    def get_loss_fn(self: Any, model: Any, labels: Any) -> Any:
        return lambda inputs: (model(inputs) ** 2).sum()

    def get_optimizer(self: Any, x: Any, stepsize: float) -> Any:
        return AdamOptimizer(x, stepsize)

    def value_and_grad(self: Any, loss_fn: Any, x: Any) -> Any:
        value, grad = ep.value_and_grad(loss_fn, x)
        return value, -grad

    def normalize(self: Any, gradients: Any, *, x: Any, bounds: Any) -> Any:
        return gradients * 100

    def project(self: Any, x: Any, x0: Any, epsilon: float) -> Any:
        return x0 + (x - x0) * 0.25

    def get_random_start(self: Any, x0: Any, epsilon: float) -> Any:
        return x0 + 0.01

    return type("Adaptive", (kind,), {hook: locals()[hook]})


@pytest.mark.parametrize("hook", ["get_loss_fn", "get_optimizer", "value_and_grad", "normalize", "project"])
@pytest.mark.parametrize("name", [*NAMES, "PGD"])
def test_an_overridden_hook_is_run_by_the_hosts_own_loop(name: str, hook: str) -> None:
    """The same images as a subclass of the host's own class makes, repeated as well."""
    fmodel, x, y = case()
    settings = {"steps": 3, "random_start": False, "rel_stepsize": 0.3}
    found = []
    for module in (theirs, ours):
        attack = adaptive(getattr(module, name), hook)(**settings)
        found.append(attack(fmodel, x, y, epsilons=[RADIUS[name]]))
        found.append(attack.repeat(2)(fmodel, x, y, epsilons=[RADIUS[name]]))
    assert torch.equal(attack.repeat(2).run(fmodel, x, y, epsilon=RADIUS[name]), found[3][0][0])
    for (raw, clipped, success), (raw_, clipped_, success_) in zip(found[:2], found[2:], strict=True):
        assert torch.equal(raw[0], raw_[0]) and torch.equal(clipped[0], clipped_[0]) and torch.equal(success, success_)
    plain = getattr(ours, name)(**settings)(fmodel, x, y, epsilons=[RADIUS[name]])[0][0]
    assert not torch.equal(plain, found[2][0][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_random_start_of_ones_own_is_begun_from(name: str) -> None:
    fmodel, x, y = case()
    results = []
    for module in (theirs, ours):
        attack = adaptive(getattr(module, name), "get_random_start")(steps=2, random_start=True)
        results.append(attack.run(fmodel, x, y, epsilon=RADIUS[name]))
    assert torch.equal(*results)


def test_hooks_set_on_an_instance_a_mixin_or_the_class_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fmodel, x, y = case()
    calls: list[str] = []

    def project(self: Any, x: Any, x0: Any, epsilon: float) -> Any:
        calls.append("class")
        return x0

    mixin = type("Mixin", (), {"project": project})
    mixed = type("Mixed", (mixin, ours.LinfPGD), {})
    attack: Any = ours.LinfPGD(steps=1)

    def get_optimizer(x: Any, stepsize: float) -> Any:
        calls.append("instance")
        return GDOptimizer(x, stepsize)

    attack.get_optimizer = get_optimizer
    attack(fmodel, x, y, epsilons=0.1)
    mixed(steps=1).repeat(2)(fmodel, x, y, epsilons=0.1)
    assert calls == ["instance", "class", "class"]
    monkeypatch.setattr(theirs.gradient_descent_base.LinfBaseGradientDescent, "project", project)
    ours.LinfPGD(steps=1)(fmodel, x, y, epsilons=0.1)
    mixed(steps=1).repeat(2).run(fmodel, x, y, epsilon=0.1)
    assert calls == ["instance"] + 5 * ["class"]


def test_a_run_and_a_distance_of_ones_own_are_used() -> None:
    fmodel, x, y = case()

    class Still(ours.LinfPGD):
        def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
            moved = super().run(model, inputs, criterion, epsilon=epsilon, **kwargs)
            return moved * 0 + inputs

    class Short(ours.LinfPGD):
        distance = foolbox.distances.l2

    for kind in (Still, ours.MSD):
        attack = Still(steps=2) if kind is Still else type("Msd", (ours.MSD,), {"run": Still.run})()
        if kind is Still:
            assert torch.equal(attack(fmodel, x, y, epsilons=0.1)[0], x)
        assert attack.runs_as_the_host
    _, clipped, _ = Short(steps=2)(fmodel, x, y, epsilons=0.1)
    assert float((clipped - x).flatten(1).norm(dim=1).max()) <= 0.1 + 1e-5


def test_a_subclass_keeps_attributes_of_its_own() -> None:
    """`loss`, `fast` and `norm` are free names in the host; and its constructor may be left out."""
    fmodel, x, y = case()

    class Own(ours.LinfPGD):
        def __init__(self, loss: str, norm: int, **settings: Any) -> None:
            vars(self).update(loss=loss, norm=norm, fast="slow", settings={}, ball=None)
            super().__init__(**settings)

    class Bare(ours.LinfPGD):
        def __init__(self) -> None:
            self.rel_stepsize, self.abs_stepsize, self.steps, self.random_start = 0.3, None, 3, False

    attack: Any = Own("bce", 7, steps=3, rel_stepsize=0.3, random_start=False)
    raw = attack(fmodel, x, y, epsilons=0.1)[0]
    assert (attack.loss, attack.norm, attack.fast) == ("bce", 7, "slow")
    want = ours.LinfPGD(steps=3, rel_stepsize=0.3, random_start=False)(fmodel, x, y, epsilons=0.1)[0]
    assert torch.equal(raw, want) and torch.equal(Bare()(fmodel, x, y, epsilons=0.1)[0], want)


def test_what_the_hosts_run_lacks_is_refused_beside_a_hook() -> None:
    fmodel, x, y = case()
    for kind, settings, says in (
        (ours.LinfPGD, {"loss": "margin"}, "Adaptive overrides normalize, so that Foolbox's own run.*no loss="),
        (ours.L2PGD, {"fast": mrt.Fast(compile=True)}, "no fast="),
        (ours.PGD, {"norm": "l2"}, "normalize of Foolbox's PGD, which is linf; got 'l2'"),
    ):
        with pytest.raises(ValueError, match=says):
            adaptive(kind, "normalize")(**settings)
    with pytest.raises(TypeError, match="mask"):
        adaptive(ours.LinfPGD, "normalize")(steps=1)(fmodel, x, y, epsilons=0.1, mask=x > 0)


def test_pgd_of_our_name_has_its_own_step_below_a_hook() -> None:
    fmodel, x, y = case()
    mine = adaptive(ours.PGD, "project")(steps=5, random_start=False)
    host = adaptive(theirs.PGD, "project")(steps=5, random_start=False, rel_stepsize=0.5)
    assert torch.equal(*(attack(fmodel, x, y, epsilons=0.1)[0] for attack in (mine, host)))


@pytest.mark.parametrize("name", ["SLIDE", "APGD", "MSD", "L2LDA"])
def test_where_no_hook_is_called_a_class_with_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"Adaptive overrides get_loss_fn, which {name} never calls: give it loss="):
        adaptive(getattr(ours, name), "get_loss_fn")


@pytest.mark.parametrize("name", [*NAMES, *LONG, "PGD", "SpatialAttack"])
def test_they_are_the_hosts_classes(name: str) -> None:
    mine, host = getattr(ours, name), getattr(theirs, name)
    assert issubclass(mine, host) and isinstance(mine(), host) and isinstance(mine(), theirs.base.Attack)
    if name != "SpatialAttack":
        assert mine.distance == host.distance == mine().distance and mine().distance == mine().distance
        assert isinstance(mine(), theirs.gradient_descent_base.BaseGradientDescent)


def own_margin(logits: Tensor, labels: Tensor) -> Tensor:
    true = functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(true, -torch.inf).amax(1) - logits[true]


@pytest.mark.parametrize("name", [*NAMES, "SLIDE", "PGD", "APGD", "MSD", "Affine", "RotationTranslation"])
def test_a_loss_of_ones_own(name: str) -> None:
    """It finds what the loss of ours that says the same finds, towards a target as well; it pickles, and shows by its
    name."""
    fmodel, x, y = case()
    more: dict[str, Any] = {"restarts": 2, "steps": 3} if name == "Affine" else {"steps": 3}
    if name == "RotationTranslation":
        more = {"samples": 3}
    mine, named = (getattr(ours, name)(loss=loss, **more) for loss in (own_margin, "margin"))
    epsilon = RADIUS.get(name, 1.0)
    for criterion in (y, foolbox.criteria.TargetedMisclassification((y + 1) % 5)):
        found = []
        for attack in (mine, pickle.loads(pickle.dumps(mine)), named):
            torch.manual_seed(0)
            found.append(attack(fmodel, x, criterion, epsilons=epsilon)[0])
        assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[2])
    assert "loss=own_margin" in repr(mine)
    with pytest.raises(ValueError, match="loss must return a float for each"):
        getattr(ours, name)(loss=nn.CrossEntropyLoss(), **more)(fmodel, x, y, epsilons=epsilon)


def test_a_run_of_ones_own_moves_images_too() -> None:
    """Of SpatialAttack, whose host calls it; of what no class of Foolbox's stands behind it is refused."""
    fmodel, x, y = case()
    called = list[int]()

    class Own(ours.SpatialAttack):
        def run(self, model: Any, inputs: Any, criterion: Any, **kwargs: Any) -> Any:
            called.append(1)
            return inputs

    raw, _, _ = Own()(fmodel, x, y)
    assert called == [1] and torch.equal(raw, x)
    with pytest.raises(ValueError, match="Mine overrides run, which RotationTranslation never calls"):
        type("Mine", (ours.RotationTranslation,), {"run": Own.run})
