"""adapters/mrt_art/ (trainer_base.py, trainers.py, learned_trainers.py, host_trainers.py): Our trainers as ART's:
the native loop behind ART's constructor, fit, fit_generator, predict and get_classifier."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import art.attacks.evasion as evasion
import art.defences.trainer as theirs
import mrt_art as ours
import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences.preprocessor import LabelSmoothing
from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch
from art.exceptions import EstimatorError
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import mrt
from mrt.processes import Processes
from mrt.training.validation import judge_held_out
from tests.adapters.support import Unasked, classifier
from tests.support import UNION, digits

pytestmark = pytest.mark.filterwarnings("ignore:the classifier was trained against a generator")  # for an epoch
EPS = {"inf": 0.2, "2": 0.7, "1": 2.0}
LINF, L2, L1 = UNION
LAST: dict[str, Any] = {"steps": 2, "best": "last"}
PAIR = (mrt.PGD(LINF, step_size=0.15, **LAST), mrt.SLIDE(L1, step_size=1.0, keep=0.99, **LAST))
THREE = (mrt.PGD(LINF, **LAST), mrt.PGD(L2, **LAST), mrt.SLIDE(L1, keep=3, **LAST))


def scaled(width: float, **radii: float) -> dict[str, float]:
    return {name[-3:] if name == "inf" else name[-1]: radius * width for name, radius in radii.items()}


Make = Callable[[Any, float], Any]
TRAINERS: dict[str, tuple[Make, Any]] = {  # classifier, width -> trainer; the same training in mrt's own words
    "MSD": (
        lambda c, w: ours.AdversarialTrainerMSD(
            c, scaled(w, inf=0.2, l1=2.0), scaled(w, l1=5.0, inf=0.2), 2, keep=(1, 6), verbose=False
        ),
        mrt.MSDTraining((LINF, L1), steps=2, ratio=(0.8, 2.0), keep=(1, 6)),
    ),
    "MAX": (
        lambda c, w: ours.AdversarialTrainerMAX(
            c, scaled(w, inf=0.2, l1=2.0), scaled(w, l1=1.0, inf=0.15), 2, verbose=False
        ),
        mrt.Worst(PAIR),
    ),
    "AVG": (
        lambda c, w: ours.AdversarialTrainerAVG(
            c, scaled(w, inf=0.2, l2=0.7, l1=2.0), None, 2, keep=3, how="sequential", verbose=False
        ),
        mrt.Average(THREE, how="sequential"),
    ),
    "SAT": (
        lambda c, w: ours.AdversarialTrainerSAT(
            c, scaled(w, inf=0.2, l2=0.7, l1=2.0), max_iter=2, keep=3, verbose=False
        ),
        mrt.SAT(THREE),
    ),
    "EAT": (
        lambda c, w: ours.AdversarialTrainerEAT(c, scaled(w, inf=0.2, l1=2.0), max_iter=2, verbose=False),
        mrt.EAT((LINF, L1), steps=2),
    ),
    "MNGAC": (
        lambda c, w: ours.AdversarialTrainerMNGAC(
            c, scaled(w, inf=0.2, l2=0.7, l1=2.0), None, 2, 3, 2.0, 5.0, "adam", verbose=False
        ),
        mrt.MNGAC(THREE, beta=2.0, look_ahead=5.0, generator_optimizer="adam"),
    ),
    "PGN": (
        lambda c, w: ours.AdversarialTrainerPGN(c, 5.0, 4, 0.5, 1e-3, verbose=False),
        mrt.PGN(5.0, width=4, clean=0.5, generator_lr=1e-3),
    ),
    "L2LDA": (
        lambda c, w: ours.AdversarialTrainerL2LDA(c, 0.2 * w, 2, 4, 0.1, 1e-3, 3, verbose=False),
        mrt.L2LDA(LINF, steps=2, width=4, diversity=0.1, generator_lr=1e-3, warmup=3),
    ),
    "MadryPGD": (
        lambda c, w: ours.AdversarialTrainerMadryPGD(c, 1, 50, 0.2 * w, 0.1 * w, 2, verbose=False),
        mrt.Adversarial(mrt.PGD(LINF, step_size=0.1, random_start=True, **LAST)),
    ),
    "MadryPGD from the image": (
        lambda c, w: ours.AdversarialTrainerMadryPGD(c, 1, 50, 0.2 * w, 0.1 * w, 2, 0, verbose=False),
        mrt.Adversarial(mrt.PGD(LINF, step_size=0.1, random_start=False, **LAST)),
    ),
    "MadryPGD restarted": (
        lambda c, w: ours.AdversarialTrainerMadryPGD(c, 1, 50, 0.2 * w, 0.1 * w, 2, 2, verbose=False),
        mrt.Adversarial(mrt.PGD(LINF, steps=2, step_size=0.1, restarts=2, random_start=True)),
    ),
    "TRADES": (
        lambda c, w: ours.AdversarialTrainerTRADESPyTorch(
            c, evasion.ProjectedGradientDescent(c, eps=0.2 * w, eps_step=0.1 * w, max_iter=2), 3.0, verbose=False
        ),
        mrt.TRADES(LINF, beta=3.0, steps=2, step_size=0.1),
    ),
    "TRADES ours": (
        lambda c, w: ours.AdversarialTrainerTRADESPyTorch(c, ours.PGD(c, 2, 0.7 * w, max_iter=2), 3.0, verbose=False),
        mrt.TRADES(L2, beta=3.0, steps=2),
    ),
    "TRADES by motions": (
        lambda c, w: ours.AdversarialTrainerTRADESPyTorch(
            c, ours.RotationTranslation(c, 20, 1, grid=(1, 1, 3)), 3.0, verbose=False
        ),
        mrt.TRADES(mrt.RTGrid(mrt.RotationTranslation(20, 1), grid=(1, 1, 3)), beta=3.0),
    ),
    "TRADES by SLIDE": (
        lambda c, w: ours.AdversarialTrainerTRADESPyTorch(c, ours.SLIDE(c, 2.0 * w, max_iter=2), 3.0, verbose=False),
        mrt.TRADES(mrt.SLIDE(L1, steps=2), beta=3.0),
    ),
}
every_trainer = pytest.mark.parametrize("name", list(TRAINERS))
DATA = mrt.data.digits("train").take(200)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return mrt.models.DigitsCNN(width=4)


def hosted(module: nn.Module, bounds: tuple[float, float] = (0, 1), lr: float = 1e-2, **how: Any) -> Any:
    how = {"optimizer": torch.optim.Adam(module.parameters(), lr), **how}
    return classifier(module, how.pop("clip_values", bounds), (1, 8, 8), 10, **how)


def fitted(name: str, bounds: tuple[float, float], y: Any, epochs: int = 1, **how: Any) -> tuple[nn.Module, Any]:
    """A network trained by the trainer on pixels of that range, which preprocessing brings back to [0, 1]."""
    module, width = network(), bounds[1] - bounds[0]
    host = hosted(module, bounds, preprocessing=(bounds[0], width))
    trainer = TRAINERS[name][0](host, width)
    np.random.seed(3)
    trainer.fit(DATA.x.numpy() * width + bounds[0], y, batch_size=50, nb_epochs=epochs, **how)
    return module, trainer


def gap(a: nn.Module, b: nn.Module) -> float:
    return max(
        float((p - q).abs().max()) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_every_trainer_is_tested_and_listed() -> None:
    assert set(ours.TRAINERS) == {"MSD", "MAX", "AVG", "SAT", "EAT", "MNGAC", "PGN", "L2LDA"}
    for name, kind in ours.TRAINERS.items():
        assert kind is getattr(ours, f"AdversarialTrainer{name}PyTorch") is getattr(ours, f"AdversarialTrainer{name}")
        assert issubclass(kind, theirs.Trainer)
    assert {name.split()[0] for name in TRAINERS} == {*ours.TRAINERS, "MadryPGD", "TRADES"}


@every_trainer
def test_it_is_the_native_training(name: str) -> None:
    """The same weights as mrt.fit's with the strategy in mrt's own words, in any range and with any form of labels."""
    labels = DATA.y.numpy()
    module, trainer = fitted(name, (0.0, 1.0), labels)
    np.random.seed(3)
    native = network()
    mrt.fit(
        native, TRAINERS[name][1], DATA, epochs=1, batch_size=50, seed=int(np.random.randint(2**31)), progress=False,
        optimizer=torch.optim.Adam(native.parameters(), 1e-2),
    )  # fmt: skip
    assert gap(module, native) == 0 < gap(module, network())
    for given in (labels[:, None], np.eye(10)[labels], DATA.y):
        assert gap(fitted(name, (0.0, 1.0), given)[0], module) == 0
    other, _ = fitted(name, (0.0, 255.0), labels)
    assert gap(other, module) < 2e-2  # rounding, of which Adam and signs make more
    assert not module.training and not trainer.classifier._model.training
    assert trainer.get_classifier() is trainer.classifier and trainer.predict(DATA.x.numpy()).shape == (200, 10)
    assert trainer.classifier.optimizer.param_groups[0]["lr"] == 1e-2


@pytest.mark.parametrize("name", ["MSD", "EAT", "PGN"])
def test_it_learns(name: str) -> None:
    x, y = (t.numpy() for t in digits(200))
    module, trainer = fitted(name, (0.0, 1.0), DATA.y.numpy(), epochs=8)
    assert (trainer.predict(x).argmax(1) == y).mean() > 0.6


@every_trainer
def test_constructors_and_documents(name: str) -> None:
    trainer = TRAINERS[name][0](hosted(network()), 1.0)
    kind = type(trainer)
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    assert all(f":param {n}:" in str(kind.__init__.__doc__) for n in names) and "Paper" in str(kind.__doc__)
    for method in (kind.fit, kind.fit_generator, kind.predict):
        own = [n for n in inspect.signature(method).parameters if n != "self"]
        assert all(f":param {n}:" in str(method.__doc__) for n in own)
    assert repr(trainer).startswith(kind.__name__) and "verbose=False" in repr(trainer)
    stanzas = (Path(__file__).parents[2] / "adapters" / "mrt_art.rst").read_text("utf-8")
    assert f".. autoclass:: mrt_art.{kind.__name__}\n    :members:\n" in stanzas
    if not name.startswith("TRADES"):
        assert kind(hosted(network())).verbose is True  # the classifier alone will do


def test_documents_of_the_attacks() -> None:
    stanzas = (Path(__file__).parents[2] / "adapters" / "mrt_art.rst").read_text("utf-8")
    listed = {line.rpartition(".")[2] for line in stanzas.splitlines() if line.startswith(".. autoclass")}
    attacks = {n for n in ours.__all__ if "Trainer" not in n and n[0].isupper() and not n.startswith(("ART", "TRAIN"))}
    assert listed - {n for n in ours.__all__ if "Trainer" in n} == attacks - {"ProjectedGradientDescentPyTorch"}


@pytest.mark.parametrize("name", ["AdversarialTrainerMadryPGD", "AdversarialTrainerTRADESPyTorch"])
def test_signatures_hold_the_hosts(name: str) -> None:
    for method in ("__init__", "fit"):
        mine = inspect.signature(getattr(getattr(ours, name), method)).parameters
        for key, parameter in inspect.signature(getattr(getattr(theirs, name), method)).parameters.items():
            assert mine[key].kind == parameter.kind and mine[key].default == parameter.default


@pytest.mark.parametrize(
    ("make", "rates"),
    [
        (lambda o: lr_scheduler.StepLR(o, 2, gamma=0.1), [1e-2, 1e-2, 1e-3, 1e-3]),
        (lambda o: lr_scheduler.LambdaLR(o, lambda e: 1.0 / (e + 1)), [1e-2, 5e-3, 1e-2 / 3, 2.5e-3]),
        (lambda o: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=5), None),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.0), [1e-2] * 4),
        (
            lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.99),
            [1e-2, 1e-2, 5e-3, 2.5e-3],
        ),
    ],
)
def test_any_scheduler_by_epoch(make: Any, rates: list[float] | None) -> None:
    module = network()
    host = hosted(module)
    scheduler = make(host.optimizer)
    if rates is None:
        other = make(torch.optim.Adam(network().parameters(), 1e-2))
        rates = []
        for _ in range(4):
            rates.append(other.get_last_lr()[0])
            other.optimizer.step()
            other.step()
    trainer = ours.AdversarialTrainerMadryPGD(host, 4, 100, 0.1, 0.1, 1, verbose=False)
    trainer.fit(DATA.x.numpy(), DATA.y.numpy(), scheduler=scheduler)
    assert trainer.run is not None
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):  # what it makes of the losses of those epochs
        other = make(torch.optim.Adam(network().parameters(), 1e-2))
        for number, row in enumerate(trainer.run.metrics):
            assert row["lr"] == pytest.approx(other.get_last_lr()[0]) and rates is not None
            other.step(row["loss"])
            assert number == 0 or row["loss"] < trainer.run.metrics[number - 1]["loss"]
    assert [row["lr"] for row in trainer.run.metrics] == pytest.approx(rates)


def test_validation_is_right_under_preprocessing() -> None:
    """Clean as the classifier itself predicts; each threat; the union, which none exceeds; equal in any range."""
    x, y = (t.numpy() for t in digits(60))
    rows = []
    for bounds in ((0.0, 1.0), (-1.0, 1.0)):
        width = bounds[1] - bounds[0]
        _, trainer = fitted("MSD", bounds, DATA.y.numpy(), 2, validation_data=(x * width + bounds[0], np.eye(10)[y]))
        assert [row["epoch"] for row in trainer.run.metrics] == [1.0, 2.0]
        row = trainer.run.metrics[-1]
        assert row["clean"] == pytest.approx((trainer.predict(x * width + bounds[0]).argmax(1) == y).mean())
        assert row["union"] <= min(row["linf"], row["l1"]) <= row["clean"] and "l2" not in row
        rows.append(row)
    for key in ("clean", "linf", "l1", "union"):
        assert abs(rows[0][key] - rows[1][key]) <= 0.05
    _, trainer = fitted("PGN", (0.0, 1.0), DATA.y.numpy(), 1, validation_data=(x, y))
    assert {"clean", "l2", "union"} <= set(trainer.run.metrics[-1])


def test_progress_and_silence(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    for verbose in (True, False):
        host = hosted(network())
        trainer = ours.AdversarialTrainerSAT(host, EPS, max_iter=1, verbose=verbose)
        with caplog.at_level(logging.INFO, logger="mrt_art.trainer"):
            trainer.fit(DATA.x, DATA.y, nb_epochs=2, batch_size=100, validation_data=digits(20))
        told = capfd.readouterr().err
        assert ("epoch 2" in told and "union" in told) == verbose and bool(told) == verbose
    assert "AdversarialTrainerSATPyTorch" in caplog.text
    assert sum("union" in record.getMessage() for record in caplog.records) == 4  # a line for each epoch


class Counted(NumpyDataGenerator):  # type: ignore[misc]
    drawn = 0

    def get_batch(self) -> Any:
        self.drawn += 1
        return super().get_batch()


@pytest.mark.parametrize("name", ["MAX", "EAT"])
def test_data_generators(name: str) -> None:
    """ART's own generators, with a short last batch; every batch drawn is an update, and none is drawn twice."""
    x, y = DATA.x.numpy() * 100 + 50, DATA.y.numpy()
    loader = DataLoader(TensorDataset(torch.from_numpy(x), DATA.y), batch_size=64)
    for generator in (
        Counted(x, np.eye(10)[y], batch_size=64, drop_remainder=False, shuffle=True),
        PyTorchDataGenerator(loader, size=200, batch_size=64),
    ):
        module = network()
        trainer = TRAINERS[name][0](hosted(module, (0.0, 250.0), preprocessing=(50.0, 100.0)), 100.0)
        before = (trainer.predict(x).argmax(1) == y).mean()
        scheduler = lr_scheduler.StepLR(trainer.classifier.optimizer, 5, gamma=0.1)
        trainer.fit_generator(generator, 6, scheduler, validation_data=(x[:20], y[:20]))
        assert [row["lr"] for row in trainer.run.metrics] == pytest.approx([1e-2] * 5 + [1e-3])
        assert [row["step"] for row in trainer.run.metrics] == [4, 8, 12, 16, 20, 24]
        assert getattr(generator, "drawn", 24) == 24
        assert (trainer.predict(x).argmax(1) == y).mean() > before + 0.15 and not module.training


