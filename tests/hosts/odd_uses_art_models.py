"""The odd uses of estimators, of the process, and of trainers."""

from __future__ import annotations

import copy
import pickle
import threading
from functools import partial
from typing import Any

import art.attacks.evasion as evasion
import numpy as np
import torch
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences.postprocessor import HighConfidence, ReverseSigmoid
from art.defences.preprocessor import FeatureSqueezing, LabelSmoothing, SpatialSmoothing
from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier
from art.estimators.classification.hugging_face import HuggingFaceClassifierPyTorch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from tests.adapters.support import victim
from tests.hosts.odd_uses_art import HOT, REFUSED, THEIRS, USES, X, Y, attacked, host, trained

SHAPE = {"input_shape": (1, 8, 8), "nb_classes": 10, "clip_values": (0, 1)}


class Same(PyTorchClassifier):  # type: ignore[misc]
    def predict(self, x: Any, *args: Any, **how: Any) -> Any:
        return super().predict(x, *args, **how)


class Halved(PyTorchClassifier):  # type: ignore[misc]
    def predict(self, x: Any, *args: Any, **how: Any) -> Any:
        return super().predict(x / 2, *args, **how)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = victim()

    def forward(self, x: Tensor) -> Any:
        return type("Output", (), {"logits": self.inner(x)})()


def subclass(kind: Any) -> Any:
    return kind(victim(), loss=nn.CrossEntropyLoss(), device_type="cpu", **SHAPE)


def named(**how: Any) -> Any:
    module = Named().eval()
    how |= {"optimizer": torch.optim.SGD(module.parameters(), 0.01), "device_type": "cpu"}
    return HuggingFaceClassifierPyTorch(module, nn.CrossEntropyLoss(), **SHAPE, **how)


def smoothed() -> Any:
    how = {"loss": nn.CrossEntropyLoss(), "device_type": "cpu", "sample_size": 4, "scale": 0.5}
    return PyTorchRandomizedSmoothing(victim(), **how, **SHAPE)


def in_train_mode() -> Any:
    where = host(nn.Sequential(nn.BatchNorm2d(1, affine=False, momentum=0.0), victim()).eval())
    where.model.train()
    return where


MODELS: dict[str, Any] = {
    "softmax": lambda: host(nn.Sequential(victim(), nn.Softmax(1))),
    "log-softmax, NLL": lambda: host(nn.Sequential(victim(), nn.LogSoftmax(1)), loss=nn.NLLLoss()),
    "sum": lambda: host(loss=nn.CrossEntropyLoss(reduction="sum")),
    "train mode": in_train_mode,
    "frozen": lambda: host(victim().requires_grad_(False)),
    "in-place": lambda: host(nn.Sequential(nn.ReLU(inplace=True), victim())),
    "dropout": lambda: host(nn.Sequential(nn.Dropout(0.9), victim()).eval()),
    "preprocessing": lambda: host(preprocessing=(0.5, 0.5)),
    "smoothing defence": lambda: host(preprocessing_defences=SpatialSmoothing(window_size=2)),
    "squeezing defence": lambda: host(preprocessing_defences=FeatureSqueezing((0, 1), bit_depth=3)),
    "postprocessing": lambda: host(postprocessing_defences=ReverseSigmoid(apply_predict=True)),
    "postprocessing to zeros": lambda: host(postprocessing_defences=HighConfidence(cutoff=2.0, apply_predict=True)),
    "predict overridden": lambda: subclass(Same),
    "predict halved": lambda: subclass(Halved),
    "HuggingFace": named,
    "HuggingFace with a processor": lambda: named(processor=lambda x: x.flip(3).flip(3)),
    "smoothed": smoothed,
    "black box": lambda: BlackBoxClassifier(host().predict, (1, 8, 8), 10, clip_values=(0, 1)),
    "module": victim,
    "none": lambda: "classifier",
    "DataParallel": lambda: host(nn.DataParallel(victim())),
    "doubles": lambda: host(victim().double()),
    "flat logits": lambda: host(nn.Sequential(victim(), nn.Flatten(0))),
    "no gradient": lambda: host(nn.Sequential(Rounded(), victim())),
    "NaN": lambda: host(nn.Sequential(victim(), Undefined())),
}


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().round()


