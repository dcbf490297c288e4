"""mrt/evaluation/report/ (report.py, page.py, charts.py, tables.py): What the user keeps: files that load again, and
a page that needs nothing else."""

from __future__ import annotations

import html.parser
import json
import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import mrt
from mrt.evaluation.report import charts, page, tables
from mrt.evaluation.report.report import _digest
from mrt.recipes import published
from tests.support import UNION, digits, digits_net

pytestmark = pytest.mark.filterwarnings("ignore:gradient masking", "ignore:the model's outputs")
RT = mrt.RotationTranslation(30, 2)


@pytest.fixture(scope="module")
def report() -> mrt.Report:
    battery = (
        *mrt.batteries.quick((*UNION, RT), budget=0.05),
        mrt.Entry("<b>cw & co", mrt.Foreign("foolbox", "DDNAttack", (("steps", 10),)), UNION[1], distances=True),
    )
    return mrt.evaluate(digits_net(), digits(50), battery, progress=False)


def test_a_report_loads_as_it_was_saved(report: mrt.Report, tmp_path: Path) -> None:
    report.warnings.append("a warning")
    report.save(tmp_path)
    loaded = mrt.Report.load(tmp_path)
    report.warnings.pop()
    assert str(loaded) == f"{report}\nwarning: a warning" or loaded.warnings[-1] == "a warning"
    for name in ("clean", "union", "average", "threats", "attacks", "intervals", "columns", "n"):
        assert getattr(loaded, name) == getattr(report, name), name
    for name in ("masks", "ran", "distances"):
        for label, values in getattr(report, name).items():
            assert torch.equal(getattr(loaded, name)[label], values)
    assert torch.equal(loaded.worst, report.worst) and loaded.info == json.loads(json.dumps(report.info))
    again = tmp_path / "second-copy"
    loaded.save(again)
    for name in ("report.json", "index.html", "curve-l2.svg"):
        assert (again / name).read_text().replace("second-copy", tmp_path.name) == (tmp_path / name).read_text()


