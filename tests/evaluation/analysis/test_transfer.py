"""mrt/evaluation/analysis/transfer.py: Black box: what is made against one model counts against others, and no
folder takes one network for another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.evaluation import Transfer, Transferred, matrix, transfer
from mrt.protocols import Attack, Spatial, Threat
from mrt.records import identity
from tests.support import UNION, Linear, digits, digits_net, small_net, torch_seed

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient masking")
QUICK: dict[str, Any] = {"progress": False}
RT = mrt.RotationTranslation(30, 2)
LINF = mrt.Linf(0.2)
PGD, FGSM = mrt.PGD(LINF, steps=3), mrt.FGSM(LINF)
NET, OTHER, THIRD = (digits_net(seed, steps=15) for seed in range(3))
NETS = {"plain": NET, "other": OTHER}


@dataclass(frozen=True)
class Painted:
    """x plus what a network paints: a generator's attack at its smallest."""

    net: nn.Module
    threat: Threat
    share: float = 1.0

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, *, target: Any = None, rng: Any = None, start: Any = None
    ) -> Tensor:
        with torch.no_grad():
            return self.threat.apply(x, self.threat.project(self.share * self.net(x), x))


class Paint(nn.Module):
    """A convolution with a setting that is in no state_dict, a buffer that is not saved, and a state of its own."""

    def __init__(self, seed: int = 0, steps: int = 2, level: float = 0.0, extra: str = "") -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net, self.steps, self.extra = nn.Conv2d(1, 1, 3, padding=1), steps, extra
        self.level: Tensor
        self.register_buffer("level", torch.tensor(level), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.net(x) * self.steps + self.level
        return made

    def get_extra_state(self) -> dict[str, str]:
        return {"extra": self.extra}

    def set_extra_state(self, state: dict[str, str]) -> None:
        self.extra = state["extra"]


@pytest.mark.parametrize("attack", [PGD, mrt.FGM(UNION[1]), mrt.SLIDE(UNION[2], steps=2), mrt.RTWorstOf(RT, k=3)])
def test_images_are_the_surrogates(attack: Attack) -> None:
    """Whatever the model, which is not even asked."""
    x, y = digits(8)
    seeds = torch.arange(8)
    entry = transfer({"a": attack}, {"s": NET})[0]
    made = entry.build(None)
    assert entry.name == "a@s" and entry.threat == made.threat == attack.threat

    def never(x: Tensor) -> Tensor:
        raise AssertionError("the target was asked")

    assert torch.equal(made(never, x, y, rng=seeds), attack(NET, x, y, rng=seeds))
    assert isinstance(made, Spatial) == isinstance(attack, Spatial)
    if isinstance(made, Spatial) and isinstance(attack, Spatial):
        assert torch.equal(made.search(never, x, y, rng=seeds), attack.search(NET, x, y, rng=seeds))


def test_target_seeds_and_start_are_handed_on() -> None:
    x, y = digits(8)
    attack, net = mrt.PGD(LINF, steps=2, random_start=False), NET
    call: dict[str, Any] = {"target": (y + 1) % 10, "rng": torch.arange(8), "start": (x + 0.1).clamp(0, 1)}
    found = Transferred(attack, net)(net, x, y, **call)
    assert torch.equal(found, attack(net, x, y, **call))
    for name in ("target", "start"):
        assert not torch.equal(found, attack(net, x, y, **{**call, name: None})), name
    random = Transferred(PGD, net)
    assert not torch.equal(random(net, x, y, rng=torch.arange(8)), random(net, x, y, rng=torch.arange(8) + 9))


def test_the_surrogate_is_left_as_it_was() -> None:
    net, x = small_net(), torch.rand(6, 1, 8, 8, generator=torch_seed(0))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    Transferred(PGD, net)(Linear((1, 8, 8)), x, torch.zeros(6, dtype=torch.int64))
    assert all(m.training for m in net.modules()) and all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_columns_stand_as_in_the_paper_and_the_minimum_is_the_lowest() -> None:
    attacks: dict[str, Attack] = {"fgsm": FGSM, "pgd": PGD}
    battery = transfer(attacks, NETS)
    assert [e.name for e in battery] == ["fgsm@plain", "fgsm@other", "pgd@plain", "pgd@other"]
    x, y = digits(50)
    report = mrt.evaluate(THIRD, (x, y), battery, cascade=False, **QUICK)
    assert list(report.attacks) == [f"{e.name}-linf" for e in battery]
    assert report.minimum == min(report.attacks.values())
    found = FGSM(NETS["other"], x, y)
    right = (THIRD(found).argmax(1) == y) & (THIRD(x).argmax(1) == y)
    assert report.attacks["fgsm@other-linf"] == pytest.approx(float(right.double().mean()))
    assert report.info["attacks"]["pgd@plain-linf"]["forward"] == 0  # of the target


@pytest.fixture(scope="module")
def found() -> Transfer:
    attacks: dict[str, Attack] = {"fgm": mrt.FGM(UNION[1]), "pgd": PGD, "rt": mrt.RTWorstOf(RT, k=4)}
    return matrix(attacks, NETS, digits(40), batch_size=16, **QUICK)


def test_the_matrix_is_what_evaluate_finds(found: Transfer) -> None:
    """For each target, on what is made against each source."""
    attacks: dict[str, Attack] = {"fgm": mrt.FGM(UNION[1]), "pgd": PGD, "rt": mrt.RTWorstOf(RT, k=4)}
    battery = transfer(attacks, NETS)
    assert found.n == 40 and list(found.accuracy) == list(found.clean) == ["plain", "other"]
    for target, net in NETS.items():
        report = mrt.evaluate(net, digits(40), battery, cascade=False, batch_size=16, **QUICK)
        assert found.clean[target] == report.clean
        flat = {f"{a}@{s}": v for s, held in found.accuracy[target].items() for a, v in held.items()}
        assert flat == {label.rpartition("-")[0]: share for label, share in report.attacks.items()}
    assert len({v for held in found.accuracy.values() for part in held.values() for v in part.values()}) > 6


def test_the_lowest_from_others_leaves_a_models_own_out() -> None:
    a = {"a": {"x": 0.0, "y": 0.1}, "b": {"x": 0.5, "y": 0.4}, "c": {"x": 0.3, "y": 0.9}}
    b = {"a": {"x": 0.2, "y": 0.6}, "b": {"x": 0.1, "y": 0.1}, "c": {"x": 0.7, "y": 0.8}}
    c = {"a": {"x": 0.9, "y": 0.9}, "b": {"x": 0.8, "y": 0.9}, "c": {"x": 1.0, "y": 0.0}}
    assert Transfer({}, {"a": a, "b": b, "c": c}, 1).black_box == {"a": 0.3, "b": 0.2, "c": 0.8}
    alone = matrix({"fgsm": FGSM}, {"a": NET}, digits(5), **QUICK)
    assert alone.black_box == {} and "lowest" not in str(alone)


def test_the_matrix_prints_and_is_json(found: Transfer) -> None:
    assert Transfer(**json.loads(json.dumps(vars(found)))) == found
    lines = str(Transfer({"[b]A": 0.5, "B": 1.0}, {t: {s: {"pgd": 0.25} for s in "AB"} for t in ("[b]A", "B")}, 8))
    rows = {line.split()[0]: line.split()[1:] for line in lines.splitlines() if line.strip()}
    assert rows["[b]A"] == ["B"] and rows["clean"] == ["50.0", "100.0"] and rows["pgd@A"] == ["25.0", "25.0"]
    assert rows["8"] and "pgd@B" in rows and "lowest" in rows


def test_every_source_is_attacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    given = mrt.FGSM.__call__

    def counted(self: Any, model: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(len(x))
        return given(self, model, x, *args, **kwargs)

    monkeypatch.setattr(mrt.FGSM, "__call__", counted)
    three = NETS | {"third": THIRD}
    matrix({"fgsm": FGSM}, three, digits(20), batch_size=12, **QUICK)
    assert calls == [12, 8] * 3


def test_the_matrix_believes_nobody() -> None:
    """NaN and what lies outside box or threat breaks no model, and is told."""
    x, y = digits(20)

    class Lie(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, self.value)

    @dataclass(frozen=True)
    class Liar(Painted):
        def __call__(self, model: Any, x: Tensor, y: Tensor, **rest: Any) -> Tensor:
            made: Tensor = x + self.net(x)
            return made

    for value, named in ((torch.nan, "nan"), (2.0, "box")):
        with pytest.warns(UserWarning, match=f"liar@plain returned images that do not count: 20 {named}"):
            told = matrix({"liar": Liar(Lie(value), LINF)}, {"plain": NET}, (x, y), **QUICK)
        assert told.accuracy["plain"]["plain"]["liar"] == told.clean["plain"] > 0.5
    far = (NET(x.clamp(0.4, 0.6)).argmax(1) != y).sum()  # outside of every radius below 0.4

    class Grey(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(0.4, 0.6) - x

    with pytest.warns(UserWarning, match="20 outside"):
        told = matrix({"liar": Liar(Grey(), LINF)}, {"plain": NET}, (x, y), **QUICK)
    assert far > 0 and told.accuracy["plain"]["plain"]["liar"] == told.clean["plain"]


def test_a_source_without_a_gradient_is_attacked_all_the_same() -> None:
    def steps(x: Tensor) -> Tensor:
        logits: Tensor = NET((x * 4).round() / 4).detach()
        return logits

    with pytest.warns(UserWarning, match="flat: gradient masking: the model has no gradient"):
        told = matrix({"pgd": PGD}, {"flat": steps, "plain": NET}, digits(10), **QUICK)
    assert told.accuracy["plain"]["flat"]["pgd"] > told.accuracy["plain"]["plain"]["pgd"]


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: Transferred(3, NET), "needs an attack"),  # type: ignore[arg-type]
    (lambda: Transferred(mrt.PGD, NET), "needs an attack"),  # type: ignore[arg-type]
    (lambda: Transferred(PGD, 3), "surrogate must be a callable"),  # type: ignore[arg-type]
    (lambda: Transferred(mrt.RTGrid(RT), NET), "let transfer"),
    (lambda: transfer({}, {"a": NET}), "attacks must be a non-empty mapping"),
    (lambda: transfer({"a": PGD}, (NET,)), "surrogates must be a non-empty mapping"),  # type: ignore[arg-type]
    (lambda: transfer({"a@b": PGD, "a": PGD}, {"c": NET, "b@c": NET}), "two entries"),
    (lambda: matrix({}, {"a": NET}, digits(4), **QUICK), "attacks must be"),
    (lambda: matrix({"a": PGD}, {}, digits(4), **QUICK), "must be a non-empty mapping"),
    (lambda: matrix({"a": PGD}, {"a": NET}, digits(4), batch_size=0, **QUICK), "batch_size"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_calls_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_transferred_attack_is_no_setting_to_write_down(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        mrt.write_battery(transfer({"pgd": PGD}, {"a": NET}), tmp_path / "battery.json")
    assert not (tmp_path / "battery.json").exists()


def transferred(net: Any, attack: Attack = PGD) -> Transferred:
    return Transferred(attack, net)


CHANGES: dict[str, tuple[Attack, Attack]] = {
    "surrogate": (transferred(NET), transferred(THIRD)),
    "surrogate's method": (transferred(NET.forward), transferred(THIRD.forward)),
    "attack on it": (transferred(NET), transferred(NET, FGSM)),
    "weights": (Painted(Paint(0), LINF), Painted(Paint(1), LINF)),
    "setting": (Painted(Paint(steps=2), LINF), Painted(Paint(steps=3), LINF)),
    "buffer": (Painted(Paint(level=0.0), LINF), Painted(Paint(level=0.1), LINF)),
    "extra state": (Painted(Paint(extra="a"), LINF), Painted(Paint(extra="b"), LINF)),
    "parts": (
        Painted(nn.Sequential(Paint(), nn.ReLU()), LINF),
        Painted(nn.Sequential(Paint(), nn.Tanh()), LINF),
    ),
    "field": (Painted(Paint(), LINF), Painted(Paint(), LINF, share=0.5)),
    "inside": (mrt.WorstOf((Painted(Paint(0), LINF),)), mrt.WorstOf((Painted(Paint(1), LINF),))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_with_other_weights_is_another_attack(change: str, tmp_path: Path) -> None:
    one, other = CHANGES[change]
    assert isinstance(one, Attack) and isinstance(other, Attack)
    assert identity(one) != identity(other)
    call: dict[str, Any] = {"out": tmp_path, **QUICK}
    first = mrt.evaluate(NET, digits(6), (mrt.Entry("a", one, one.threat),), **call)
    held = (tmp_path / "report.json").read_bytes()
    with pytest.raises(ValueError, match="differs in battery"):
        mrt.evaluate(NET, digits(6), (mrt.Entry("a", other, other.threat),), **call)
    again = mrt.evaluate(NET, digits(6), (mrt.Entry("a", one, one.threat),), **call)
    assert str(again) == str(first) and (tmp_path / "report.json").read_bytes() == held


def test_the_same_network_is_known_again() -> None:
    """A copy of it, in whatever mode, before and after it is used; also through the report."""
    one, other = Painted(Paint(), LINF), Painted(Paint().eval(), LINF)
    assert identity(one) == identity(other) and "0x" not in identity(one)
    assert identity(mrt.Entry("a", one, LINF)) == identity(mrt.Entry("a", other, LINF))
    report = mrt.evaluate(NET, digits(6), (mrt.Entry("a", one, LINF),), **QUICK)
    assert report.info["attacks"]["a-linf"]["attack"] == identity(other)
    assert "steps" not in identity(one) and len(identity(transferred(NET))) < 300


@pytest.mark.parametrize("budget", [0.05, 1.0])
def test_what_holds_no_network_is_known_as_before(budget: float) -> None:
    """By its repr, so that folders begun earlier go on."""
    threats = (*UNION, RT)
    for make in mrt.batteries.NAMES.values():
        assert all(identity(entry) == repr(entry) for entry in make(threats, budget=budget))


def test_tensors_are_known_by_all_their_values() -> None:
    """Of a long one repr shows the ends."""

    @dataclass(frozen=True, eq=False)
    class Universal:
        delta: Tensor

    delta = torch.zeros(2000)
    held = Universal(delta.clone())
    delta[1000] = 1
    assert repr(held) == repr(Universal(delta)) and identity(held) != identity(Universal(delta))
    assert identity({"a": held}) != identity({"a": Universal(delta)})
