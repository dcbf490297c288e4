"""adapters/mrt_advlib: Each attack beside a call of the library by hand, and the library's traps one by one: called as
its users call it it falls in, and behind our interface it does not. Skipped where adv-lib is not installed."""

from __future__ import annotations

import inspect
import random
import sys
from importlib.util import find_spec
from typing import Any

import mrt_advlib
import numpy as np
import pytest
import torch
from mrt_advlib.library import library, with_replaced
from torch import Tensor, nn

import mrt
from mrt.hosts.hosted import host_seed
from tests import apart
from tests.support import digits, digits_net, small_net, torch_seed

installed = pytest.mark.skipif(find_spec("adv_lib") is None, reason="adv-lib is not installed")
advlib: Any = mrt_advlib.attack
LINF, L2, L1, L0 = mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0), mrt.L0(6)
EVERY: tuple[tuple[str, Any, dict[str, Any], dict[str, Any]], ...] = (  # our settings, and what a call by hand adds
    ("fmn", L0, {"steps": 20}, {"norm": 0}),
    ("fmn", L1, {"steps": 20}, {"norm": 1}),
    ("fmn", L2, {"steps": 20}, {"norm": 2}),
    ("fmn", LINF, {"steps": 20}, {"norm": float("inf")}),
    ("ddn", L2, {"steps": 20}, {"levels": None}),
    ("ddn", LINF, {"steps": 20, "levels": 64}, {}),
    ("sigma_zero", L0, {"num_steps": 30}, {}),
    ("alma", L2, {"num_steps": 30, "init_lr_distance": 0.1}, {"distance": "l2"}),
    ("alma", L1, {"num_steps": 30}, {"distance": "l1"}),
    ("pdgd", L2, {"num_steps": 30}, {}),
    ("pdpgd", L0, {"num_steps": 30, "proximal_operator": 23}, {"norm": 0}),
    ("pdpgd", L1, {"num_steps": 30, "random_init": 0.1}, {"norm": 1}),
    ("pdpgd", LINF, {"num_steps": 30}, {"norm": float("inf")}),
    ("apgd", LINF, {"n_iter": 10}, {"norm": float("inf"), "eps": 0.2}),
    ("apgd", L2, {"n_iter": 10, "n_restarts": 2, "loss_function": "ce"}, {"norm": 2, "eps": 0.7}),
    ("apgd", L1, {"n_iter": 10, "use_large_reps": True}, {"norm": 1, "eps": 2.0}),
    ("apgd_targeted", L2, {"n_iter": 5, "num_targets": 3}, {"norm": 2, "eps": 0.7}),
    ("pgd_linf", LINF, {"steps": 10, "restarts": 2}, {"ε": 0.2}),
    ("fab", L2, {"n_iter": 3, "ε": 0.5, "restarts": 2}, {"norm": 2}),
    ("fab", L1, {"n_iter": 3}, {"norm": 1}),
    ("df", LINF, {"steps": 20}, {"norm": float("inf")}),
    ("sdf", L2, {"steps": 4, "df_steps": 20}, {}),
    ("tr", L2, {"iter": 40, "eps": 0.05}, {"p": 2}),
    ("fga", L0, {"max_iter": 8}, {}),
    ("vfga", L0, {"max_iter": 8, "n_samples": 4}, {}),
    ("carlini_wagner_l2", L2, {"max_iterations": 20, "initial_const": 10.0, "binary_search_steps": 2}, {}),
    ("carlini_wagner_linf", LINF, {"max_iterations": 20, "largest_const": 1e-3}, {}),
    ("str_attack", L2, {"max_iterations": 8, "binary_search_steps": 1, "retrain": False}, {}),
)
NAMES = [f"{name}-{threat.name}" for name, threat, _, _ in EVERY]
each = pytest.mark.parametrize(("name", "threat", "settings", "more"), EVERY, ids=NAMES)


def mended(fell: bool) -> None:
    """Skip where the library no longer falls into the trap."""
    if not fell:
        pytest.skip("adv-lib has mended this")


def correct(n: int) -> tuple[Tensor, Tensor]:
    x, y = digits(n + 20)
    right = digits_net()(x).argmax(1) == y
    return x[right][:n], y[right][:n]


def by_hand(name: str, model: Any, x: Tensor, y: Tensor, targeted: bool = False, **settings: Any) -> Tensor:
    """What adv-lib answers to its users, from the seed that our attack would have given it."""
    torch.manual_seed(host_seed(torch.arange(len(x))))
    found: Tensor = getattr(library(), name)(model, x.clone(), y, targeted=targeted, **settings)
    return found.detach()