def test_the_json_holds_what_a_reader_needs(report: mrt.Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    held = json.loads((tmp_path / "report.json").read_text())
    assert held["n"] == 50 and held["accuracy"]["union"] == report.union
    assert set(held["interval_95"]) >= {"clean", "linf", "l2", "l1", "rt", "union", "average"}
    assert held["info"]["seed"] == 0 and held["info"]["versions"]["torch"] == metadata.version("torch")
    attacks = held["info"]["attacks"]
    assert attacks["apgd-ce-l1"]["attack"].startswith("APGD(") and attacks["apgd-ce-l1"]["forward"] > 0
    assert attacks["apgd-ce-l1"]["backward"] > 0 and attacks["grid-rt"]["backward"] == 0
    assert attacks["apgd-ce-l1"]["seconds"] > 0
    assert list(held["rho"]) == ["foolbox.<b>cw & co-l2"] and held["rho"]["foolbox.<b>cw & co-l2"]["n"] > 0
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert {"correct", "robust", "worst", "mask/apgd-ce-l1", "distance/apgd-ce-l1"} <= set(arrays.files)
        assert arrays["worst"].shape == (50, 1, 8, 8)


class Checker(html.parser.HTMLParser):
    """Open and closing tags, and what a page would fetch."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.images += tag == "img"
        self.fetched += [v or "" for k, v in attrs if k in ("src", "href") and not (v or "").startswith("data:")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_self_contained(report: mrt.Report) -> None:
    text = page.render([("run", report)])
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and checker.fetched == []
    assert checker.images == 3 * sum(len(s.index) for s in report.samples.values()) > 0
    assert "&lt;b&gt;cw &amp; co" in text and "<b>cw" not in text
    for name, share in (*report.threats.items(), ("union", report.union)):
        assert re.search(rf"<td>{name}</td><td>{100 * share:.1f}</td>", text), name
    assert "url(" not in text and "@import" not in text and "<script" not in text


def test_the_pictures_are_the_images(report: mrt.Report) -> None:
    import base64
    import io

    from PIL import Image

    x = torch.tensor([[[0.0, 0.2], [0.6, 1.0]]])
    picture = Image.open(io.BytesIO(base64.b64decode(page._png(x))))
    assert np.asarray(picture).tolist() == [[0, 51], [153, 255]]
    colour = torch.rand(3, 4, 5)
    picture = Image.open(io.BytesIO(base64.b64decode(page._png(colour))))
    assert np.abs(np.asarray(picture) / 255 - colour.permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6


def test_the_curves_are_svg_that_follows_the_distances(report: mrt.Report) -> None:
    drawn = charts.curves([report])
    assert set(drawn) == {"linf", "l2", "l1"}
    root = ElementTree.fromstring(drawn["l2"])
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    labels = [a for a in report.distances if a.endswith("l2") and report.info["attacks"][a]["closest"]]
    whole = [label for label in labels if torch.equal(report.ran[label], report.correct)]
    lines = [line for line in lines if len((line.get("points") or "").split()) > 1]
    assert len(whole) == len(labels) == 1 and len(lines) == 2  # and the worst of all
    first, last = (
        tuple(map(float, p.split(","))) for p in (lines[-1].get("points") or "").split()[:: charts.POINTS - 1]
    )
    assert first[1] == pytest.approx(charts._y(report.clean), abs=0.06)
    smallest = torch.stack([report.distances[a] for a in labels]).amin(0)
    finite = torch.cat([report.distances[a] for a in (*whole, *labels)])
    top = max(float(finite[finite.isfinite()].quantile(0.98)), 1.05 * 0.7)
    assert last[1] == pytest.approx(charts._y(float((smallest > top).double().mean())), abs=0.06 + 200 / 50)


def test_an_attack_at_a_fixed_radius_is_a_dot_and_no_cliff(report: mrt.Report) -> None:
    root = ElementTree.fromstring(charts.curves([report])["linf"])
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    assert all(len((line.get("points") or "").split()) == 1 for line in lines)
    dots = [e for e in root.iter() if e.tag.endswith("circle")]
    first = next(label for label in report.masks if label.endswith("-linf"))
    heights = [float(dot.get("cy") or "nan") for dot in dots]
    assert heights == pytest.approx([charts._y(report.attacks[first]), charts._y(report.threats["linf"])], abs=0.06)
    assert len({dot.get("cx") for dot in dots}) == 1  # at the radius


def test_the_first_line_says_what_was_judged(report: mrt.Report) -> None:
    assert "or every correct example where it measures distances" in tables.headline(report)
    whole = mrt.evaluate(digits_net(), mrt.data.digits("test").take(9), "quick", threats=UNION[:1], progress=False)
    said = str(whole).splitlines()[0]
    assert said == "9 examples of digits test; each attack saw what the earlier ones on its threat left"
    for budget, remark in ((0.05, "; budget 0.05, a first look, not comparable"), (2.0, "; budget 2")):
        other = mrt.evaluate(
            digits_net(), digits(9), "quick", threats=UNION[:1], budget=budget, cascade=False, progress=False
        )
        assert tables.headline(other) == f"9 examples; every attack saw every correct example{remark}"
        assert other.info["budget"] == budget and remark in page.render([("a", other)])


@pytest.mark.parametrize("top", [1e-4, 0.21, 0.735, 1.0, 1.999, 2.0, 5.25, 9.99, 10.0, 64.0, 12345.0])
def test_ticks_are_round_and_few(top: float) -> None:
    found = charts.ticks(top)
    assert 3 <= len(found) <= 6 and found[0] == 0 and top * 0.5 < found[-1] <= top * (1 + 1e-6)
    steps = {f"{b - a:.3e}"[:3] for a, b in zip(found, found[1:], strict=False)}
    assert steps <= {"1.0", "2.0", "5.0"}


def test_several_reports_side_by_side(report: mrt.Report, tmp_path: Path) -> None:
    other = mrt.evaluate(
        digits_net(steps=60, eps=0.2), digits(50), mrt.batteries.quick(UNION, budget=0.05), progress=False
    )
    several, paper = tables.table_lines([("a", report), ("b", other)]), published.lines(["msd-mnist"], [])
    names = tables.columns([*several, *paper])
    sizes = ["linf 0.2", "l2 0.7", "l1 2", "rt 30,2", "linf 0.3", "l2 2", "l1 10"]
    assert names == ["clean", *sizes, "union", "average", "n"]
    rows = {line.title: tables.cells(line, names) for line in (*several, *paper)}
    low, high = report.intervals["union"]
    assert rows["a"][names.index("union")] == f"{100 * report.union:.1f} ({100 * low:.1f}–{100 * high:.1f})"
    assert rows["b"][names.index("rt 30,2")] == "" and rows["a"][-1] == "50" and rows["a"][names.index("l2 2")] == ""
    assert tables.BEST not in rows  # they differ in their threats
    alike = mrt.evaluate(digits_net(), digits(50), mrt.batteries.quick(UNION, budget=0.05), progress=False)
    best = tables.table_lines([("b", other), ("c", alike)])[-1]
    assert best.title == tables.BEST
    assert best.values["linf"] == 100 * max(alike.threats["linf"], other.threats["linf"])
    row = rows["Maini et al. 2020, MNIST: MSD"]
    assert row == ["98.3", "", "", "", "", "62.7", "67.9", "65.0", "58.4", "", ""]
    text = page.render([("a", report), ("b", other)], paper)
    Checker().feed(text)
    assert "Side by side" in text and "Maini et al. 2020, MNIST: MSD" in text
    assert "b beside a: the reports do not compare" in text
    text = page.render([("b", other), ("c", alike)])
    assert f"union of c beside b: {other.compare(alike)['union']}" in text


def test_published_rows_come_where_battery_and_radii_agree() -> None:
    class Info:
        def __init__(self, name: str, data: str = "mnist test", budget: float = 1.0, **radii: float) -> None:
            shape: Any = [1, 28, 28] if data == "mnist test" else [3, 32, 32]
            self.info: dict[str, Any] = {"name": name, "radii": {k: [v] for k, v in radii.items()}}
            self.info |= {"data name": data, "shape": shape, "budget": budget}

    def lines(*names: str, report: Any = None) -> int:
        return len(published.lines(names, [] if report is None else [report]))

    msd: dict[str, Any] = {"name": "msd", "linf": 0.3, "l2": 2.0, "l1": 10.0}
    assert lines(report=Info(**msd)) == 6
    rounded: dict[str, Any] = {"name": "mng-ac", "linf": 0.03137, "l2": 0.50196, "l1": 7.843}  # as typed for 8/255
    assert lines(report=Info(data="cifar10 test", **rounded)) == lines(report=Info(data="svhn test", **rounded)) == 10
    differing: tuple[tuple[dict[str, Any], str], ...] = (
        ({"name": "quick"}, "attacks"),
        ({"linf": 0.2}, "radii"),
        ({"data": "digits test"}, "data"),
        ({"data": "mnist train"}, "data"),
        ({"data": ""}, "data"),
        ({"data": "cifar10 test"}, "data"),
        ({"budget": 0.05}, r"budget (0.05)"),
        ({"budget": 0.05, "linf": 0.2}, r"budget (0.05), radii"),
    )
    for change, said in differing:  # not shown unasked; where asked for, with what differs
        other = Info(**msd | change)
        assert lines(report=other) == 0
        titles = [line.title for line in published.lines(["msd-mnist"], [other])]  # type: ignore[list-item]
        assert len(titles) == 6 and all(title.endswith(f"(not comparable: other {said})") for title in titles)
    named = published.lines(["msd-mnist"], [Info(**msd), Info(**msd | {"linf": 0.2})])  # type: ignore[list-item]
    assert not any("not comparable" in line.title for line in named)  # one of the two compares
    assert lines(report=Info("msd", linf=0.3, l2=2.0)) == 0
    assert lines("msd") == 14 and lines("msd-mnist") == 6
    assert lines(report=Info("l2l-da", linf=0.3)) == 6  # another count, more data: only where they are named
    assert lines("l2l-da") == 27 and lines("mng-ac-cifar10-rst") == 2
    with pytest.raises(ValueError, match="published must be one of"):
        published.lines(["msdd"], [])


def test_l2l_das_minimum_stands_in_a_column_of_its_own() -> None:
    battery = mrt.batteries.l2l_da((mrt.Linf(0.3),), budget=0.01)
    whole = mrt.evaluate(digits_net(), digits(20), battery, cascade=False, progress=False)
    part = mrt.evaluate(digits_net(), digits(20), battery, progress=False)
    assert whole.minimum == min(whole.attacks.values()) >= whole.threats["linf"]
    with pytest.raises(ValueError, match="cascade=False"):
        assert part.minimum
    lines = [tables.table_lines([("x", r)])[0] for r in (whole, part)]
    assert lines[0].values["min"] == 100 * whole.minimum and "min" not in lines[1].values
    paper = published.lines(["l2l-da-mnist"], [])
    names = tables.columns([*lines, *paper])
    attacks = [name for name in names if "-linf" in name]  # those of the paper that ran here, too
    assert attacks == [f"{a}-linf 0.3" for a in ("fgsm", "pgd-10", "pgd-100", "cw-100", "cw-1000")]
    figures = ("97.9", "95.7", "95.2", "97.3", "95.3")
    told = {"clean": "98.5", "min": "94.6"} | dict(zip(attacks, figures, strict=True))
    assert tables.cells(paper[-1], names) == [told.get(name, "") for name in names]
    assert tables.cells(lines[0], names)[names.index("fgsm-linf 0.3")] == f"{100 * whole.attacks['fgsm-linf']:.1f}"
    assert not set(attacks) & set(tables.columns(lines))  # reports alone compare threats
    smaller = replace(lines[0], radii={"linf": (0.1,)})
    for other in (smaller, lines[1]):  # at another radius, or of survivors alone, an attack is another figure
        assert not [name for name in tables.columns([other, *paper]) if "-linf" in name]
    assert part.summary()["minimum"] is None and whole.summary()["minimum"] == whole.minimum


@pytest.mark.parametrize("damage", ["missing", "json", "arrays", "cut", "label"])
def test_a_damaged_report_is_named(report: mrt.Report, tmp_path: Path, damage: str) -> None:
    report.save(tmp_path)
    if damage == "missing":
        (tmp_path / "report.json").unlink()
    elif damage == "json":
        (tmp_path / "report.json").write_text("{")
    elif damage == "cut":
        held = (tmp_path / "arrays.npz").read_bytes()
        (tmp_path / "arrays.npz").write_bytes(held[: len(held) // 2])
    elif damage == "arrays":
        (tmp_path / "arrays.npz").write_bytes(b"nothing")
    else:
        text = json.loads((tmp_path / "report.json").read_text())
        text["columns"]["other"] = "l1"
        (tmp_path / "report.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match=f"{tmp_path.name}(.*cannot be read| holds (no finished|a damaged) report)"):
        mrt.Report.load(tmp_path)


def test_a_forged_column_names_no_other_folder_and_a_long_label_is_none(report: mrt.Report, tmp_path: Path) -> None:
    label = next(iter(report.columns))
    long = "x" * 100 + label  # a name, and what the report itself adds to it
    for column, allowed in (("l2", True), ("../l2", False)):
        renamed = mrt.Report(report.correct, report.worst, dict(report.info))
        renamed.columns, renamed.masks, renamed.ran = (
            {long: column},
            {long: report.masks[label]},
            {long: report.ran[label]},
        )
        renamed.samples = {long: report.samples[label]}
        renamed.info = {**report.info, "attacks": {long: report.info["attacks"][label]}}
        arrays, summary = renamed._arrays(), renamed.summary()
        plain: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
        np.savez(tmp_path / "arrays.npz", **plain)
        text = json.dumps({**summary, "digest": _digest(summary, arrays)})
        (tmp_path / "report.json").write_text(text)
        if allowed:
            assert mrt.Report.load(tmp_path).columns == {long: column}
        else:
            with pytest.raises(ValueError, match="no name of a threat"):
                mrt.Report.load(tmp_path)
