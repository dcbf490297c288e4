"""mrt/inputs.py: Models in: paths, checkpoints, exported programs, the hosts' own models; and everything that must
be refused."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import pytest
import torch
from art.defences.preprocessor import FeatureSqueezing
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

import mrt
from mrt.inputs import load_model
from tests.support import UNION, digits, digits_net, small_net

pytestmark = pytest.mark.filterwarnings("ignore:gradient masking")
BATTERY = mrt.batteries.quick(UNION[:1], budget=0.05)


def answers(model: Any) -> Tensor:
    with torch.no_grad():
        z: Tensor = model(digits(5)[0])
    return z


def test_a_checkpoint_of_ours_loads_by_itself(tmp_path: Path) -> None:
    mrt.save_model(digits_net(), tmp_path / "net.pt", width=8)
    model = mrt.load_model(str(tmp_path / "net.pt"))
    assert torch.equal(answers(model), answers(digits_net())) and not model.training  # type: ignore[attr-defined]


def test_a_model_whose_training_has_not_finished_is_spoken_of(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="model.pt is not there yet: its training has not finished"):
        mrt.load_model(str(tmp_path / "model.pt"))


def test_weights_alone_need_what_makes_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zoo", zoo())
    torch.save(digits_net().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="--factory"):
        load_model(str(tmp_path / "weights.pt"))
    model = load_model(str(tmp_path / "weights.pt"), "zoo:narrow")
    assert torch.equal(answers(model), answers(digits_net()))
    with pytest.raises(ValueError, match="not those of"):
        load_model(str(tmp_path / "weights.pt"), "mrt.models:DigitsCNN")


def zoo() -> types.ModuleType:
    module = types.ModuleType("zoo")
    module.narrow = lambda: mrt.models.DigitsCNN(width=8)  # type: ignore[attr-defined]
    module.net = digits_net()  # type: ignore[attr-defined]
    module.three = 3  # type: ignore[attr-defined]
    return module


def test_a_python_path_names_a_factory_or_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zoo", zoo())
    assert isinstance(load_model("zoo:narrow"), mrt.models.DigitsCNN)
    assert load_model("zoo:net") is digits_net()
    for spec, message in (("zoo:wide", "no 'wide'"), ("zooo:net", "No module named 'zooo'"), ("zoo", "no file")):
        with pytest.raises(ValueError, match=message):
            load_model(spec)


def test_an_exported_program_with_a_dynamic_batch(tmp_path: Path) -> None:
    x = torch.rand(2, 1, 8, 8)
    net = mrt.models.Normalized(small_net((1, 8, 8), 10).eval(), (0.5,), (0.2,)).eval()
    dynamic = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(dynamic, tmp_path / "net.pt2")
    model = load_model(str(tmp_path / "net.pt2"), trust=True)
    assert torch.allclose(answers(model), answers(net), atol=1e-6)
    y = answers(net).argmax(1)
    reports = [mrt.evaluate(m, (digits(5)[0], y), BATTERY, progress=False) for m in (model, net)]
    assert reports[0].threats == reports[1].threats
    fixed = torch.export.export(net, (x,))
    torch.export.save(fixed, tmp_path / "fixed.pt2")
    with pytest.raises(ValueError, match="dynamic batch"):
        answers(load_model(str(tmp_path / "fixed.pt2"), trust=True))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".pth"])
def test_a_pickle_bomb_is_refused_and_never_runs(tmp_path: Path, suffix: str) -> None:
    bomb, mark = tmp_path / f"bomb{suffix}", tmp_path / "exploded"
    torch.save({"weights": Bomb(mark)}, bomb)
    with pytest.raises(ValueError, match="bomb") as error:
        load_model(str(bomb), "mrt.models:DigitsCNN")
    assert not mark.exists() and "\n" not in str(error.value)


CODE = "__import__('os').mkdir({mark!r})"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"guards_code": []', '"guards_code": ["{code} is None"]'),  # executed when the program is first called
        ('"expr_str": "Symbol(\'s', '"expr_str": "{code} or Symbol(\'s'),  # evaluated by sympy when it is read
        ('"name": "linear"', '"name": "linear = {code}; linear"'),  # pasted into a source text
        ("n/data/sample_inputs/model.pt", ""),  # unpickled
    ],
)
def test_code_in_an_exported_program_runs_for_those_alone_who_trust_it(tmp_path: Path, old: str, new: str) -> None:
    net, x, mark = small_net((1, 8, 8), 10).eval(), torch.rand(2, 1, 8, 8), tmp_path / "exploded"
    dynamic = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(dynamic, tmp_path / "n.pt2")
    bomb = io.BytesIO()
    torch.save(Bomb(mark), bomb)
    with zipfile.ZipFile(tmp_path / "n.pt2") as held, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as archive:
        for name in held.namelist():
            content = bomb.getvalue() if name == old else held.read(name)
            if name.endswith("model.json") and new:
                assert old in content.decode()
                content = content.decode().replace(old, new.format(code=CODE.format(mark=str(mark)))).encode()
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="--trust") as error:
        answers(load_model(str(tmp_path / "evil.pt2")))
    assert not mark.exists() and "\n" not in str(error.value)
    with contextlib.suppress(Exception):  # whatever the damaged program ends in
        answers(load_model(str(tmp_path / "evil.pt2"), trust=True))
    if not mark.exists():
        pytest.skip("this torch does not run the code even where it is trusted")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04broken zip"])
@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_an_unreadable_file_is_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"net{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=f"net{suffix}") as error:
        load_model(str(tmp_path / f"net{suffix}"), "mrt.models:DigitsCNN", trust=True)
    assert "\n" not in str(error.value)


def test_only_networks_of_ours_are_saved_with_their_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="networks of mrt.models"):
        mrt.save_model(nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(ValueError, match="settings"):
        mrt.save_model(digits_net(), tmp_path / "net.pt", width=9)
    assert not (tmp_path / "net.pt").exists()


def test_a_checkpoint_cannot_name_any_class(tmp_path: Path) -> None:
    torch.save({"mrt": 1, "model": "os", "settings": {}, "weights": {}}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match="must be one of"):
        load_model(str(tmp_path / "net.pt"))


@pytest.mark.parametrize(
    "held",
    [
        *({"settings": {}}, {"settings": {"width": 8, "depth": 2}, "weights": {}}, {"weights": {3: 4}, "settings": {}}),
        *({"settings": {"width": 10**7}, "weights": {}}, {"settings": {"width": "x"}, "weights": {}}),
        *({"settings": [], "weights": {}}, {"settings": {3: 4}, "weights": {}}, {"settings": {}, "weights": []}),
    ],
)
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, held: dict[str, Any]) -> None:
    torch.save({"mrt": 1, "model": "DigitsCNN", **held}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"net\.pt") as error:
        load_model(str(tmp_path / "net.pt"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [lambda z: {"logits": z}, lambda z: z.numpy(), lambda z: z[:, 0]])
def test_an_answer_that_is_no_logits_is_named(make: Any) -> None:
    net = digits_net()  # made here, and not while the model is asked, where nothing can be trained
    with pytest.raises(ValueError, match="must return"):
        mrt.evaluate(lambda x: make(net(x)), digits(4), BATTERY, progress=False)


def test_a_model_for_other_images_says_so() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    with pytest.raises(ValueError, match=r"fails on images of shape \(1, 9, 9\)"):
        mrt.evaluate(net, (torch.rand(3, 1, 9, 9), torch.zeros(3).long()), BATTERY, progress=False)


def test_robustbench_is_asked_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="robustbench:dataset/threat/name"):
        load_model("robustbench:Standard")
    monkeypatch.setitem(sys.modules, "robustbench", None)
    with pytest.raises(ValueError, match="pip install robustbench"):
        load_model("robustbench:cifar10/Linf/Standard")
    utils = types.ModuleType("robustbench.utils")
    utils.load_model = lambda **how: (how, digits_net())[1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "robustbench", types.ModuleType("robustbench"))
    monkeypatch.setitem(sys.modules, "robustbench.utils", utils)
    assert load_model("robustbench:cifar10/Linf/Standard") is digits_net()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_a_foolbox_model_is_evaluated_as_it_is(low: float, high: float) -> None:
    class Ranged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = digits_net()

        def forward(self, z: Tensor) -> Tensor:
            logits: Tensor = self.net((z - low) / (high - low))
            return logits

    plain = mrt.evaluate(digits_net(), digits(30), BATTERY, progress=False)
    fmodel = foolbox.PyTorchModel(Ranged().eval(), bounds=(low, high), device="cpu")
    theirs = mrt.evaluate(fmodel, digits(30), BATTERY, progress=False)
    assert theirs.clean == plain.clean and theirs.threats == plain.threats


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0)])
def test_an_art_classifier_is_evaluated_through_its_preprocessing(low: float, high: float) -> None:
    class Ranged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = digits_net()

        def forward(self, z: Tensor) -> Tensor:
            logits: Tensor = self.net((z * 2 + 1 - low) / (high - low))
            return logits

    module = Ranged().train()
    digits_net().train()
    try:
        classifier = PyTorchClassifier(
            module, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(low, high), preprocessing=(1.0, 2.0),
            device_type="cpu",
        )  # fmt: skip
        with pytest.warns(UserWarning, match="train mode"):
            theirs = mrt.evaluate(classifier, digits(30), BATTERY, progress=False)
        assert module.training
    finally:
        digits_net().eval()
    plain = mrt.evaluate(digits_net(), digits(30), BATTERY, progress=False)
    assert theirs.clean == plain.clean and theirs.threats == pytest.approx(plain.threats, abs=0.04)


def test_preprocessing_on_arrays_is_judged_by_arts_estimate_of_its_gradient() -> None:
    """FeatureSqueezing returns doubles on numpy 2, which ART itself does not survive."""
    squeezed = PyTorchClassifier(
        digits_net(), nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu",
        preprocessing_defences=FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=4),
    )  # fmt: skip
    net, (x, y) = digits_net().eval(), digits(30)
    with pytest.warns(UserWarning, match="predict itself fails .*scalar type Double"):
        report = mrt.evaluate(squeezed, (x, y), BATTERY, progress=False)
    assert report.clean == (net((x * 15).round() / 15).argmax(1) == y).float().mean()
    assert report.union < report.clean


def test_what_is_no_torch_model_is_refused() -> None:
    with pytest.raises(ValueError, match="only a foolbox.Model|only PyTorch"):
        mrt.evaluate(foolbox.NumPyModel(lambda z: np.zeros((len(z), 10)), bounds=(0, 1)), digits(4), BATTERY)