@installed
@each
def test_equals_a_call_by_hand(name: str, threat: Any, settings: dict[str, Any], more: dict[str, Any]) -> None:
    """From the same seed, on images that stand: where it fools, to a millionth, what the library found; else x."""
    x, y = correct(6)
    attack = advlib(name, threat, **settings)
    found = attack.attempt(digits_net(), x, y, rng=torch.arange(6)).found
    theirs = by_hand(name, digits_net(), x, y, **settings, **more)
    fooled = digits_net()(theirs).argmax(1) != y
    assert fooled.any() and torch.allclose(found[fooled], theirs[fooled], atol=1.5e-6)
    if attack.minimal:
        assert torch.equal(found[~fooled], x[~fooled])


@installed
@each
def test_keeps_the_protocol_and_touches_nothing(
    name: str, threat: Any, settings: dict[str, Any], more: dict[str, Any]
) -> None:
    """As tests/adapters/test_every_attack.py has it for the other hosts: under no_grad, on a model in train mode."""
    attack, net = advlib(name, threat, **settings), small_net((1, 8, 8), 10).train()
    x, y = torch.rand(4, 1, 8, 8, generator=torch_seed(0)), torch.tensor([0, 1, 2, 3])
    assert isinstance(attack, mrt.protocols.Attack)
    assert eval(repr(attack), {"mrt_advlib": mrt_advlib, **vars(mrt)}) == attack
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    kept, given = {k: v.clone() for k, v in net.state_dict().items()}, x.clone()
    with torch.no_grad():
        first, second = (attack(net, x, y, rng=torch.arange(4)) for _ in range(2))
    assert torch.equal(first, second) and threat.contains(x, first).all()
    assert first.dtype == torch.float32 and not first.requires_grad
    assert torch.equal(x, given) and all(torch.equal(v, kept[k]) for k, v in net.state_dict().items())
    assert all(m.training for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index]


@installed
def test_imports_without_what_no_attack_needs() -> None:
    """A server's client whose package cannot be built everywhere, and a module that Python has dropped."""
    script = """if True:
        import sys
        gone = ("visdom", "distutils", "distutils.version")
        sys.modules.update(dict.fromkeys(gone))
        try:
            import adv_lib.attacks
        except ImportError:
            fell = True
        else:
            fell = False
        import mrt, mrt_advlib, torch
        x = torch.rand(2, 1, 4, 4)
        mrt_advlib.attack("fmn", mrt.L2(1.0), steps=2)(lambda z: z.flatten(1), x, x.flatten(1).argmax(1))
        assert not any(map(sys.modules.get, gone)), "no stand-in is left behind"
        print(fell)"""
    program = apart.Program(script)  # a fork of a process that has not imported adv-lib
    assert program.wait() == 0, program.errors
    mended(program.output.strip() == "True")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    library.cache_clear()
    monkeypatch.setattr(sys.modules["mrt_advlib.library"], "find_spec", lambda name: None)
    entry = mrt.Entry("sz", mrt.Foreign("advlib", "sigma_zero"), mrt.L0(5))
    for make in (lambda: advlib("fmn", L2), lambda: entry.build(None)):
        with pytest.raises(ValueError, match="^adv-lib is not installed: pip install --no-deps adv-lib$"):
            make()


