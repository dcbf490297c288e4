"""A report, or several side by side, as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrt.evaluation.report import charts, tables
from mrt.evaluation.report.methods import Method
from mrt.evaluation.report.results import Results, Samples
from mrt.evaluation.report.tables import Line

MAGNIFIED = 0.5  # the largest change of a difference picture reaches black or white

# One string, with its style and pictures inside: the page fetches nothing and can be sent as a file.
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
:root { color-scheme: light dark; --ink: #1d1f21; --paper: #fff; --soft: #6a6f76; --rule: #dcdfe3; --panel: #f5f6f8;
  --warn: #8a5a00; --warnbg: #fff6e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --paper: #16181b; --soft: #9aa1aa; --rule: #33373d;
  --panel: #1f2226; --warn: #ffcf70; --warnbg: #33290f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
p, .soft { color: var(--soft); margin: .2rem 0; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 500; }
tr.sum td { font-weight: 600; } tr.part td { color: var(--soft); } tr.part td:first-child { padding-left: 1rem; }
tr.published td { font-style: italic; color: var(--soft); }
ul.warnings { list-style: none; margin: 1rem 0; padding: .6rem .9rem; border-radius: 6px; background: var(--warnbg);
  color: var(--warn); } ul.warnings li { margin: .25rem 0; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.2rem; }
.charts figure { margin: 0; padding: .6rem; background: var(--panel); border-radius: 6px; }
.cases { display: flex; flex-wrap: wrap; gap: .8rem; }
.case { background: var(--panel); border-radius: 6px; padding: .5rem; font-size: .8rem; }
.case div { display: flex; gap: .3rem; } .case img { width: 72px; height: 72px; image-rendering: pixelated;
  object-fit: contain; } .case p { text-align: center; }
@media (max-width: 34rem) { th, td { padding-right: .5rem; font-size: .85rem; } .case img { width: 52px;
  height: 52px; } }
details { margin-top: 2rem; } pre { overflow-x: auto; font-size: .8rem; color: var(--soft); }
</style></head><body>
<h1>{{ title }}</h1>
<p>Accuracy in percent: the share of images that are still classified correctly.</p>
{% if warnings %}<ul class="warnings">{% for w in warnings %}<li>{{ w }}</li>{% endfor %}</ul>{% endif %}
{% if many %}<h2>Side by side</h2><div class="scroll"><table>
<tr><th></th>{% for name in many.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for name, cells, kind in many.rows %}<tr class="{{ kind }}"><td>{{ name }}</td>
{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table></div>
<p>{{ many.legend }}</p>
{% for line in many.tests %}<p>{{ line }}</p>{% endfor %}{% endif %}
{% for part in parts %}
{% if many %}<h2>{{ part.title }}</h2>{% endif %}
<p>{{ part.note }}</p>
<div class="scroll"><table>
<tr><th></th><th>still correct</th><th>95% interval</th><th>broken by it</th></tr>
{% for row in part.rows %}<tr class="{{ row.kind }}"><td>{{ row.name }}</td><td>{{ row.share }}</td>
<td>{{ row.interval }}</td><td>{{ row.broken }}</td></tr>{% endfor %}</table></div>
{% for line in part.rhos %}<p>{{ line }}</p>{% endfor %}{% endfor %}
{% if charts %}<h2>Accuracy against radius</h2>
<p>From the smallest distance each attack found: an upper bound. An attack at a fixed radius is a dot there.</p>
<div class="charts">{% for chart in charts %}<figure>{{ chart | safe }}</figure>{% endfor %}</div>{% endif %}
{% for part in parts if part.pictures %}<h2>{{ "Examples" if not many else part.title + ": examples" }}</h2>
<p>Clean, adversarial, and what changed (grey: nothing; magnified).</p>
{% for name, cases in part.pictures %}<h3>{{ name }}</h3>
<div class="cases">{% for case in cases %}<div class="case"><div>
{% for image in case.images %}<img alt="" src="data:image/png;base64,{{ image }}">{% endfor %}</div>
<p>{{ case.text }}</p></div>{% endfor %}</div>{% endfor %}{% endfor %}
{% for part in parts %}<details><summary>{{ part.title }}: settings and versions</summary><pre>{{ part.settings }}</pre>
</details>{% endfor %}
</body></html>
"""


