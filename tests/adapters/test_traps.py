"""adapters/mrt_foolbox/incoming.py, mrt_art/incoming.py, mrt_autoattack/incoming.py: The hosts' traps, one by one:
the host as its users call it falls in, and the same attack behind our interface does not. A test skips, with the
reason, once a release of the host has mended the trap."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import art.attacks.evasion as evasion
import eagerpy
import foolbox
import mrt_art
import mrt_autoattack
import mrt_foolbox
import numpy as np
import pyautoattack
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

import mrt
from tests.support import ROOT, digits, digits_net, small_net, torch_seed

L2, LINF = mrt.L2(0.7), mrt.Linf(0.2)
from_foolbox: Any = mrt_foolbox.attack
from_art: Any = mrt_art.attack
POOL = digits(300, "train")


def mended(fell: bool, host: str) -> None:
    """Skip where the host no longer falls into the trap."""
    if not fell:
        pytest.skip(f"{host} has mended this")


def fmodel(model: nn.Module, bounds: tuple[float, float] = (0, 1)) -> Any:
    return foolbox.PyTorchModel(model, bounds=bounds, device="cpu")


def classifier(model: nn.Module, clip: tuple[float, float] = (0.0, 1.0)) -> PyTorchClassifier:
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=clip, device_type="cpu")


def correct(n: int) -> tuple[Tensor, Tensor]:
    x, y = digits(n + 20)
    right = digits_net()(x).argmax(1) == y
    return x[right][:n], y[right][:n]


class Scaled(nn.Module):
    """The digits network for images on another range."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.net, self.low, self.high = digits_net(), low, high

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net((x - self.low) / (self.high - self.low))
        return logits


@pytest.mark.filterwarnings("ignore:gradient masking", "ignore:.*found nothing on most")
@pytest.mark.parametrize(
    ("name", "threat"), [("L2CarliniWagnerAttack", mrt.L2(8.0)), ("EADAttack", mrt.L1(64.0))], ids=["C&W", "EAD"]
)
def test_foolbox_failures_are_black_images_that_may_count_as_successes(name: str, threat: Any) -> None:
    x, y = correct(32)
    settings: dict[str, Any] = {"binary_search_steps": 2, "steps": 3}
    raw, _, success = getattr(foolbox.attacks, name)(**settings)(fmodel(digits_net()), x, y, epsilons=None)
    black = (raw == 0).flatten(1).all(1)
    mended(bool((black & success).any()), "Foolbox")
    attempt = from_foolbox(name, threat, **settings).attempt(digits_net(), x, y, rng=torch.arange(32))
    assert torch.equal(attempt.found[black], x[black])
    entry = mrt.Entry("min", mrt.Foreign("foolbox", name, tuple(settings.items())), threat)
    report = mrt.evaluate(digits_net(), (x, y), (entry,), progress=False)
    assert report.distances[f"foolbox.min-{threat.name}"][black].isinf().all()


def test_foolbox_newtonfool_returns_nan() -> None:
    x, y = correct(32)
    net = nn.Sequential(digits_net(), Sharpened())
    raw, _, _ = foolbox.attacks.NewtonFoolAttack()(fmodel(net.eval()), x, y, epsilons=None)
    mended(bool(raw.isnan().any()), "Foolbox")
    attempt = from_foolbox("NewtonFoolAttack", L2).attempt(net, x, y, rng=torch.arange(32))
    assert not attempt.found.isnan().any()
    assert torch.equal(attempt.found[raw.flatten(1).isnan().any(1)], x[raw.flatten(1).isnan().any(1)])


class Sharpened(nn.Module):
    """Logits so far apart that the softmax's gradient vanishes."""

    def forward(self, z: Tensor) -> Tensor:
        return z * 1e4


