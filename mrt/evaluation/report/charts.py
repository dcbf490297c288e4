"""Lines as SVG: accuracy against radius, and whatever else has an x and a y.

Drawn by hand, since a plotting library's pictures do not follow the reader's light or dark colours, and need more than
themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from mrt.evaluation.report import metrics
from mrt.evaluation.report.results import Results

Points = Sequence[tuple[float, float, float | None]]
"""(x, y, spread): an error bar from y - spread to y + spread, none where it is None."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 460, 270, 58, 44, 12, 14  # the picture, and what is left around the axes
LEAST = 1e-290  # no axis is shorter: next to the smallest numbers ticks are rounded to nothing
POINTS = 120  # radii at which a curve of accuracy is computed
WORST = "worst of all"  # the line that is drawn in the ink's own colour
STYLE = """
svg { font: 12px system-ui, sans-serif; color: #222; } svg text { fill: currentColor; }
svg .radius { stroke: currentColor; opacity: .5; stroke-dasharray: 2 4; }
svg .axis { stroke: currentColor; opacity: .55; } svg .grid { stroke: currentColor; opacity: .12; }
svg .line { fill: none; stroke-width: 1.8; } svg .worst { stroke: currentColor; stroke-width: 2.6; }
svg .mark { fill: none; stroke-width: 3; } svg .spread { stroke-width: 1.2; opacity: .6; }
svg .c0 { stroke: #2f6fb3; } svg .c1 { stroke: #c8642a; } svg .c2 { stroke: #3b8f52; } svg .c3 { stroke: #8a4fb0; }
svg .c4 { stroke: #b03a48; } svg .c5 { stroke: #7a7a2a; } svg .c6 { stroke: #2a8f9a; } svg .c7 { stroke: #9a6a4f; }
@media (prefers-color-scheme: dark) { svg { color: #ddd; }
svg .c0 { stroke: #7fb2e8; } svg .c1 { stroke: #f0a06a; } svg .c2 { stroke: #7fcf95; } svg .c3 { stroke: #c79be8; }
svg .c4 { stroke: #ee8896; } svg .c5 { stroke: #cfcf77; } svg .c6 { stroke: #77d3dd; } svg .c7 { stroke: #d8ab8f; } }
"""


@dataclass(frozen=True)
class Axis:
    """An axis of a chart: what it measures, and from where to where."""

    label: str
    low: float
    high: float

    def share(self, value: float) -> float:
        """Where on the axis the value lies: 0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)


def curves(reports: Sequence[Results], titles: Sequence[str] = ()) -> dict[str, str]:
    """{threat: SVG} for each threat with distances. A search for the closest point is a curve; an attack at a fixed
    radius knows that radius alone and is a dot there. One report: each attack that saw every example, and the worst of
    all attacks. Several: their worst."""
    charts = {}
    for threat in dict.fromkeys(name for report in reports for name in report.threats):
        found: list[tuple[str, Tensor | None, Points]] = []  # a name, distances (n,) if searched, else dots
        for i, report in enumerate(reports):
            # Attacks that count for the threat but measure in another norm (l0 for l1) have no place on this axis.
            description = report.info["threats"].get(threat)
            by_attack = {
                a: d for a, d in report.distances.items() if report.info["attacks"][a]["threat"] == description
            }
            if not by_attack:
                continue
            searched = {a: d for a, d in by_attack.items() if report.info["attacks"][a]["closest"]}
            # What an attack at a fixed radius has found bounds the worst of all from that radius on.
            worst = metrics.smallest(list(by_attack.values())) if searched else None
            sizes = _sizes(report, threat)
            if len(reports) > 1:
                found.append((titles[i], worst, _dots(sizes, report.threats[threat])))
                continue
            for attack in by_attack:
                if torch.equal(report.ran[attack], report.correct):  # survivors' distances alone would make no curve
                    left = float(report.masks[attack].double().mean())
                    found.append((attack, searched.get(attack), _dots(sizes, left)))
            if len(by_attack) > 1:
                found.append((WORST, worst, _dots(sizes, report.threats[threat])))
        if found:
            all_sizes = {size for report in reports for size in _sizes(report, threat)}
            label = f"{threat} distance"
            if any(report.in_radii(threat) for report in reports):
                label = "distance, in radii of the nearest ball"
            charts[threat] = _draw_accuracies(label, found, sorted(all_sizes))
    return charts


def _sizes(report: Results, threat: str) -> list[float]:
    """The threat's radii, on the axis of its distances."""
    if report.in_radii(threat):
        return [1.0]
    return [float(radius) for radius in report.info["radii"].get(threat, [])]


def _dots(sizes: list[float], left: float) -> Points:
    """The accuracy of an attack at a fixed radius, at that radius."""
    return [(size, 100 * left, None) for size in sizes]


def _draw_accuracies(label: str, found: list[tuple[str, Tensor | None, Points]], sizes: list[float]) -> str:
    """The share of examples that no distance up to a radius breaks, a curve each where distances were searched, else a
    dot; the threats' own radii dotted."""
    finite = torch.cat([torch.zeros(0), *(d[d.isfinite()] for _, d, _ in found if d is not None)])
    # Wide enough for all but the farthest 2%, and for the dotted radii.
    far = float(finite.quantile(0.98)) if len(finite) else 0.0
    top = max([far, *(1.05 * size for size in sizes)]) or 1.0
    radii = torch.linspace(0, top, POINTS)
    series: list[tuple[str, Points]] = []
    for name, distances, dots in found:
        if distances is None:
            series.append((name, dots))
            continue
        shares = 100 * metrics.curve(distances, radii)
        series.append((name, [(r, a, None) for r, a in zip(radii.tolist(), shares.tolist(), strict=True)]))
    axes = Axis(label, 0, top), Axis("still correct, %", 0, 100)
    return _draw(f"accuracy against {label}", axes, series, dotted=sizes)


