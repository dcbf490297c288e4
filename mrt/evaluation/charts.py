"""Accuracy against radius, as SVG that follows the reader's light or dark colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mrt.evaluation import metrics

if TYPE_CHECKING:
    from mrt.evaluation.report import Report

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 460, 270, 46, 44, 12, 14
POINTS = 120
STYLE = """
svg { font: 12px system-ui, sans-serif; color: #222; } svg text { fill: currentColor; }
svg .radius { stroke: currentColor; opacity: .5; stroke-dasharray: 2 4; }
svg .axis { stroke: currentColor; opacity: .55; } svg .grid { stroke: currentColor; opacity: .12; }
svg .line { fill: none; stroke-width: 1.8; } svg .worst { stroke: currentColor; stroke-width: 2.6; }
svg .c0 { stroke: #2f6fb3; } svg .c1 { stroke: #c8642a; } svg .c2 { stroke: #3b8f52; } svg .c3 { stroke: #8a4fb0; }
svg .c4 { stroke: #b03a48; } svg .c5 { stroke: #7a7a2a; } svg .c6 { stroke: #2a8f9a; } svg .c7 { stroke: #9a6a4f; }
@media (prefers-color-scheme: dark) { svg { color: #ddd; }
svg .c0 { stroke: #7fb2e8; } svg .c1 { stroke: #f0a06a; } svg .c2 { stroke: #7fcf95; } svg .c3 { stroke: #c79be8; }
svg .c4 { stroke: #ee8896; } svg .c5 { stroke: #cfcf77; } svg .c6 { stroke: #77d3dd; } svg .c7 { stroke: #d8ab8f; } }
"""


def curves(reports: Sequence[Report], titles: Sequence[str] = ()) -> dict[str, str]:
    """{threat: SVG} for each threat with distances. One report: a line per attack that saw every example, and the worst
    of all attacks. Several: their worst, a line each."""
    charts = {}
    for threat in dict.fromkeys(name for report in reports for name in report.threats):
        lines: list[tuple[str, Tensor]] = []
        for i, report in enumerate(reports):
            kind = report.info["threats"].get(threat)
            held = {a: d for a, d in report.distances.items() if report.info["attacks"][a]["threat"] == kind}
            if not held:
                continue
            worst = metrics.smallest(list(held.values()))
            if len(reports) > 1:
                lines.append((titles[i], worst))
            else:
                whole = [(a, d) for a, d in held.items() if torch.equal(report.ran[a], report.correct)]
                lines += [*whole, *([("worst of all", worst)] if len(held) > 1 else [])]
        if lines:
            sizes = {r for report in reports for r in report.info["radii"].get(threat, [])}
            charts[threat] = _chart(threat, lines, sorted(sizes))
    return charts


def _chart(threat: str, lines: list[tuple[str, Tensor]], sizes: list[float]) -> str:
    """The share of examples that no distance up to a radius breaks, for each line; the threats' own radii dotted."""
    finite = torch.cat([d[d.isfinite()] for _, d in lines])
    top = max([float(finite.quantile(0.98)) if len(finite) else 0.0, *(1.05 * size for size in sizes)]) or 1.0
    radii = torch.linspace(0, top, POINTS)
    parts = [_axes(threat, top)]
    for x in (f"{_x(size / top):.1f}" for size in sizes):
        parts.append(f'<line class="radius" x1="{x}" x2="{x}" y1="{_y(0)}" y2="{_y(1)}"/>')
    for i, (name, distances) in enumerate(lines):
        points = zip(radii.tolist(), metrics.curve(distances, radii).tolist(), strict=True)
        path = " ".join(f"{_x(r / top):.1f},{_y(a):.1f}" for r, a in points)
        style = "worst" if name == "worst of all" else f"c{i % 8}"
        parts.append(f'<polyline class="line {style}" points="{path}"><title>{escape(name)}</title></polyline>')
        y = HEIGHT + 14 + 18 * i
        parts.append(f'<line class="line {style}" x1="{LEFT}" x2="{LEFT + 22}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT + 30}" y="{y + 4}">{escape(name)}</text>')
    height = HEIGHT + 12 + 18 * len(lines)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" width="100%">'
    label = f"<title>accuracy against {escape(threat)} distance</title>"
    return "\n".join([head, label, f"<style>{STYLE}</style>", *parts, "</svg>\n"])


def _axes(threat: str, top: float) -> str:
    parts = []
    for i in range(5):
        share = i / 4
        parts.append(f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{100 * share:.0f}</text>')
    for tick in ticks(top):
        parts.append(f'<text x="{_x(tick / top):.1f}" y="{_y(0) + 16}" text-anchor="middle">{tick:.4g}</text>')
    parts.append(f'<line class="axis" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(0)}" y2="{_y(0)}"/>')
    parts.append(f'<line class="axis" x1="{_x(0)}" x2="{_x(0)}" y1="{_y(0)}" y2="{_y(1)}"/>')
    parts.append(f'<text x="{_x(0.5)}" y="{HEIGHT - 8}" text-anchor="middle">{escape(threat)} distance</text>')
    parts.append(f'<text transform="translate(11 {_y(0.5)}) rotate(-90)" text-anchor="middle">still correct, %</text>')
    return "\n".join(parts)


def ticks(top: float) -> list[float]:
    """Three to six round numbers from 0 to at most `top`."""
    power = 10.0 ** math.floor(math.log10(top))
    step = next(s for s in (0.2 * power, 0.5 * power, power, 2 * power) if top / s < 6)
    return [i * step for i in range(int(top / step * (1 + 1e-9)) + 1)]


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
