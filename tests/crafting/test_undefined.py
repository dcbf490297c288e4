"""mrt/crafting/undefined.py: Gradients that are NaN or infinite in places are counted, and an attack says so."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import mrt
from mrt.crafting.gradient import crafting, input_grad
from mrt.crafting.undefined import UndefinedGradients
from tests.crafting.support import ROWS, Rooted, dark_batch
from tests.training.support import LINF, fit, smooth_net, toy


def told(run: Any) -> list[str]:
    """What is warned of meanwhile."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught if w.category is UserWarning]


@pytest.mark.parametrize("black", [0, 2, 6])
@pytest.mark.parametrize("fast", [mrt.Fast(), mrt.Fast(reuse=True)], ids=["plain", "copied"])
def test_a_call_says_once_how_many_gradients_were_undefined(black: int, fast: mrt.Fast) -> None:
    (x, y), attack = dark_batch(black=black), mrt.MSD((mrt.Linf(0.1), mrt.L2(0.3)), steps=3, fast=fast)
    said = told(lambda: attack(Rooted(ROWS), x, y))
    assert len(said) == (black > 0)
    if black and fast == mrt.Fast():
        assert f"gradient masking: {3 * black} of 18 gradients" in said[0] and "clamp" in said[0]
    assert told(lambda: attack(ROWS, x, y)) == []


def test_it_is_said_on_the_callers_line_and_not_below_a_hundredth() -> None:
    (x, y), attack = dark_batch(), mrt.PGD(mrt.Linf(0.01), steps=1, random_start=False)
    with pytest.warns(UserWarning, match="6 of 6") as caught:
        attack(Rooted(ROWS), x, y)
    assert caught[0].filename == __file__
    for black, n in ((1, 100), (2, 100)):
        x, y = dark_batch(n, black)
        assert len(told(lambda x=x, y=y: attack(Rooted(ROWS), x, y))) == (black > 1)


def test_gradients_at_images_that_are_no_numbers_are_the_askers_own() -> None:
    """A host that has divided by zero goes on asking: the model is not to blame."""
    seen, (x, _) = UndefinedGradients(), dark_batch(black=1)
    x = torch.cat([x, torch.full_like(x[:2], torch.nan)]).requires_grad_()
    torch.autograd.grad(Rooted(ROWS)(seen.watch(x)).sum(), x)
    assert (seen.count, seen.total) == (1, 8)


def test_a_huge_gradient_is_none_that_is_undefined() -> None:
    """Finite entries whose sum is not."""
    seen, x = UndefinedGradients(), torch.ones(3, 1, 2, 2, requires_grad=True)
    grad = torch.autograd.grad((seen.watch(x) * 3e38).sum(1).flatten(1).sum(0), x, torch.ones(4))[0]
    assert not grad.sum().isfinite() and grad.isfinite().all() and (seen.count, seen.total) == (0, 3)


def test_training_says_it_once() -> None:
    net = Rooted(smooth_net())
    data = toy(16)
    data.x[:, :, 0] = 0
    how: dict[str, Any] = {"epochs": 2, "validation": None}
    said = [text for text in told(lambda: fit(net, mrt.Adversarial(LINF, steps=2), data, **how)) if "masking" in text]
    assert len(said) == 1


def test_the_gradient_that_attacks_follow_is_still_zero_there() -> None:
    x, _ = dark_batch()
    with crafting(Rooted(ROWS)) as f:
        grad, _, _ = input_grad(f, x, lambda z: z[:, 0])
    assert grad.isfinite().all() and not grad[:, :, 0].any() and grad[:, :, 1:].any()
