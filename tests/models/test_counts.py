"""mrt/models/, each file of it: Every network has the number of parameters of the network it is named after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mrt.models import (
    CifarResNet,
    ConvPoolCNN,
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

PUBLISHED: list[tuple[int, Callable[[], nn.Module]]] = [
    (3_274_634, lambda: MadryCNN()),
    (11_171_146, lambda: PreActResNet18()),
    (11_172_170, lambda: PreActResNet18(final_bn=True, activation="softplus")),
    (45_901_914, lambda: MadryWideResNet()),
    (464_154, lambda: MadryWideResNet((16, 32, 64))),
    (36_479_194, lambda: WideResNet()),
    (36_536_884, lambda: WideResNet(classes=100)),
    (23_910_152, lambda: ResNet50()),
    (23_917_832, lambda: ResNet50(stem=7)),
    (11_576_840, lambda: ResNet18MNGReference()),
    (61_706, lambda: LeNet5()),
    (269_722, lambda: CifarResNet()),
    (853_018, lambda: CifarResNet(depth=56)),
    (11_271_432, lambda: ResNet18()),
    (2_334_730, lambda: ConvPoolCNN(batch_norm=False)),
    (2_749_540, lambda: ConvPoolCNN(classes=100, batch_norm=False)),
    (2_337_418, lambda: ConvPoolCNN()),
    (2_752_228, lambda: ConvPoolCNN(classes=100)),
]


@pytest.mark.parametrize(("count", "build"), PUBLISHED)
def test_parameter_count(count: int, build: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):  # shapes without memory: the largest would take 180 MB
        network = build()
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_normalisation_adds_no_parameters() -> None:
    bare = LeNet5()
    wrapped = Normalized(bare, (0.1,), (0.3,))
    assert [id(p) for p in wrapped.parameters()] == [id(p) for p in bare.parameters()]
    assert {"mean", "std"} <= set(wrapped.state_dict())


def test_the_reference_network_has_twenty_convolutions() -> None:
    with torch.device("meta"):
        network = ResNet18MNGReference()
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 20
