"""mrt/models/, each file of it: Laws that hold for every network, on slim variants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from mrt import models
from mrt.models import (
    CifarResNet,
    ConvPoolCNN,
    DigitsCNN,
    LeNet5,
    MadryCNN,
    MadryWideResNet,
    Normalized,
    PreActResNet18,
    ResNet18,
    ResNet18MNGReference,
    ResNet50,
    WideResNet,
)


def published_madry(net: MadryCNN, x: Tensor) -> Tensor:
    h = F.max_pool2d(F.relu(net.conv1(x)), 2)
    h = F.max_pool2d(F.relu(net.conv2(h)), 2)
    logits: Tensor = net.fc2(F.relu(net.fc1(h.flatten(1))))
    return logits


@pytest.mark.parametrize("seed", range(3))
def test_relu_after_pooling_is_relu_before_it_to_the_bit(seed: int) -> None:
    """In the answer and in every gradient, also where whole windows are negative or tied."""
    torch.manual_seed(seed)
    net = MadryCNN(width=4)
    x, found = torch.rand(6, 1, 28, 28).mul(4).round().div(4), []  # ties
    for run in (net, lambda z: published_madry(net, z)):
        z = x.clone().requires_grad_()
        out = run(z)
        found.append([out, *torch.autograd.grad(out.logsumexp(1).sum(), [z, *net.parameters()])])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


Build = Callable[[], nn.Module]
CIFAR = (3, 32, 32)
# name -> (slim network with 7 classes, shape of its images)
ZOO: dict[str, tuple[Build, tuple[int, int, int]]] = {
    "normalized": (lambda: Normalized(CifarResNet(8, 7, 4), (0.5, 0.4, 0.3), (0.3, 0.2, 0.1)), CIFAR),
    "madry-cnn": (lambda: MadryCNN(7, 4), (1, 28, 28)),
    "madry-cnn-odd": (lambda: MadryCNN(7, 2, in_channels=3, size=15), (3, 15, 15)),
    "digits-cnn": (lambda: DigitsCNN(7, 4), (1, 8, 8)),
    "lenet5": (lambda: LeNet5(7), (1, 28, 28)),
    "preact": (lambda: PreActResNet18(7, 4), CIFAR),
    "preact-eat": (lambda: PreActResNet18(7, 4, final_bn=True, activation="softplus"), CIFAR),
    "wrn": (lambda: WideResNet(16, 2, 7), CIFAR),
    "wrn-thin-odd": (lambda: WideResNet(10, 1, 7, in_channels=1, size=13), (1, 13, 13)),
    "madry-wrn": (lambda: MadryWideResNet((16, 20, 24), 7, 2), CIFAR),
    "madry-wrn-odd": (lambda: MadryWideResNet((17, 17, 20), 7, 1, in_channels=1, size=13), (1, 13, 13)),
    "cifar-resnet": (lambda: CifarResNet(14, 7, 4), CIFAR),
    "cifar-resnet-odd": (lambda: CifarResNet(8, 7, 3, in_channels=1, size=13), (1, 13, 13)),
    "resnet18": (lambda: ResNet18(7, 2), (3, 64, 64)),
    "resnet50": (lambda: ResNet50(7, 3, 2), (3, 64, 64)),
    "resnet50-stem7": (lambda: ResNet50(7, 7, 2), (3, 64, 64)),
    "resnet18-mng": (lambda: ResNet18MNGReference(7, 2), (3, 64, 64)),
    "convpool": (lambda: ConvPoolCNN(7, 0.06), CIFAR),
    "convpool-plain": (lambda: ConvPoolCNN(7, 0.06, batch_norm=False), CIFAR),
}
EVERY = pytest.mark.parametrize("name", ZOO)


def network_and_images(name: str, count: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, shape = ZOO[name]
    return build(), torch.rand(count, *shape)


def test_every_export_is_in_the_zoo() -> None:
    assert {type(build()).__name__ for build, _ in ZOO.values()} == set(models.__all__)


@EVERY
def test_an_image_does_not_see_its_batch_mates(name: str) -> None:
    model, x = network_and_images(name, 3)
    model.eval()
    with torch.no_grad():
        logits = model(x)
        assert logits.shape == (3, 7)
        alone = torch.cat([model(x[row : row + 1]) for row in range(3)])
        torch.testing.assert_close(alone, logits, rtol=1e-4, atol=1e-5)
        assert model(x[:0]).shape == (0, 7)


@EVERY
def test_training_reaches_every_parameter_and_the_image(name: str) -> None:
    model, x = network_and_images(name, 4)
    x.requires_grad_()
    tensors = {"the image": x, **dict(model.named_parameters())}
    gradients = torch.autograd.grad(F.cross_entropy(model(x), torch.arange(4)), list(tensors.values()))
    for what, gradient in zip(tensors, gradients, strict=True):
        assert gradient.isfinite().all() and gradient.any(), what


@EVERY
def test_per_example_gradients_of_torch_func(name: str) -> None:
    model, x = network_and_images(name, 2)
    model.eval()
    y = torch.tensor([1, 5])
    weights = {key: value.detach() for key, value in model.named_parameters()}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, weights, (image[None],)), label[None])

    together = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    for row in range(2):
        here = slice(row, row + 1)
        alone = torch.autograd.grad(F.cross_entropy(model(x[here]), y[here]), list(model.parameters()))
        for (key, gradient), expected in zip(together.items(), alone, strict=True):
            torch.testing.assert_close(gradient[row], expected, rtol=1e-3, atol=1e-5, msg=key)


@EVERY
def test_memory_format_changes_nothing(name: str) -> None:
    model, x = network_and_images(name, 2)
    model.eval()
    with torch.no_grad():
        expected = model(x)
        actual = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@EVERY
def test_wrong_images_are_named(name: str) -> None:
    model, x = network_and_images(name, 2)
    channels, height, width = x.shape[1:]
    for wrong in (x[:, :, : height - 1], torch.cat([x, x], 1), x[0]):
        with pytest.raises(ValueError) as error:
            model(wrong)
        assert str(tuple(wrong.shape)) in str(error.value) and str(channels) in str(error.value)
    with pytest.raises(ValueError, match=f"{channels}, {height}, {width}"):
        model(x[:, :, : height - 1])


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: MadryCNN(classes=0), "classes"),
        (lambda: MadryCNN(size=3), "size"),
        (lambda: DigitsCNN(width=-1), "width"),
        (lambda: LeNet5(classes=0), "classes"),
        (lambda: PreActResNet18(width=0), "width"),
        (lambda: PreActResNet18(activation="tanh"), "activation"),  # type: ignore[arg-type]
        (lambda: WideResNet(depth=27), "27"),
        (lambda: WideResNet(depth=4), "4"),
        (lambda: MadryWideResNet((32, 16, 64)), "widths"),
        (lambda: MadryWideResNet((8, 16, 32)), "widths"),
        (lambda: MadryWideResNet((16, 32)), "widths"),
        (lambda: CifarResNet(depth=18), "18"),
        (lambda: CifarResNet(depth=2), "2"),
        (lambda: ResNet18(classes=0), "classes"),
        (lambda: ResNet50(stem=5), "stem"),  # type: ignore[arg-type]
        (lambda: ResNet18MNGReference(width=0), "width"),
        (lambda: ConvPoolCNN(width=0.0), "width"),
        (lambda: ConvPoolCNN(width=float("nan")), "width"),
        (lambda: ConvPoolCNN(size=7), "size"),
        (lambda: Normalized(nn.Identity(), (), ()), "per channel"),
        (lambda: Normalized(nn.Identity(), (0.5, 0.5), (0.2,)), "2 and 1"),
        (lambda: Normalized(nn.Identity(), (0.5,), (0.0,)), "std"),
        (lambda: Normalized(nn.Identity(), (0.5,), (float("inf"),)), "std"),
        (lambda: Normalized(nn.Identity(), (float("nan"),), (1.0,)), "mean"),
    ],
)
def test_wrong_settings_are_named(build: Build, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build()
