"""Batteries as data: names, files, and what each paper's holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import pytest

import mrt
from mrt.evaluation.batteries import NAMES
from mrt.evaluation.battery import labels
from tests.support import UNION

ALL, NORMS = (*UNION, mrt.RotationTranslation(30, 3)), ("linf", "l2", "l1")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_named_battery_survives_a_file(name: str, classes: int, tmp_path: Path) -> None:
    battery = NAMES[name](ALL, classes=classes)
    assert {entry.counts_for for entry in battery} == set(ALL)
    mrt.write_battery(battery, tmp_path / "battery.json")
    assert mrt.read_battery(tmp_path / "battery.json") == battery


def test_a_battery_with_every_kind_of_value_survives_a_file(tmp_path: Path) -> None:
    affine = mrt.Affine((mrt.Linf(0.2), mrt.L1(2.0)))
    battery = (
        mrt.Entry("affine", mrt.AffineAttack(affine, weights=(0.5, 0.5)), affine),
        mrt.Entry("msd", mrt.MSD(UNION, keep=(1, 6)), mrt.AnyOf(UNION), runs=3),
        mrt.Entry("l0", mrt.GreedyL0(mrt.L0(3)), mrt.L0(3), distances=True, column=mrt.L1(2.0)),
        mrt.Entry(
            "grid",
            mrt.RTGrid(mrt.RotationTranslation(20, 2, two_stage=True)),
            mrt.RotationTranslation(20, 2, two_stage=True),
        ),
        mrt.Entry("bf16", mrt.PGD(mrt.Linf(0.1), fast=mrt.Fast(precision="bfloat16")), mrt.Linf(0.1)),
    )
    mrt.write_battery(battery, tmp_path / "battery.json")
    assert mrt.read_battery(tmp_path / "battery.json") == battery


def test_the_paper_batteries_hold_what_the_papers_list() -> None:
    msd = dict(zip((label for label, _ in labels(NAMES["msd"](UNION))), NAMES["msd"](UNION), strict=True))
    assert {"pgd-linf", "foolbox.fgsm-linf", "foolbox.bim-linf", "foolbox.mim-linf"} <= set(msd)
    assert {"foolbox.gaussian-l2", "foolbox.boundary-l2", "foolbox.deepfool-l2", "foolbox.ddn-l2"} <= set(msd)
    assert {"pgd-l2", "foolbox.bim-l2", "foolbox.pointwise-l2", "foolbox.cw-l2", "pgd-l1"} <= set(msd)
    noise = msd["foolbox.salt-and-pepper-l0"]
    assert noise.threat == mrt.L0(2) and noise.counts_for == mrt.L1(2.0) and noise.runs == 10 and noise.distances
    assert msd["foolbox.boundary-l2"].runs == 1 and msd["foolbox.ddn-l2"].runs == 1
    papers = {
        "tramer-boneh": {"slide-l1", "foolbox.ead-l1", "foolbox.pointwise-l1", "foolbox.cw-l2", "foolbox.boundary-l2",
                         "pgd-100-linf", "pgd-1000-linf", "foolbox.hopskipjump-linf", "grid-rt", "worst-of-10-rt"},
        "mng-ac": {"foolbox.bb-linf", "foolbox.bb-l2", "aa.apgd-ce-linf", "aa.square-l2", "foolbox.salt-and-pepper-l1",
                   "foolbox.ead-l1", "foolbox.slide-l1", "foolbox.gaussian-l2"},
        "l2l-da": {"fgsm-linf", "pgd-10-linf", "pgd-100-linf", "cw-100-linf", "cw-1000-linf"},
        "pgn": {"fgm-l2", "mim-l2", "foolbox.deepfool-l2", "foolbox.cw-l2"},
        "standard": {f"aa.{part}-{norm}" for part in ("apgd-ce", "apgd-t", "fab-t", "square") for norm in NORMS},
        "quick": {f"{attack}-{norm}" for attack in ("apgd-ce", "apgd-t") for norm in NORMS} | {"grid-rt"},
    }  # fmt: skip
    for name, held in papers.items():
        assert held <= {label for label, _ in labels(NAMES[name](ALL))}, name
    assert "aa.apgd-ce-l1" not in {label for label, _ in labels(NAMES["mng-ac"](ALL))}


def test_the_budget_scales_steps_and_not_radii() -> None:
    full, small = NAMES["tramer-boneh"](UNION), NAMES["tramer-boneh"](UNION, budget=0.1)
    assert [e.threat for e in full] == [e.threat for e in small]
    assert isinstance(full[0].attack, mrt.PGD) and isinstance(small[0].attack, mrt.PGD)
    assert (full[0].attack.steps, full[0].attack.restarts) == (100, 40)
    assert (small[0].attack.steps, small[0].attack.restarts) == (10, 4)


def test_names_carry_the_radius_where_a_norm_comes_twice() -> None:
    threats = (mrt.Linf(0.1), mrt.Linf(0.3), mrt.L2(0.7))
    names = {label for label, _ in labels(mrt.batteries.quick(threats))}
    assert {"apgd-ce-linf@0.1", "apgd-ce-linf@0.3", "apgd-ce-l2"} <= names
    twice = (mrt.L2(0.7), mrt.L2(0.7, projection="exact"))
    assert len({label for label, _ in labels(mrt.batteries.quick(twice))}) == 4


PGD = mrt.PGD(mrt.Linf(0.1))
FIELDS = {"type": "Entry", "name": "a", "attack": {"type": "PGD"}, "threat": {"type": "Linf", "eps": 0.1}}
BAD_FILES = {
    "not JSON": "nonsense",
    "no list": json.dumps({"type": "Entry"}),
    "unknown type": json.dumps([{**FIELDS, "attack": {"type": "PDG"}}]),
    "unknown setting": json.dumps([{**FIELDS, "attack": {"type": "PGD", "step": 3}}]),
    "missing setting": json.dumps([FIELDS]),
    "code": json.dumps([{**FIELDS, "attack": {"type": "os:system", "command": "true"}}]),
    "no type": json.dumps([{"name": "a"}]),
    "unknown host": json.dumps([{**FIELDS, "attack": {"type": "Foreign", "host": "torchattacks", "name": "PGD"}}]),
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "battery.json").write_text(text)
    with pytest.raises(ValueError, match="battery"):
        mrt.read_battery(tmp_path / "battery.json")


def test_a_type_of_your_own_needs_permission(tmp_path: Path) -> None:
    entry = mrt.Entry("own", OwnAttack(mrt.Linf(0.1)), mrt.Linf(0.1))
    mrt.write_battery((entry,), tmp_path / "battery.json")
    with pytest.raises(ValueError, match="allow"):
        mrt.read_battery(tmp_path / "battery.json")
    own = f"{OwnAttack.__module__}:OwnAttack"
    assert repr(mrt.read_battery(tmp_path / "battery.json", allow=(own,))) == repr((entry,))


@dataclasses.dataclass(frozen=True)
class OwnAttack:
    threat: mrt.Linf

    def __call__(self, model, x, y, *, target=None, rng=None, start=None):  # type: ignore[no-untyped-def]
        return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mrt.Entry("a", PGD, mrt.Linf(0.2)), "judged in"),
        (lambda: mrt.Entry("a", cast(Any, "PGD"), mrt.Linf(0.2)), "attack of 'a'"),
        (lambda: mrt.Entry("a", PGD, cast(Any, mrt.Linf)), "threat of 'a'"),
        (lambda: mrt.Entry("", PGD, mrt.Linf(0.1)), "name"),
        (lambda: mrt.Entry("a", PGD, mrt.Linf(0.1), 0), "runs"),
        (lambda: mrt.Foreign("foolbox", 3), "host, a name"),  # type: ignore[arg-type]
        (lambda: mrt.batteries.quick(()), "threats"),
        (lambda: mrt.batteries.quick((mrt.L0(3),)), "no named battery"),
        (lambda: mrt.batteries.quick((mrt.Linf(0.1),), budget=0), "budget"),
        (lambda: mrt.write_battery((mrt.Entry("a", PGD, mrt.Linf(0.1)),) * 2, "x.json"), "called 'a-linf'"),
        (lambda: mrt.write_battery((3,), "x.json"), "Entry"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_battery_is_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()
