"""mrt/evaluation/report/charts.py, mrt/evaluation/analysis/pictures.py: Lines and pictures that hold what they were
given."""

from __future__ import annotations

import io
import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from mrt.evaluation.analysis.pictures import GAP, LEAST, sheet
from mrt.evaluation.report import charts
from tests.support import torch_seed

SERIES: dict[str, charts.Points] = {
    "PGD <10>": [(0.0, 0.5, 0.1), (1.0, 1.5, 0.25), (2.0, 1.75, 0.0)],
    "L2L & DA": [(0.0, 0.4, None), (2.0, 1.2, None)],
}


def drawn(text: str) -> dict[str, list[ElementTree.Element]]:
    """The elements by tag."""
    found: dict[str, list[ElementTree.Element]] = {}
    for element in ElementTree.fromstring(text).iter():
        found.setdefault(element.tag.rpartition("}")[2], []).append(element)
    return found


def classed(elements: list[ElementTree.Element], name: str) -> list[ElementTree.Element]:
    return [e for e in elements if name in (e.get("class") or "").split()]


def path(element: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = [p.split(",") for p in (element.get("points") or "").split()]
    return [(float(x), float(y)) for x, y in pairs]


def scales(parts: dict[str, list[ElementTree.Element]]) -> tuple[Any, Any]:
    """From a picture's place to the value that its ticks say stands there."""
    ticks = [t for t in parts["text"] if re.fullmatch(r"-?[\d.e+-]+", t.text or "")]
    across = [(float(t.get("x") or 0), float(t.text or 0)) for t in ticks if t.get("text-anchor") == "middle"]
    up = [(float(t.get("y") or 0) - 4, float(t.text or 0)) for t in ticks if t.get("text-anchor") == "end"]

    def scale(pairs: list[tuple[float, float]]) -> Any:
        (a, one), (b, two) = pairs[0], pairs[-1]
        return lambda place: one + (place - a) / (b - a) * (two - one)

    assert len(across) >= 2 and len(up) >= 2
    return scale(across), scale(up)


def test_points_stand_where_the_ticks_say() -> None:
    text = charts.lines("the loss", "iteration", "max loss", SERIES)
    parts = drawn(text)
    x_of, y_of = scales(parts)
    for element, points in zip(parts["polyline"], SERIES.values(), strict=True):
        for (x, y), (a, b, _) in zip(path(element), points, strict=True):
            assert x_of(x) == pytest.approx(a, abs=0.01) and y_of(y) == pytest.approx(b, abs=0.01)
    assert {"the loss", "iteration", "max loss", *SERIES} <= {e.text for e in (*parts["title"], *parts["text"])}
    assert [e.text for e in parts["text"]][-2:] == list(SERIES)  # the legend
    for name, line in zip(SERIES, parts["polyline"], strict=True):
        own = line.get("class")
        assert [e.text for e in line] == [name]
        assert any(e.get("class") == own and float(e.get("y1") or 0) > charts.HEIGHT for e in parts["line"])
    assert parts["polyline"][0].get("class") != parts["polyline"][1].get("class")


def test_error_bars_reach_as_far_as_the_spread() -> None:
    parts = drawn(charts.lines("t", "x", "y", SERIES))
    x_of, y_of = scales(parts)
    bars = classed(parts["line"], "spread")
    assert len(bars) == 3  # none where the spread is None
    for bar, (x, y, spread) in zip(bars, SERIES["PGD <10>"], strict=True):
        ends = sorted(y_of(float(bar.get(k) or 0)) for k in ("y1", "y2"))
        assert x_of(float(bar.get("x1") or 0)) == pytest.approx(x, abs=0.01) and bar.get("x1") == bar.get("x2")
        assert ends == pytest.approx([y - (spread or 0), y + (spread or 0)], abs=0.01)


def test_markers_are_optional() -> None:
    with_them, without = (drawn(charts.lines("t", "x", "y", SERIES, markers=m)) for m in (True, False))
    places = [(float(e.get("cx") or 0), float(e.get("cy") or 0)) for e in with_them["circle"]]
    assert places == [place for line in with_them["polyline"] for place in path(line)] and "circle" not in without


def test_a_chart_fetches_nothing_and_follows_the_reader() -> None:
    text = charts.lines("<&>", "<&>", "<&>", {"<&>": SERIES["L2L & DA"]})
    assert "prefers-color-scheme: dark" in text and "href" not in text and "url(" not in text
    ElementTree.fromstring(text)


def test_what_is_no_number_is_left_out() -> None:
    points: charts.Points = [(0.0, 1.0, None), (1.0, math.nan, None), (2.0, 3.0, math.inf), (3.0, 2.0, 0.5)]
    parts = drawn(charts.lines("t", "x", "y", {"a": points}))
    assert len(path(parts["polyline"][0])) == 2 and "nan" not in ElementTree.tostring(parts["svg"][0]).decode()
    empty: list[dict[str, charts.Points]] = [{}, {"a": []}, {"a": [(0.0, math.nan, None)]}]
    for series in empty:
        with pytest.raises(ValueError, match="at least one point"):
            charts.lines("t", "x", "y", series)


POINT = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.one_of(st.none(), st.floats(0, 1e3)))


