"""adapters/mrt_art/ (host_named.py, entrywise.py, union_trainer.py, epochs_trainer.py, trainer_checks.py, drawn.py,
translated.py): What ART's users may give and ask for: losses, ranges, radii, Madry's arguments, attributes."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import art.attacks.evasion as evasion
import art.defences.trainer as theirs
import mrt_art as ours
import numpy as np
import pytest
import torch
from art.data_generators import DataGenerator, NumpyDataGenerator
from mrt_art.entrywise import EntryLinf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.crafting.gradient import climbing
from mrt.generators import L2LGenerator
from mrt.hosts import pixel_range
from mrt.hosts.pixel_range import Range
from tests.adapters.support import classifier, generated, victim

DATA = mrt.data.digits("train").take(70)
X, Y = DATA.x.numpy(), DATA.y.numpy()
QUIET: dict[str, Any] = {"verbose": False}


def host(module: nn.Module | None = None, **how: Any) -> Any:
    torch.manual_seed(0)
    module = mrt.models.DigitsCNN(width=2) if module is None else module
    how = {"optimizer": torch.optim.SGD(module.parameters(), 0.05), "clip_values": (0, 1), **how}
    return classifier(module, how.pop("clip_values"), (1, 8, 8), 10, **how)


def madry(where: Any, **how: Any) -> Any:
    settings = {"nb_epochs": 1, "batch_size": 32, "eps": 0.1, "eps_step": 0.1, "max_iter": 1, "num_random_init": 0}
    return ours.AdversarialTrainerMadryPGD(where, **{**settings, **how}, **QUIET)


class Leaned(nn.Module):
    """One layer: what a step of the optimizer does to it is known."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 10)
        nn.init.normal_(self.layer.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out


LOSSES = (
    nn.CrossEntropyLoss(reduction="sum"),
    nn.CrossEntropyLoss(label_smoothing=0.3),
    nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0)),
    nn.CrossEntropyLoss(ignore_index=3),
)


@pytest.mark.parametrize("loss", LOSSES)
def test_trainers_descend_the_classifiers_own_loss(loss: Any) -> None:
    """One update is what ART's own trainer makes of the same batch. (ART's attack climbs that loss, too: none here.)"""
    kinds: Any = (theirs.AdversarialTrainerMadryPGD, ours.AdversarialTrainerMadryPGD)
    weights: list[Tensor] = []
    how: dict[str, Any] = {"nb_epochs": 1, "batch_size": 70, "eps": 0, "eps_step": 0.1, "max_iter": 1}
    for kind in kinds:
        module = Leaned()
        where = host(module, loss=loss, optimizer=torch.optim.SGD(module.parameters(), 1e-2))
        trainer: Any = kind(where, num_random_init=0, **how)
        trainer.verbose = trainer.attack.verbose = False
        trainer.fit(X, np.eye(10, dtype=np.float32)[Y])
        weights.append(module.layer.weight.detach())
    plain = Leaned()
    optimizer = torch.optim.SGD(plain.parameters(), 1e-2)
    mrt.fit(plain, mrt.Standard(), DATA, epochs=1, batch_size=70, optimizer=optimizer, progress=False)
    assert torch.allclose(weights[0], weights[1], atol=1e-5) and not torch.allclose(
        weights[1], plain.layer.weight, atol=1e-4
    )


