"""mrt/checks.py: What is known of a tensor's values, and warnings on the caller's line."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from mrt import checks


def test_bounds_are_taken_from_whoever_vouches_for_them_until_somebody_writes() -> None:
    x = torch.tensor([0.25, 0.5])
    assert not checks.vouched(x) and checks.extent(x) == (0.25, 0.5)
    assert checks.vouch(x, 0, 1) is x
    assert checks.vouched(x) and checks.extent(x) == (0, 1)
    assert not checks.vouched(x.clone()) and not checks.vouched(x[:1]), "it holds for that very tensor"
    x.mul_(4)
    assert not checks.vouched(x) and checks.extent(x) == (1.0, 2.0)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\] without NaN; got values from 1 to 2"):
        checks.images("x", x[None])


def test_the_highest_label_is_told() -> None:
    x = torch.zeros(3, 1, 2, 2)
    assert checks.labels("y", torch.tensor([4, 0, 7]), x) == 7
    assert checks.labels("y", checks.vouch(torch.tensor([4, 0, 7]), 0, 9), x) == 9
    with pytest.raises(ValueError, match="at least 0; got -1"):
        checks.labels("y", torch.tensor([4, -1, 7]), x)


def test_a_warning_is_on_the_callers_line_and_shown_each_time() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(2):
            checks.warn("twice")
    assert [Path(w.filename).name for w in said] == [Path(__file__).name] * 2
