"""mrt/evaluation/report/metrics.py: Metrics against their definitions."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mrt
from mrt.evaluation.report import metrics
from tests.support import UNION, digits, digits_net

LISTS = st.lists(st.one_of(st.floats(0, 10), st.just(math.inf)), min_size=1, max_size=50)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilsons_interval_inverts_the_score_test(n: int, share: float) -> None:
    """Its ends are the rates p at which |share - p| is 1.96 standard errors of p."""
    low, high = metrics.interval(share, n)
    assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1
    for p in (low, high):
        if 1e-9 < p < 1 - 1e-9:
            assert abs(share - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / n), rel=1e-6, abs=1e-9)


def test_wilsons_interval_covers_as_often_as_it_says() -> None:
    draws = np.random.RandomState(0).binomial(200, 0.9, 4000)
    covered = [low <= 0.9 <= high for low, high in (metrics.interval(k / 200, 200) for k in draws)]
    assert 0.93 < np.mean(covered) < 0.97


@given(LISTS)
def test_rho_is_the_mean_of_the_finite_distances(values: list[float]) -> None:
    found = [v for v in values if math.isfinite(v)]
    rho = metrics.rho(torch.tensor(values, dtype=torch.float64))
    assert rho.n == len(found) and rho.failed == pytest.approx(1 - len(found) / len(values))
    if found:
        assert rho.mean == pytest.approx(float(np.mean(found))) and rho.median == pytest.approx(float(np.median(found)))
        assert rho.low <= rho.mean <= rho.high
    else:
        assert math.isnan(rho.mean)


@given(LISTS, st.lists(st.floats(0, 10), min_size=1, max_size=10))
def test_the_curve_counts_what_lies_beyond(values: list[float], radii: list[float]) -> None:
    curve = metrics.curve(torch.tensor(values, dtype=torch.float64), torch.tensor(radii, dtype=torch.float64))
    for radius, accuracy in zip(radii, curve.tolist(), strict=True):
        assert accuracy == pytest.approx(sum(v > radius * (1 + metrics.ROUNDING) for v in values) / len(values))


def test_the_area_under_the_curve_is_rho_where_nothing_fails() -> None:
    """PGN's remark, true because a misclassified image counts as 0."""
    distances = torch.cat([torch.zeros(5), torch.rand(95, generator=torch.Generator().manual_seed(0))])
    radii = torch.linspace(0, 1, 20001)
    area = torch.trapezoid(metrics.curve(distances, radii), radii.double())
    assert float(area) == pytest.approx(metrics.rho(distances).mean, abs=1e-3)


@pytest.mark.filterwarnings("ignore:gradient masking")
def test_a_reports_metrics() -> None:
    x, y = digits(60)
    foreign = mrt.Foreign("foolbox", "DDNAttack", (("steps", 40),))
    battery = (
        mrt.Entry("ddn", foreign, UNION[1], distances=True),
        mrt.Entry("pgd", mrt.PGD(UNION[1], steps=20), UNION[1]),
        mrt.Entry("pgd", mrt.PGD(UNION[0], steps=20), UNION[0]),
        mrt.Entry("slide", mrt.SLIDE(UNION[2], steps=20, random_start=True), UNION[2]),
    )
    report = mrt.evaluate(digits_net(), (x, y), battery, progress=False)
    distances = report.distances["foolbox.ddn-l2"]
    assert report.rho("foolbox.ddn-l2") == metrics.rho(distances)
    assert report.rho("foolbox.ddn-l2").mean == pytest.approx(float(distances[distances.isfinite()].mean()))
    with pytest.raises(ValueError, match="saw only survivors"):
        report.rho("pgd-l2")
    with pytest.raises(ValueError, match="attack"):
        report.rho("cw-l2")
    for threat, size in (("l2", 0.7), ("linf", 0.2), ("l1", 2.0)):  # at its own radius the curve is the column
        assert report.curve(threat, [size])[0] == pytest.approx(report.threats[threat])
        assert report.curve(threat, torch.tensor([size]))[0] == pytest.approx(report.threats[threat])
    curve = report.curve("l2", [0.0, 0.7])
    assert curve[0] == pytest.approx(report.clean) and curve[1] == pytest.approx(report.threats["l2"])
    with pytest.raises(ValueError, match="threat"):
        report.curve("l0", torch.tensor([0.0]))
    sure = report.intervals
    assert sure["l2"] == metrics.interval(report.threats["l2"], 60)
    low, high = sure["average"]
    assert low <= report.average <= high
    assert set(sure) == {"clean", "union", "average", *report.threats, *report.attacks}


@pytest.mark.filterwarnings("ignore:gradient masking")
def test_optimal_values_are_the_best_model_per_threat() -> None:
    x, y = digits(40)
    battery = mrt.batteries.quick(UNION[:2], budget=0.05)
    nets = {"linf": digits_net(steps=60, eps=0.2), "l2": digits_net()}
    reports = {name: mrt.evaluate(net, (x, y), battery, progress=False) for name, net in nets.items()}
    best = mrt.optimal(list(reports.values()))
    for name in ("linf", "l2"):
        assert best.threats[name] == max(r.threats[name] for r in reports.values())
    assert best.union == min(best.threats.values()) and best.average == sum(best.threats.values()) / 2
    assert all(r.union <= best.union for r in reports.values())
    own = mrt.optimal(reports)
    assert own.threats == {name: reports[name].threats[name] for name in reports}
    assert best.n == 40 and best.intervals["l2"] == metrics.interval(best.threats["l2"], 40)
    other = mrt.evaluate(nets["l2"], digits(39), battery, progress=False)
    for wrong, message in (([], "reports"), ([reports["l2"], other], "data"), ({"l9": other}, "l9")):
        with pytest.raises(ValueError, match=message):
            mrt.optimal(wrong)


def test_the_averages_interval_is_wilsons_for_its_spread() -> None:
    values = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0, 1.0, 1 / 3])
    mean, spread = float(values.mean()), float(values.var(correction=0))
    assert metrics.mean_interval(values) == pytest.approx(metrics.interval(mean, 6 * mean * (1 - mean) / spread))
    for share in (torch.zeros(10), torch.ones(10), torch.tensor([1.0, 0.0, 1.0])):
        assert metrics.mean_interval(share) == pytest.approx(metrics.interval(float(share.mean()), len(share)))
    spread_less = metrics.mean_interval(torch.full((30,), 0.5))
    assert spread_less[0] < 0.5 < spread_less[1]


@given(st.lists(st.floats(0, 100), min_size=2, max_size=9))
def test_the_spread_over_runs_is_the_sample_standard_deviation(values: list[float]) -> None:
    mean, sd = metrics.mean_and_sd(values)
    assert mean == pytest.approx(statistics.mean(values), abs=1e-9)
    assert sd == pytest.approx(statistics.stdev(values), abs=1e-9)
    squares = sum((value - sum(values) / len(values)) ** 2 for value in values)
    assert sd == pytest.approx(math.sqrt(squares / (len(values) - 1)), abs=1e-9)


def test_rhos_interval_is_the_normal_one() -> None:
    distances = torch.tensor([1.0, 2.0, 4.0, 5.0])
    half = 1.959964 * float(distances.std()) / 2
    rho = metrics.rho(distances)
    assert (rho.low, rho.high) == pytest.approx((3 - half, 3 + half))