def test_every_strategy_asks_the_step_for_its_loss() -> None:
    """A loss of zero leaves the weights alone, whatever the method, but for its own terms."""
    union = (mrt.Linf(0.1), mrt.L1(1.0))
    strategies = (
        mrt.Standard(), mrt.Adversarial(mrt.Linf(0.1), steps=1, clean=1.0), mrt.Worst(union, steps=1),
        mrt.Average(union, steps=1), mrt.Average(union, steps=1, how="concatenate"), mrt.SAT(union, steps=1),
        mrt.Average(union, steps=1, how="sequential"), mrt.EAT(union, steps=1), mrt.MSDTraining(union, steps=1),
        mrt.Alternate(union, steps=1), mrt.TRADES(mrt.Linf(0.1), beta=0.0, steps=1), mrt.PGN(5.0, width=2),
        mrt.L2LDA(mrt.Linf(0.1), steps=1, width=2), mrt.MNGAC(union, beta=0.0, steps=1), mrt.ANT(mrt.L2(0.5)),
    )  # fmt: skip
    for strategy in strategies:
        module = Leaned()
        before = module.layer.weight.clone()
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        how: dict[str, Any] = {"optimizer": optimizer, "epochs": 1, "progress": False, "batch_size": 40}
        mrt.fit(module, strategy, DATA.take(40), loss=lambda z, y: 0 * cross_entropy(z, y), **how)
        assert torch.equal(module.layer.weight, before), strategy


def test_soft_labels_are_no_classes() -> None:
    soft = np.full((70, 10), 0.1, dtype=np.float32)
    with pytest.raises(ValueError, match="no soft labels"):
        madry(host()).fit(X, soft)
    attack = ours.SLIDE(host(victim()), max_iter=2, **QUIET)
    scores = np.random.RandomState(0).rand(8, 10).astype(np.float32)
    with pytest.warns(UserWarning, match="no one-hot rows"):
        aimed = attack.generate(X[:8], scores)
    assert np.array_equal(aimed, attack.generate(X[:8], scores.argmax(1)))


@pytest.mark.parametrize(("drop_last", "steps"), [(None, 3), (False, 3), (True, 2)])
def test_the_last_short_batch(drop_last: bool | None, steps: int) -> None:
    """70 images in batches of 32 are three updates, as in ART, of which the last sees six."""
    trainer, sizes = madry(host()), []
    how = {} if drop_last is None else {"drop_last": drop_last}
    trainer.classifier.model.register_forward_hook(lambda m, a, o: sizes.append(len(a[0])) if m.training else None)
    trainer.fit(X, Y, nb_epochs=2, **how)
    assert trainer.run.metrics[-1]["step"] == 2 * steps
    assert sizes == [32, 32, 6][:steps] * 2
    with pytest.raises(ValueError, match="drop_last is for fit"):
        trainer.fit_generator(NumpyDataGenerator(X, np.eye(10)[Y], batch_size=32), drop_last=True)


def test_natively_as_well(tmp_path: Any) -> None:
    """`mrt.fit` leaves the rest of an epoch out unless it is told not to, and then sees every image once."""
    seen: list[int] = []

    def strategy(model: Any, x: Tensor, y: Tensor, step: Any) -> Tensor:
        seen.append(len(x))
        loss: Tensor = step.loss(model(x), y)
        return loss

    how: dict[str, Any] = {"epochs": 1, "batch_size": 32, "progress": False}
    rows: list[dict[str, float]] = []
    mrt.fit(Leaned(), strategy, DATA, drop_last=False, on_epoch=rows.append, out=tmp_path, **how)
    assert seen == [32, 32, 6] and len(rows) == 1 and rows[0]["step"] == 3
    how["data"] = replace(DATA, pseudo=torch.arange(70) % 2 == 0)
    for wrong, says in (({"drop_last": 1}, "drop_last"), ({"loss": "ce"}, "loss must be a function"),
                        ({"drop_last": False, "labelled": 0.5}, "no labelled= share")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            mrt.fit(Leaned(), strategy, **{**how, **wrong})


def test_training_mode_and_no_epochs() -> None:
    modes: list[bool] = []
    trainer = madry(host())
    trainer.classifier.model.register_forward_hook(lambda m, a, o: modes.append(m.training))
    before = [p.clone() for p in trainer.classifier.model.parameters()]
    trainer.fit(X, Y, nb_epochs=0)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.classifier.model.parameters(), strict=True))
    trainer.fit_generator(NumpyDataGenerator(X, np.eye(10)[Y], batch_size=32), nb_epochs=0)
    trainer.fit(X, Y, training_mode=False, pin_memory=True)
    assert not any(modes) and trainer.run is not None
    trainer.fit(X, Y)
    assert any(modes)
    with pytest.raises(ValueError, match="training_mode"):
        trainer.fit(X, Y, training_mode=1)