def lines(title: str, x: str, y: str, series: Mapping[str, Points], *, markers: bool = True) -> str:
    """A self-contained SVG: a line for each name, through its points in the order given, with error bars; axes labelled
    `x` and `y` and wide enough for all; a legend. Points that are no finite numbers are left out, and break no line."""
    finite: list[tuple[str, Points]] = []
    for name, points in series.items():
        finite.append((name, [p for p in points if all(v is None or math.isfinite(v) for v in p)]))
    all_points = [point for _, points in finite for point in points]
    if not all_points:
        raise ValueError(f"series must hold at least one point of finite numbers; got {dict(series)!r}")
    ends = []  # of the error bars, which have to fit in as well
    for _, value, spread in all_points:
        ends += [value - (spread or 0), value + (spread or 0)]
    axes = _axis_around(x, [value for value, _, _ in all_points]), _axis_around(y, ends)
    return _draw(title, axes, finite, markers=markers)


def _draw(
    title: str,
    axes: tuple[Axis, Axis],
    series: Sequence[tuple[str, Points]],
    *,
    markers: bool = False,
    dotted: Sequence[float] = (),
) -> str:
    """The chart as one SVG: axes, lines, error bars, a legend; `dotted` are values at which a vertical line stands."""
    across, up = axes
    parts = [_frame(*axes)]
    for size in dotted:
        at = f"{_x(across.share(size)):.1f}"
        parts.append(f'<line class="radius" x1="{at}" x2="{at}" y1="{_y(0)}" y2="{_y(1)}"/>')
    for i, (name, points) in enumerate(series):
        style = "worst" if name == WORST else f"c{i % 8}"  # STYLE has eight colours
        placed = [(_x(across.share(x)), _y(up.share(y))) for x, y, _ in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="line {style}" points="{path}"><title>{escape(name)}</title></polyline>')
        if len(placed) == 1 and not markers:  # a line of one point would be invisible
            dot = f'<circle class="mark {style}" cx="{placed[0][0]:.1f}" cy="{placed[0][1]:.1f}" r="3">'
            parts.append(f"{dot}<title>{escape(name)}</title></circle>")
        for (x, _), (_, y, spread) in zip(placed, points, strict=True):
            if spread is not None:
                low, high = _y(up.share(y - spread)), _y(up.share(y + spread))
                parts.append(f'<line class="spread {style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts += [f'<circle class="mark {style}" cx="{x:.1f}" cy="{y:.1f}" r="1.5"/>' for x, y in placed if markers]
        # The name in the line's title is what a pointer over it shows.
        row = HEIGHT + 14 + 18 * i
        parts.append(f'<line class="line {style}" x1="{LEFT}" x2="{LEFT + 22}" y1="{row}" y2="{row}"/>')
        parts.append(f'<text x="{LEFT + 30}" y="{row + 4}">{escape(name)}</text>')
    height = HEIGHT + 12 + 18 * len(series)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" width="100%">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *parts, "</svg>\n"])


def _frame(across: Axis, up: Axis) -> str:
    """Both axes as SVG, with their ticks and labels, and a grid."""
    parts = []
    for tick in _ticks(up):
        y = _y(up.share(tick))
        parts.append(f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    for tick in _ticks(across):
        x = _x(across.share(tick))
        parts.append(f'<text x="{x:.1f}" y="{_y(0) + 16}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<line class="axis" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(0)}" y2="{_y(0)}"/>')
    parts.append(f'<line class="axis" x1="{_x(0)}" x2="{_x(0)}" y1="{_y(0)}" y2="{_y(1)}"/>')
    parts.append(f'<text x="{_x(0.5)}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across.label)}</text>')
    place = f'transform="translate(11 {_y(0.5)}) rotate(-90)" text-anchor="middle"'
    parts.append(f"<text {place}>{escape(up.label)}</text>")
    return "\n".join(parts)


def ticks(top: float) -> list[float]:
    """Three to six round numbers from 0 to at most `top`."""
    return _ticks(Axis("", 0, top))


def _ticks(axis: Axis) -> list[float]:
    """Two to six round numbers on the axis: multiples of 1, 2 or 5 times a power of ten."""
    length = axis.high - axis.low
    power = 10.0 ** math.floor(math.log10(length))
    # The shortest step with at most six ticks; 0.3 / 0.05, computed as a little below 6, would make seven.
    step = next(s for s in (0.2 * power, 0.5 * power, power, 2 * power) if length / s < 6 - 1e-9)
    rounding = 1e-9 * length / step  # an end of the axis that should be a tick is one
    first, last = math.ceil(axis.low / step - rounding), math.floor(axis.high / step + rounding)
    return [i * step for i in range(first, last + 1)]


def _axis_around(label: str, values: Sequence[float]) -> Axis:
    """An axis from the smallest value to the largest: from 0 where that adds less than its length again, and a tenth to
    either side where all values are one."""
    plain = [v if abs(v) > LEAST else 0.0 for v in values]
    low, high = min(plain), max(plain)
    if 0 <= low < high / 2:
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
    return Axis(label, low, high)


def _x(share: float) -> float:
    """Where in the picture a share of the horizontal axis lies."""
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    """Where in the picture a share of the vertical axis lies; SVG counts downwards."""
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