class Undefined(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.nan


for _name, _make in MODELS.items():
    USES[f"model: {_name}"] = partial(lambda m, k: attacked(k.pgd(m())), _make)


def both_at_once(k: Any) -> Any:
    where = host()
    before = [p.requires_grad for p in where.model.parameters()]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(k.pgd(where).generate(X, Y).shape)) for _ in range(2)]
    if k is THEIRS:
        # One after the other: ART's attack writes the parameters' .grad, and two threads that do so at once end the
        # process now and then with a segmentation fault.
        for thread in threads:
            thread.start()
            thread.join()
        return {"found": len(found), "free": [p.requires_grad for p in where.model.parameters()] == before}
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"found": len(found), "free": [p.requires_grad for p in where.model.parameters()] == before}


USES["two threads on one model"] = both_at_once
USES["under no_grad"] = lambda k: attacked(k.pgd(), context=torch.no_grad())
USES["under inference_mode"] = lambda k: attacked(k.pgd(), context=torch.inference_mode())
USES["under autocast"] = lambda k: attacked(k.pgd(), context=torch.autocast("cpu", torch.bfloat16))
USES["an attack copied"] = lambda k: attacked(copy.deepcopy(k.pgd()))
USES["an attack pickled"] = lambda k: attacked(pickle.loads(pickle.dumps(k.pgd())))


def saliency(k: Any) -> Any:
    where = host()
    return attacked(evasion.FrameSaliencyAttack(where, k.pgd(where), "one_shot"))


USES["inside FrameSaliencyAttack"] = saliency
USES["inside AutoAttack"] = lambda k: attacked(evasion.AutoAttack(w := host(), eps=0.3, attacks=[k.apgd(w)]))

LOSSES: dict[str, Any] = {
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "smoothing": nn.CrossEntropyLoss(label_smoothing=0.1),
    "weight": nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0)),
    "none": nn.CrossEntropyLoss(reduction="none"),
    "MSE": nn.MSELoss(),
    "NLL": nn.NLLLoss(),
    "margin": nn.MultiMarginLoss(),
}
for _name, _loss in LOSSES.items():
    USES[f"Madry, loss: {_name}"] = partial(lambda v, k: trained(k.madry(host(loss=v))), _loss)
    USES[f"TRADES, loss: {_name}"] = partial(
        lambda v, k: trained(k.trades(host(loss=v)), batch_size=5, nb_epochs=1), _loss
    )
FITS: dict[str, dict[str, Any]] = {
    "plain": {},
    "class numbers": {"y": Y},
    "soft labels": {"y": (HOT * 0.8 + 0.02).astype(np.float32)},
    "no epochs": {"nb_epochs": 0},
    "epochs negative": {"nb_epochs": -1},
    "large batch": {"batch_size": 100},
    "batch of one": {"batch_size": 1},
    "no batch": {"batch_size": 0},
    "drop_last": {"drop_last": False},
    "training_mode": {"training_mode": False},
    "pin_memory": {"pin_memory": True},
    "unknown": {"no_such": 1},
    "no images": {"x": X[:0], "y": HOT[:0]},
    "NaN": {"x": X * np.nan},
    "outside": {"x": X * 255},
    "doubles": {"x": X.astype(float)},
    "too few labels": {"y": HOT[:5]},
    "validation": {"validation_data": (X, HOT)},
}
for _name, _fit in FITS.items():
    USES[f"Madry, fit: {_name}"] = partial(lambda v, k: trained(k.madry(), **v), _fit)
    USES[f"TRADES, fit: {_name}"] = partial(
        lambda v, k: trained(k.trades(), **{"batch_size": 5, "nb_epochs": 1, **v}), _fit
    )
for _name, _where in {
    "no optimizer": {"optimizer": None},
    "no clip values": {"clip_values": None},
    "normalised": {"preprocessing": (0.5, 0.5)},
    "label smoothing defence": {"preprocessing_defences": LabelSmoothing()},
}.items():
    USES[f"Madry, classifier: {_name}"] = partial(lambda v, k: trained(k.madry(host(**v))), _where)
for _name, _how in {
    "eps 0": {"eps": 0},
    "eps negative": {"eps": -1},
    "no steps": {"max_iter": 0},
    "restarts": {"num_random_init": 2},
    "no default epochs": {"nb_epochs": None},
    "no default batch": {"batch_size": None},
}.items():
    USES[f"Madry, settings: {_name}"] = partial(lambda v, k: trained(k.madry(**v)), _how)