def test_trainers_without_clip_values() -> None:
    """Whatever the units: radii stay what they are in the images' own."""
    for scale in (1.0, 100.0):
        network = victim()
        still = torch.optim.SGD(network.parameters(), 1e-6)  # the network stays one that the attack is known to fool
        where = host(network, optimizer=still, clip_values=None, preprocessing=(0.0, scale))
        trainer = madry(where, eps=0.1 * scale, eps_step=0.1 * scale)
        trainer.fit(X * scale, Y, validation_data=(X * scale, Y))
        assert trainer.run.metrics[-1]["linf"] < trainer.run.metrics[-1]["clean"] - 0.2
        generator = NumpyDataGenerator(X * scale, np.eye(10)[Y], batch_size=32)
        trainer.fit_generator(generator, 1, validation_data=(X[:20] * scale, Y[:20]))
        assert trainer.run.metrics[-1]["step"] == 3


@pytest.mark.parametrize("norm", [np.inf, 2, 1])
def test_clip_values_of_unequal_ranges(norm: Any) -> None:
    """As after a normalisation by channel: bounds and radius hold, and the attack is as strong as where it is equal."""
    high = np.where(np.arange(64).reshape(1, 8, 8) % 2, 2.0, 1.0).astype(np.float32)
    low = np.zeros_like(high)
    eps = {np.inf: 0.2, 2: 1.0, 1: 4.0}[norm]
    x = X * high
    stretched = host(victim(), clip_values=(low, high), preprocessing=(low, high))
    before = (stretched.predict(x).argmax(1) == Y).mean()
    x_adv = ours.PGD(stretched, norm, eps, max_iter=20, **QUIET).generate(x, Y)
    assert (x_adv >= low).all() and (x_adv <= high).all()
    size = np.linalg.norm((x_adv - x).reshape(70, -1).astype(np.float64), norm, axis=1)
    assert (size <= eps * (1 + 1e-6)).all() and size.max() > 0.9 * eps
    after = (stretched.predict(x_adv).argmax(1) == Y).mean()
    equal = host(victim(), clip_values=(0, 2), preprocessing=(low, high))  # the same, but for the upper bounds
    bound = (equal.predict(ours.PGD(equal, norm, eps, max_iter=20, **QUIET).generate(x, Y)).argmax(1) == Y).mean()
    assert bound - 0.03 <= after < before - 0.1


