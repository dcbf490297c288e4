"""adapters/mrt_foolbox/ (calls.py, wrapped_models.py, radii.py, attack_base.py): What scripts written for the host's
classes do with them: models, radii, norms, masks, repeats and warnings."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections import deque
from typing import Any

import eagerpy as ep
import mrt_foolbox as ours
import numpy as np
import pytest
import torch
from mrt_foolbox.calls import read_norm
from mrt_foolbox.wrapped_models import as_model
from torch import Tensor, nn

import mrt
from mrt.generators import PGNGenerator
from tests.adapters.support import BOUNDS, dyadic, generated, net, state, unchanged
from tests.support import digits, digits_net, small_net

import foolbox  # isort: skip - after mrt_foolbox, which keeps it quiet where there is no git
import foolbox.attacks as theirs

SHAPE = (1, 16, 16)
X = dyadic(SHAPE, 6, (0, 1))
PGD = ours.LinfPGD(steps=3, rel_stepsize=0.3, random_start=False)


def wrapped(module: nn.Module, bounds: tuple[float, float] = (0, 1)) -> Any:
    how = {"mean": bounds[0], "std": bounds[1] - bounds[0]}
    return foolbox.PyTorchModel(module, bounds=bounds, preprocessing=how, device="cpu")


class Own(foolbox.models.Model):
    """As users write one: it sees EagerPy tensors, and holds networks where it likes."""

    bounds = foolbox.types.Bounds(0, 1)

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def __call__(self, inputs: Any) -> Any:
        x, restore = ep.astensor_(inputs)
        assert isinstance(inputs, ep.Tensor)
        each = self.inside if isinstance(self.inside, list) else [self.inside]
        return restore(ep.stack([ep.astensor(f(x.raw)) for f in each]).mean(axis=0))


class Global(Own):
    def __call__(self, inputs: Any) -> Any:
        x, restore = ep.astensor_(inputs)
        return restore(ep.astensor(GLOBAL(x.raw)))


GLOBAL: Any = net(SHAPE)


class Duck:
    bounds = (0, 1)

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def __call__(self, inputs: Any) -> Any:
        return ep.astensor(self.inside(inputs.raw))


@pytest.mark.parametrize("make", [
    lambda module: Own(module), lambda module: Own([module, wrapped(module)]), lambda module: Own(lambda x: module(x)),
    lambda module: Own(module.forward), lambda module: Duck({"net": module}["net"]), lambda module: Duck(module),
    lambda module: foolbox.models.ExpectationOverTransformationWrapper(wrapped(module), 2),
    lambda module: Global(None),
], ids=range(8))  # fmt: skip
def test_a_model_of_ones_own_is_attacked_and_its_networks_are_kept_safe(make: Any) -> None:
    module = GLOBAL
    fmodel, y, before = make(module), module(X).argmax(-1), state(module)
    modes: list[bool] = []
    module.train()
    handle = module[0].register_forward_hook(lambda m, *_: modes.append(m.training))
    try:
        PGD.run(fmodel, X, y, epsilon=0.1)
    finally:
        handle.remove()
        module.eval()
    assert modes and not any(modes)  # in eval mode while it is searched
    unchanged(before, module)
    want = PGD(wrapped(module), X, y, epsilons=0.1)[0]
    assert torch.allclose(PGD(fmodel, X, y, epsilons=0.1)[0], want, atol=1e-6)


def test_a_kept_model_follows_its_bounds_and_its_preprocessing() -> None:
    module = net(SHAPE)
    fmodel = wrapped(module)
    first = as_model(fmodel)
    assert as_model(fmodel) is first
    for changed in (copy.copy(fmodel), fmodel.transform_bounds((0, 255))):
        assert as_model(changed) is not first
        assert torch.allclose(as_model(changed)(X), first(X), atol=1e-5)
    fmodel.transform_bounds((-1, 1), inplace=True)
    assert as_model(fmodel) is not first and torch.allclose(as_model(fmodel)(X), module(X), atol=1e-5)


@pytest.mark.parametrize(("epsilons", "same_as"), [
    ([torch.tensor(0.1), torch.tensor(0.05)], [0.1, 0.05]), (torch.tensor(0.1), 0.1), (np.float64(0.1), 0.1),
    (np.array([0.1, 0.05]), [0.1, 0.05]), (True, 1.0), ([True, False], [1.0, 0.0]), (float("inf"), 1.0),
    ((e for e in (0.1,)), [0.1]), ([ep.astensor(torch.tensor(0.1))], [0.1]), (torch.inf, 1), ((0.1,), [0.1]),
])  # fmt: skip
def test_epsilons_of_every_kind(epsilons: Any, same_as: Any) -> None:
    fmodel = wrapped(net(SHAPE))
    y = fmodel(X).argmax(-1)
    raw, clipped, success = PGD(fmodel, X, y, epsilons=epsilons)
    raw_, _, success_ = PGD(fmodel, X, y, epsilons=same_as)
    assert type(raw) is type(clipped) is type(raw_) and torch.equal(success, success_)
    pairs = zip(raw, raw_, strict=True) if isinstance(raw, list) else [(raw, raw_)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("name", ["L2PGD", "L1PGD", "MSD", "APGD"])
def test_an_infinite_radius_is_the_whole_box(name: str) -> None:
    for bounds in BOUNDS[1:]:
        fmodel, x = wrapped(net(SHAPE), bounds), dyadic(SHAPE, 4, bounds)
        raw = getattr(ours, name)(steps=5)(fmodel, x, fmodel(x).argmax(-1), epsilons=np.inf)[0]
        assert torch.isfinite(raw).all() and bounds[0] <= raw.min() and raw.max() <= bounds[1]
        # Farther than any radius that is given by default leads.
        assert float((raw - x).abs().max()) > 0.2 * (bounds[1] - bounds[0])


NORMS = [("linf", ["linf", "Linf", "L_inf", "inf", np.inf, float("inf"), foolbox.distances.linf, "l-inf", "L∞"])]
NORMS += [("l2", ["l2", "L2", "L_2", 2, 2.0, "2", foolbox.distances.l2]), ("l1", ["l1", "L1", 1, foolbox.distances.l1])]


def test_norms_in_every_spelling() -> None:
    for name, spellings in NORMS:
        assert {read_norm(s) for s in spellings} == {name}
        assert ours.PGD(spellings[-1]).distance is getattr(foolbox.distances, name)
        assert ours.APGD(spellings[1]).norm == name
    for wrong in ("l3", 3, None, True, foolbox.distances.l0, "l0"):
        with pytest.raises(ValueError, match="norm must be one of 'linf', 'l2', 'l1'; got"):
            ours.PGD(wrong)


def test_images_outside_their_bounds_are_the_hosts_error_and_ours() -> None:
    for images in (X + 0.5, X - 0.5, X / 0 * 0):
        for kind in (AssertionError, ValueError):
            with pytest.raises(kind, match="within their bounds"):
                PGD(wrapped(net(SHAPE)), images, torch.zeros(6, dtype=torch.long), epsilons=0.1)


MINIMAL = [ours.LinfPGD(steps=4, rel_stepsize=0.4), ours.MSD(steps=4)]


@pytest.mark.parametrize("attack", MINIMAL, ids=repr)
def test_epsilons_none_is_the_smallest_radius(attack: Any) -> None:
    x, y = digits(6)
    fmodel, distance = foolbox.PyTorchModel(digits_net(), bounds=(0, 1), device="cpu"), attack.distance
    torch.manual_seed(0)
    raws, clipped, success = attack(fmodel, x, y, epsilons=[None, 1e-3])
    sizes = distance(x, raws[0])
    assert torch.equal(raws[0], clipped[0]) and torch.equal(success[0], fmodel(raws[0]).argmax(-1) != y)
    assert success[0].float().mean() > 0.9 and not success[1].all()
    wrong = fmodel(x).argmax(-1) != y
    assert torch.equal(sizes[wrong], torch.zeros(int(wrong.sum())))
    # A radius a third smaller fools fewer: what was found is about the smallest.
    lone = [
        attack(fmodel, x[n : n + 1], y[n : n + 1], epsilons=float(sizes[n]) * 0.6)[2] for n in range(5) if not wrong[n]
    ]
    assert sum(bool(s) for s in lone) <= 1
    again = attack.repeat(2)(fmodel, x[:1], y[:1], epsilons=None)
    assert again[0].shape == x[:1].shape and again[2].shape == (1,)


def test_what_has_no_smallest_radius_says_so() -> None:
    fmodel, y = wrapped(net(SHAPE)), torch.zeros(6, dtype=torch.long)
    with pytest.raises(ValueError, match="give rel_stepsize, not abs_stepsize"):
        ours.LinfPGD(abs_stepsize=0.1)(fmodel, X, y, epsilons=None)
    with pytest.raises(ValueError, match="a mask needs a radius"):
        PGD(fmodel, X, y, epsilons=None, mask=X > 0)


def test_repeat_is_the_hosts() -> None:
    generator = generated(PGNGenerator, SHAPE)
    for attack in (ours.LinfPGD(steps=2), ours.PGN(generator), ours.MSD(steps=2)):
        repeated = attack.repeat(3)
        assert isinstance(repeated, theirs.base.Repeated)
        assert (repeated.times, repeated.attack, repeated.repeat(2).times) == (3, attack, 6)
        assert repeated.distance == attack.distance and repr(repeated) == f"{attack!r}.repeat(3)"
    fmodel, y = wrapped(net(SHAPE)), net(SHAPE)(X).argmax(-1)
    pgn = ours.PGN(generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(*(a(fmodel, X, y, epsilons=1.0)[0] for a in (pgn, pgn.repeat(3))))
    for times in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="times must be"):
            PGD.repeat(times)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_spatial_attack_is_called_and_answers_as_the_hosts() -> None:
    x, y = digits(16)
    fmodel = foolbox.PyTorchModel(digits_net(), bounds=(0, 1), device="cpu")
    settings: dict[str, Any] = {"max_translation": 2, "max_rotation": 25, "num_translations": 3, "num_rotations": 3}
    results = [m.SpatialAttack(**settings)(fmodel, x, y, epsilons=[0.1]) for m in (theirs, ours)]
    for raw, clipped, success in results:
        assert raw.shape == x.shape and torch.equal(raw, clipped) and success.shape == (16,)
        kept = ~success | (fmodel(x).argmax(-1) != y)
        assert torch.equal(raw[kept], x[kept])
    assert int(results[1][2].sum()) >= int(results[0][2].sum()) - 2
    mine, host = (inspect.signature(m.SpatialAttack).parameters for m in (ours, theirs))
    assert all(mine[k].default == p.default and mine[k].kind == p.kind for k, p in host.items())
    free = ours.SpatialAttack(grid_search=False, random_steps=4)
    assert free.repeat(3).random_steps == 12 and free(fmodel, x, y)[2].shape == (16,)
    with pytest.raises(ValueError, match="repeat is not supported"):
        ours.SpatialAttack().repeat(2)
    with pytest.raises(ValueError, match="degrees must be"):
        ours.SpatialAttack(max_rotation=400)


def test_motions_need_no_epsilons() -> None:
    x, y = digits(6)
    fmodel, attack = foolbox.PyTorchModel(digits_net(), bounds=(0, 1), device="cpu"), ours.RotationTranslation(20, 2)
    assert torch.equal(attack(fmodel, x, y, epsilons=None)[0], attack(fmodel, x, y, epsilons=1.0)[0])
    with pytest.raises(ValueError, match="factors of its radii and finite; got inf"):
        attack(fmodel, x, y, epsilons=np.inf)
    with pytest.raises(ValueError, match="takes no mask"):
        attack(fmodel, x, y, mask=x > 0)


@pytest.mark.parametrize("kind", [ours.MSD, ours.Affine])
def test_usual_radii_follow_the_bounds(kind: Any) -> None:
    found, attack = [], kind(steps=3, **({"restarts": 1} if kind is ours.Affine else {}))
    for bounds in BOUNDS:
        width, fmodel, x = bounds[1] - bounds[0], wrapped(net(SHAPE), bounds), dyadic(SHAPE, 6, bounds)
        torch.manual_seed(0)
        raw = attack(fmodel, x, fmodel(x).argmax(-1), epsilons=1.0)[0]
        found.append((raw - bounds[0]) / width)
        if kind is ours.MSD:
            assert float(attack.distance(x, raw).max()) == pytest.approx(1.0, rel=1e-4)
    assert float((found[0] - X).abs().max()) > 0
    for other in found[1:]:
        assert ((other - found[0]).abs() < 1e-3).float().mean() > 0.99
    assert ours.MSD().distance == ours.MSD().distance != ours.MSD(l1=3.0).distance
    with pytest.raises(ValueError, match="linf must be a number above 0, 'usual', or None; got 'large'"):
        kind(linf="large")


def test_a_model_in_train_mode_is_spoken_of_once() -> None:
    module = small_net(SHAPE, 5)
    with pytest.warns(UserWarning, match="training mode"):
        fmodel = foolbox.PyTorchModel(module.train(), bounds=(0, 1), device="cpu")
    y = torch.arange(6) % 5
    for attack in (PGD, ours.RotationTranslation(10, 1, grid=(1, 1, 3))):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            attack(fmodel, X, y, epsilons=1.0)
            attack(fmodel, X, y, epsilons=1.0)
        said = [w for w in told if "train mode" in str(w.message)]
        assert len(said) == (1 if attack is PGD else 0)
        assert all(w.filename == __file__ for w in said)
    assert module.training


def test_a_generator_that_has_learned_nothing_is_spoken_of() -> None:
    fmodel = wrapped(net(SHAPE))
    y, attack = fmodel(X).argmax(-1), ours.PGN(generated(PGNGenerator, SHAPE))
    with pytest.warns(
        UserWarning, match=r"PGN fooled the model on no image that it got right.*mrt.fit_generator"
    ) as told:
        assert not attack(fmodel, X, y, epsilons=1e-3)[2].any()
    assert told[0].filename == __file__
    half = torch.where(torch.arange(len(X)) < 3, y, (y + 1) % 5)
    with pytest.warns(UserWarning, match="on no image that it got right"):
        assert attack(fmodel, X, half, epsilons=1e-3)[2].any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack(fmodel, X, (y + 1) % 5, epsilons=1e-3)  # it was all wrong before: there is nothing to say


@pytest.mark.parametrize("name", ["LinfPGD", "SLIDE", "APGD", "MSD"])
def test_a_mask_keeps_pixels_and_spends_all_on_the_others(name: str) -> None:
    x, y = digits(40)
    fmodel = foolbox.PyTorchModel(digits_net(), bounds=(0, 1), device="cpu")
    attack, mask = getattr(ours, name)(steps=6), torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 2:6] = True
    radius = {"LinfPGD": 0.5, "SLIDE": 5.0, "APGD": 0.5, "MSD": 6.0}[name]
    raw, _, success = attack(fmodel, x, y, epsilons=radius, mask=mask)
    assert torch.equal(raw[..., ~mask], x[..., ~mask]) and float(attack.distance(x, raw).max()) <= radius * (1 + 1e-5)
    assert int(success.sum()) > int((fmodel(x).argmax(-1) != y).sum())
    if name == "LinfPGD":  # numbers, and another broadcast
        many, _, _ = attack(fmodel, x, y, epsilons=[radius], mask=mask.double().expand(1, 1, 8, 8).numpy())
        assert torch.equal(many[0][..., ~mask], x[..., ~mask])
        for wrong, says in (
            (mask.long(), "bool, or floats"),
            (mask[:3], "broadcast to"),
            (-mask.float(), "at least 0"),
        ):
            with pytest.raises(ValueError, match=says):
                attack(fmodel, x, y, epsilons=radius, mask=wrong)


FAST = mrt.Fast(compile=True)
FASTS: list[Any] = [
    ours.LinfPGD(steps=3), ours.SparseL1DescentAttack(steps=3), ours.SLIDE(steps=3), ours.APGD(steps=4),
    ours.MSD(steps=3), ours.Affine(steps=2, restarts=1), ours.RotationTranslation(10, 1, grid=(1, 1, 3)),
    ours.SpatialAttack(num_rotations=2, num_translations=1), ours.PGN(generated(PGNGenerator, SHAPE)),
]  # fmt: skip


@pytest.mark.parametrize("attack", FASTS, ids=lambda a: type(a).__name__)
def test_fast_reaches_every_attack(attack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = inspect.signature(type(attack).__init__).parameters
    assert arguments["fast"].default == mrt.Fast()
    more = {"generator": attack.generator} if hasattr(attack, "generator") else {}
    fast = type(attack)(fast=FAST, **more)
    assert fast.attack_for(1.0, 1.0).fast == FAST and "fast=Fast(" in repr(fast)
    with pytest.raises(ValueError, match=r"fast must be a mrt.Fast\(...\); got True"):
        type(attack)(fast=True, **more)


def test_a_copy_of_the_hosts_model_runs_a_copy_of_the_network() -> None:
    """As fast attacks on a GPU need it: in eval mode for good, whatever the user's own is in."""
    fmodel = wrapped(net(SHAPE), (-1, 1))
    seen = as_model(fmodel)
    assert isinstance(seen, nn.Module)
    twin = copy.deepcopy(seen)
    calls: list[int] = []
    network: Any = seen.networks
    network[0].register_forward_hook(lambda *_: calls.append(1))
    assert torch.allclose(twin(X), fmodel(X * 2 - 1), atol=1e-6) and len(calls) == 1  # the host's own, not the twin's