class Marks(PreprocessorPyTorch):  # type: ignore[misc]
    """Adds a constant, and counts the images it was given."""

    def __init__(self, apply_fit: bool, apply_predict: bool) -> None:
        super().__init__(device_type="cpu", apply_fit=apply_fit, apply_predict=apply_predict)
        self.seen = 0

    def forward(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        self.seen += len(x)
        return x + 0.01, y


def test_defences_of_training_and_of_prediction_are_kept_apart() -> None:
    """The update goes through what applies to fit, the attack through what applies to predictions."""
    fit, predict = Marks(True, False), Marks(False, True)
    host = hosted(network(), preprocessing_defences=[fit, predict])
    trainer = ours.AdversarialTrainerMadryPGD(host, 1, 50, 0.1, 0.1, 3, verbose=False)
    fit.seen = predict.seen = 0
    trainer.fit(DATA.x.numpy(), DATA.y.numpy())
    # The one more looks whether labels stay as they are, four and four whether `predict` answers as we see it.
    assert fit.seen == 200 + 1 and predict.seen == 200 * 3 + 8


class MarksArrays(Preprocessor):  # type: ignore[misc]
    """The same on arrays."""

    def __init__(self) -> None:
        super().__init__(apply_fit=True, apply_predict=False)
        self.seen = 0

    def __call__(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        self.seen += len(x)
        return x + 0.01, y


def test_defences_on_arrays_are_kept_apart_too() -> None:
    fit = MarksArrays()
    host = hosted(network(), preprocessing_defences=[fit])
    trainer = ours.AdversarialTrainerMadryPGD(host, 1, 50, 0.1, 0.1, 3, verbose=False)
    fit.seen = 0
    trainer.fit(DATA.x.numpy(), DATA.y.numpy())
    assert fit.seen == 200 + 1


X, Y = DATA.x.numpy(), DATA.y.numpy()


def unasked(**how: Any) -> Any:
    return hosted(Unasked(), **how)


def msd(host: Any = None, **how: Any) -> Any:
    return ours.AdversarialTrainerMSD(unasked() if host is None else host, **{"max_iter": 1, "verbose": False, **how})


ANY: dict[str, Any] = {"eps": EPS}  # what no type checker would let through
OTHER = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ours.AdversarialTrainerMSD(nn.Linear(1, 1)), EstimatorError, "requires an estimator"),
    (lambda: msd(steps=3), TypeError, "steps"),
    (lambda: msd(eps=-0.3), ValueError, "eps.*-0.3"),
    (lambda: msd(eps={"inf": -1}), ValueError, "eps.*-1"),
    (lambda: msd(eps={"inf": 0.1}, eps_step={"2": 0.1}), ValueError, "eps_step must be"),
    (lambda: msd(max_iter=0), ValueError, "max_iter.*0"),
    (lambda: msd(keep=2.0), ValueError, "keep.*2.0"),
    (lambda: msd(verbose="yes"), ValueError, "verbose.*'yes'"),
    (lambda: ours.AdversarialTrainerMAX(unasked(), {"inf": 0.1}, keep=2.0), ValueError, "keep.*2.0"),
    (lambda: ours.AdversarialTrainerMadryPGD(unasked(), nb_epochs=-3), ValueError, "nb_epochs.*-3"),
    (lambda: ours.AdversarialTrainerMadryPGD(unasked(), verbose=False).fit(X, Y, batch_size=0), ValueError, "batch_s"),
    (lambda: trades(unasked(), random_eps=True), ValueError, "attack's random_eps would be lost"),
    (lambda: trades(unasked(), eps=np.ones(3), eps_step=np.ones(3)), ValueError, "eps in arrays would be lost"),
    (lambda: ours.AdversarialTrainerAVG(unasked(), how="sum"), ValueError, "how.*sum"),
    (lambda: ours.AdversarialTrainerL2LDA(unasked(), eps=ANY["eps"]), ValueError, "eps"),
    (lambda: ours.AdversarialTrainerPGN(unasked(), eps={"3": 1}), ValueError, "norm.*3"),
    (lambda: ours.AdversarialTrainerMadryPGD(unasked(), num_random_init=-1), ValueError, "num_random_init.*-1"),
    (lambda: ours.AdversarialTrainerTRADESPyTorch(unasked(), "PGD", 6.0), ValueError, "attack must be.*'PGD'"),
    (lambda: trades(unasked(), targeted=True), ValueError, "untargeted"),
    (lambda: trades(unasked(), unasked()), ValueError, "on this classifier"),
    (lambda: ours.AdversarialTrainerTRADESPyTorch(h := unasked(), evasion.DeepFool(h), 6.0), ValueError, "DeepFool"),
    (lambda: msd().fit(X, Y, nb_epochs=-1), ValueError, "nb_epochs.*-1"),
    (lambda: msd().fit(X, Y, batch_size=0), ValueError, "batch_size.*0"),
    (lambda: msd().fit(X, Y[:5]), ValueError, "labels must be"),
    (lambda: msd().fit(X[:0], Y[:0]), ValueError, "at least one training image"),
    (lambda: msd().fit(X * 300, Y), ValueError, "within their bounds"),
    (lambda: msd().fit(X, Y, epochs=3), TypeError, "'epochs'"),
    (lambda: msd().fit(X, Y, validation_data=X), ValueError, "validation_data must be a pair"),
    (lambda: msd().fit(X, Y, validation_data=(X[:, :, 1:], Y)), ValueError, r"shape \(1, 8, 8\)"),
    (lambda: msd().fit(X, Y, scheduler=lr_scheduler.StepLR(OTHER, 1)), ValueError, "classifier's own optimizer"),
    (lambda: msd().fit(X, Y, scheduler="cosine"), ValueError, "scheduler.*'cosine'"),
    (lambda: msd(unasked(optimizer=None)).fit(X, Y), ValueError, "Optimizer of classifier is currently None"),
    (lambda: msd(unasked(loss=nn.CrossEntropyLoss(reduction="none"))), ValueError, "reduction='none'"),
    (lambda: msd().fit(X, Y, weights="first"), ValueError, "weights.*'first'"),
    (lambda: msd().fit(X, Y, weights="ema"), ValueError, "weights='ema' needs ema="),
    (lambda: msd().fit(X, Y, weights="best"), ValueError, "weights='best' needs validation_data"),
    (lambda: msd().fit(X, Y, iterations=3), TypeError, "'iterations'"),
    (lambda: msd(unasked(loss=nn.MSELoss())), ValueError, "cross-entropy.*MSELoss"),
    (lambda: msd(unasked(preprocessing_defences=[LabelSmoothing()])).fit(X, Y), ValueError, "changes labels"),
    (lambda: msd().fit_generator(DATA), ValueError, "DataGenerator of known size"),
]  # fmt: skip


