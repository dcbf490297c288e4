"""mrt/evaluation/judge.py, loop.py and mrt/threats/gauge.py: distances that were searched, in a ball's norm and over a
union, as an evaluation reports them."""

from __future__ import annotations

import pytest
import torch

import mrt
from mrt.threats.gauge import gauge
from tests.support import digits, digits_net

BALLS = (mrt.Linf(0.1), mrt.L2(0.5), mrt.L1(2.0))
SEARCHES = (mrt.PGD(BALLS[0], steps=10), mrt.PGD(BALLS[1], steps=10), mrt.APGD(BALLS[2], steps=30))
UNION = mrt.WorstOf((*SEARCHES, mrt.MSD(BALLS, steps=10)))


@pytest.fixture(scope="module")
def report() -> mrt.Report:
    """Fixed radii and searches of all balls and of their union, on a network that withstands some."""
    battery = (
        *(mrt.Entry("fixed", attack, attack.threat) for attack in SEARCHES),
        *(mrt.Entry("smallest", mrt.Smallest(a, probes=6), a.threat, distances=True) for a in SEARCHES),
        mrt.Entry("smallest", mrt.Smallest(UNION, probes=6), UNION.threat, distances=True),
        mrt.Entry("fixed", UNION, UNION.threat),
    )
    return mrt.evaluate(digits_net(eps=0.1, steps=120), digits(60), battery, cascade=False, progress=False)


@pytest.mark.parametrize("ball", BALLS, ids=lambda ball: ball.name)
def test_the_curve_meets_the_attack_at_its_radius(report: mrt.Report, ball: mrt.Linf) -> None:
    """The first radius that is tried is the threat's own, so that the curve lies no higher there: at most one image
    lower in linf and l2, and in l1 what a short attack misses and finds at another radius."""
    at_radius = float((report.distances[f"smallest-{ball.name}"] > ball.eps * (1 + 1e-6)).double().mean())
    assert at_radius == report.attacks[f"smallest-{ball.name}"]
    fixed, missed = report.attacks[f"fixed-{ball.name}"], 0.2 if ball.name == "l1" else 1.01 / report.n
    assert fixed - missed <= at_radius <= fixed + 0.5 / report.n
    assert 0 < at_radius < report.clean


def test_distances_go_beyond_the_radius_and_end_within_reach(report: mrt.Report) -> None:
    for ball in BALLS:
        distances = report.distances[f"smallest-{ball.name}"]
        beyond = (distances > ball.eps * (1 + 1e-6)) & distances.isfinite()
        assert int(beyond.sum()) > 5 and float(distances[beyond].max()) <= 8 * ball.eps * (1 + 1e-6)
        assert report.masks[f"smallest-{ball.name}"][beyond].all(), "what lies beyond the radius breaks nothing"
        median = float(distances[distances.isfinite()].quantile(0.5))
        assert report.rho(f"smallest-{ball.name}").median == pytest.approx(median)
        assert not any("outside the threat" in text for text in report.warnings)


def test_a_unions_distance_is_its_gauge(report: mrt.Report) -> None:
    """At most 1 where the union falls; and the least of what the balls' own searches need."""
    union = report.distances["smallest-union"]
    single = torch.stack([report.distances[f"smallest-{ball.name}"] / ball.eps for ball in BALLS]).amin(0)
    assert torch.equal(union <= 1, ~report.masks["smallest-union"])
    both = union.isfinite() & single.isfinite() & (single > 0)
    assert int(both.sum()) > 40 and 0.95 < float((union[both] / single[both]).median()) < 1.02
    assert report.columns["smallest-union"] == "any" and report.curve("any", [1.0])[0] <= report.attacks["fixed-union"]
    broken = report.correct & ~report.masks["fixed-union"]
    assert (report.distances["fixed-union"][broken] <= 1).all(), "rounding beyond a radius is forgiven"
    norms = [report.threats[ball.name] for ball in BALLS]
    assert report.average == pytest.approx(sum(norms) / 3), "a union of the others is no fourth threat"
    sample = report.samples["fixed-union"]
    sizes = gauge(mrt.AnyOf(BALLS), sample.x, sample.x_adv)
    torch.testing.assert_close(report.distances["fixed-union"][sample.index], sizes.clamp(max=1))


def test_a_report_says_what_a_unions_distance_is_measured_in(report: mrt.Report, tmp_path: object) -> None:
    text = str(report)
    assert "smallest-union: mean distance in radii of the nearest ball" in text
    assert "smallest-linf: mean distance 0." in text
    from mrt.evaluation.report import charts

    assert "distance, in radii of the nearest ball" in charts.curves([report])["any"]
    assert "linf distance" in charts.curves([report])["linf"]
