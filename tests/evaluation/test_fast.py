"""mrt/evaluation/evaluate.py, battery.py: `evaluate(fast=...)`: who runs fast and who does not, what the report says
of it, and that the judge never does. And what is not installed, which is said before anything runs."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt import cli
from mrt.evaluation.analysis.transfer import Transferred, TransferredSearch, transfer
from mrt.evaluation.battery import with_fast
from mrt.fast import Fast
from tests.support import UNION, digits, digits_net

LINF, L2, L1 = UNION
LOW = Fast("bfloat16", reuse=True)
MIXES = mrt.MSD(UNION, steps=2, bn="batch")
pytestmark = pytest.mark.filterwarnings("ignore:gradient masking")


def entry(name: str, attack: Any) -> mrt.Entry:
    return mrt.Entry(name, attack, attack.threat)


def attacks(*given: Any) -> list[Any]:
    """The same attacks in a battery that runs as LOW says."""
    battery = tuple(entry(str(number), attack) for number, attack in enumerate(given))
    return [e.attack for e in with_fast(battery, LOW)]


def test_fast_reaches_every_attack_of_ours_that_was_not_told_itself() -> None:
    plain, own = mrt.PGD(LINF, steps=2), mrt.PGD(L2, fast=Fast(compile=True))
    assert attacks(plain, own) == [replace(plain, fast=LOW), own]
    both = mrt.WorstOf((plain, mrt.OneAtRandom((mrt.SLIDE(L1), own))))
    inner = mrt.OneAtRandom((mrt.SLIDE(L1, fast=LOW), own))
    assert attacks(both) == [mrt.WorstOf((replace(plain, fast=LOW), inner))]
    greedy, motions = mrt.GreedyL0(mrt.L0(3)), mrt.RTWorstOf(mrt.RotationTranslation(20, 2), k=4)
    kept, moved = attacks(greedy, motions)
    assert kept is greedy and moved == replace(motions, fast=LOW)
    assert attacks(MIXES)[0].fast == replace(LOW, reuse=False)  # which MSD refuses there


def test_fast_reaches_attacks_on_surrogates_but_no_host() -> None:
    made = {"pgd": mrt.PGD(LINF, steps=2), "motions": mrt.RTWorstOf(mrt.RotationTranslation(20, 2), k=4)}
    host = mrt.Entry("bim", mrt.Foreign("foolbox", "LinfBasicIterativeAttack"), LINF)
    held = (*transfer(made, {"other": digits_net()}), host)  # type: ignore[arg-type]
    pgd, motions, foreign = (e.attack for e in with_fast(held, LOW))
    assert isinstance(motions, TransferredSearch) and isinstance(pgd, Transferred)
    assert pgd.attack == replace(made["pgd"], fast=LOW) and motions.attack.fast == LOW  # type: ignore[attr-defined,type-var]
    assert pgd.surrogate is held[0].attack.surrogate and foreign is host.attack  # type: ignore[union-attr]
    assert with_fast(held, Fast()) is held


@dataclass(frozen=True)
class Recorded:
    """Keeps what type the network's inner layer had at each call; the attack inside runs as it is told."""

    threat: Any
    fast: Fast = field(default=Fast())

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, *, target: Any = None, rng: Any = None, start: Any = None
    ) -> Tensor:
        Typed.told.append("attack")
        found = mrt.PGD(self.threat, steps=2, fast=self.fast)(model, x, y, rng=rng)
        Typed.told.append("judge")
        return found


class Typed(nn.Module):
    """A network of two layers that notes the type of what passes between them."""

    told: list[Any] = []

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        z = self.second(self.first(x.flatten(1)).relu())
        self.told.append(z.dtype)
        out: Tensor = z
        return out


def test_attacks_run_in_bfloat16_and_the_judge_in_float32(tmp_path: Path) -> None:
    net, x = Typed().eval(), digits(12)[0]
    data = x, net(x).argmax(1)
    Typed.told.clear()
    battery = (entry("recorded", Recorded(LINF)),)
    report = mrt.evaluate(net, data, battery, fast=Fast("bfloat16"), out=tmp_path / "a", progress=False)
    begin, end = Typed.told.index("attack"), Typed.told.index("judge")
    assert set(Typed.told[begin + 1 : end]) == {torch.bfloat16}
    assert set(Typed.told[:begin]) | set(Typed.told[end + 1 :]) == {torch.float32}
    assert "attacks of ours with Fast(precision='bfloat16'" in str(report)
    assert "bfloat16" in report.info["fast"] and "bfloat16" in report.info["attacks"]["recorded-linf"]["attack"]
    broken = net(report.worst).argmax(1) != data[1]
    assert torch.equal(report.robust, ~broken)  # as the user's own model classifies them
    with pytest.raises(ValueError, match="differs in battery, fast; choose"):
        mrt.evaluate(net, data, battery, out=tmp_path / "a", progress=False)


