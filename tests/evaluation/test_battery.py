"""mrt/evaluation/battery.py, batteries.py and mrt/recipes/: Batteries as data: names, files, and what each paper's
holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import pytest

import mrt
from mrt.evaluation import batteries
from mrt.evaluation.batteries import NAMES, named
from mrt.evaluation.battery import name_entries
from mrt.protocols import Ball
from tests.support import UNION, digits, digits_net

ALL, NORMS = (*UNION, mrt.RotationTranslation(30, 3)), ("linf", "l2", "l1")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_named_battery_survives_a_file(name: str, classes: int, tmp_path: Path) -> None:
    battery = NAMES[name](ALL, classes=classes)
    union = {mrt.AnyOf(UNION)} if name == "smallest" else set()
    assert {entry.counts_for for entry in battery} == {*ALL, *union}
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
    msd = dict(zip((label for label, _ in name_entries(NAMES["msd"](UNION))), NAMES["msd"](UNION), strict=True))
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
        assert held <= {label for label, _ in name_entries(NAMES[name](ALL))}, name
    assert "aa.apgd-ce-l1" not in {label for label, _ in name_entries(NAMES["mng-ac"](ALL))}


SETTINGS = {
    "tramer-boneh": {
        "pgd-100-linf": "PGD(threat=Linf(eps=0.3), steps=100, loss='margin', restarts=40)",
        "pgd-1000-linf": "PGD(threat=Linf(eps=0.3), steps=1000, loss='margin')",
        "foolbox.hopskipjump-linf": "HopSkipJumpAttack steps=64",
        "slide-l1":
            "SLIDE(threat=L1(eps=10.0), steps=100, step_size=0.5, loss='margin', restarts=40, random_start=True)",
        "slide-1000-l1":
            "SLIDE(threat=L1(eps=10.0), steps=1000, step_size=2.55, loss='margin', random_start=True)",
        "foolbox.ead-l1":
            "EADAttack binary_search_steps=9 decision_rule='L1' initial_stepsize=0.01 regularization=0.01 steps=1000",
        "foolbox.pointwise-l1": "PointwiseAttack",
        "pgd-100-l2": "PGD(threat=L2(eps=2.0), steps=100, loss='margin', restarts=40)",
        "foolbox.cw-l2": "L2CarliniWagnerAttack binary_search_steps=9 steps=1000 stepsize=0.005",
        "foolbox.boundary-l2": "BoundaryAttack steps=5000",
    },
    "msd": {
        "pgd-linf": "PGD(threat=Linf(eps=0.3), steps=100, step_size=0.01, restarts=10, random_start=False)",
        "pgd-l2": "PGD(threat=L2(eps=2.0), steps=200, step_size=0.1, restarts=10)",
        "pgd-l1": "SLIDE(threat=L1(eps=10.0), steps=100, step_size=1, restarts=10, keep=(5, 20))",
        "foolbox.cw-l2": "L2CarliniWagnerAttack binary_search_steps=5 steps=200 stepsize=0.025",
        "foolbox.boundary-l2": "BoundaryAttack steps=5000",
        "foolbox.deepfool-l2": "L2DeepFoolAttack steps=100",
        "foolbox.ddn-l2": "DDNAttack steps=100",
        "foolbox.salt-and-pepper-l0": "SaltAndPepperNoiseAttack across_channels=False steps=1000",
    },
    "mng-ac": {
        "pgd-linf": "PGD(threat=Linf(eps=0.3), steps=50, step_size=0.0375)",
        "pgd-l2": "PGD(threat=L2(eps=2.0), steps=50, step_size=0.390625, random_start=True)",
        "slide-l1": "SLIDE(threat=L1(eps=10.0), steps=100, step_size=1, random_start=True)",
        "foolbox.pgd-linf": "LinfPGD steps=40",
        "foolbox.pgd-l2": "L2PGD steps=50",
        "foolbox.cw-l2": "L2CarliniWagnerAttack binary_search_steps=5 steps=200",
        "foolbox.ead-l1": "EADAttack binary_search_steps=5 decision_rule='L1' steps=1000",
        "foolbox.bb-linf": "LinfinityBrendelBethgeAttack steps=1000",
        "foolbox.gaussian-l2": "L2RepeatedAdditiveGaussianNoiseAttack repeats=100",
        "aa.square-l2": "square queries=5000",
    },
    "l2l-da": {
        "fgsm-linf": "FGSM(threat=Linf(eps=0.3))",
        "pgd-10-linf": "PGD(threat=Linf(eps=0.3), steps=10, step_size=0.075)",
        "pgd-100-linf": "PGD(threat=Linf(eps=0.3), steps=100, step_size=0.025)",
        "cw-100-linf": "CWLinf(threat=Linf(eps=0.3), step_size=0.001)",
        "cw-1000-linf": "CWLinf(threat=Linf(eps=0.3), steps=1000, step_size=0.001)",
    },
    "pgn": {
        "mim-l2": "MIM(threat=L2(eps=2.0), steps=100, step_size=0.06)",
        "foolbox.deepfool-l2": "L2DeepFoolAttack steps=100",
        "foolbox.cw-l2": "L2CarliniWagnerAttack binary_search_steps=5 initial_const=0.01 steps=100 stepsize=0.005",
    },
    "quick": {
        "apgd-ce-linf": "APGD(threat=Linf(eps=0.3))",
        "apgd-ce-l1": "APGD(threat=L1(eps=10.0), restarts=5, radii=(3.0, 2.0, 1.0))",
        "apgd-t-l2": "APGD(threat=L2(eps=2.0), loss='dlr', targets=9, radii=(32.0, 16.0, 8.0, 4.0, 2.0, 1.0))",
        "apgd-ce-l2": "APGD(threat=L2(eps=2.0))",
    },
    "standard": {"aa.square-linf": "square queries=5000", "aa.apgd-t-l1": "apgd-t"},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_the_settings_are_the_papers(name: str) -> None:
    """At MNIST's radii, against the numbers of each paper's evaluation, written out once more."""
    battery = NAMES[name]((mrt.Linf(0.3), mrt.L2(2.0), mrt.L1(10.0)))
    held = {label: told(entry.attack) for (label, _), entry in zip(name_entries(battery), battery, strict=True)}
    assert {label: held[label] for label in SETTINGS[name]} == SETTINGS[name]


# Steps, their length and restarts of an attack of ours, at the radii of the papers' other data sets, and at some of no
# paper's.
LENGTHS: dict[tuple[str, Ball, str], tuple[int, float | None, int]] = {
    ("tramer-boneh", mrt.Linf(4 / 255), "pgd-100"): (100, None, 20),
    ("tramer-boneh", mrt.L1(2000 / 255), "slide"): (100, 2.0, 20),
    ("tramer-boneh", mrt.L1(7.843), "slide"): (100, 2.0, 20),
    ("tramer-boneh", mrt.L1(2000 / 255), "slide-1000"): (1000, 2.0, 1),
    ("tramer-boneh", mrt.L1(12.0), "slide"): (100, 0.6, 40),
    ("msd", mrt.Linf(0.03), "pgd"): (50, 0.003, 10),
    ("msd", mrt.L2(0.5), "pgd"): (100, 0.05, 10),
    ("msd", mrt.L1(12.0), "pgd"): (100, 1.0, 10),
    ("msd", mrt.Linf(0.06), "pgd"): (100, 0.002, 10),
    ("mng-ac", mrt.Linf(8 / 255), "pgd"): (50, 1 / 255, 1),
    ("mng-ac", mrt.Linf(4 / 255), "pgd"): (50, 1 / 255, 1),
    ("mng-ac", mrt.L2(128 / 255), "pgd"): (50, 25 / 255, 1),
    ("mng-ac", mrt.L2(80 / 255), "pgd"): (50, 25 / 255, 1),
    ("mng-ac", mrt.L1(2000 / 255), "slide"): (100, 1.0, 1),
    ("mng-ac", mrt.L2(1.28), "pgd"): (50, 0.25, 1),
}


@pytest.mark.parametrize(("name", "ball", "attack"), LENGTHS)
def test_steps_are_as_long_as_the_paper_has_them_at_its_radii(name: str, ball: Ball, attack: str) -> None:
    (held,) = (e.attack for e in NAMES[name]((ball,)) if e.name == attack and not isinstance(e.attack, mrt.Foreign))
    steps, size, restarts = LENGTHS[name, ball, attack]
    assert isinstance(held, (mrt.PGD, mrt.SLIDE))
    assert (held.steps, held.restarts) == (steps, restarts)
    assert held.step_size == (None if size is None else pytest.approx(size, rel=1e-3))


def test_tramer_and_boneh_search_affine_sets_as_their_members() -> None:
    affine = mrt.Affine((mrt.RotationTranslation(30, 3), mrt.Linf(0.3)))
    *parts, whole = NAMES["tramer-boneh"]((affine,))
    members = NAMES["tramer-boneh"](affine.threats)
    assert [(e.name, e.attack) for e in parts] == [(f"part-{e.name}", e.attack) for e in members]
    assert all(e.counts_for == affine for e in parts)
    assert whole.attack == mrt.AffineAttack(affine, steps=100, restarts=10, loss="margin")


def told(attack: Any) -> str:
    """A foreign attack's name and settings; of ours what is not the default."""
    if isinstance(attack, mrt.Foreign):
        return " ".join([attack.name, *(f"{key}={value!r}" for key, value in attack.settings)])
    default = {f.name: f.default for f in dataclasses.fields(attack)}
    given = {f.name: getattr(attack, f.name) for f in dataclasses.fields(attack)}
    changed = [f"{key}={short(value)}" for key, value in given.items() if value != default[key]]
    return f"{type(attack).__name__}({', '.join(changed)})"