@pytest.mark.filterwarnings("ignore:LinearSearchBlendedUniformNoiseAttack failed")
def test_foolbox_boundary_loses_the_batch_for_one_start() -> None:
    """Noise is one class to the network: an image of that class cannot be started from noise."""
    net, noise = digits_net(), torch.rand(400, 1, 8, 8, generator=torch_seed(0))
    usual = int(net(noise).argmax(1).mode().values)

    class Stubborn(nn.Module):
        """Whatever does not look like a digit is the class of noise."""

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = net(x)
            edge = (x[:, :, :, 0].mean((1, 2)) > 0.05).float()[:, None]
            return logits + 1e3 * edge * torch.nn.functional.one_hot(torch.tensor(usual), 10)

    model = Stubborn().eval()
    x, y = digits(300)
    right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    rows = torch.cat([(y == usual).nonzero()[:1, 0], (y != usual).nonzero()[:4, 0]])
    x, y = x[rows], y[rows]
    for name, settings in (("BoundaryAttack", {"steps": 20}), ("HopSkipJumpAttack", {"steps": 1})):
        try:
            getattr(foolbox.attacks, name)(**settings)(fmodel(model), x, y, epsilons=None)
            fell = False
        except (ValueError, AssertionError):
            fell = True
        mended(fell, "Foolbox")
        attempt = from_foolbox(name, L2, pool=POOL, **settings).attempt(model, x, y, rng=torch.arange(5))
        assert not attempt.failed.any() and (model(attempt.found).argmax(1) != y).all()


def test_foolbox_pointwise_crashes_on_a_concrete_epsilon() -> None:
    x, y = correct(4)
    try:
        foolbox.attacks.PointwiseAttack()(fmodel(digits_net()), x, y, epsilons=5.0)
        fell = False
    except AttributeError:
        fell = True
    mended(fell, "Foolbox")
    x_adv = from_foolbox("PointwiseAttack", mrt.L1(5.0))(digits_net(), x, y, rng=torch.arange(4))
    assert mrt.L1(5.0).contains(x, x_adv).all()


class Patience(nn.Module):
    """Stops a search that would never end."""

    def __init__(self, model: nn.Module, calls: int) -> None:
        super().__init__()
        self.model, self.left = model, calls

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise TimeoutError
        logits: Tensor = self.model(x)
        return logits


def test_foolbox_hopskipjump_never_ends_on_other_bounds() -> None:
    x, y = correct(2)
    settings: dict[str, Any] = {"steps": 1, "initial_gradient_eval_steps": 10}
    fine = Patience(digits_net(), 3000).eval()
    start = from_foolbox("HopSkipJumpAttack", L2, pool=POOL, **settings)
    start(fine, x, y, rng=torch.arange(2))
    used = 3000 - fine.left
    wide = Patience(Scaled(-1, 1), 100 * used).eval()
    points = 2 * torch.stack([POOL[0][(POOL[1] != label).nonzero()[0, 0]] for label in y]) - 1
    try:
        attack = foolbox.attacks.HopSkipJumpAttack(**settings)
        attack(fmodel(wide, (-1, 1)), 2 * x - 1, y, epsilons=None, starting_points=points)
        fell = False
    except TimeoutError:
        fell = True
    mended(fell, "Foolbox")
    patient = Patience(Scaled(-1, 1), 100 * used).eval()
    model = mrt_foolbox.as_model(fmodel(patient, (-1, 1)))
    start(model, x, y, rng=torch.arange(2))
    assert patient.left > 90 * used


def test_foolbox_carlini_wagner_constants_are_absolute() -> None:
    x, y = correct(8)
    settings: dict[str, Any] = {"binary_search_steps": 5, "steps": 60}
    attack = foolbox.attacks.L2CarliniWagnerAttack(**settings)
    raw = attack(fmodel(digits_net()), x, y, epsilons=None)[0]
    narrow = (digits_net()(raw).argmax(1) != y) & ~(raw == 0).flatten(1).all(1)
    wide = Scaled(0, 255).eval()
    raw = attack(fmodel(wide, (0, 255)), x * 255, y, epsilons=None)[0]
    fooled = (wide(raw).argmax(1) != y) & ~(raw == 0).flatten(1).all(1)
    mended(bool((narrow & ~fooled).any()), "Foolbox")
    ours = from_foolbox("L2CarliniWagnerAttack", mrt.L2(4.0), **settings)
    found = [
        ours.attempt(model, x, y, rng=torch.arange(8)).found
        for model in (digits_net(), mrt_foolbox.as_model(fmodel(wide, (0, 255))))
    ]
    assert torch.allclose(found[0], found[1], atol=1e-4) and torch.equal(digits_net()(found[0]).argmax(1) != y, narrow)