def test_gradients_stop_at_the_narrower_bound() -> None:
    scale = Range.between(torch.zeros(2), torch.tensor([1.0, 2.0]))
    unit = torch.tensor([[0.5, 0.9], [0.9, 0.9], [0.4, 1.0]], requires_grad=True)
    with climbing():
        raw = scale.from_unit(unit)
    assert torch.equal(raw, torch.tensor([[1.0, 1.8], [1.0, 1.8], [0.8, 2.0]]))
    for sign, expected in ((1.0, [[0, 2], [0, 2], [2, 0]]), (-1.0, [[-2, -2]] * 3)):
        (grad,) = torch.autograd.grad(sign * raw.sum(), unit, retain_graph=True)
        assert torch.equal(grad, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(scale.to_unit(raw.detach()), torch.tensor([[0.5, 0.9], [0.5, 0.9], [0.4, 1.0]]))
    with pytest.raises(ValueError, match="within their bounds"):
        scale.to_unit(torch.tensor([[1.1, 0.0]]))


def test_images_just_outside_are_clipped_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    where = host(victim())
    attack, outside = ours.PGD(where, eps=0.1, max_iter=1, **QUIET), X.copy()
    outside[0, 0, 0, 0], outside[1, 0, 0, 1] = 1.005, -0.005
    with pytest.warns(UserWarning, match="up to 1% of the range outside the clip values"):
        x_adv = attack.generate(outside, Y)
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert np.array_equal(x_adv, attack.generate(outside.clip(0, 1), Y))
    with pytest.raises(ValueError, match="within their bounds"):
        attack.generate(X * 1.02, Y)
    scale = Range.between(torch.tensor(0.0), torch.tensor(2.0))
    for numbers, at_once in ((640, 10), (100, 1), (10, 1)):
        monkeypatch.setattr(pixel_range, "NUMBERS", numbers)
        assert scale._parts(torch.from_numpy(X)) == at_once
    assert torch.equal(scale.to_unit(torch.from_numpy(X)), torch.from_numpy(X) / 2)


def test_images_of_another_shape_than_the_classifier_was_told() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(8), victim()).eval()
    where = host(module, clip_values=(np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)))
    x = np.repeat(np.repeat(X[:8], 2, 2), 2, 3)
    x_adv = ours.PGD(where, eps=0.3, max_iter=5, **QUIET).generate(x, Y[:8])
    assert x_adv.shape == x.shape and (where.predict(x_adv).argmax(1) != Y[:8]).mean() > 0.5
    arrays = host(module, clip_values=(np.zeros((1, 8, 8), np.float32), np.ones((1, 8, 8), np.float32)))
    with pytest.raises(ValueError, match=r"clip_values of shapes .* do not broadcast to images of \(1, 16, 16\)"):
        ours.PGD(arrays, **QUIET).generate(x, Y[:8])


@pytest.mark.parametrize("lead", [(), (1,), (12,)])
@pytest.mark.parametrize("runs", [0, 2])
def test_a_radius_for_each_pixel(lead: tuple[int, ...], runs: int) -> None:
    """In linf, in arrays that broadcast: every pixel keeps its own, and a wide one everywhere is the plain attack."""
    eps = np.random.RandomState(0).rand(*lead, 1, 8, 8) * 0.3
    eps[..., 0, 0] = 0.0
    settings: dict[str, Any] = {"max_iter": 6, "num_random_init": runs, "batch_size": 5, **QUIET}
    where = host(victim())
    attack = ours.ProjectedGradientDescent(where, eps=eps, eps_step=eps / 3 + 0.01, **settings)
    np.random.seed(0)
    x_adv = attack.generate(X[:12], Y[:12])
    moved = abs(x_adv.astype(np.float64) - X[:12])
    assert (moved <= eps * (1 + 1e-6)).all() and (moved > 0.9 * eps * (eps > 0)).any()
    assert (where.predict(x_adv).argmax(1) == Y[:12]).sum() < (where.predict(X[:12]).argmax(1) == Y[:12]).sum()
    mask = np.zeros((1, 8, 8), dtype=bool)
    mask[:, 4:] = True
    masked = attack.generate(X[:12], Y[:12], mask=mask)
    assert not (masked != X[:12])[:, ~mask].any() and (masked != X[:12]).any()
    even, found = np.full((*lead, 1, 8, 8), 0.2), []
    for radius, step in ((even, even / 4), (0.2, 0.05)):
        np.random.seed(1)
        one = ours.ProjectedGradientDescent(where, eps=radius, eps_step=step, **settings)
        found.append(one.generate(X[:12], Y[:12]))
    assert np.allclose(found[0], found[1], atol=1e-5)
    with pytest.raises(ValueError, match="for linf alone"):
        ours.ProjectedGradientDescent(where, norm=2, eps=even, eps_step=even)
    wrong = np.ones((3, 1, 8, 8))
    with pytest.raises(ValueError, match="radii for 3 images; there are 12"):
        ours.ProjectedGradientDescent(where, eps=wrong, eps_step=wrong, **QUIET).generate(X[:12], Y[:12])


