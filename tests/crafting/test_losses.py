"""mrt/crafting/losses.py, best.py: What attacks raise, against definitions written out row by row."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mrt.crafting.best import Best
from mrt.crafting.losses import LOSSES, Goal, loss_named

logit_rows = st.lists(st.floats(-30, 30, width=32), min_size=5, max_size=5).map(lambda v: torch.tensor([v]))


def naive(name: str, z: list[float], y: int, target: int | None) -> float:
    aim = y if target is None else target
    order = sorted(z, reverse=True)
    if name == "ce":
        value = math.log(sum(math.exp(v - z[aim]) for v in z))
    elif name == "margin":
        value = max(v for j, v in enumerate(z) if j != aim) - z[aim]
    elif target is None:
        return (max(v for j, v in enumerate(z) if j != y) - z[y]) / (order[0] - order[2] + 1e-12)
    else:
        return (z[target] - z[y]) / (order[0] - (order[2] + order[3]) / 2 + 1e-12)
    return value if target is None else -value


@pytest.mark.parametrize("name", sorted(LOSSES))
@given(z=logit_rows, y=st.integers(0, 4), other=st.integers(1, 4), aimed=st.booleans())
def test_losses_are_their_definitions(name: str, z: Tensor, y: int, other: int, aimed: bool) -> None:
    values = z[0].tolist()
    if len(set(values)) < 5 and name == "dlr":
        return  # 0/0 at ties
    target = (y + other) % 5 if aimed else None
    found = loss_named(name)(z, torch.tensor([y]), None if target is None else torch.tensor([target]))
    torch.testing.assert_close(float(found), naive(name, values, y, target), atol=1e-4, rtol=1e-3)


def test_the_margin_is_positive_exactly_where_the_goal_is_reached() -> None:
    z, y = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 5
    for target in (None, (y + 1) % 5):
        goal = Goal(loss_named("margin"), y, target)
        assert torch.equal(goal(z) > 0, goal.reached(z))
        rows = torch.tensor([5, 17, 3])
        assert torch.equal(goal.at(rows)(z[rows]), goal(z)[rows])


@given(
    st.sampled_from(["broken", "loss"]),
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=3, max_size=3), min_size=1, max_size=8),
)
def test_best_keeps_the_first_of_the_best(policy: str, offers: list[list[tuple[int, bool]]]) -> None:
    best = Best(policy)  # type: ignore[arg-type]
    for turn, offer in enumerate(offers):
        loss, broken = torch.tensor([float(v) for v, _ in offer]), torch.tensor([b for _, b in offer])
        best.offer(torch.full((3, 1), float(turn)), loss, broken)
    for row in range(3):
        keys = [(b if policy == "broken" else 0, v) for v, b in (offer[row] for offer in offers)]
        assert best.point[row].item() == keys.index(max(keys))
        assert (best.broken[row].item(), best.loss[row].item()) == (offers[keys.index(max(keys))][row][1], max(keys)[1])


def test_best_never_prefers_nan_and_takes_rows() -> None:
    best = Best("loss")
    broken = torch.zeros(3, dtype=torch.bool)
    best.offer(torch.zeros(3, 1), torch.tensor([float("nan"), 1.0, 2.0]), broken)
    best.offer(torch.ones(3, 1), torch.tensor([-5.0, float("nan"), 2.0]), broken)
    assert best.point[:, 0].tolist() == [1, 0, 0]
    best.offer(torch.full((2, 1), 7.0), torch.tensor([9.0, 1.0]), broken[:2], rows=torch.tensor([2, 1]))
    assert best.point[:, 0].tolist() == [1, 0, 7]
