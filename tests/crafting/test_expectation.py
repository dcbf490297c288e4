"""mrt/crafting/expectation.py: the mean over draws of a random model, its gradient and its passes."""

from __future__ import annotations

import pytest
import torch

import mrt
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import ce
from tests.support import Noisy, digits, digits_net


def test_the_mean_and_its_exact_gradient() -> None:
    """Beside the same draws, written out."""
    (x, y), net = digits(7), Noisy(digits_net(), 0.3)
    model = mrt.EOT(net, 5)
    torch.manual_seed(3)
    grad, logits, _ = input_grad(model, x, lambda z: ce(z, y))
    torch.manual_seed(3)
    noise = [0.3 * torch.randn_like(x) for _ in range(5)]
    point = x.clone().requires_grad_()
    mean = sum(net.net(point + n) for n in noise) / 5
    expected = torch.autograd.grad(ce(mean, y).sum(), point)[0]
    torch.testing.assert_close(logits, mean.detach())
    torch.testing.assert_close(grad, expected)
    assert (model.passes.forward, model.passes.backward) == (35, 35)


def test_one_draw_is_the_model() -> None:
    (x, _), net = digits(5), digits_net()
    assert torch.equal(mrt.EOT(net, 1)(x), net(x))
    assert mrt.EOT(net).training is net.training


@pytest.mark.parametrize(
    ("model", "samples", "words"), [(3, 5, "callable"), (abs, 0, "samples"), (abs, 2.5, "samples")]
)
def test_bad_input(model: object, samples: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mrt.EOT(model, samples)  # type: ignore[arg-type]
