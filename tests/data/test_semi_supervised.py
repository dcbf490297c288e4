"""mrt/data/semi_supervised.py: Sets put together keep every example; a model's labels are its predictions, and it
notices nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mrt.data import Images, concatenate, pseudo_label
from tests.support import RowWise, small_net, torch_seed

NAMES = tuple("abcde")
BYTES = torch.randint(0, 256, (23, 1, 8, 8), dtype=torch.uint8, generator=torch_seed(0))


def example(start: int, end: int, **changes: Any) -> Images:
    data = Images(BYTES, torch.arange(23) % 5, NAMES, "crop-flip").take(torch.arange(start, end))
    return replace(data, **changes)


def test_a_concatenation_is_every_example_in_turn() -> None:
    whole = concatenate(example(0, 4), example(4, 4), example(4, 11), example(11, 23))
    assert torch.equal(whole.x, BYTES) and torch.equal(whole.y, torch.arange(23) % 5)
    assert (whole.classes, whole.augment, whole.pseudo) == (NAMES, "crop-flip", None)
    assert whole.x.dtype == torch.uint8 and len(concatenate(example(2, 5))) == 3


def test_a_set_without_a_mask_is_truly_labelled_beside_one_that_has_one() -> None:
    mask = torch.tensor([True, False, True])
    for order, expected in (
        ((0, 1), [False, False, True, False, True]),
        ((1, 0), [True, False, True, False, False]),
        ((1, 1), [True, False, True, True, False, True]),
    ):
        sets = (example(0, 2), example(2, 5, pseudo=mask))
        pseudo = concatenate(*(sets[i] for i in order)).pseudo
        assert pseudo is not None and pseudo.tolist() == expected


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"x": BYTES[:3, :, :7]}, r"shape; got \(1, 8, 8\) and \(1, 7, 8\)"),
        ({"x": BYTES[:3] / 255}, "dtype; got torch.uint8 and torch.float32"),
        ({"classes": tuple("abcdf")}, "classes; got .*'e'.* and .*'f'"),
        ({"augment": "none"}, "augment; got crop-flip and none"),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"must agree in their {named}"):
        concatenate(example(3, 6), example(0, 3), example(0, 3, **changes))


def test_only_sets_can_be_put_together() -> None:
    with pytest.raises(ValueError, match="at least one"):
        concatenate()
    for sets in ((example(0, 3), (BYTES, torch.arange(23))), ((BYTES, torch.arange(23)),)):
        with pytest.raises(ValueError, match="takes Images; got tuple"):
            concatenate(*sets)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
@pytest.mark.parametrize("x", [BYTES, BYTES / 255], ids=["bytes", "floats"])
def test_labels_are_predictions(batch_size: int, x: Tensor) -> None:
    model = RowWise((1, 8, 8))
    data = pseudo_label(model, x, NAMES, batch_size=batch_size, augment="crop-flip")
    assert torch.equal(data.y, model(BYTES / 255).argmax(1)) and len(set(data.y.tolist())) > 1
    assert data.x is x and (data.classes, data.augment) == (NAMES, "crop-flip")
    assert data.pseudo is not None and data.pseudo.all() and data.pseudo.shape == (23,)


@pytest.mark.parametrize("batch_size", [7, 23])
def test_the_model_answers_in_eval_mode_and_is_as_it_was(batch_size: int) -> None:
    net = small_net().train()
    net[3].eval()  # type: ignore[index]
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    predicted = copy.deepcopy(net).eval()(BYTES / 255).argmax(1)
    state, seen = torch.get_rng_state(), list[bool]()
    net.register_forward_hook(lambda module, given, out: seen.extend([module.training, out.requires_grad]))
    for model in (net, net.forward):
        assert torch.equal(pseudo_label(model, BYTES, NAMES, batch_size=batch_size).y, predicted)
    assert not any(seen) and seen and torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_after_an_error_too() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no answer")

    model = Broken()
    with pytest.raises(RuntimeError, match="no answer"):
        pseudo_label(model, BYTES, NAMES)
    assert model.training and torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"classes": tuple("abcdef")}, "5 classes; got 6 names"),
        ({"classes": tuple("abcd")}, "5 classes; got 4 names"),
        ({"batch_size": 0}, "batch_size must be .* at least 1; got 0"),
        ({"x": BYTES[0]}, r"\(N, C, H, W\); got shape \(1, 8, 8\)"),
        ({"x": BYTES.numpy()}, "must be a tensor .* got ndarray"),
        ({"x": BYTES.float()}, r"in \[0, 1\], got pixels from 0.0 to 255.0"),
        ({"x": BYTES.long()}, "uint8, or float32"),
        ({"model": lambda x: torch.full((len(x), 5), torch.nan)}, "got NaN"),
        ({"model": lambda x: x}, "logits of shape"),
        ({"augment": "flip"}, "augment"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], named: str) -> None:
    how: dict[str, Any] = {"model": RowWise((1, 8, 8)), "x": BYTES, "classes": NAMES, **changes}
    with pytest.raises(ValueError, match=named):
        pseudo_label(**how)


def test_no_images_need_no_labels() -> None:
    assert len(pseudo_label(RowWise((1, 8, 8)), BYTES[:0], NAMES)) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_another_device_labels_images_where_they_are() -> None:
    model = RowWise((1, 8, 8))
    expected = model(BYTES / 255).argmax(1)
    model.to("cuda")
    for x in (BYTES, BYTES.cuda()):
        data = pseudo_label(model, x, NAMES)
        assert data.device == x.device and torch.equal(data.y.cpu(), expected)
    with pytest.raises(ValueError, match="device; got cpu and cuda"):
        concatenate(example(0, 3), example(0, 3).to("cuda"))