USES["Madry: HuggingFace"] = lambda k: trained(k.madry(named(processor=lambda x: x)))
USES["Madry: a trainer within"] = lambda k: callable(k.madry().trainer.fit) and k.madry().attack.eps
USES["Madry: another attack set"] = lambda k: k.madry().attack.set_params(eps=0.2)
for _name, _attack in {
    "FGM": lambda w: evasion.FastGradientMethod(w, eps=0.1),
    "AutoPGD": lambda w: evasion.AutoProjectedGradientDescent(w, eps=0.1, max_iter=2, nb_random_init=1, verbose=False),
    "BIM": lambda w: evasion.BasicIterativeMethod(w, 0.1, 0.1, 1, verbose=False),
    "momentum": lambda w: evasion.ProjectedGradientDescent(w, decay=0.5, max_iter=1, verbose=False),
    "random radius": lambda w: evasion.ProjectedGradientDescent(w, random_eps=True, max_iter=1, verbose=False),
    "DeepFool": lambda w: evasion.DeepFool(w, max_iter=1, verbose=False),
    "another classifier": lambda w: evasion.FastGradientMethod(host()),
    "targeted": lambda w: evasion.FastGradientMethod(w, targeted=True),
    "a name": lambda w: "PGD",
}.items():
    USES[f"TRADES, attack: {_name}"] = partial(
        lambda v, k: trained(k.trades(attack=v), batch_size=5, nb_epochs=1), _attack
    )
USES["TRADES: beta 0"] = lambda k: trained(k.trades(beta=0.0), batch_size=5, nb_epochs=1)
USES["TRADES: beta negative"] = lambda k: trained(k.trades(beta=-1.0), batch_size=5, nb_epochs=1)


def scheduled(k: Any, make: Any) -> Any:
    where = host()
    scheduler = make(where.optimizer)
    told = trained(k.trades(where), batch_size=5, nb_epochs=2, scheduler=scheduler)
    return told | {"rate": round(where.optimizer.param_groups[0]["lr"], 6)}


SCHEDULERS: dict[str, Any] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 1),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o),
    "a string": lambda o: "cosine",
    "another's": lambda o: lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1), 1),
}
for _name, _scheduler in SCHEDULERS.items():
    USES[f"TRADES, scheduler: {_name}"] = partial(lambda v, k: scheduled(k, v), _scheduler)


def generated(k: Any, make: Any) -> Any:
    trainer = k.trades()
    trainer.fit_generator(make(), nb_epochs=1)
    return {"predicts": trainer.predict(X).shape}


LOADER = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(HOT)), batch_size=5)
GENERATORS: dict[str, Any] = {
    "numpy": lambda: NumpyDataGenerator(X, HOT, batch_size=5),
    "short": lambda: NumpyDataGenerator(X, HOT, 5, drop_remainder=False),
    "torch": lambda: PyTorchDataGenerator(LOADER, 8, 5),
    "a list": lambda: [(X, HOT)],
}
for _name, _generator in GENERATORS.items():
    USES[f"TRADES, generator: {_name}"] = partial(lambda v, k: generated(k, v), _generator)

LOSS = "the methods are cross-entropy's"
SOFT = "a training of ours has class numbers: attacks and generators ask for them"
FEW = "a mistake that ART answers by training nothing"
UNITS = "NaN or forgotten units"
ATTACK = "a training takes attacks on its own classifier that move images away from their classes, of kinds it has"
REFUSED |= {
    "model: predict halved": "`predict` answers otherwise than the model",
    "model: smoothed": "as before",
    "model: NaN": "a model that answers NaN has no weak points",
    "Madry, loss: MSE": LOSS,
    "Madry, loss: margin": LOSS,
    "TRADES, loss: MSE": LOSS,
    "TRADES, loss: margin": LOSS,
    "Madry, fit: soft labels": SOFT,
    "TRADES, fit: soft labels": SOFT,
    "Madry, fit: epochs negative": FEW,
    "TRADES, fit: epochs negative": FEW,
    "Madry, fit: no images": FEW,
    "TRADES, fit: no images": FEW,
    "Madry, fit: unknown": "a misspelt keyword",
    "TRADES, fit: unknown": "a misspelt keyword",
    "Madry, fit: NaN": UNITS,
    "TRADES, fit: NaN": UNITS,
    "Madry, fit: outside": UNITS,
    "TRADES, fit: outside": UNITS,
    "Madry, classifier: label smoothing defence": SOFT,
    "TRADES, attack: random radius": "a training has one radius",
    "TRADES, attack: DeepFool": ATTACK,
    "TRADES, attack: another classifier": ATTACK,
    "TRADES, attack: targeted": ATTACK,
    "TRADES: beta negative": "it would reward what it is to prevent",
}
