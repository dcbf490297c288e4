"""mrt/evaluation/loop.py, batteries.py, adapters/mrt_autoattack/union.py: Columns against the peers called by hand,
example by example; and the papers' batteries end to end."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import foolbox
import mrt_autoattack
import numpy as np
import pyautoattack
import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.evaluation.batteries import NAMES
from mrt.evaluation.loop import entry_seeds
from mrt.hosts.hosted import host_seed
from tests.support import UNION, digits, digits_net

pytestmark = pytest.mark.filterwarnings(
    "ignore:gradient masking", "ignore:.*found nothing", "ignore:.*failed on", "ignore:.*images that do not"
)
BATCH = 4


def networks() -> list[Any]:
    """The digits network, and an MNIST one trained by benchmarks.mnist_models where MRT_MNIST_NETS names its folder."""
    return [
        pytest.param("digits", id="digits"),
        pytest.param("natural", id="mnist-natural", marks=pytest.mark.slow),
        pytest.param("linf", id="mnist-linf", marks=pytest.mark.slow),
    ]


def network(name: str) -> tuple[nn.Module, Tensor, Tensor, tuple[Any, Any, Any]]:
    if name == "digits":
        x, y = digits(11)
        return digits_net(steps=60, eps=0.2), x[5:], y[5:], UNION  # of which the network misses one
    data, nets = os.environ.get("MRT_DATA"), os.environ.get("MRT_MNIST_NETS")
    if not data or not nets:
        pytest.skip("MRT_DATA and MRT_MNIST_NETS do not name the folders of MNIST and its networks")
    from benchmarks.mnist_models import load

    test = mrt.data.mnist(data, "test").take(4 * BATCH)
    x = test.float(torch.arange(4 * BATCH))
    return load(Path(nets) / f"{name}.pt"), x, test.y, (mrt.Linf(0.3), mrt.L2(2.0), mrt.L1(10.0))


def batches(report: mrt.Report, label: str) -> list[Tensor]:
    """The batches that the evaluator gave that attack."""
    return list(report.ran[label].nonzero().squeeze(1).split(BATCH))


@pytest.mark.parametrize("name", networks())
def test_the_standard_columns_are_pyautoattacks(name: str, request: pytest.FixtureRequest) -> None:
    """On the digits with a tenth of AutoAttack's steps, here and there."""
    if name == "digits":
        request.getfixturevalue("short_autoattack")
    net, x, y, threats = network(name)
    queries = 5000 if name != "digits" else 20
    quick = ("apgd-ce-linf", "apgd-t-linf", "fab-t-linf", "square-linf", "apgd-ce-l2", "square-l1")
    battery = tuple(
        mrt.Entry(e.name, mrt.Foreign("autoattack", e.name, (("queries", queries),)), e.threat)
        for e in mrt.batteries.standard(threats)
        if name != "digits" or f"{e.name}-{e.threat.name}" in quick
    )
    report = mrt.evaluate(net, (x, y), battery, cascade=False, batch_size=BATCH, progress=False)
    norms = {"linf": "Linf", "l2": "L2", "l1": "L1"}
    for entry in battery:
        label = f"aa.{entry.name}-{entry.threat.name}"
        left, images = torch.zeros(len(x), dtype=torch.bool), x.clone()
        for index in batches(report, label):
            seed = host_seed(entry_seeds(entry, index, 0))
            peer = pyautoattack.AutoAttack(net, norm=norms[entry.threat.name], eps=entry.threat.eps, seed=seed)  # type: ignore[attr-defined]
            peer.attacks_to_run, peer.square.n_queries = [entry.name], queries
            with torch.random.fork_rng():
                x_adv, _ = peer.run_standard_evaluation(x[index], y[index], batch_size=BATCH)
            left[index], images[index] = net(x_adv).argmax(1) == y[index], x_adv
        assert torch.equal(report.masks[label], left), label
        sample = report.samples[label]
        # Its very images, so by the same seed; but for the rounding by which some lie outside their ball.
        torch.testing.assert_close(sample.x_adv, images[sample.index], rtol=0, atol=1e-5)


# The last column: does it look for the closest point?
HAND: tuple[tuple[str, int, dict[str, Any], bool], ...] = (
    ("FGSM", 0, {}, False),
    ("LinfPGD", 0, {}, False),
    ("MIFGSM", 0, {}, False),
    ("L2PGD", 1, {}, False),
    ("SparseL1DescentAttack", 2, {}, False),
    ("L2RepeatedAdditiveGaussianNoiseAttack", 1, {"repeats": 10}, False),
    ("DDNAttack", 1, {}, True),
    ("L2DeepFoolAttack", 1, {}, True),
    ("LinfDeepFoolAttack", 0, {}, True),
    ("SaltAndPepperNoiseAttack", 1, {"steps": 50}, True),
    ("LinfBasicIterativeAttack", 0, {}, False),
    ("PointwiseAttack", 2, {}, True),
    ("L2CarliniWagnerAttack", 1, {"binary_search_steps": 3, "steps": 20}, True),
    ("EADAttack", 2, {"binary_search_steps": 3, "steps": 20, "decision_rule": "L1"}, True),
)