def short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{type(value).__name__}(eps={value.eps})" if hasattr(value, "eps") else repr(value)


def test_msds_grids_reach_the_radius_in_twenty_steps() -> None:
    battery = dict(zip((label for label, _ in name_entries(NAMES["msd"](UNION))), NAMES["msd"](UNION), strict=True))
    attack = battery["foolbox.fgsm-linf"].attack
    assert isinstance(attack, mrt.Foreign)
    grid = cast(Any, dict(attack.settings)["epsilons"])
    assert len(grid) == 20 and grid[-1] == pytest.approx(0.2) and grid[0] == pytest.approx(0.01)
    for label in ("foolbox.bim-linf", "foolbox.bim-l2"):  # 0.05 of 0.3
        attack = battery[label].attack
        assert isinstance(attack, mrt.Foreign)
        assert dict(attack.settings)["rel_stepsize"] == pytest.approx(0.05 / 0.3)


@pytest.mark.parametrize("name", NAMES)
def test_runs_are_only_asked_of_what_is_random(name: str) -> None:
    """Two runs of an entry with several give different results; ours have restarts of their own."""
    for entry in NAMES[name](UNION, budget=0.1):
        if entry.runs > 1:
            assert isinstance(entry.attack, mrt.Foreign) and entry.attack.name in (
                "L2RepeatedAdditiveGaussianNoiseAttack", "PointwiseAttack", "SaltAndPepperNoiseAttack",
            )  # fmt: skip