class OnePixel(nn.Module):
    """Class 1 as soon as the first pixel is bright."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x[:, 0, 0, 0]
        return torch.stack([0.5 - bright, bright - 0.5, bright - 9], 1)


@installed
def test_fmn_in_l0_crashes_where_one_entry_is_enough() -> None:
    """Such an image, alone or among others like it, would count as standing for all that."""
    x, y = torch.full((3, 1, 4, 4), 0.2), torch.zeros(3).long()
    try:
        by_hand("fmn", OnePixel(), x, y, norm=0, steps=20)
        fell = False
    except (RuntimeError, IndexError):
        fell = True
    mended(fell)
    attempt = advlib("fmn", L0, steps=20).attempt(OnePixel(), x, y, rng=torch.arange(3))
    assert not attempt.failed.any() and (mrt.L0(1).distance(x, attempt.found) == 1).all()


@installed
@pytest.mark.parametrize(("name", "threat", "settings"), [("fmn", L0, {"steps": 5}), ("sdf", L2, {"steps": 1})])
def test_what_is_misclassified_already_comes_back(name: str, threat: Any, settings: dict[str, Any]) -> None:
    x, y = correct(4)
    wrong = torch.stack([y[0], y[1] + 1, y[2], y[3] + 1]) % 10
    for labels in (wrong, (y + 1) % 10):  # two of them, and all
        attempt = advlib(name, threat, **settings).attempt(digits_net(), x, labels, rng=torch.arange(4))
        assert not attempt.failed.any() and torch.equal(attempt.found[labels != y], x[labels != y])


@installed
def test_apgd_targeted_aims_at_the_right_class_of_a_misclassified_image() -> None:
    """It leaves out the class that the model answers, in place of the label."""
    x, y = correct(3)
    target = digits_net()(x).topk(2).indices[:, 1]  # as if these were the labels
    theirs = by_hand("apgd_targeted", digits_net(), x, target, norm=2, eps=2.0, n_iter=20, num_targets=1)
    mended(bool((digits_net()(theirs).argmax(1) == target).any()))
    found = advlib("apgd_targeted", mrt.L2(2.0), n_iter=20, num_targets=1)(digits_net(), x, target, rng=torch.arange(3))
    assert torch.equal(found, x)


@installed
def test_ddn_comes_no_closer_than_its_rounding() -> None:
    """By default it rounds every pixel to a 255th, and 0.1 is none."""

    def bright(x: Tensor) -> Tensor:  # class 1 from a mean of 0.1005: 0.002 away
        mean = x.flatten(1).mean(1)
        return torch.stack([0.1005 - mean, mean - 0.1005], 1)

    x, y = torch.full((2, 1, 4, 4), 0.1), torch.zeros(2).long()
    settings: dict[str, Any] = {"steps": 80, "init_norm": 0.05}
    theirs = L2.distance(x, by_hand("ddn", bright, x, y, **settings))
    mended(bool((theirs > 0.005).all()))
    found = advlib("ddn", L2, **settings).attempt(bright, x, y, rng=torch.arange(2)).found
    assert (bright(found).argmax(1) == 1).all() and (L2.distance(x, found) < 0.0025).all()


@installed
def test_alma_never_ends_where_its_first_step_leads_nowhere() -> None:
    """Further than the box is wide there is nothing to find. It calls no model meanwhile, which would be counted."""
    x, y = correct(3)
    settings: dict[str, Any] = {"num_steps": 3, "init_lr_distance": 100.0}

    def patience(z: Tensor, w: Tensor, left: list[int] = [3000]) -> Tensor:  # noqa: B006
        left[0] -= 1
        if not left[0]:
            raise TimeoutError
        length: Tensor = torch.linalg.vector_norm((z - w).flatten(1), dim=1)
        return length

    module = sys.modules["adv_lib.attacks.augmented_lagrangian"]
    endless = with_replaced(library().alma, _distances={**module._distances, "l2": patience})
    try:
        endless(digits_net(), x, y, **settings)
        fell = False
    except TimeoutError:
        fell = True
    mended(fell)
    attempt = advlib("alma", L2, **settings).attempt(digits_net(), x, y, rng=torch.arange(3))
    assert attempt.failed.all() and "init_lr_distance" in attempt.why
    assert inspect.isfunction(module.init_lr_finder)  # the library keeps its own


@installed
def test_str_attack_fails_where_it_finds_nothing_and_on_wide_images() -> None:
    net, x = small_net((1, 6, 9), 3).eval(), torch.rand(2, 1, 6, 9, generator=torch_seed(0))
    y, few = net(x).argmax(1), {"max_iterations": 1, "binary_search_steps": 1}
    for settings in ({**few, "initial_const": 1e-9}, {**few, "retrain": False, "stride": 1}):
        try:
            by_hand("str_attack", net, x, y, **settings)
            fell = False
        except (IndexError, RuntimeError):
            fell = True
        mended(fell)
        attempt = advlib("str_attack", L2, **settings).attempt(net, x, y, rng=torch.arange(2))
        assert not attempt.failed.any() and torch.equal(attempt.found, x)


@installed
def test_apgd_forgets_its_steps_where_it_looks_for_the_best_loss() -> None:
    x, y = correct(2)
    calls: list[int] = []

    class Counted(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            calls.append(1)
            logits: Tensor = digits_net()(z)
            return logits

    by_hand("apgd", Counted(), x, y, norm=2, eps=0.7, n_iter=5, best_loss=True)
    mended(len(calls) > 50)
    calls.clear()
    found = advlib("apgd", mrt.L2(0.01), n_iter=5, best_loss=True)(Counted(), x, y, rng=torch.arange(2))
    assert len(calls) <= 10
    # And what raises the loss within the radius comes back, though it fools nobody.
    assert (digits_net()(found).argmax(1) == y).all() and (found != x).flatten(1).any(1).all()


@installed
@pytest.mark.parametrize("name", ["sigma_zero", "fab", "df", "sdf", "tr"])
def test_a_target_is_answered_with_the_input(name: str) -> None:
    x, y = correct(2)
    with pytest.warns(UserWarning, match="untargeted only"):
        theirs = by_hand(name, digits_net(), x, (y + 1) % 10, targeted=True, **({"norm": 2} if name == "fab" else {}))
    mended(torch.equal(theirs, x))
    with pytest.raises(ValueError, match="cannot aim at a class"):
        advlib(name, L2)(digits_net(), x, y, target=(y + 1) % 10)
    with pytest.raises(ValueError, match="cannot aim at a class"):
        advlib("apgd_targeted", L2)(digits_net(), x, y, target=(y + 1) % 10)


@installed
@pytest.mark.parametrize(
    ("name", "threat", "settings"),
    [
        ("fmn", mrt.L2(4.0), {"steps": 60}),
        ("ddn", mrt.L2(4.0), {"steps": 60}),
        ("pdpgd", mrt.L2(4.0), {"num_steps": 60}),
        ("apgd", mrt.L2(4.0), {"n_iter": 30}),
        ("pgd_linf", mrt.Linf(0.4), {"steps": 30}),
        ("vfga", mrt.L0(40), {"max_iter": 40}),
    ],
)
def test_targets_are_reached(name: str, threat: Any, settings: dict[str, Any]) -> None:
    """The library wants the target in place of the label."""
    x, y = correct(12)
    target = (y + 1) % 10
    x_adv = advlib(name, threat, **settings)(digits_net(), x, y, target=target, rng=torch.arange(12))
    assert (digits_net()(x_adv).argmax(1) == target).sum() >= 6 and threat.contains(x, x_adv).all()


@installed
def test_tr_returns_points_that_fool_nobody_and_writes_to_its_input() -> None:
    x, y = correct(6)
    mine = x.clone().requires_grad_()
    theirs = library().tr(digits_net(), mine, y, iter=3).detach()
    fell = not mine.requires_grad and bool((digits_net()(theirs).argmax(1) == y).all()) and not torch.equal(theirs, x)
    mended(fell)
    mine.requires_grad_()
    found = advlib("tr", L2, iter=3).attempt(digits_net(), mine, y, rng=torch.arange(6)).found
    assert torch.equal(found, x) and mine.requires_grad


@installed
def test_deepfool_called_for_what_it_had_last_keeps_that_to_itself() -> None:
    """Its settings for SuperDeepFool change the kind of the answer."""
    for key in ("return_targets", "return_unsuccessful"):
        with pytest.raises(ValueError, match=f"{key} of df follows"):
            advlib("df", L2, **{key: True})


@installed
@pytest.mark.parametrize(
    ("name", "key", "few"),
    [("pdgd", "num_steps", 1), ("pdpgd", "num_steps", 1), ("carlini_wagner_l2", "max_iterations", 9)],
)
def test_too_few_steps_divide_by_zero(name: str, key: str, few: int) -> None:
    x, y = correct(1)
    settings: dict[str, Any] = {key: few, **({"norm": 2} if name == "pdpgd" else {})}
    try:
        by_hand(name, digits_net(), x, y, **settings)
        fell = False
    except ZeroDivisionError:
        fell = True
    mended(fell)
    with pytest.raises(ValueError, match=f"{key} of {name} must be .* at least {few + 1}; got {few}"):
        advlib(name, L2, **{key: few})
    assert advlib(name, L2, **{key: few + 1})(digits_net(), x, y).isfinite().all()


@installed
@pytest.mark.parametrize(
    ("name", "settings", "classes", "least"),
    [("alma", {"num_steps": 3}, 2, 3), ("apgd", {}, 2, 3), ("apgd_targeted", {}, 3, 4)],
)
def test_a_loss_that_needs_more_classes_is_named(name: str, settings: dict[str, Any], classes: int, least: int) -> None:
    net, x = small_net((1, 8, 8), classes).eval(), torch.rand(4, 1, 8, 8, generator=torch_seed(0))
    y = net(x).argmax(1)
    radius: dict[str, Any] = {} if name == "alma" else {"norm": 2, "eps": 0.7}
    try:
        by_hand(name, net, x, y, **settings, **radius)
        fell = False
    except RuntimeError:
        fell = True
    mended(fell)
    with pytest.raises(ValueError, match=f"{name} needs {least} classes or more.*; the model has {classes}"):
        advlib(name, L2, **settings)(net, x, y)
    if name != "alma":
        assert L2.contains(x, advlib(name, L2, n_iter=3, loss_function="ce")(net, x, y)).all()


@installed
def test_batchnorm_moves_in_train_mode() -> None:
    """That ours leaves it alone is shown of every attack above."""
    net, x = small_net((1, 8, 8), 10).train(), torch.rand(4, 1, 8, 8, generator=torch_seed(0))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    by_hand("fmn", net, x, torch.arange(4), norm=2, steps=2)
    mended(any(not torch.equal(v, before[k]) for k, v in net.state_dict().items()))


@installed
def test_fails_under_no_grad() -> None:
    x, y = correct(2)
    with torch.no_grad():
        try:
            by_hand("ddn", digits_net(), x, y, steps=2)
            fell = False
        except RuntimeError:
            fell = True
    mended(fell)


class Undefined(nn.Module):
    """The digits network, whose gradient is no number on images with a bright corner."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = digits_net()(x)
        corner = x[:, 0, 0, 0] - 1
        return logits + (corner.abs().sqrt() * 0).unsqueeze(1)  # 0 * inf at 1


