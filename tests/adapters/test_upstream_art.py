"""adapters/upstream_art/: What ART would take, on the ART that is installed, beside ours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import art.attacks.evasion
import art.defences.trainer
import mrt_art
import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier

import mrt
from tests.support import ROOT, images, small_net

FOLDER = ROOT / "adapters" / "upstream_art"
SHAPE = (1, 8, 8)


def load(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The modules, by the last part of their names, as if they were ART's."""
    found, names = ModuleType("found"), list[str]()
    for file in (
        "attacks/evasion/sparse_l1_descent",
        "attacks/evasion/multi_steepest_descent",
        "defences/trainer/adversarial_trainer_msd",
        "defences/trainer/adversarial_trainer_msd_pytorch",
    ):
        names.append(f"art.{file.replace('/', '.')}")
        setattr(found, file.rpartition("/")[2], load(names[-1], FOLDER / "art" / f"{file}.py"))
    yield found
    for name in names:
        del sys.modules[name]


def classifier(bounds: Any = (0.0, 1.0)) -> PyTorchClassifier:
    torch.manual_seed(0)
    net = small_net(SHAPE).eval()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    loss = torch.nn.CrossEntropyLoss()
    return PyTorchClassifier(net, loss, SHAPE, 5, optimizer=optimizer, clip_values=bounds, device_type="cpu")


X, Y = images(SHAPE, 6, 0).numpy(), np.arange(6) % 5


def test_the_projection_is_ours(theirs: Any) -> None:
    rng = np.random.default_rng(0)
    x, delta = rng.uniform(size=(30, 40)), rng.normal(size=(30, 40))
    for eps in (0.05, 1.0, 8.0, 100.0):
        got = theirs.sparse_l1_descent.project_l1_box(delta, x, 1 - x, eps)
        ball = mrt.L1(eps)
        twin = ball.project(torch.from_numpy(delta)[:, None, None], torch.from_numpy(x)[:, None, None])
        np.testing.assert_allclose(got, twin.reshape(got.shape).numpy(), atol=1e-6)


@pytest.mark.parametrize("targeted", [False, True])
def test_sparse_l1_descent_finds_what_slide_finds(theirs: Any, targeted: bool) -> None:
    """On the same path, at its end."""
    host, settings = classifier(), {"eps": 3.0, "eps_step": 0.7, "max_iter": 4, "targeted": targeted, "verbose": False}
    got = theirs.sparse_l1_descent.SparseL1Descent(host, quantile=0.9, **settings).generate(X, Y)
    attack = mrt.SLIDE(mrt.L1(3.0), keep=0.9, steps=4, step_size=0.7, best="last")
    model, x, y = mrt_art.as_model(host), torch.from_numpy(X), torch.from_numpy(Y)
    answers = model(x).argmax(1)
    twin = attack(model, x, answers if targeted else y, target=y if targeted else None)
    np.testing.assert_allclose(got, twin.numpy(), atol=1e-5)


@pytest.mark.parametrize("targeted", [False, True])
def test_multi_steepest_descent_takes_the_best_of_the_steps(theirs: Any, targeted: bool) -> None:
    """One step of it is the best of one step in each ball; the result lies in the union."""
    host, radii = classifier(), {np.inf: 0.1, 2: 0.5, 1: 2.0}
    kind = theirs.multi_steepest_descent.MultiSteepestDescent
    one = {"max_iter": 1, "verbose": False, "targeted": targeted}
    alone = [kind(host, {norm: eps}, **one).generate(X, Y) for norm, eps in radii.items()]
    losses = np.stack([host.compute_loss(points, Y, reduction="none") for points in alone]) * (-1 if targeted else 1)
    assert len(set(losses.argmax(0))) > 1
    together = kind(host, radii, **one).generate(X, Y)
    np.testing.assert_array_equal(together, np.stack(alone)[losses.argmax(0), np.arange(len(X))])
    delta = torch.from_numpy(kind(host, radii, **one | {"max_iter": 20}).generate(X, Y)) - torch.from_numpy(X)
    union = mrt.AnyOf((mrt.Linf(0.1), mrt.L2(0.5), mrt.L1(2.0)))
    assert union.contains(torch.from_numpy(X), torch.from_numpy(X) + delta).all()