def test_the_budget_scales_steps_and_not_radii() -> None:
    full, small = NAMES["tramer-boneh"](UNION), NAMES["tramer-boneh"](UNION, budget=0.1)
    assert [e.threat for e in full] == [e.threat for e in small]
    assert isinstance(full[0].attack, mrt.PGD) and isinstance(small[0].attack, mrt.PGD)
    assert (full[0].attack.steps, full[0].attack.restarts) == (100, 40)
    assert (small[0].attack.steps, small[0].attack.restarts) == (10, 4)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_steps_go_as_far(name: str) -> None:
    """The length of the whole walk, where a battery fixes the steps' lengths; larger budgets keep these."""
    walks: dict[str, list[float]] = {}
    for budget in (1.0, 0.3, 3.0):
        battery = NAMES[name](UNION, budget=budget)
        for (label, _), entry in zip(name_entries(battery), battery, strict=True):
            size, steps = (getattr(entry.attack, field, None) for field in ("step_size", "steps"))
            if isinstance(size, float) and isinstance(steps, int):
                walks.setdefault(label, []).append(size * steps)
    assert walks or name in ("quick", "standard", "smallest")
    for label, (full, short, long) in walks.items():
        assert short == pytest.approx(full) and long == pytest.approx(3 * full), label


def test_no_step_gets_longer_than_the_ball_is_wide() -> None:
    for budget in (0.001, 0.02, 0.2):
        for name in NAMES:
            for entry in NAMES[name](UNION, budget=budget):
                size = getattr(entry.attack, "step_size", None)
                assert size is None or size <= 2 * entry.threat.eps * (1 + 1e-9)  # type: ignore[attr-defined]


