"""mrt/evaluation/report/compare.py: Paired tests of two reports and of two attacks, against scipy and permutations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import mrt
from mrt.evaluation.report.compare import mcnemar
from tests.support import UNION, digits, digits_net, torch_seed

pytestmark = pytest.mark.filterwarnings("ignore:gradient masking")


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 50), st.integers(1, 50))
def test_p_is_scipys(only_first: int, only_second: int, both: int, neither: int) -> None:
    first = torch.tensor([True] * (only_first + both) + [False] * (only_second + neither))
    second = torch.tensor([False] * only_first + [True] * (both + only_second) + [False] * neither)
    found = mcnemar(first, second)
    apart = only_first + only_second
    assert found.p == pytest.approx(binomtest(only_first, apart, 0.5).pvalue if apart else 1.0, rel=1e-9)
    assert (found.first_only, found.second_only, found.n) == (only_first, only_second, len(first))
    assert found.first == float(first.double().mean()) and found.second == float(second.double().mean())
    turned = mcnemar(second, first)
    assert turned.p == found.p and turned.first_only == only_second


def test_p_is_that_of_swapping_models_example_by_example() -> None:
    """Were the models alike, each example's two outcomes could as well have come the other way round."""
    g = torch_seed(0)
    first, second = torch.rand(60, generator=g) < 0.5, torch.rand(60, generator=g) < 0.7
    difference = (second.int() - first.int()).sum().abs()
    signs = torch.randint(0, 2, (20000, 60), generator=g) * 2 - 1
    swapped = ((second.int() - first.int()) * signs).sum(1).abs()
    assert mcnemar(first, second).p == pytest.approx(float((swapped >= difference).double().mean()), abs=0.01)


def evaluated(net: object, n: int = 30, threats: object = UNION[:2], budget: float = 0.05) -> mrt.Report:
    battery = mrt.batteries.quick(threats, budget=budget)  # type: ignore[arg-type]
    return mrt.evaluate(net, digits(n), battery, cascade=False, progress=False)  # type: ignore[arg-type]


def test_two_models_on_the_same_images() -> None:
    plain, robust = evaluated(digits_net()), evaluated(digits_net(steps=60, eps=0.2))
    found = plain.compare(robust)
    assert list(found) == ["clean", "linf", "l2", "union"]
    assert found["union"] == mcnemar(plain.robust, robust.robust) and found["linf"].second == robust.threats["linf"]
    assert found["clean"].first == plain.clean and found["l2"].first == plain.threats["l2"]
    assert f"{100 * (robust.union - plain.union):+.1f} points" in str(found["union"])
    same = plain.compare(plain)
    assert all(d.p == 1 and d.first_only == d.second_only == 0 for d in same.values())


def test_what_does_not_compare_is_refused_in_one_line() -> None:
    report = evaluated(digits_net())
    x, y = digits(30)
    other_data = mrt.evaluate(
        digits_net(), (x * 0.9, y), mrt.batteries.quick(UNION[:2], budget=0.05), cascade=False, progress=False
    )
    wrong = (
        (evaluated(digits_net(), n=29), "30 and of 29 examples"),
        (other_data, "differ in their examples"),
        (evaluated(digits_net(), threats=(mrt.Linf(0.1), UNION[1])), r"threats: .*0\.2.*0\.1"),
        (evaluated(digits_net(), budget=0.06), "differ in their attacks"),
    )
    for other, message in wrong:
        with pytest.raises(ValueError, match=message) as error:
            report.compare(other)
        assert "\n" not in str(error.value)


def test_two_attacks_of_one_report() -> None:
    report = evaluated(digits_net(steps=60, eps=0.2))
    found = report.compare_attacks("apgd-ce-linf", "apgd-t-linf")
    assert found == mcnemar(report.masks["apgd-ce-linf"], report.masks["apgd-t-linf"])
    with pytest.raises(ValueError, match="attack must be one of"):
        report.compare_attacks("apgd-ce-linf", "apgd")
    cascade = mrt.evaluate(digits_net(), digits(9), mrt.batteries.quick(UNION[:1], budget=0.05), progress=False)
    with pytest.raises(ValueError, match="apgd-t-linf saw only survivors"):
        cascade.compare_attacks("apgd-ce-linf", "apgd-t-linf")