def render(
    reports: Sequence[tuple[str, Results]], published: Sequence[Line] = (), methods: Sequence[Method] = ()
) -> str:
    """The page of these reports, by title, as HTML; in the table that compares, the mean of each method's runs stands
    below them and `published` rows at the end."""
    from jinja2 import Environment

    comparison = None
    if len(reports) > 1 or published:
        lines = tables.table_lines(reports, methods)
        names = tables.columns([*lines, *published])
        rows = [(line.title, tables.cells(line, names), "sum" if line.sd else "") for line in lines]
        rows += [(line.title, tables.cells(line, names), "published") for line in published]
        comparison = {"columns": names, "rows": rows, "legend": tables.legend([*lines, *published])}
        comparison["tests"] = tables.paired_lines(reports, methods)
    warnings = []
    for title, report in reports:
        warnings += [f"{title}: {w}" if len(reports) > 1 else w for w in report.warnings]
    curves = charts.curves([report for _, report in reports], [title for title, _ in reports])
    template = Environment(autoescape=True).from_string(TEMPLATE)  # titles and warnings are whatever they are
    return template.render(
        title="Robustness of " + ", ".join(title for title, _ in reports),
        warnings=warnings,
        many=comparison,
        parts=[_part_of_page(title, report) for title, report in reports],
        charts=list(curves.values()),
    )


def _part_of_page(title: str, report: Results) -> dict[str, Any]:
    """What the template shows of one report: its table, its pictures and its settings."""
    import json

    intervals, attacks = report.intervals, report.attacks
    rows = [_table_row("clean", report.clean, intervals["clean"], "sum")]
    for column, share in report.threats.items():
        rows.append(_table_row(column, share, intervals[column], "sum"))
        for label in (a for a, c in report.columns.items() if c == column):
            broken = tables.broken_text(report, label)
            rows.append(_table_row(label, attacks[label], intervals[label], "part", broken))
    rows.append(_table_row("union", report.union, intervals["union"], "sum"))
    rows.append(_table_row("average", report.average, intervals["average"], "sum"))
    radii = "; ".join(f"{c} {tables.radii_text(report.info['radii'][c])}" for c in report.threats)
    return {
        "title": title,
        "note": f"{tables.headline(report)}. Threats: {radii}.",
        "rhos": tables.rho_lines(report),
        "rows": rows,
        "pictures": [(label, _show_samples(s)) for label, s in report.samples.items() if len(s.index)],
        "settings": json.dumps(report.info, indent=1),
    }


def _table_row(name: str, share: float, interval: tuple[float, float], kind: str, broken: str = "") -> dict[str, str]:
    """A row of a report's table; `kind` is its CSS class."""
    span = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
    return {"name": name, "share": f"{100 * share:.1f}", "interval": span, "kind": kind, "broken": broken}


def _show_samples(samples: Samples) -> list[dict[str, Any]]:
    """For each example three pictures, clean, adversarial and what changed, and the label before and after."""
    cases = []
    for i in range(len(samples.index)):
        x, x_adv = samples.x[i], samples.x_adv[i]
        change = (x_adv - x) / (x_adv - x).abs().amax().clamp(min=1e-12)  # in [-1, 1]; 0 where nothing changed
        images = [_png(image) for image in (x, x_adv, 0.5 + MAGNIFIED * change)]
        cases.append({"images": images, "text": f"{int(samples.y[i])} → {int(samples.predicted[i])}"})
    return cases


def _png(image: Tensor) -> str:
    """Base64 of the image (C, H, W) in [0, 1]; channels beyond three are left out."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(pixels[0]) if len(pixels) < 3 else Image.fromarray(pixels[:3].transpose(1, 2, 0).copy())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