def test_aimed_walks_run_through_as_many_balls_as_they_have_steps_for() -> None:
    """From 32 times the radius with the 100 steps that this was measured at, from 8 below, from 1 below ten."""
    for budget, radii in ((1.0, (32, 16, 8, 4, 2, 1)), (0.99, (8, 4, 2, 1)), (0.1, (8, 4, 2, 1)), (0.09, (1,))):
        aimed = {e.threat.name: cast(Any, e.attack) for e in NAMES["quick"](UNION, budget=budget) if e.name == "apgd-t"}
        assert aimed["l1"].radii == radii and aimed["linf"].radii is None
        assert aimed["l2"].radii == (None if radii == (1,) else radii)


def test_the_closest_points_of_each_ball_and_of_their_union() -> None:
    battery = NAMES["smallest"]((*UNION, mrt.RotationTranslation()))
    assert [label for label, _ in name_entries(battery)] == [
        "smallest-linf", "smallest-l2", "smallest-l1", "grid-rt", "smallest-union",
    ]  # fmt: skip
    assert [column for _, column in name_entries(battery)] == ["linf", "l2", "l1", "rt", "any"]
    for entry in battery:
        if not isinstance(entry.attack, mrt.Smallest):
            continue
        assert entry.distances and entry.attack.probes == 10
        search = cast(Any, entry.attack.attack)
        steps = sum(a.steps * max(getattr(a, "targets", 0), 1) for a in search.attacks)
        assert steps == (340 if entry.threat.name == "any" else 100)
        assert all(a.radii == (8, 4, 2, 1) for a in search.attacks if a.threat in UNION[1:])
    assert mrt.MSD(UNION, steps=40, best="broken") in search.attacks and search.threat == mrt.AnyOf(UNION)
    assert [e.threat.name for e in NAMES["smallest"](UNION[:1])] == ["linf"]  # one ball has no union
    named_union = NAMES["smallest"]((*UNION, mrt.AnyOf(UNION)))
    assert [e.threat.name for e in named_union] == ["linf", "l2", "l1", "any"]
    with pytest.raises(ValueError, match="only a union of balls"):
        NAMES["smallest"]((mrt.AnyOf((mrt.Linf(0.1), mrt.RotationTranslation())),))