def test_foolbox_does_not_import_without_git(tmp_path: Any) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_PYTHON")} | {"PATH": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    how: dict[str, Any] = {"env": environment, "capture_output": True, "text": True}
    raw = subprocess.run([sys.executable, "-c", "import foolbox"], check=False, **how)
    mended("git" in raw.stderr.lower() and raw.returncode != 0, "Foolbox")
    subprocess.run([sys.executable, "-c", "import mrt_foolbox"], check=True, **how)


def test_a_missing_package_is_named() -> None:
    """Foolbox fails at construction, ART leaves the class out without a word."""
    script = """if True:
        import sys, importlib.util
        gone, find = ("numba", "pyautoattack"), importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name in gone else find(name, *rest)
        sys.modules.update(dict.fromkeys(gone))
        import mrt, mrt_art, mrt_autoattack, mrt_foolbox
        for make, missing in (
            (lambda: mrt_foolbox.attack("L2BrendelBethgeAttack", mrt.L2(1.0)), "numba"),
            (lambda: mrt_art.attack("BrendelBethgeAttack", mrt.L2(1.0)), "numba"),
            (lambda: mrt_autoattack.attack(mrt.L2(1.0)), "pyautoattack"),
        ):
            try:
                make()
            except ValueError as error:
                assert missing in str(error), error
            else:
                raise SystemExit(f"no error names {missing}")"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": paths})


def test_foolbox_models_hide_a_module_in_train_mode() -> None:
    """Foolbox keeps the module in a closure; ours finds it, warns, evaluates it in eval mode and leaves it alone."""
    x, y = torch.rand(8, 1, 8, 8, generator=torch_seed(0)), torch.arange(8)
    with pytest.warns(UserWarning, match="training mode"):
        host = foolbox.PyTorchModel(small_net((1, 8, 8), 10).train(), bounds=(0, 1), device="cpu")
    module = mrt_foolbox.as_model(host).networks[0]  # type: ignore[attr-defined]
    before = {k: v.clone() for k, v in module.state_dict().items()}
    foolbox.attacks.LinfPGD(steps=1)(host, x, y, epsilons=0.1)
    mended(any(not torch.equal(v, before[k]) for k, v in module.state_dict().items()), "Foolbox")
    module.load_state_dict(before)
    module.zero_grad(set_to_none=True)
    battery = (mrt.Entry("pgd", mrt.Foreign("foolbox", "LinfPGD"), LINF), mrt.Entry("ours", mrt.PGD(LINF), LINF))
    with pytest.warns(UserWarning, match="train mode"):
        report = mrt.evaluate(host, (x, y), battery, progress=False)
    from_foolbox("LinfPGD", LINF)(host, x, y)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items()) and module.training
    assert all(p.grad is None for p in module.parameters())
    assert report.clean == float((module.eval()(x).argmax(1) == y).double().mean())


def test_foolbox_pointwise_starts_from_salt_and_pepper() -> None:
    """From another image, as the other walks start, it ends with many more changes."""
    x, y = correct(12)
    raw = foolbox.attacks.PointwiseAttack()(fmodel(digits_net()), x, y, epsilons=None)[0]
    found = from_foolbox("PointwiseAttack", mrt.L0(64), pool=POOL).attempt(digits_net(), x, y, rng=torch.arange(12))
    counts = [mrt.L0(64).distance(x, image).double().mean() for image in (raw, found.found)]
    assert not found.failed.any() and counts[1] <= 1.3 * counts[0]


def test_foolbox_keeps_the_closest_of_several_radii() -> None:
    x, y = correct(20)
    near = from_foolbox("FGSM", LINF, epsilons=(0.02, 0.05, 0.1, 0.2)).attempt(digits_net(), x, y).found
    for i, row in enumerate(x):
        fooling = [e for e in (0.02, 0.05, 0.1, 0.2) if fooled(row, y[i], e)]
        expected = fooling[0] if fooling else 0.2
        assert float(LINF.distance(x, near)[i]) <= expected + 1e-6 and (
            not fooling or digits_net()(near[i : i + 1]).argmax() != y[i]
        )


def fooled(x: Tensor, y: Tensor, eps: float) -> bool:
    x_adv = from_foolbox("FGSM", mrt.Linf(eps))(digits_net(), x[None], y[None])
    return bool(digits_net()(x_adv).argmax() != y)


def test_what_the_hosts_are_asked_for() -> None:
    """Settings that follow from the threat."""
    assert from_foolbox("HopSkipJumpAttack", LINF).host().constraint == "linf"
    assert from_foolbox("HopSkipJumpAttack", L2).host().constraint == "l2"
    assert from_foolbox("InversionAttack", mrt.L1(3.0)).host().distance is foolbox.distances.l1
    assert from_art("AutoProjectedGradientDescent", LINF)._step() == pytest.approx(0.4)
    assert from_art("ProjectedGradientDescent", LINF, max_iter=20)._step() == pytest.approx(2.5 * 0.2 / 20)
    fab = mrt_autoattack.resolve("fab", L2).host(digits_net(), torch.device("cpu"), 0)  # type: ignore[arg-type]
    assert fab.attacks_to_run == ["fab"] and fab.fab.n_restarts == 5
    one = mrt_autoattack.resolve("fab-t", L2).host(digits_net(), torch.device("cpu"), 0)  # type: ignore[arg-type]
    assert one.fab.n_restarts == 1 and one.seed == 0 and one.norm == "L2" and one.epsilon == 0.7


def test_foolbox_writes_parameter_gradients() -> None:
    net, x, y = small_net((1, 8, 8), 10).eval(), torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3])
    foolbox.attacks.LinfPGD(steps=2)(fmodel(net), x, y, epsilons=0.1)
    fell = any(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=True)
    mended(fell, "Foolbox")
    from_foolbox("LinfPGD", mrt.Linf(0.1), steps=2)(net, x, y)
    assert all(p.grad is None for p in net.parameters())


def test_foolbox_attacks_fail_under_no_grad() -> None:
    x, y = correct(4)
    with torch.no_grad():
        try:
            foolbox.attacks.LinfPGD(steps=2)(fmodel(digits_net()), x, y, epsilons=0.2)
            fell = False
        except RuntimeError:
            fell = True
        mended(fell, "Foolbox")
        x_adv = from_foolbox("LinfPGD", LINF)(digits_net(), x, y, rng=torch.arange(4))
    assert (digits_net()(x_adv).argmax(1) != y).any()


def test_foolbox_sparse_l1_leaves_its_ball() -> None:
    x, y = correct(32)
    threat = mrt.L1(1.0)
    raw = foolbox.attacks.SparseL1DescentAttack(steps=20, quantile=0.9)(fmodel(digits_net()), x, y, epsilons=1.0)[0]
    mended(not bool(threat.contains(x, raw).all()), "Foolbox")
    attack = from_foolbox("SparseL1DescentAttack", threat, steps=20, quantile=0.9)
    assert threat.contains(x, attack(digits_net(), x, y, rng=torch.arange(32))).all()


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_foolbox_shifts_by_fewer_pixels_than_it_says_and_ours_by_as_many() -> None:
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    move = foolbox.attacks.spatial_attack.rotate_and_shift
    moved = move(eagerpy.astensor(x), (3.0, 0.0), 0.0).raw
    columns = torch.arange(9.0)
    centre = float((moved[0, 0].sum(0) * columns).sum() / moved.sum())
    mended(abs(abs(centre - 4) - 3) > 0.05, "Foolbox")
    rt = mrt.RotationTranslation(0, 3)

    def model(z: Tensor) -> Tensor:  # class 1 once the dot is in the two outer columns
        outer = z[:, 0, :, :2].sum((1, 2)) + z[:, 0, :, 7:].sum((1, 2))
        return torch.stack([torch.full_like(outer, 0.5), outer], 1)

    attack = from_foolbox("SpatialAttack", rt, num_translations=3)
    delta = attack.search(model, x, torch.tensor([0]))
    x_adv = attack(model, x, torch.tensor([0]))
    assert rt.contains(x, x_adv, delta).all() and model(x_adv).argmax(1).item() == 1


@pytest.mark.parametrize("rt", [mrt.RotationTranslation(30, 1), mrt.RotationTranslation(6, 1)])
def test_spatial_attacks_search_our_motions(rt: mrt.RotationTranslation) -> None:
    """With the same grid they break what our own grid breaks."""
    x, y = correct(30)
    grid = mrt.RTGrid(rt, grid=(3, 3, 5))(digits_net(), x, y)
    expected = digits_net()(grid).argmax(1) != y
    settings = {"num_rotations": 5, "num_translations": 3}
    for make, rows in ((from_foolbox("SpatialAttack", rt, **settings), 30), (ART_GRID(rt, settings), 8)):
        delta = make.search(digits_net(), x[:rows], y[:rows])
        x_adv = make(digits_net(), x[:rows], y[:rows])
        assert rt.contains(x[:rows], x_adv, delta).all()
        assert torch.equal(digits_net()(x_adv).argmax(1) != y[:rows], expected[:rows])
    assert expected.any() and (rt.degrees > 6 or not expected.all())


def ART_GRID(rt: mrt.RotationTranslation, settings: dict[str, Any]) -> Any:
    return from_art("SpatialTransformation", rt, **settings)


def test_art_spatial_chooses_one_motion_for_the_whole_batch_and_keeps_it() -> None:
    x, y = correct(6)
    attack = evasion.SpatialTransformation(classifier(digits_net()), max_rotation=30.0, num_rotations=5, verbose=False)
    attack.generate(x.numpy())
    chosen = attack.attack_rot
    attack.generate(x.flip(3).numpy())
    mended(attack.attack_rot == chosen, "ART")
    rt = mrt.RotationTranslation(15, 1)
    delta = from_art("SpatialTransformation", rt).search(digits_net(), x, y)
    assert len({tuple(row.tolist()) for row in delta}) > 1
    assert rt.contains(x, rt.apply(x, delta), delta).all()


@pytest.mark.parametrize(("name", "settings"), [("BoundaryAttack", {"max_iter": 3}), ("HopSkipJump", {"max_iter": 1})])
def test_art_decision_attacks_crash_on_numpy_2(name: str, settings: dict[str, Any]) -> None:
    x, y = correct(2)
    extra = {"targeted": False} if name == "BoundaryAttack" else {}
    start = np.stack([POOL[0][(POOL[1] != label).nonzero()[0, 0]].numpy() for label in y])
    try:
        attack = getattr(evasion, name)(classifier(digits_net()), verbose=False, **settings, **extra)
        attack.generate(x.numpy(), x_adv_init=start)
        fell = False
    except RuntimeError:
        fell = True
    digits_net().eval()
    mended(fell, "ART")
    attempt = from_art(name, L2, pool=POOL, **settings).attempt(digits_net(), x, y)
    assert not attempt.failed.any() and (digits_net()(attempt.found).argmax(1) != y).all()


def test_art_decision_attacks_ignore_the_seed() -> None:
    """They draw from a RandomState made without one."""
    x, y = correct(1)

    class Float32(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            logits: Tensor = digits_net()(z.float())
            return logits

    found = []
    for _ in range(2):
        np.random.seed(0)
        attack = evasion.BoundaryAttack(classifier(Float32()), targeted=False, max_iter=3, verbose=False)
        found.append(attack.generate(x.numpy()))
    mended(not np.array_equal(*found), "ART")
    ours = [from_art("BoundaryAttack", L2, max_iter=3)(digits_net(), x, y, rng=torch.tensor([7])) for _ in "ab"]
    assert torch.equal(*ours)


def test_art_pixel_attack_changes_every_pixel_a_little() -> None:
    x, y = correct(3)
    x = (0.9 * x + 0.1 * torch.rand(x.shape, generator=torch_seed(0))).clamp(0, 1)
    threat = mrt.L0(6)
    raw = evasion.PixelAttack(classifier(digits_net()), th=6, max_iter=2).generate(x.numpy(), y.numpy())
    digits_net().eval()
    mended(bool((threat.distance(x, torch.from_numpy(raw).float()) > 6).any()), "ART")
    attempt = from_art("PixelAttack", threat, max_iter=2).attempt(digits_net(), x, y)
    assert (threat.distance(x, attempt.found) <= 6).all() and (digits_net()(attempt.found).argmax(1) != y).any()


def test_art_leaves_the_model_in_another_mode() -> None:
    net, x, y = small_net((1, 8, 8), 10).train(), torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3])
    host = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu")
    evasion.ProjectedGradientDescent(host, eps=0.1, eps_step=0.1, max_iter=1, verbose=False).generate(x.numpy())
    fell = not net.training or any(p.grad is not None for p in net.parameters())
    mended(fell, "ART")
    net = small_net((1, 8, 8), 10).train()
    from_art("ProjectedGradientDescent", mrt.Linf(0.1), max_iter=1)(net, x, y)
    assert net.training and all(p.grad is None for p in net.parameters())


def test_art_carlini_finds_nothing_on_other_bounds() -> None:
    x, y = correct(4)
    wide = classifier(Scaled(0, 255).eval(), (0.0, 255.0))
    raw = evasion.CarliniL2Method(wide, verbose=False).generate((255 * x).numpy(), y.numpy())
    digits_net().eval()
    mended(bool((wide.predict(raw).argmax(1) != y.numpy()).mean() < 1), "ART")
    attack = from_art("CarliniL2Method", mrt.L2(4.0))
    found = attack.attempt(mrt_art.as_model(wide), x, y).found
    digits_net().eval()
    assert (digits_net()(found).argmax(1) != y).all()


def auto(model: nn.Module, norm: str = "Linf", parts: tuple[str, ...] = ("apgd-ce",), **more: Any) -> Any:
    """AutoAttack with those parts of the standard version."""
    host = pyautoattack.AutoAttack(model, norm=norm, eps=0.2, seed=0, **more)
    host.attacks_to_run = list(parts)
    return host


def test_autoattack_reseeds_the_global_generator() -> None:
    x, y = correct(4)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    auto(digits_net()).run_standard_evaluation(x, y)
    mended(torch.initial_seed() != 123, "pyautoattack")
    torch.set_rng_state(before)
    torch.manual_seed(123)
    mrt_autoattack.attack(LINF, attacks=("apgd-ce",))(digits_net(), x, y, rng=torch.arange(4))
    assert torch.initial_seed() == 123 and torch.equal(torch.get_rng_state(), before)


def test_autoattack_removes_the_trace_function() -> None:
    x, y = correct(2)

    def trace(*_: Any) -> None:
        return None

    old = sys.gettrace()
    try:
        sys.settrace(trace)
        auto(digits_net()).run_standard_evaluation(x, y)
        fell = sys.gettrace() is not trace
        sys.settrace(trace)
        mrt_autoattack.attack(LINF, attacks=("apgd-ce",))(digits_net(), x, y)
        kept = sys.gettrace() is trace
    finally:
        sys.settrace(old)
    mended(fell, "pyautoattack")
    assert kept


@pytest.mark.parametrize(("threat", "norm"), [(L2, "L2"), (mrt.L1(2.0), "L1")])
def test_autoattack_breaks_on_channels_last(threat: Any, norm: str) -> None:
    net = small_net((3, 8, 8), 10).eval().to(memory_format=torch.channels_last)
    x = torch.rand(4, 3, 8, 8, generator=torch_seed(0)).to(memory_format=torch.channels_last)
    y = net(x).argmax(1)
    parts = ("apgd-ce", "apgd-t", "square")
    fell = []
    for part in parts:
        try:
            host = auto(net, norm, (part,))
            host.square.n_queries = 20
            host.run_standard_evaluation(x, y)
        except RuntimeError:
            fell.append(part)
    mended(bool(fell), "pyautoattack")
    x_adv = mrt_autoattack.attack(threat, attacks=parts, queries=20)(net, x, y, rng=torch.arange(4))
    assert threat.contains(x, x_adv).all()


@pytest.mark.parametrize("part", ["apgd-ce", "apgd-t"])
def test_autoattacks_steps_follow_the_setting(part: str) -> None:
    """In l1, whose three radii share them: on an image that nothing breaks, each of five restarts or five targets asks
    so often, and at each of three starts."""
    net, (x, y) = digits_net(), correct(1)
    calls: list[int] = []

    def model(z: Tensor) -> Tensor:
        calls.append(len(z))
        logits: Tensor = net(z)
        return logits

    for steps in (12, 24):
        calls.clear()
        mrt_autoattack.attack(mrt.L1(1e-6), attacks=(part,), steps=steps)(model, x, y, rng=torch.arange(1))
        assert 5 * (steps + 3) < len(calls) <= 5 * (steps + 6) + 5  # and a few on the clean image
    with pytest.raises(ValueError, match="steps must be .*at least 5; got 4"):
        mrt_autoattack.attack(mrt.L1(1.0), steps=4)


def test_autoattack_cannot_resume(tmp_path: Any) -> None:
    """tests/evaluation/test_resume.py shows ours."""
    x, y = correct(2)
    host = auto(digits_net())
    host.run_standard_evaluation(x, y, state_path=tmp_path / "state.json")
    try:
        host.run_standard_evaluation(x, y, state_path=tmp_path / "state.json")
        fell = False
    except ValueError:
        fell = True
    mended(fell, "pyautoattack")


@pytest.mark.parametrize("classes", [2, 3])
def test_autoattack_crashes_below_four_classes(classes: int) -> None:
    net, x = small_net((1, 8, 8), classes).eval(), torch.rand(6, 1, 8, 8, generator=torch_seed(0))
    y = net(x).argmax(1)
    try:
        auto(net, parts=("apgd-t",)).run_standard_evaluation(x, y)
        fell = False
    except (IndexError, RuntimeError):
        fell = True
    mended(fell, "pyautoattack")
    attack = mrt_autoattack.attack(LINF, queries=30)
    attempt = attack.attempt(net, x, y, rng=torch.arange(6))
    assert not attempt.failed.any() and LINF.contains(x, attempt.found).all()
    with pytest.raises(ValueError, match="four classes"):
        mrt_autoattack.attack(LINF, attacks=("apgd-t",))(net, x, y)


def test_autoattack_moves_batchnorm_in_train_mode() -> None:
    net, x, y = small_net((1, 8, 8), 10).train(), torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    before = {k: v.clone() for k, v in net.state_dict().items()}
    auto(net).run_standard_evaluation(x, y)
    mended(any(not torch.equal(v, before[k]) for k, v in net.state_dict().items()), "pyautoattack")
    net.load_state_dict(before)
    mrt_autoattack.attack(LINF, attacks=("apgd-ce",))(net, x, y)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


class GitHubAutoAttack(pyautoattack.AutoAttack):  # type: ignore[misc]
    """The constructor and the run of the authors' repository, as its README calls them."""

    made: list[Any] = []

    def __init__(self, model: Any, norm: str = "Linf", eps: float = 0.3, seed: Any = None, verbose: bool = True,
                 attacks_to_run: Any = [], version: str = "standard", is_tf_model: bool = False,  # noqa: B006
                 device: Any = "cuda", log_path: Any = None) -> None:  # fmt: skip
        own = {"attacks": attacks_to_run} if version == "custom" else {}
        super().__init__(model, norm=norm, eps=eps, seed=seed, version=version, device=device, **own)
        self.made.append((device, verbose))

    def run_standard_evaluation(self, x_orig: Any, y_orig: Any, bs: int = 250, return_labels: bool = False) -> Any:
        return super().run_standard_evaluation(x_orig, y_orig, batch_size=bs)[0]


def test_autoattack_from_its_authors_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `pyautoattack` is missing, `autoattack` is taken; same parts, same result."""
    import types

    import mrt_autoattack.incoming as incoming

    x, y = correct(6)
    attack = mrt_autoattack.attack(LINF, attacks=("apgd-ce",))
    published = attack(digits_net(), x, y, rng=torch.arange(6))
    custom = mrt_autoattack.attack(LINF, "custom", ("apgd-ce",))
    expected = custom(digits_net(), x, y, rng=torch.arange(6))
    package = types.SimpleNamespace(AutoAttack=GitHubAutoAttack)
    monkeypatch.setattr(incoming, "package", lambda: package)
    assert torch.equal(attack(digits_net(), x, y, rng=torch.arange(6)), published)
    assert torch.equal(custom(digits_net(), x, y, rng=torch.arange(6)), expected)
    assert GitHubAutoAttack.made[-1] == (torch.device("cpu"), False)
