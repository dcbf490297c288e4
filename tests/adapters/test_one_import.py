"""mrt/hosts/one_import.py, adapters/mrt_foolbox/attacks.py, adapters/mrt_art/__main__.py,
benchmarks/host_examples.py: A script changes its import alone."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

import art.attacks.evasion
import art.defences.trainer
import foolbox
import mrt_art
import mrt_foolbox
import mrt_foolbox.attacks
import pytest
import torch

from benchmarks import host_examples
from tests import apart
from tests.support import ROOT

HOSTS = [
    (mrt_foolbox, foolbox.attacks),
    (mrt_foolbox, foolbox),
    (mrt_foolbox.attacks, foolbox.attacks),
    (mrt_art, art.attacks.evasion),
    (mrt_art, art.defences.trainer),
]
MEANT_OTHERWISE = {"attack", "attacks", "as_model"}  # ours; `attacks` has foolbox.attacks' names


@pytest.mark.parametrize(("ours", "host"), HOSTS)
def test_every_name_of_the_host_is_there(ours: ModuleType, host: ModuleType) -> None:
    """Ours where we have one, and otherwise the host's own, which is not wrapped."""
    names = [name for name in vars(host) if not name.startswith("_") and name not in MEANT_OTHERWISE]
    assert len(names) > 10
    for name in names:
        found = getattr(ours, name)
        assert found is getattr(host, name) or found.__module__.partition(".")[0] == ours.__name__.partition(".")[0]
        if inspect.isclass(found):
            assert name in dir(ours)


@pytest.mark.parametrize(
    ("shipped", "changed"),
    [
        ("import foolbox as fb", "import mrt_foolbox as fb"),
        ("import foolbox.attacks as fa", "import mrt_foolbox.attacks as fa"),
        ("from foolbox import PyTorchModel, accuracy", "from mrt_foolbox import PyTorchModel, accuracy"),
        ("    from foolbox.attacks import LinfPGD", "    from mrt_foolbox.attacks import LinfPGD"),
        ("from foolbox.attacks.base import get_criterion", "from foolbox.attacks.base import get_criterion"),
        ("from art.attacks.evasion import SquareAttack", "from mrt_art import SquareAttack"),
        ("from art.attacks.evasion.auto_attack import AutoAttack", "from mrt_art import AutoAttack"),
        ("from art.defences.trainer import AdversarialTrainer", "from mrt_art import AdversarialTrainer"),
        ("from art.estimators.classification import PyTorchClassifier",) * 2,
    ],
)
def test_the_imports_that_examples_change(shipped: str, changed: str) -> None:
    """Of benchmarks/host_examples.py: what it writes imports."""
    assert host_examples.with_our_imports(shipped) == changed
    exec(changed.strip(), {})


def test_the_hosts_names_do_not_hide_ours() -> None:
    for package, host in HOSTS:
        for name in set(package.__all__) & set(vars(host)):
            if package is not mrt_foolbox.attacks:
                assert getattr(package, name) is not getattr(host, name), name
    assert mrt_foolbox.attacks.LinfPGD is mrt_foolbox.LinfPGD and mrt_foolbox.attacks.FGSM is foolbox.attacks.FGSM


def test_star_imports_bring_all_names() -> None:
    names: dict[str, object] = {}
    exec("from mrt_foolbox.attacks import *", names)
    assert names["LinfPGD"] is mrt_foolbox.LinfPGD
    assert names["L2CarliniWagnerAttack"] is foolbox.attacks.L2CarliniWagnerAttack
    assert {name for name, value in vars(foolbox.attacks).items() if inspect.isclass(value)} <= set(names)


def test_a_whole_script_of_foolboxs_runs_under_our_name() -> None:
    """`import foolbox as fb` has become `import mrt_foolbox as fb`."""
    import mrt_foolbox as fb

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5)).eval()
    fmodel = fb.PyTorchModel(net, bounds=(0, 1), device="cpu")
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 5
    for attack in (fb.attacks.LinfPGD(steps=2), fb.attacks.FGSM(), fb.attacks.L2DeepFoolAttack(steps=2)):
        _, clipped, success = attack(fmodel, x, fb.Misclassification(y), epsilons=[0.1])
        assert clipped[0].shape == x.shape and success.shape == (1, 6)
    assert 0 <= fb.accuracy(fmodel, x, y) <= 1


@pytest.mark.parametrize(
    ("package", "name", "said"),
    [
        (
            mrt_foolbox,
            "LinfPDG",
            "neither mrt_foolbox nor foolbox.attacks nor foolbox has 'LinfPDG': did you mean LinfPGD",
        ),
        (mrt_foolbox.attacks, "FGSN", "neither mrt_foolbox nor foolbox.attacks nor foolbox has 'FGSN': did you mean"),
        (
            mrt_art,
            "SquareAtack",
            "art.attacks.evasion nor art.defences.trainer has 'SquareAtack': did you mean SquareAttack",
        ),
    ],
)
def test_a_misspelt_name_is_answered_with_similar_ones(package: ModuleType, name: str, said: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(package, name)
    assert said in str(caught.value)


@pytest.mark.parametrize("package", [mrt_foolbox, mrt_art])
def test_what_python_asks_of_modules_is_not_answered_by_the_host(package: ModuleType) -> None:
    for name in ("__wrapped__", "__version__", "__test__"):
        assert not hasattr(package, name)


@pytest.mark.parametrize(
    ("package", "ours", "theirs"),
    [("mrt_foolbox", "LinfPGD", "L2CarliniWagnerAttack"), ("mrt_art", "AdversarialTrainerMSD", "SquareAttack")],
)
def test_the_table_says_whose_each_name_is(package: str, ours: str, theirs: str) -> None:
    table = vars(sys.modules[package])["NAMES"].table().splitlines()
    whose = {line.split()[0]: line.split()[1] for line in table[:-1]}
    assert "]_" not in "".join(table)
    assert whose[ours] == "mrt" and whose[theirs] == "host" and len(whose) == len(table) - 1
    counts = [list(whose.values()).count(word) for word in ("mrt", "host")]
    assert table[-1] == f"{counts[0]} names are ours (mrt), {counts[1]} are the host's own."
    assert max(map(len, table)) <= 150
    assert not {"base", "deepfool", "fast_gradient"} & set(whose), "modules of the host"


def test_the_table_is_a_command() -> None:
    program = apart.Program(apart.module("mrt_foolbox"), paths=(ROOT / "adapters",))
    assert program.wait() == 0, program.errors
    assert program.output.strip() == mrt_foolbox.NAMES.table()


def test_the_attacks_are_ours_before_anybody_asks_for_them_by_name() -> None:
    code = "import mrt_foolbox as fb; print(fb.attacks.LinfPGD.__module__, fb.attacks.FGSM.__module__)"
    program = apart.Program(code)
    assert program.wait() == 0, program.errors
    assert program.output.split() == ["mrt_foolbox.host_named", "foolbox.attacks.fast_gradient_method"]