def test_l0_is_judged_by_sigma_zero_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    threats, (x, y) = (mrt.Linf(0.1), mrt.L0(2)), digits(2)
    pair = ["greedy-l0", "foolbox.pointwise-l0"]
    for found, expected in ((object(), [pair[0], "advlib.sigma-zero-l0", "advlib.pdpgd-l0", pair[1]]), (None, pair)):
        monkeypatch.setattr(batteries, "find_spec", lambda name, found=found: found if name == "adv_lib" else 1 / 0)
        battery = NAMES["smallest"](threats, budget=0.05)
        assert [label for label, _ in name_entries(battery)] == ["smallest-linf", *expected]
        assert all(e.distances or e.name == "greedy" for e in battery)
        said = batteries.name_what_is_missing("smallest", threats)
        assert len(said) == (found is None) and not batteries.name_what_is_missing("smallest", threats[:1])
        assert not batteries.name_what_is_missing("quick", threats)
    battery[-1].build(None)  # imports Foolbox, with warnings of its own
    with pytest.warns(UserWarning, match="without sigma-zero.*pip install --no-deps adv-lib"):
        report = mrt.evaluate(digits_net(), (x, y), "smallest", threats=threats[1:], budget=0.05, progress=False)
    assert said[0] in report.warnings and report.distances["foolbox.pointwise-l0"].isfinite().all()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_random_models_have_a_form_of_their_own(classes: int) -> None:
    """As AutoAttack's version for them: on cross-entropy and on the DLR loss, over 20 draws."""
    quick = named("quick", ALL, classes, random=True)
    losses = {e.name: e.attack.loss for e in quick if isinstance(e.attack, mrt.APGD)}
    assert losses == {"apgd-ce": "ce", "apgd-dlr": "margin" if classes == 2 else "dlr"}
    assert {e.draws for e in quick} == {20} and len(quick) == 7
    standard = [e for e in named("standard", UNION, classes, random=True)]
    assert {e.name for e in standard} == ({"apgd-ce", "apgd-dlr"} if classes >= 4 else {"apgd-ce"})
    settings = [e.attack.settings for e in standard if isinstance(e.attack, mrt.Foreign)]
    assert settings == [(("version", "rand"),)] * len(standard) and {e.draws for e in standard} == {1}
    assert named("msd", UNION, classes, random=True) == named("msd", UNION, classes)  # a paper's is as published


def test_the_same_threat_twice_is_no_battery() -> None:
    with pytest.raises(ValueError, match="two entries of the battery are called 'apgd-ce-l2'"):
        mrt.batteries.quick((UNION[1], UNION[1]))


def test_the_budget_reaches_every_part_of_autoattack() -> None:
    full, small = NAMES["standard"](UNION[:1]), NAMES["standard"](UNION[:1], budget=0.2)
    assert [told(e.attack) for e in full] == ["apgd-ce", "apgd-t", "fab-t", "square queries=5000"]
    parts = ["apgd-ce steps=20", "apgd-t steps=20", "fab-t steps=20", "square queries=1000"]
    assert [told(e.attack) for e in small] == parts
    assert [told(e.attack) for e in NAMES["standard"](UNION[:1], budget=0.001)][0] == "apgd-ce steps=10"


def test_a_mixture_is_judged_by_its_parts_as_well() -> None:
    rt, both = mrt.RotationTranslation(30, 2), mrt.Affine((UNION[0], UNION[2]))
    names = name_entries(mrt.batteries.quick((UNION[2], both, mrt.Affine((rt, UNION[2])))))
    assert [label for label, column in names if column == names[-1][1]] == [
        "part-grid-rt", "part-apgd-ce#2-l1", "part-apgd-t#2-l1", names[-1][0],
    ]  # fmt: skip
    assert [label for label, column in names if column == names[2][1]] == [
        "part-apgd-ce-linf", "part-apgd-t-linf", "part-apgd-ce-l1", "part-apgd-t-l1", names[6][0],
    ]  # fmt: skip
    report = mrt.evaluate(
        digits_net(), digits(20), mrt.batteries.quick((UNION[0], UNION[2], both), budget=0.05), progress=False
    )
    assert report.threats["affine"] <= min(report.threats["linf"], report.threats["l1"])


def test_names_carry_the_radius_where_a_norm_comes_twice() -> None:
    threats = (mrt.Linf(0.1), mrt.Linf(0.3), mrt.L2(0.7))
    names = {label for label, _ in name_entries(mrt.batteries.quick(threats))}
    assert {"apgd-ce-linf@0.1", "apgd-ce-linf@0.3", "apgd-ce-l2"} <= names
    twice = (mrt.L2(0.7), mrt.L2(0.7, projection="exact"))
    assert len({label for label, _ in name_entries(mrt.batteries.quick(twice))}) == 4


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