def test_the_ball_of_a_radius_for_each_entry() -> None:
    x = torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.5, 0.5]])
    ball: Any = EntryLinf(torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.1, 0.4]]), torch.ones(2, 3))
    made = ball.apply(x, ball.sample(x, torch.arange(2)))
    assert ball.contains(x, made).all() and not ball.contains(x, x + 0.15).any()
    assert torch.allclose(ball.project(torch.ones(2, 3), x), torch.tensor([[0.1, 0.2, 0.1], [0.0, 0.1, 0.4]]))
    assert torch.equal(ball.at(torch.tensor([1])).eps, ball.eps[1:])


def test_nothing_to_do_is_done() -> None:
    """A radius of zero, and no steps under ART's name."""
    where = host(victim())
    for attack in (
        ours.ProjectedGradientDescent(where, eps=0, **QUIET), ours.SLIDE(where, eps=0, max_iter=2, **QUIET),
        ours.PGD(where, 2, 0.0, max_iter=2, **QUIET), ours.ProjectedGradientDescent(where, max_iter=0, **QUIET),
        ours.APGD(where, eps=0, max_iter=2, **QUIET),
    ):  # fmt: skip
        assert np.array_equal(attack.generate(X[:5], Y[:5]), X[:5])
    madry(where, eps=0).fit(X, Y)
    with pytest.raises(ValueError, match="max_iter"):
        ours.ProjectedGradientDescent(where, max_iter=-1)


def test_trades_with_other_attacks_of_arts() -> None:
    """By what they search: one step of the radius, the steps of PGD, or what momentum and AutoPGD find."""
    where = host()
    attacks: dict[Any, Any] = {
        evasion.FastGradientMethod(where, eps=0.1): mrt.TRADES(mrt.Linf(0.1), steps=1, step_size=0.1),
        evasion.FastGradientMethod(where, norm=2, eps=0.5): mrt.TRADES(mrt.L2(0.5), steps=1, step_size=0.5),
        evasion.BasicIterativeMethod(where, 0.1, 0.02, 3): mrt.TRADES(mrt.Linf(0.1), steps=3, step_size=0.02),
        evasion.AutoProjectedGradientDescent(where, eps=0.1, eps_step=0.3, max_iter=4, nb_random_init=2): mrt.TRADES(
            mrt.APGD(mrt.Linf(0.1), steps=4, step_size=0.3, restarts=2)
        ),
        evasion.ProjectedGradientDescent(where, eps=0.1, eps_step=0.02, max_iter=3, decay=0.9): mrt.TRADES(
            mrt.MIM(mrt.Linf(0.1), steps=3, step_size=0.02, decay=0.9, random_start=False)
        ),
    }
    for attack, native in attacks.items():
        assert ours.AdversarialTrainerTRADESPyTorch(where, attack, 6.0, **QUIET).strategy(1.0) == native
    with pytest.raises(ValueError, match="minimal would be lost"):
        ours.AdversarialTrainerTRADESPyTorch(where, evasion.FastGradientMethod(where, minimal=True), 6.0)


def test_arts_code_takes_our_classes_for_its_own() -> None:
    where = host(victim())
    mine = ours.ProjectedGradientDescent(where, eps=0.1, max_iter=2, **QUIET)
    x_adv = evasion.FrameSaliencyAttack(where, mine, method="one_shot").generate(X[:4], Y[:4])
    assert np.allclose(x_adv, mine.generate(X[:4], Y[:4]))
    assert isinstance(mine, (evasion.ProjectedGradientDescent,)) and issubclass(
        ours.AutoProjectedGradientDescent, evasion.AutoProjectedGradientDescent
    )
    trainer = madry(where)
    assert isinstance(trainer, theirs.AdversarialTrainerMadryPGD) and trainer.trainer is trainer
    assert isinstance(trainer.attack, ours.ProjectedGradientDescent)
    trainer.attack.set_params(eps=0.3, max_iter=4)
    native: Any = trainer.strategy(1.0)
    assert (native.threat.threat, native.threat.steps) == (mrt.Linf(0.3), 4)
    assert issubclass(ours.AdversarialTrainerTRADESPyTorch, theirs.AdversarialTrainerTRADESPyTorch)