def trades(host: Any, other: Any = None, **how: Any) -> Any:
    attack = evasion.ProjectedGradientDescent(other or host, **how)
    return ours.AdversarialTrainerTRADESPyTorch(host, attack, 6.0)


@pytest.mark.parametrize(("call", "kind", "says"), BAD)
def test_bad_input_ends_before_the_model_is_called(call: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        call()


def test_what_is_refused_changes_no_mode() -> None:
    module = network().train()
    host = hosted(module)
    host._model.train()
    with pytest.raises(ValueError, match="ema"):
        msd(host, eps=EPS).fit(X, Y, ema=5)
    assert module.training and host._model.training


def test_madrys_epochs_are_for_generators_too_and_predict_passes_on() -> None:
    trainer = ours.AdversarialTrainerMadryPGD(hosted(network()), 2, 50, 0.1, 0.1, 1, verbose=False)
    trainer.fit_generator(NumpyDataGenerator(X, np.eye(10)[Y], batch_size=100))
    assert trainer.run is not None and len(trainer.run.metrics) == 2
    sizes: list[int] = []
    trainer.classifier.model.register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])))
    assert trainer.predict(X, batch_size=30).shape == (200, 10) and max(sizes) == 30


def test_a_failed_training_leaves_the_classifier_ready() -> None:
    module = network()
    trainer = msd(hosted(module, lr=1e30))
    with pytest.raises(FloatingPointError):
        trainer.fit(X, Y, nb_epochs=3, batch_size=50)
    assert not module.training and not trainer.classifier._model.training and trainer.run is None


