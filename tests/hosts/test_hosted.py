"""mrt/hosts/hosted.py, hosted_motions.py, starting_points.py: The shelter that hosted attacks run in."""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mrt
from mrt.crafting.losses import margin
from mrt.crafting.task import Task, open_task
from mrt.hosts import hosted
from mrt.hosts.hosted import Hosted, ModelForHost
from mrt.hosts.isolation import isolate_globals
from mrt.hosts.starting_points import find_starting_points
from mrt.protocols import Threat
from tests.support import digits, digits_net, torch_seed

Row = Any


@dataclass(frozen=True, repr=False)
class Host(Hosted):
    """A host whose answer and kind are given by its settings."""

    @property
    def minimal(self) -> bool:
        return bool(dict(self.settings).get("minimal", False))

    @property
    def starts(self) -> bool:
        return bool(dict(self.settings).get("starts", False))

    @property
    def targetable(self) -> bool:
        return True

    def run(self, seen: ModelForHost, task: Task[Threat]) -> Tensor:
        answer: Tensor = dict(self.settings)["answer"](seen, task)
        return answer


def host(answer: Any, threat: Threat = mrt.Linf(0.2), **settings: Any) -> Host:  # noqa: B008
    return Host("host", threat, tuple({"answer": answer, **settings}.items()))


@pytest.mark.parametrize("unlucky", [(0,), (6,), (2, 3), (0, 3, 6), tuple(range(7))])
def test_unlucky_examples_cost_no_other(unlucky: tuple[int, ...]) -> None:
    x, y = digits(7)

    def answer(seen: ModelForHost, task: Task[Threat]) -> Tensor:
        if any(bool((row == x[i]).all()) for row in task.x for i in unlucky):
            raise AssertionError("start failed\nfor this one")
        return (task.x + 0.1).clamp(0, 1)

    attempt = host(answer).attempt(digits_net(), x, y)
    assert attempt.failed.nonzero().squeeze(1).tolist() == list(unlucky)
    assert attempt.why == "AssertionError: start failed"
    expected = torch.where(attempt.failed[:, None, None, None], x, (x + 0.1).clamp(0, 1))
    assert torch.equal(attempt.found, expected)
    if len(unlucky) == 7:  # not bad luck, but a mistake
        with pytest.raises(ValueError, match="failed on all 7 examples"):
            host(answer)(digits_net(), x, y)
    else:
        with pytest.warns(UserWarning, match=f"{len(unlucky)} of 7 examples.*start failed"):
            host(answer)(digits_net(), x, y)


def test_answers_that_are_none_are_taken_out() -> None:
    x, y = digits(4)
    y = digits_net()(x).argmax(1)
    fools = torch.where(digits_net()(1 - x).argmax(1).ne(y)[:, None, None, None], 1 - x, x)

    def answer(seen: ModelForHost, task: Task[Threat]) -> Tensor:
        found = fools.clone()
        found[0], found[1], found[2] = torch.nan, 0.0, x[2]
        return found

    closest = host(answer, minimal=True).attempt(digits_net(), x, y)
    assert torch.equal(closest.found[:3], x[:3]) and torch.equal(closest.found[3], fools[3])
    within = host(answer)(digits_net(), x, y)
    assert mrt.Linf(0.2).contains(x, within).all() and torch.equal(within[0], x[0])


def test_a_point_beyond_the_box_is_clipped_and_one_within_rounding_of_fooling_is_kept() -> None:
    x, y = digits(3)
    y = digits_net()(x).argmax(1)
    white = int(digits_net()(torch.ones(1, 1, 8, 8)).argmax())
    attempt = host(lambda seen, task: task.x + 5, minimal=True).attempt(digits_net(), x, (y + white + 1) % 10)
    fooled = (y + white + 1) % 10 != white
    assert fooled.any() and (attempt.found[fooled] == 1).all() and attempt.found.max() <= 1

    def model(z: Tensor) -> Tensor:  # class 1 as soon as the first pixel moves at all
        moved = (z[:, 0, 0, 0] > 0.25).float()
        return torch.stack([0.5 - moved, moved - 0.5], 1)

    x = torch.full((2, 1, 8, 8), 0.25)
    attempt = host(lambda seen, task: task.x + 2e-7, minimal=True).attempt(model, x, torch.zeros(2).long())
    assert (attempt.found > 0.25).all()


def test_a_black_image_that_is_the_input_stays() -> None:
    x = torch.zeros(1, 1, 8, 8)
    y = (digits_net()(x).argmax(1) + 1) % 10
    attempt = host(lambda seen, task: task.x, minimal=True).attempt(digits_net(), x, y)
    assert torch.equal(attempt.found, x) and not attempt.failed.any()


def test_changes_below_the_number_format_are_none() -> None:
    x, y = digits(3)
    # All 64 entries may change, so that nothing but the comparison of numbers can put them back.
    found = host(lambda seen, task: (task.x + 3e-7).clamp(0, 1), mrt.L0(64))(digits_net(), x, y)
    assert torch.equal(found, x)


def test_a_search_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "CALLS", 50)
    x, y = digits(2)

    def answer(seen: ModelForHost, task: Task[Threat]) -> Tensor:
        while True:
            seen(task.x)

    calls: list[int] = []

    def model(z: Tensor) -> Any:
        calls.append(1)
        return digits_net()(z)

    attempt = host(answer).attempt(model, x, y)
    assert attempt.failed.all() and "no end after 50 calls" in attempt.why
    assert len(calls) <= 55  # and is not begun again for each half