@pytest.mark.parametrize(("norm", "ball"), [("inf", mrt.Linf(0.1)), (2, mrt.L2(0.6, projection="clip"))])
def test_one_ball_alone_is_projected_gradient_descent(theirs: Any, norm: Any, ball: Any) -> None:
    """Whose first steps are shorter than the radius, and whose last ones end on it."""
    host, size = classifier(), 0.4 * ball.eps
    kind, settings = theirs.multi_steepest_descent.MultiSteepestDescent, {"max_iter": 4, "verbose": False}
    got = kind(host, {norm: ball.eps}, {norm: size}, **settings).generate(X, Y)
    attack = mrt.PGD(ball, steps=4, step_size=size, best="last", random_start=False)
    twin = attack(mrt_art.as_model(host), torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_allclose(got, twin.numpy(), atol=1e-5)


def test_without_clip_values_nothing_holds_a_pixel(theirs: Any) -> None:
    host = classifier(bounds=None)
    got = theirs.sparse_l1_descent.SparseL1Descent(host, eps=30.0, max_iter=5, verbose=False).generate(X, Y)
    assert got.max() > 1 or got.min() < 0


def test_the_trainer_trains_on_what_its_attack_finds(theirs: Any) -> None:
    """One update is a step of gradient descent at the attack's points, in train mode."""
    host, twin = classifier(), classifier()
    for net in (host.model, twin.model):  # dropout would have to draw the same for both
        next(m for m in net.modules() if isinstance(m, torch.nn.Dropout)).p = 0.0
    kind = theirs.multi_steepest_descent.MultiSteepestDescent
    attack = kind(host, {"inf": 0.1, 1: 2.0}, max_iter=3, verbose=False)
    points = torch.from_numpy(kind(twin, {"inf": 0.1, 1: 2.0}, max_iter=3, verbose=False).generate(X, Y))
    trainer = theirs.adversarial_trainer_msd_pytorch.AdversarialTrainerMSDPyTorch(host, attack)
    np.random.seed(0)
    trainer.fit(X, Y, batch_size=6, nb_epochs=1)
    np.random.seed(0)
    order = np.random.permutation(6)
    twin.model.train()
    twin.optimizer.zero_grad()  # what ART has left there
    torch.nn.functional.cross_entropy(twin.model(points[order]), torch.from_numpy(Y[order])).backward()
    twin.optimizer.step()
    for got, expected in zip(host.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def checkout(folder: Path, script: Any) -> Path:
    """What the script asks of a checkout."""
    for name, (mark, _) in {**script.IMPORTS, **script.STANZAS}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(f"before\n{mark}\nafter\n", "utf-8")
    for name in ("tests/attacks/evasion", "tests/defences/trainer"):
        (folder / name).mkdir(parents=True)
    return folder


def test_applying_it_twice_changes_nothing_more(tmp_path: Path) -> None:
    script = load("upstream_apply", FOLDER / "apply.py")
    place = checkout(tmp_path, script)
    assert len(script.apply(place)) == 10 and script.apply(place) == []
    lines = (place / script.TRAINERS).read_text("utf-8").splitlines()
    assert lines[0] == "before" and lines[2].endswith("import AdversarialTrainerMSD") and lines[-1] == "after"
    for file, (mark, parts) in script.STANZAS.items():
        text = (place / file).read_text("utf-8")
        for heading, name in parts:
            assert f"\n{heading}\n{'-' * len(heading)}\n.. autoclass:: {name}\n" in text
            assert text.index(heading) < text.index(mark)


def test_another_version_of_art_is_left_alone(tmp_path: Path) -> None:
    script = load("upstream_apply", FOLDER / "apply.py")
    place = checkout(tmp_path, script)
    (place / script.TRAINERS).write_text("nothing known\n", "utf-8")
    before = sorted(file for file in place.rglob("*") if file.is_file())
    with pytest.raises(SystemExit, match="this script is for ART 1.20; nothing was changed"):
        script.apply(place)
    assert sorted(file for file in place.rglob("*") if file.is_file()) == before


def test_the_installed_art_has_the_lines_that_it_changes() -> None:
    script = load("upstream_apply", FOLDER / "apply.py")
    for name, (mark, _) in script.IMPORTS.items():
        package = art.attacks.evasion if "evasion" in name else art.defences.trainer
        assert f"{mark}\n" in Path(package.__file__).read_text("utf-8")
