"""adapters/mrt_art/bridge.py, copies.py, mrt/hosts/agreement.py: The model that is attacked and trained is the one that
a classifier's `predict` answers for, or nothing is."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from types import MethodType, SimpleNamespace
from typing import Any

import mrt_art as ours
import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.defences.postprocessor import GaussianNoise, ReverseSigmoid
from art.estimators.classification import PyTorchClassifier
from art.estimators.classification.hugging_face import HuggingFaceClassifierPyTorch
from mrt_art.bridge import Bridge
from mrt_art.copies import rebind_functions
from torch import Tensor, nn

import mrt
from mrt.hosts.agreement import IMAGES, need_same_logits
from tests.adapters.support import classifier, victim
from tests.support import digits

X, Y = (t.numpy() for t in digits(24))
JUDGE = (mrt.Entry("fgm", mrt.FGM(mrt.Linf(0.01)), mrt.Linf(0.01)),)


class Named(nn.Module):
    """Answers as HuggingFace's models do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = victim()

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(logits=self.inner(x))


def hugging_face(**how: Any) -> Any:
    module = Named().eval()
    how |= {"optimizer": torch.optim.Adam(module.parameters(), 1e-3), "clip_values": (0, 1), "device_type": "cpu"}
    # Images as the user has them are upside down and inverted to the model: without the processor it answers nonsense.
    return HuggingFaceClassifierPyTorch(
        module, nn.CrossEntropyLoss(), (1, 8, 8), 10, processor=lambda x: 1 - x.flip(2), **how
    )


HF_X = (1 - X[:, :, ::-1]).copy()


def test_a_processor_is_attacked_evaluated_and_trained_through() -> None:
    host = hugging_face()
    left = (host.predict(HF_X).argmax(1) == Y).mean()
    assert left > 0.8
    attack = ours.PGD(host, eps=0.3, max_iter=5, verbose=False)
    assert (host.predict(attack.generate(HF_X, Y)).argmax(1) == Y).mean() < 0.2
    report = mrt.evaluate(host, (torch.from_numpy(HF_X), torch.from_numpy(Y)), JUDGE, progress=False)
    assert report.clean == pytest.approx(left)
    trainer = ours.AdversarialTrainerMadryPGD(host, 2, 12, 0.05, 0.05, 1, verbose=False)
    trainer.fit(HF_X, Y, ema=0.5, validation_data=(HF_X, Y), weights="ema")
    assert (host.predict(HF_X).argmax(1) == Y).mean() >= left - 0.1
    assert trainer.run is not None and trainer.run.metrics[-1]["clean"] == pytest.approx(
        (host.predict(HF_X).argmax(1) == Y).mean()
    )


def seen(module: nn.Module) -> Any:
    bridge = Bridge(classifier(module, (0, 1), (1, 8, 8), 10))
    return bridge.unit_model(bridge.pixel_range())


def closure(module: Any) -> Any:
    plain = module.forward

    @functools.wraps(plain)
    def run(x: Tensor) -> Tensor:
        out: Tensor = plain(x)
        return out * 2

    return run


@pytest.mark.parametrize(
    "own",
    [
        closure,
        lambda m: MethodType(lambda self, x: type(self).forward(self, x) * 2, m),
        lambda m: functools.partial(lambda plain, x: plain(x) * 2, m.forward),
        lambda m: (lambda parts: lambda x: parts["plain"](x) * 2)({"plain": m.forward}),
        lambda m: lambda x, again=m.forward: again(x) * 2,
        lambda m: lambda x, *, again=(m.forward,): again[0](x) * 2,
    ],
)
def test_a_copy_of_a_model_with_a_forward_of_its_own_answers_with_its_own_weights(own: Callable[[Any], Any]) -> None:
    module, x = victim(), torch.from_numpy(X)
    plain = module(x)
    module.forward = own(module)
    model = seen(module)
    other = copy.deepcopy(model)
    assert torch.equal(model(x), 2 * plain) and torch.equal(other(x), 2 * plain)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert torch.equal(model(x), 2 * plain) and not other(x).any()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), 2 * plain)


WHOLE: Any = None


def test_a_forward_that_finds_the_model_by_a_global_name_is_no_copy() -> None:
    global WHOLE
    WHOLE = victim()
    plain = WHOLE.forward
    WHOLE.forward = lambda x: WHOLE.inner(x) if False else plain(x)
    with pytest.raises(ValueError, match="finds the model under the global name 'WHOLE'"):
        copy.deepcopy(seen(WHOLE))
    first: Any = nn.Linear(2, 2)
    second: Any = nn.Linear(2, 2)
    first.act = second.act = nn.functional.relu  # a library's own function stays what pickle knows
    rebind_functions(first, second)
    assert second.act is nn.functional.relu


def test_a_model_of_images_is_pickled() -> None:
    model = copy.deepcopy(seen(victim()))
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(torch.from_numpy(X)), model(torch.from_numpy(X)))


class Planted(PyTorchClassifier):  # type: ignore[misc]
    """Predicts in a way of its own."""

    calls = 0

    def predict(self, x: Any, *args: Any, **how: Any) -> Any:
        self.calls += len(x)
        return self.own(x, super().predict)

    def own(self, x: Any, usual: Any) -> Any:
        return usual(x)


class Scaled(Planted):
    def own(self, x: Any, usual: Any) -> Any:
        return usual(x / 2)


class Probable(Planted):
    def own(self, x: Any, usual: Any) -> Any:
        return torch.from_numpy(usual(x)).softmax(1).numpy()


class Shifted(Planted):
    def own(self, x: Any, usual: Any) -> Any:
        return np.roll(usual(x), 1, 1)