class Plain(nn.Module):
    """Elementwise, for bfloat16 on any CPU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(10, 1, 8, 8) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, None] * self.weight).flatten(2).sum(2)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile's own
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager"), None])
def test_wrapped_modules_and_arguments_of_the_loop(wrap: Any) -> None:
    """DataParallel and compiled modules, bfloat16, averaged weights, a bound on gradients."""
    module = network() if wrap else Plain()
    host = hosted(wrap(module) if wrap else module)
    trainer = msd(host, eps=EPS)
    before = (trainer.predict(X).argmax(1) == Y).mean()
    fast = mrt.Fast() if wrap else mrt.Fast("bfloat16")
    trainer.fit(X, Y, nb_epochs=4, batch_size=50, fast=fast, ema=0.9, clip=1.0)
    assert (trainer.predict(X).argmax(1) == Y).mean() > before and not module.training
    assert trainer.run.ema is not None


def test_it_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    """`out=` makes a run of mrt of it: the same call again finds it finished, with no seed given."""
    trainer = msd(hosted(network()), eps=EPS)
    scheduler = lr_scheduler.StepLR(trainer.classifier.optimizer, 1, gamma=0.1)
    trainer.fit(X, Y, nb_epochs=1, batch_size=100, out=tmp_path, scheduler=scheduler)
    again, module = network(), None
    other = msd(hosted(again), eps=EPS)
    scheduler = lr_scheduler.StepLR(other.classifier.optimizer, 1, gamma=0.1)
    other.fit(X, Y, nb_epochs=1, batch_size=100, out=tmp_path, scheduler=scheduler)
    assert scheduler.last_epoch == 1
    module = trainer.classifier.model
    assert other.run.finished and gap(again, module) == 0


def test_the_classifier_ends_with_the_weights_asked_for() -> None:
    """The last, their average, or the best on held-out images; `seed=` decides whatever numpy's generator says."""
    modules = {}
    for weights in ("last", "ema", "best"):
        trainer = msd(hosted(network()), eps=EPS)
        how: dict[str, Any] = {"ema": 0.5} if weights == "ema" else {}
        trainer.fit(X, Y, (X[:60], Y[:60]), nb_epochs=3, batch_size=100, weights=weights, seed=4, **how)
        modules[weights] = trainer.classifier.model
        kept = {"last": trainer.run.model, "ema": trainer.run.ema, "best": trainer.run.best}[weights]
        assert gap(kept.model, modules[weights]) == 0 and not modules[weights].training
        told = [row["union"] for row in trainer.run.metrics]
        again = mrt.Validation((torch.from_numpy(X[:60]), DATA.y[:60]), [LINF, L2, L1])
        if weights == "best":
            judge = again.attacks(None)
            union = judge_held_out(modules["best"], DATA.take(60), judge, 4, Processes())["union"]
            assert union == pytest.approx(max(told))
    assert gap(modules["last"], modules["ema"]) > 0