@installed
@pytest.mark.filterwarnings("ignore:.*gradient")
@pytest.mark.parametrize(
    ("name", "threat", "settings"),
    [(n, t, s) for n, t, s, _ in EVERY if n in ("fmn", "ddn", "sigma_zero", "alma", "pdgd", "apgd", "fab", "df", "tr")],
)
def test_a_gradient_that_is_no_number_reaches_no_batch_mate(name: str, threat: Any, settings: dict[str, Any]) -> None:
    x, y = correct(4)
    x = x.clone()
    x[:, :, 0, 0] = 0
    x[1, 0, 0, 0] = 1
    y = Undefined()(x).argmax(1)
    attack = advlib(name, threat, **settings)
    attempt = attack.attempt(Undefined(), x, y, rng=torch.arange(4))
    assert attempt.found.isfinite().all()
    assert (Undefined()(attempt.found).argmax(1) != y)[[0, 2, 3]].any()


BAD: list[tuple[Any, str]] = [
    (lambda: advlib("fnm", L2), "did you mean fmn"),
    (lambda: advlib(3, L2), "such as 'fmn'"),
    (lambda: advlib("perc_al", L2), "no attack 'perc_al'"),
    (lambda: advlib("fmn", L2, step=3), "no setting 'step': did you mean steps"),
    (lambda: advlib("fmn", L2, norm=1), "norm of fmn follows"),
    (lambda: advlib("alma", L2, distance="lpips"), "distance of alma follows"),
    (lambda: advlib("pgd_linf", LINF, ε=0.1), "ε of pgd_linf follows"),
    (lambda: advlib("apgd", L2, eps=0.1), "eps of apgd follows"),
    (lambda: advlib("ddn", L2, callback=print), "callback of ddn follows"),
    (lambda: advlib("alma", LINF), "alma needs a threat of type L1 or L2"),
    (lambda: advlib("pgd_linf", L2), "pgd_linf needs a threat of type Linf"),
    (lambda: advlib("apgd", L0), "apgd needs a threat of type L1 or L2 or Linf"),
    (lambda: advlib("fmn", mrt.RotationTranslation()), "fmn needs a threat of type L0"),
]


@installed
@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_settings_are_refused_when_the_attack_is_made(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@installed
def test_takes_part_in_an_evaluation() -> None:
    x, y = correct(12)
    battery = (
        mrt.Entry("sz", mrt.Foreign("advlib", "sigma_zero", (("num_steps", 30),)), L0, distances=True),
        mrt.Entry("apgd", mrt.Foreign("advlib", "apgd", (("n_iter", 10),)), LINF),
    )
    report = mrt.evaluate(digits_net(), (x, y), battery, progress=False)
    distances = report.distances["advlib.sz-l0"]
    assert distances.isfinite().all() and report.attacks["advlib.sz-l0"] == float((distances > 6).double().mean())
    assert report.attacks["advlib.apgd-linf"] < 0.5