class Fewer(Planted):
    def own(self, x: Any, usual: Any) -> Any:
        return usual(x)[:, :5]


class Voting(Planted):
    def own(self, x: Any, usual: Any) -> Any:
        noise = np.random.RandomState(0).normal(0, 0.2, (3, *x.shape)).astype(np.float32)
        return np.mean([usual(x + n) for n in noise], 0)


PLANTED: tuple[type[Any], ...] = (Scaled, Probable, Shifted, Fewer, Voting)


def planted(kind: type[Any]) -> Any:
    module = victim()
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    how: dict[str, Any] = {"optimizer": optimizer, "clip_values": (0, 1), "device_type": "cpu"}
    return kind(module, nn.CrossEntropyLoss(), (1, 8, 8), 10, **how)


CALLS: dict[str, Callable[[Any], Any]] = {
    "attack": lambda c: ours.SLIDE(c, max_iter=1, verbose=False).generate(X, Y),
    "as_model": ours.as_model,
    "evaluate": lambda c: mrt.evaluate(c, digits(8), JUDGE, progress=False),
    "fit": lambda c: ours.AdversarialTrainerMSD(c, max_iter=1, verbose=False).fit(X, Y, nb_epochs=1),
    "fit_generator": lambda c: ours.AdversarialTrainerMSD(c, max_iter=1, verbose=False).fit_generator(
        NumpyDataGenerator(X, np.eye(10)[Y], batch_size=8), 1
    ),
}


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("kind", PLANTED)
def test_every_call_notices_a_predict_that_answers_otherwise(kind: type[Any], call: str) -> None:
    host = planted(kind)
    before = copy.deepcopy(host.model.state_dict())
    with pytest.raises(ValueError, match=f"{kind.__name__}.predict answers other logits") as refused:
        CALLS[call](host)
    assert "\n" not in str(refused.value) and all(torch.equal(before[k], v) for k, v in host.model.state_dict().items())


@pytest.mark.filterwarnings("ignore:the model is in train mode")
@pytest.mark.parametrize("call", list(CALLS))
def test_a_predict_that_is_overridden_without_harm_is_taken_and_costs_eight_images(call: str) -> None:
    host, passed = planted(Planted), [0]
    host._model.train()
    CALLS[call](host)
    assert host.calls == IMAGES == 4  # and as many of ours
    assert host._model.training or "fit" in call
    if call == "as_model":
        host.model.register_forward_pre_hook(lambda m, args: passed.append(len(args[0])))
        ours.as_model(host)
        assert sum(passed) == 8


def test_models_that_draw_and_answers_that_are_postprocessed() -> None:
    """A model that draws is no other than itself, and no draw is the caller's; what ART makes of answers is let through
    unless it changes them."""
    noisy = nn.Sequential(victim(), Noise())
    host, attack = classifier(noisy.eval(), (0, 1), (1, 8, 8), 10), dict[str, Any](max_iter=1, verbose=False)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    ours.as_model(host)
    assert torch.equal(torch.get_rng_state(), state)
    reverse = classifier(victim(), (0, 1), (1, 8, 8), 10, postprocessing_defences=ReverseSigmoid(apply_predict=True))
    ours.PGD(reverse, **attack).generate(X[:4], Y[:4])
    loud = classifier(victim(), (0, 1), (1, 8, 8), 10, postprocessing_defences=GaussianNoise(scale=1e3))
    with pytest.raises(ValueError, match=r"postprocessing \(GaussianNoise\) changes its answers"):
        ours.PGD(loud, **attack).generate(X[:4], Y[:4])


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def given(answer: Tensor, x: Tensor) -> Tensor:
    return answer


def test_the_comparison_itself() -> None:
    x, z = torch.rand(6, 1, 2, 2), torch.tensor([[1.0, -50.0], [torch.nan, torch.inf], [0.0, 0.0], [2.0, 3.0]])
    same: list[tuple[Any, Any]] = [(z, z), (z, z + 0.04), (z[:, 0], z[:, :1]), (z.double(), z), (z * 0, z * 0)]
    for mine, host in same:
        need_same_logits("It", functools.partial(given, mine), functools.partial(given, host), x)
    other: list[tuple[Any, Any]] = [(z, z + 0.06), (z, z[:, :1]), (z, z.nan_to_num(0.0)), (z * 0, z * 0 + 1)]
    for mine, host in other:
        with pytest.raises(ValueError, match="It answers other logits than the model that would be"):
            need_same_logits("It", functools.partial(given, mine), functools.partial(given, host), x)
    shown: list[int] = []

    def ask(part: Tensor) -> Tensor:
        shown.append(len(part))
        return part.flatten(1)

    need_same_logits("It", ask, lambda p: p.flatten(1), x)
    need_same_logits("It", lambda p: z, lambda p: -z, x[:0])  # nothing to compare
    assert shown == [4]
    masked = torch.tensor([-1e9, 2.0, -3.0]).repeat(4, 1)
    need_same_logits("It", lambda p: masked, lambda p: masked * (1 + 1e-5), x)
    with pytest.raises(ValueError, match="answers other logits"):  # whatever one of the classes is
        need_same_logits("It", lambda p: masked, lambda p: masked * torch.tensor([1.0, -1.0, -1.0]), x)
    need_same_logits("It", lambda p: torch.randn(4, 3), lambda p: torch.randn(4, 3), x)
    with pytest.raises(ValueError, match="It answers other logits"):
        need_same_logits("It", lambda p: torch.randn(4, 3), lambda p: torch.randn(4, 3) + 100, x)