def test_reuse_compiled_steps_and_motions_in_one_battery() -> None:
    """Options that an attack cannot use do it no harm, and rounding aside nothing changes."""
    attacks = (
        mrt.MSD(UNION, steps=3),
        MIXES,
        mrt.PGD(LINF, steps=2),
        mrt.RTWorstOf(mrt.RotationTranslation(20, 2), k=4),
    )
    battery = tuple(entry(str(number), attack) for number, attack in enumerate(attacks))
    plain, fast = (
        mrt.evaluate(digits_net(), digits(24), battery, fast=how, cascade=False, progress=False)
        for how in (Fast(), Fast(graph=True, reuse=True))
    )
    for label in plain.masks:
        assert int((plain.masks[label] != fast.masks[label]).sum()) <= 1, label
    assert plain.info["fast"] == "Fast(precision='float32', compile=False, graph=False, reuse=False)"
    assert "Fast(" not in str(plain)


def unrun(x: Tensor) -> Tensor:
    raise AssertionError("the model ran")


@pytest.mark.parametrize("fast", ["bfloat16", None, True, Fast])
def test_a_bad_fast_is_refused_before_the_model_runs(fast: Any) -> None:
    with pytest.raises(ValueError, match=r"^fast must be a Fast\(\.\.\.\); got .*$"):
        mrt.evaluate(unrun, digits(4), "quick", threats=UNION, fast=fast, progress=False)


def test_the_command_line_offers_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mrt.save_model(digits_net(), tmp_path / "net.pt", width=8)
    given: list[Fast] = []
    front = sys.modules["mrt.evaluation.evaluate"]

    def noted(battery: Any, fast: Fast) -> Any:
        given.append(fast)
        return battery

    monkeypatch.setattr(front, "with_fast", noted)
    line = ["evaluate", str(tmp_path / "net.pt"), "--threats", "linf=0.2", "--images", "4", "--budget", "0.02"]
    assert cli.main([*line, "--no-progress"]) == 0
    assert cli.main([*line, "--precision", "bfloat16", "--graph", "--reuse", "--compile", "--no-progress"]) == 0
    assert set(given) == {Fast(), Fast("bfloat16", compile=True, graph=True, reuse=True)}


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these packages were not installed."""
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] in (*names, "mrt_foolbox", "mrt_art"):
            monkeypatch.delitem(sys.modules, loaded)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("host", "name", "package", "module"),
    [
        ("autoattack", "square", "pyautoattack", "pyautoattack"),
        ("foolbox", "LinfPGD", "foolbox", "foolbox"),
        ("art", "ProjectedGradientDescent", "adversarial-robustness-toolbox", "art"),
    ],
)
def test_an_entry_whose_package_is_missing_is_refused_before_the_model_runs(
    host: Any, name: str, package: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, module, *(("autoattack",) if host == "autoattack" else ()))
    battery = (entry("first", mrt.PGD(LINF)), mrt.Entry("theirs", mrt.Foreign(host, name), LINF))
    with pytest.raises(ValueError, match=f"^.* is not installed.*: pip install {package}$"):
        mrt.evaluate(unrun, digits(4), battery, progress=False)
    if host == "autoattack":
        with pytest.raises(ValueError, match="pip install pyautoattack"):
            mrt.evaluate(unrun, digits(4), "standard", threats=UNION, progress=False)


@dataclass(frozen=True)
class Blind:
    """An attack of the user's that asks for no gradient and finds nothing."""

    threat: Any

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, *, target: Any = None, rng: Any = None, start: Any = None
    ) -> Tensor:
        with torch.no_grad():
            model(x)
        return x


@pytest.mark.parametrize("own", ["none", "blind", "sees"])
def test_without_autoattack_the_search_for_masking_is_left_out_and_that_is_said(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start where the battery is ours; else where the run shows that nothing in it was a control."""
    hide(monkeypatch, "pyautoattack", "autoattack")
    more: dict[str, Any] = {"none": (), "blind": (entry("own", Blind(L2)),), "sees": (entry("own", Own(L2)),)}
    battery = (entry("pgd", mrt.PGD(L2, steps=2)), *more[own])
    events: list[str] = []

    def heard(message: Any, *_: Any, **__: Any) -> None:
        events.append(str(message))

    net = Noting(events)
    with warnings.catch_warnings():
        monkeypatch.setattr(warnings, "showwarning", heard)
        warnings.simplefilter("always")
        report = mrt.evaluate(net, digits(24), battery, progress=False)
    told = [text for text in events if text != "ran"]
    assert told == report.warnings
    missing = "gradient masking was not looked for by a random search: AutoAttack is not installed: pip install"
    said = [text for text in told if text.startswith(missing)]
    assert len(said) == (own != "blind")
    if said:
        assert (events.index(said[0]) < events.index("ran")) == (own == "none")


@dataclass(frozen=True)
class Own(Blind):
    """One that follows gradients, which only a run can show."""

    def __call__(self, model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
        found: Tensor = mrt.PGD(self.threat, steps=2)(model, x, y)
        return found


class Noting(nn.Module):
    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.net, self.events = digits_net(), events

    def forward(self, x: Tensor) -> Tensor:
        self.events.append("ran")
        z: Tensor = self.net(x)
        return z