@pytest.mark.parametrize("name", networks())
def test_foolbox_columns_are_a_hand_written_loops(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Except on examples where the loop's own result is a trap, which are listed one by one."""
    net, x, y, threats = network(name)
    for attack, which, settings, minimal in HAND:
        threat = threats[which]
        entry = mrt.Entry("it", mrt.Foreign("foolbox", attack, tuple(settings.items())), threat)
        report = mrt.evaluate(net, (x, y), (entry,), cascade=False, batch_size=BATCH, progress=False)
        label = f"foolbox.it-{threat.name}"
        loop, raw = torch.zeros(len(x), dtype=torch.bool), x.clone()
        for index in batches(report, label):
            seed = host_seed(entry_seeds(entry, index, 0))
            with torch.random.fork_rng():
                random.seed(seed)
                np.random.seed(seed)
                torch.manual_seed(seed)
                fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
                host = getattr(foolbox.attacks, attack)(**settings)
                epsilons = None if minimal else threat.eps
                found, clipped, fooled = host(fmodel, x[index], y[index], epsilons=epsilons)
            raw[index] = found if minimal else clipped
            loop[index] = ~(fooled & (~torch.tensor(minimal) | (threat.distance(x[index], found) <= threat.eps)))
        net.zero_grad(set_to_none=True)
        ran = report.ran[label]
        for i in ((loop != report.masks[label]) & ran).nonzero().squeeze(1).tolist():
            black, outside = bool((raw[i] == 0).all()), not bool(threat.contains(x[i : i + 1], raw[i : i + 1])[0])
            nan = bool(raw[i].isnan().any())
            fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
            alone = attack == "SparseL1DescentAttack" and not torch.equal(
                host(fmodel, x[i : i + 1], y[i : i + 1], epsilons=threat.eps)[1], raw[i : i + 1]
            )
            net.zero_grad(set_to_none=True)
            with capsys.disabled():
                print(
                    f"{name}, {attack}, example {i}: black {black}, outside {outside}, NaN {nan}, batch mates {alone}"
                )
            assert black or outside or nan or alone, (attack, i)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("quick", "standard", "mng-ac")])
def test_a_papers_battery_runs_end_to_end(name: str) -> None:
    threats = (*UNION, mrt.RotationTranslation(30, 2))
    battery = NAMES[name](threats, budget=0.004)
    report = mrt.evaluate(digits_net(), digits(6), battery, pool=digits(200, "train"), progress=False)
    union = {"any"} if name == "smallest" else set()
    assert set(report.threats) == {"linf", "l2", "l1", "rt", *union} and report.union <= min(report.threats.values())
    assert all(work["failed"] == 0 for work in report.info["attacks"].values())
    assert report.union < report.clean


def test_mng_acs_battery_runs_end_to_end() -> None:
    """Without Brendel&Bethge, which takes half a minute to compile and runs in tests/adapters."""
    battery = tuple(e for e in mrt.batteries.mng_ac(UNION, budget=0.004) if e.name != "bb")
    assert len(battery) == len(mrt.batteries.mng_ac(UNION)) - 2
    report = mrt.evaluate(digits_net(), digits(6), battery, progress=False)
    assert set(report.threats) == {"linf", "l2", "l1"} and report.union < report.clean
    assert all(work["failed"] == 0 for work in report.info["attacks"].values())


@pytest.mark.slow
def test_msds_full_battery_on_100_mnist_images() -> None:
    """As published: ten runs, full budgets. About 100 images; MSD's own evaluation takes 1000."""
    net, _, _, threats = network("linf")
    data = mrt.data.mnist(os.environ["MRT_DATA"], "test").take(100)
    pool = mrt.data.mnist(os.environ["MRT_DATA"], "train").take(1000)
    report = mrt.evaluate(net, data, mrt.batteries.msd(threats), pool=pool)
    print(report)
    assert report.n == 100 and set(report.threats) == {"linf", "l2", "l1"}
    assert all(work["failed"] == 0 for work in report.info["attacks"].values())
    assert torch.equal(report.ran["foolbox.boundary-l2"], report.correct)


@pytest.mark.usefixtures("short_autoattack")
def test_autoattacks_habit_on_a_union() -> None:
    x, y = digits(5)
    threats = (UNION[0], mrt.RotationTranslation(30, 2))
    union = mrt_autoattack.Union(digits_net(steps=60, eps=0.2), threats, verbose=False)
    x_adv, answers = union.run_standard_evaluation(x, y, batch_size=3)
    report = union.report
    net = digits_net(steps=60, eps=0.2)
    assert torch.equal(net(x_adv).argmax(1), answers) and set(report.threats) == {"linf", "rt"}
    assert torch.equal(answers == y, report.robust)
    kept = report.robust | ~report.correct
    assert torch.equal(x_adv[kept], x[kept]) and report.union == pytest.approx(float((answers == y).double().mean()))
    with pytest.raises(ValueError, match="threats"):
        mrt_autoattack.Union(net, ())