def test_trainers_and_attacks_are_copied_and_pickled() -> None:
    trainer = msd(hosted(network()), eps=EPS)
    trainer.fit(X, Y, (X[:20], Y[:20]), nb_epochs=1, batch_size=100, ema=0.9)
    for other in (pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)):
        assert np.array_equal(other.predict(X[:5]), trainer.predict(X[:5]))
        assert other.run.metrics == trainer.run.metrics and repr(other) == repr(trainer)
        other.fit(X, Y, nb_epochs=1, batch_size=100)
    attack = ours.SLIDE(trainer.classifier, eps=1.0, verbose=False)
    assert np.array_equal(copy.deepcopy(attack).generate(X[:5], Y[:5]), attack.generate(X[:5], Y[:5]))


@pytest.mark.usefixtures("short_autoattack")
def test_arts_attacks_and_autoattack_judge_what_we_train() -> None:
    """Through ART's interface alone; the trained classifier withstands more than an undefended one."""
    import mrt_autoattack

    x, y = digits(40)
    left = []
    for defended in (False, True):
        np.random.seed(0)
        host, data = hosted(network(1)), mrt.data.digits("train")
        if defended:
            trainer = ours.AdversarialTrainerMSD(host, {"inf": 0.15, "1": 1.5}, max_iter=4, keep=(1, 6), verbose=False)
            trainer.fit(data.x.numpy(), data.y.numpy(), nb_epochs=5, batch_size=64)
        else:
            host.fit(data.x.numpy(), data.y.numpy(), nb_epochs=5, batch_size=64)
        attacks = (
            evasion.ProjectedGradientDescent(host, eps=0.15, eps_step=0.04, max_iter=10, verbose=False),
            evasion.SquareAttack(host, eps=0.15, max_iter=60, verbose=False),
            evasion.AutoAttack(
                host, norm=1, eps=1.5, attacks=[ours.APGD(host, norm=1, eps=1.5, max_iter=20, verbose=False)]
            ),
        )
        shares = [(host.predict(a.generate(x.numpy(), y.numpy())).argmax(1) == y.numpy()).mean() for a in attacks]
        auto = mrt_autoattack.attack(mrt.Linf(0.15), attacks=("apgd-ce",))
        report = mrt.evaluate(host, (x, y), (mrt.Entry("auto", auto, mrt.Linf(0.15)),), progress=False)
        left.append([*shares, report.union])
    assert all(after > before + 0.05 for before, after in zip(*left, strict=True)), left


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["MSD", "MNGAC", "L2LDA"])
def test_on_a_cuda_device(name: str) -> None:
    module = network()
    trainer = TRAINERS[name][0](hosted(module, device_type="gpu"), 1.0)
    trainer.fit(X, Y, nb_epochs=1, batch_size=50, validation_data=(X[:20], Y[:20]))
    assert next(module.parameters()).is_cuda and trainer.run.metrics[-1]["clean"] >= 0


def test_crops_and_flips() -> None:
    """crop= augments what is trained on, and is for fit alone."""
    plain, cropped = network(), network()
    for module, how in ((plain, {}), (cropped, {"crop": mrt.data.CropFlip(1, flip=False)})):
        np.random.seed(0)
        msd(hosted(module), eps=EPS).fit(X, Y, nb_epochs=1, batch_size=100, **how)
    assert gap(plain, cropped) > 1e-3
    with pytest.raises(ValueError, match="crop is for fit"):
        generator = NumpyDataGenerator(X, np.eye(10)[Y], batch_size=50)
        msd(hosted(network()), eps=EPS).fit_generator(generator, crop=mrt.data.CropFlip())
    with pytest.raises(TypeError, match="'batch_size'"):
        msd(hosted(network()), eps=EPS).fit_generator(generator, batch_size=7)
    smoothing = hosted(Unasked(), preprocessing_defences=[LabelSmoothing()])
    with pytest.raises(ValueError, match="changes labels"):
        msd(smoothing, eps=EPS).fit_generator(generator)