UNION = ("MSD", "MAX", "AVG", "SAT", "EAT", "MNGAC")


@pytest.mark.parametrize("name", UNION)
def test_madrys_arguments_under_every_unions_name(name: str) -> None:
    """One class name is the change: a radius that is linf's, and the others in the usual proportion."""
    kind: Any = getattr(ours, f"AdversarialTrainer{name}")
    trainer = kind(host(clip_values=(0, 255)), nb_epochs=1, batch_size=50, eps=4, eps_step=1, max_iter=2,
                   num_random_init=1, **QUIET)  # fmt: skip
    assert trainer.eps == pytest.approx({"inf": 4.0, "2": 63.75, "1": 1530.0})
    attacks = trainer.strategy(255.0)
    entries = attacks.threats if hasattr(attacks, "threats") else (attacks.threat,)
    starts = [getattr(e, "random_start", None) for e in entries]
    assert all(starts)
    sizes = [e.step_size for e in entries]
    sizes = list(sizes[0]) if isinstance(sizes[0], tuple) else sizes
    assert sizes == pytest.approx([1 / 255, 0.0625, 1.5])
    trainer.fit(X * 255, Y)
    assert trainer.run.metrics[-1]["step"] == 2 and len(trainer.run.metrics) == 1
    with pytest.raises(ValueError, match="nb_epochs.*-1"):
        kind(host(), nb_epochs=-1)
    plain = kind(host(), **QUIET)
    assert kind(host(), eps={"inf": 8 / 255, "2": 0.5, "1": 12.0}, **QUIET).strategy(1.0) == plain.strategy(1.0)


class Brightening(DataGenerator):  # type: ignore[misc]
    """Its first batch is of grey images, the next one is not."""

    def __init__(self) -> None:
        super().__init__(size=64, batch_size=32)
        self.drawn = 0

    def get_batch(self) -> tuple[Any, Any]:
        self.drawn += 1
        return (X[:32] * 0.2 + 0.4 if self.drawn == 1 else X[:32]), np.eye(10, dtype=np.float32)[Y[:32]]


def test_without_clip_values_a_generator_may_go_beyond_its_first_batch() -> None:
    """Up to twice the first batch's range either way."""
    trainer = madry(host(clip_values=None), nb_epochs=2)
    trainer.fit_generator(Brightening())
    assert trainer.run.metrics[-1]["step"] == 4


@pytest.mark.parametrize("name", UNION)
def test_attacks_to_train_on(name: str) -> None:
    kind: Any = getattr(ours, f"AdversarialTrainer{name}")
    where = host()
    several: Any = [ours.SLIDE(where, 2.0, max_iter=1), evasion.FastGradientMethod(where, eps=0.1)]
    if name == "MSD":
        with pytest.raises(ValueError, match="attack must be an mrt_art.MSD"):
            kind(where, attack=several)
        several = ours.MSD(where, {"inf": 0.1, "1": 2.0}, max_iter=1, loss_type="margin")
    trainer = kind(where, attack=several, **QUIET)
    trainer.fit(X, Y, nb_epochs=1, batch_size=70, validation_data=(X[:10], Y[:10]))
    assert {"linf", "l1", "union"} <= set(trainer.run.metrics[-1])
    native: Any = trainer.strategy(1.0)
    if name == "MSD":
        assert native.threat.loss == "margin"
    else:
        assert [a.threat for a in native.threats] == [mrt.L1(2.0), mrt.Linf(0.1)]
    for wrong, says in (({"eps": 0.1}, "give either attack"), ({"attack": ()}, "attack must be")):
        with pytest.raises(ValueError, match=says):
            kind(where, **{"attack": several, **wrong})
    with pytest.raises(ValueError, match="on this classifier"):
        kind(host(), attack=several)