class Writing(nn.Module):
    """It writes into its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.5).flatten(1)[:, :5] * 3


def test_a_model_that_writes_into_its_input_is_judged_on_a_copy() -> None:
    fmodel, x, y = (
        foolbox.PyTorchModel(Writing().eval(), bounds=(0, 1), device="cpu"),
        X.clone(),
        torch.arange(len(X)) % 5,
    )
    raw, _, _ = ours.LinfPGD(steps=2)(fmodel, x, y, epsilons=0.03)
    assert torch.equal(x, X) and float((raw - x).abs().max()) <= 0.03 * (1 + 1e-5)


HIDDEN = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256), nn.Linear(256, 5))


class Asking:
    bounds = (0, 1)

    def __call__(self, x: Any) -> Any:
        return self.ask(x)

    def ask(self, x: Any) -> Any:
        return HIDDEN(x.raw if isinstance(x, ep.Tensor) else x)


class Inheriting(Asking):
    """It has neither a `__call__` nor a network of its own."""


class Slotted:
    __slots__ = ("bounds", "networks")

    def __init__(self, network: nn.Module) -> None:
        self.bounds, self.networks = (0, 1), deque([network])

    def __call__(self, x: Any) -> Any:
        return self.networks[0](x.raw if isinstance(x, ep.Tensor) else x)


class OneSlot:
    """The slot is one text, and the name is private."""

    __slots__ = "__network"
    bounds = (0, 1)

    def __init__(self) -> None:
        self.__network = HIDDEN

    def __call__(self, x: Any) -> Any:
        return self.__network(x.raw if isinstance(x, ep.Tensor) else x)


@pytest.mark.parametrize("make", [Asking, Inheriting, functools.partial(Slotted, HIDDEN), OneSlot])
def test_a_network_is_found_wherever_a_model_keeps_it(make: Any) -> None:
    """And so it is put into eval mode, which else the statistics of its BatchNorm would show."""
    HIDDEN.train()
    before = {name: value.clone() for name, value in HIDDEN.state_dict().items()}
    seen: Any = ours.as_model(make())
    assert [network is HIDDEN for network in seen.networks] == [True]
    mrt.PGD(mrt.Linf(0.1), steps=2)(seen, X, torch.arange(len(X)) % 5)
    assert HIDDEN.training and all(torch.equal(value, before[name]) for name, value in HIDDEN.state_dict().items())


def test_bounds_that_change_are_those_of_the_next_call() -> None:
    """What is kept with a model is made anew."""
    fmodel = wrapped(net(SHAPE))
    assert torch.equal(as_model(fmodel)(X), fmodel(X))
    fmodel._bounds = foolbox.types.Bounds(-1, 1)
    assert torch.equal(as_model(fmodel)(X), fmodel(X * 2 - 1)) and not torch.equal(fmodel(X), fmodel(X * 2 - 1))


def test_motions_leave_what_is_wrong_already_as_it_is() -> None:
    fmodel = wrapped(net(SHAPE))
    y = (fmodel(X).argmax(-1) + 1) % 5
    raw, _, success = ours.SpatialAttack(num_rotations=3, num_translations=2)(fmodel, X, y)
    assert success.all() and torch.equal(raw, X)


def test_a_deep_copy_of_a_model_is_attacked_as_the_host_sees_it() -> None:
    """Foolbox's copy goes on calling the original network."""
    linear = nn.Linear(256, 5)
    fmodel = foolbox.PyTorchModel(nn.Sequential(nn.Flatten(), linear).eval(), bounds=(0, 1), device="cpu")
    ours.as_model(fmodel)  # which keeps what it makes with the model
    copied = copy.deepcopy(fmodel)
    with torch.no_grad():
        linear.weight.mul_(-1)
    seen: Any = ours.as_model(copied)
    torch.testing.assert_close(seen(X), copied(X))