@given(st.dictionaries(st.sampled_from("abc"), st.lists(POINT, min_size=1, max_size=6), min_size=1))
@example({"a": [(0.0, 5e-324, None)]})
@example({"a": [(0.0, 0.0, None), (0.0, 5e-324, None)]})
@example({"a": [(-1e-300, 1.0, None), (3e-310, -5e-324, 2e-308)], "b": [(0.0, 2e-290, None)]})
def test_everything_lies_within_the_frame(series: dict[str, Any]) -> None:
    parts = drawn(charts.lines("t", "x", "y", series))
    left, right, low, high = charts._x(0) - 0.1, charts._x(1) + 0.1, charts._y(1) - 0.1, charts._y(0) + 0.1
    bars = [
        (float(b.get("x1") or 0), float(b.get(k) or 0)) for b in classed(parts["line"], "spread") for k in ("y1", "y2")
    ]
    for x, y in (*bars, *(place for line in parts["polyline"] for place in path(line))):
        assert left <= x <= right and low <= y <= high


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
@example(0.0, 0.3)  # 0.3 / 0.05 is a little less than 6
def test_ticks_are_round_few_and_inside(low: float, length: float) -> None:
    axis = charts.Axis("", low, low + length)
    found = charts._ticks(axis)
    assert 2 <= len(found) <= 6
    assert axis.low - 1e-6 * length <= found[0] and found[-1] <= axis.high + 1e-6 * length
    step = float(f"{found[1] - found[0]:.1e}")
    assert f"{step:.3e}"[:3] in ("1.0", "2.0", "5.0") and all(b - a == pytest.approx(step) for a, b in pairwise(found))
    assert all(abs(tick / step - round(tick / step)) < 1e-6 for tick in found)
    assert found[0] - axis.low <= step * (1 + 1e-6) and axis.high - found[-1] <= step * (1 + 1e-6)


def test_accuracies_start_at_zero_and_losses_need_not() -> None:
    assert charts._axis_around("", [0.2, 0.9]).low == 0 and charts._axis_around("", [97.2, 98.5]).low == 97.2
    assert charts._axis_around("", [-0.5, 2.0]).low == -0.5
    one = charts._axis_around("", [3.0, 3.0])
    assert one.low < 3 < one.high and charts._axis_around("", [0.0]).low < 0 < charts._axis_around("", [0.0]).high


def tiles(png: bytes, rows: dict[str, Tensor]) -> dict[str, list[Any]]:
    """The pixels of each image in the sheet, from its right edge, where the widest row ends."""
    page = np.asarray(Image.open(io.BytesIO(png)))
    sizes = {}
    for name, x in rows.items():
        times = max(1, math.ceil(LEAST / min(x.shape[2:])))
        sizes[name] = (x.shape[2] * times, x.shape[3] * times, times)
    left = page.shape[1] - max(len(x) * (sizes[name][1] + GAP) for name, x in rows.items())
    found, y = {}, GAP
    for name, x in rows.items():
        high, wide, times = sizes[name]
        starts = [left + i * (wide + GAP) for i in range(len(x))]
        found[name] = [page[y : y + high, at : at + wide] for at in starts]
        assert (page[y : y + high, :left] < 128).any(), "no label"
        y += high + GAP
    assert page.shape[0] == y
    return found


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9), (1, 28, 28), (3, 64, 50), (3, 48, 47)])
def test_a_sheet_holds_the_images_enlarged(shape: tuple[int, ...]) -> None:
    g = torch_seed(0)
    rows = {"clean": torch.rand(3, *shape, generator=g), "augmented, wider": torch.rand(2, 1, 6, 6, generator=g)}
    for name, images in tiles(sheet(rows), rows).items():
        assert len(images) == len(rows[name])
        for image, x in zip(images, rows[name], strict=True):
            times = image.shape[0] // x.shape[1]
            assert min(image.shape[:2]) >= 48 and (times == 1 or min(x.shape[1:]) * (times - 1) < 48)
            whole = x.expand(3, -1, -1).permute(1, 2, 0).repeat_interleave(times, 0).repeat_interleave(times, 1)
            assert np.abs(image / 255 - whole.numpy()).max() <= 0.5 / 255 + 1e-6


def test_noise_is_grey_where_nothing_changes_and_magnified() -> None:
    x = torch.zeros(3, 1, 8, 8)
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 0.01, -0.005
    x[1, 0, 3, 3] = -70.0
    first, second, none = (
        image[::6, ::6, 0] for image in tiles(sheet({"noise": x}, noise=["noise"]), {"noise": x})["noise"]
    )
    assert first[0, :3].tolist() == [255, 64, 128] and second[3, 3] == 0 and second[0, 0] == 128
    assert (none == 128).all()


BAD: list[tuple[Any, Any, str]] = [
    ({}, (), "rows must be a non-empty mapping"),
    ({"a": torch.rand(2, 2, 8, 8)}, (), r"row 'a' must be images \(N, 1 or 3, H, W\)"),
    ({"a": torch.rand(1, 8, 8)}, (), "row 'a' must be images"),
    ({"a": torch.rand(0, 1, 8, 8)}, (), "row 'a' must be images"),
    ({"a": torch.rand(2, 1, 8, 8) - 2}, (), "row 'a' must lie in"),
    ({"a": torch.full((1, 1, 8, 8), torch.nan)}, ("a",), "row 'a' must be finite"),
    ({"a": torch.rand(2, 1, 8, 8)}, ("b",), "noise must be one of 'a'"),
]


@pytest.mark.parametrize(("rows", "noise", "message"), BAD, ids=[m for _, _, m in BAD])
def test_bad_rows_are_named(rows: Any, noise: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sheet(rows, noise=noise)