def test_epochs_are_logged_as_they_end(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the training fails later on."""
    trainer = madry(host(optimizer=None))
    module = trainer.classifier.model
    trainer.classifier._optimizer = torch.optim.SGD(module.parameters(), 1e-3)
    seen = [0]

    def fail(m: Any, args: Any) -> None:
        seen[0] += m.training
        if seen[0] > 4:
            raise KeyboardInterrupt

    module.register_forward_pre_hook(fail)
    with caplog.at_level(logging.INFO, logger="mrt_art.trainer"), pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, nb_epochs=3)
    assert sum("epoch:" in record.getMessage() for record in caplog.records) == 1


def test_a_batch_at_a_time_is_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `to_unit` converts at once for the device is never more than a batch."""
    rows: list[int] = []
    plain = Range.to_unit

    def counted(self: Range, x: Tensor) -> Tensor:
        rows.append(len(x))
        return plain(self, x)

    monkeypatch.setattr(Range, "to_unit", counted)
    ours.PGD(host(victim()), max_iter=1, batch_size=16, **QUIET).generate(X, Y)
    assert max(rows) == 16


def test_a_generator_that_learned_nothing_is_spoken_of() -> None:
    where = host(victim())
    idle: Any = generated(L2LGenerator, (1, 8, 8), steps=1)
    idle = L2LGenerator((1, 8, 8), 10, width=4, steps=1).eval()
    with torch.no_grad():
        for p in idle.parameters():
            p.zero_()
    with pytest.warns(UserWarning, match="L2LGenerator fooled the classifier on none of"):
        ours.L2LDA(where, idle, 0.1, **QUIET).generate(X[:20], Y[:20])
    ours.L2LDA(where, idle, 0.1, **QUIET).generate(X[:4], Y[:4])  # too few to say so
    trainer = ours.AdversarialTrainerL2LDA(where, 0.2, 1, 4, generator_lr=1e-9, **QUIET)
    with pytest.warns(UserWarning, match="trained against a generator that fools it on .* gains next to nothing"):
        trainer.fit(X, Y, nb_epochs=1, batch_size=70)


def test_radii_are_broadcast_as_art_broadcasts_them() -> None:
    """One for each channel of three images, or for each column of eight, is none for each image."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    where = classifier(module, (0.0, 1.0), (3, 8, 8))
    by_channel = np.array([0.01, 0.1, 0.2]).reshape(3, 1, 1)
    columns, each = np.linspace(0.01, 0.2, 8), np.array([0.01, 0.1, 0.2]).reshape(3, 1, 1, 1)
    for eps in (by_channel, columns, each):
        x = np.full((8 if eps is columns else 3, 3, 8, 8), 0.5, dtype=np.float32)
        attack = ours.ProjectedGradientDescent(where, eps=eps, eps_step=eps, max_iter=1, verbose=False)
        moved = np.abs(attack.generate(x, np.zeros(len(x), dtype=int)) - x)
        np.testing.assert_allclose(moved, np.broadcast_to(eps, x.shape), rtol=1e-4)


def test_an_attack_on_other_clip_values_is_not_translated() -> None:
    module = victim()
    bytes_, unit = classifier(module, (0.0, 255.0), (1, 8, 8)), classifier(module, (0.0, 1.0), (1, 8, 8))
    attack = evasion.ProjectedGradientDescent(bytes_, eps=8.0, eps_step=2.0, verbose=False)
    with pytest.raises(ValueError, match="untargeted and on this classifier"):
        ours.AdversarialTrainerTRADESPyTorch(unit, attack, beta=1.0)