def test_what_a_host_may_hand_the_model() -> None:
    """Any float type and layout; gradients come back contiguous, through the cast."""
    x, _ = digits(4)
    layouts: list[tuple[Any, Any]] = []

    def model(z: Tensor) -> Any:
        layouts.append((z.dtype, z.is_contiguous()))
        return digits_net()(z)

    seen = ModelForHost(model)
    three = x.expand(-1, 1, -1, -1).to(memory_format=torch.channels_last).double().requires_grad_()
    (grad,) = torch.autograd.grad(seen(three).sum(), three)
    assert grad.dtype == torch.float64 and grad.abs().sum() > 0
    assert layouts == [(torch.float32, True)] and not seen.training


def test_gradients_come_back_contiguous() -> None:
    """A model in channels_last layout gives gradients in that layout, which some hosts cannot view."""
    x = torch.rand(2, 3, 4, 4, generator=torch_seed(0)).requires_grad_()
    weight = torch.rand(4, 4, 3, generator=torch_seed(1))

    def model(z: Tensor) -> Tensor:
        score = (z.permute(0, 2, 3, 1) * weight).flatten(1).sum(1)
        return torch.stack([score, -score], 1)

    plain, sheltered = (torch.autograd.grad(f(x)[:, 0].sum(), x)[0] for f in (model, ModelForHost(model)))
    assert not plain.is_contiguous() and sheltered.is_contiguous() and torch.equal(plain, sheltered)


def draws() -> list[Any]:
    return [random.random(), float(np.random.rand()), float(torch.rand(1)), np.random.RandomState().rand(),
            np.random.RandomState().rand(), np.random.RandomState(5).rand()]  # fmt: skip


def test_randomness_is_contained() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    with isolate_globals(3):
        first = draws()
    outside = draws()[:3]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert draws()[:3] == outside
    with isolate_globals(3):
        assert draws() == first
    with isolate_globals(4):
        other = draws()
    assert all(a != b for a, b in zip(first[:5], other[:5], strict=True)) and first[5] == other[5]
    assert first[3] != first[4]


def test_containment_holds_after_an_error() -> None:
    state, kind = torch.get_rng_state(), np.random.RandomState
    with pytest.raises(KeyError), isolate_globals(3):
        torch.rand(1)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state) and np.random.RandomState is kind
    with isolate_globals(3):
        warnings.warn("a host's remark", UserWarning, stacklevel=1)  # would be an error under this suite's settings


def begin(x: Tensor, y: Tensor, pool: Any = None, model: Any = None, **call: Any) -> tuple[Tensor, Tensor]:
    net = model or digits_net()
    given = (net, x, y, call.get("target"), torch.arange(len(x)), call.get("start"))
    with open_task(mrt.L2(1.0), margin, given) as task:
        return find_starting_points(task, pool)


def test_starts_are_the_nearest_of_another_class_that_the_model_gets_right() -> None:
    x, y = digits(12)
    y = digits_net()(x).argmax(1)
    others = digits(200, "train")
    pool = torch.cat([others[0], x]), torch.cat([others[1], (y + 1) % 10])  # the images themselves, under false labels
    points, ready = begin(x, y, pool)
    assert ready.all()
    usable = digits_net()(pool[0]).argmax(1) == pool[1]
    for i in range(12):  # the plain twin
        distances = [
            float((x[i] - pool[0][j]).norm()) if usable[j] and pool[1][j] != y[i] else float("inf") for j in range(212)
        ]
        assert float((x[i] - points[i]).norm()) == pytest.approx(min(distances), rel=1e-4)
    target = (y + 3) % 10
    points, ready = begin(x, y, pool, target=target)
    assert ready.all() and torch.equal(digits_net()(points).argmax(1), target)


def test_a_given_start_comes_first_where_it_will_do() -> None:
    x, y = digits(6)
    y = digits_net()(x).argmax(1)
    start = x.roll(1, 0)
    usable = digits_net()(start).argmax(1) != y
    points, ready = begin(x, y, digits(200, "train"), start=start)
    assert ready.all() and torch.equal(points[usable], start[usable]) and usable.any()


def test_noise_starts_where_there_is_no_pool_and_says_where_there_is_none() -> None:
    x, y = digits(8)
    y = digits_net()(x).argmax(1)
    points, ready = begin(x, y)
    assert ready.all() and (digits_net()(points).argmax(1) != y).all()
    alone = begin(x[3:4], y[3:4])[0]  # seeds differ here, batch mates must not matter given equal seeds
    assert alone.shape == points[3:4].shape

    def never(z: Tensor) -> Any:
        return digits_net()(z) - 1e6 * torch.nn.functional.one_hot(torch.tensor(7), 10)

    target = torch.tensor([7, 1, 7, 2, 3, 7, 4, 5])
    points, ready = begin(x, y, digits(300, "train"), model=never, target=target)
    assert torch.equal(ready, target != 7) and torch.equal(points[~ready], x[~ready])
    searching = replace(host(lambda seen, task: task.start, starts=True, minimal=True), pool=digits(300, "train"))
    attempt = searching.attempt(never, x, y, target=target)
    assert torch.equal(attempt.failed, target == 7) and "misclassified to start from" in attempt.why


def test_a_pool_of_another_shape_is_refused() -> None:
    x, y = digits(2)
    with pytest.raises(ValueError, match="pool needs images of shape"):
        begin(x, y, (torch.rand(4, 3, 8, 8, generator=torch_seed(0)), torch.zeros(4).long()))
