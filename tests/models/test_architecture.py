"""mrt/models/, each file of it: What makes each network the one its paper describes, beyond the number of its
parameters."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models import (
    CifarResNet,
    ConvPoolCNN,
    LeNet5,
    MadryCNN,
    MadryWideResNet,
    Normalized,
    PreActResNet18,
    ResNet18MNGReference,
    ResNet50,
    WideResNet,
)
from mrt.models.cifar_resnet import ThinBlock
from mrt.models.madry_wide_resnet import PaddedUnit, standardized
from mrt.models.preact_resnet import PreActBlock
from mrt.models.resnet import BasicBlock, Bottleneck
from mrt.models.resnet_mng_reference import SkiplessBlock
from mrt.models.shortcuts import pad_channels


def without_branch(block: nn.Module, last: str) -> nn.Module:
    """The block in eval mode with its residual branch silenced (`last` is the layer that ends it)."""
    weight = getattr(block, last).weight
    nn.init.zeros_(weight)
    return block.eval()


def test_normalized_by_hand() -> None:
    x = torch.rand(2, 3, 4, 4)
    out = Normalized(nn.Identity(), (0.1, 0.2, 0.3), (1.0, 0.5, 0.25))(x)
    for channel, (mean, std) in enumerate(((0.1, 1.0), (0.2, 0.5), (0.3, 0.25))):
        torch.testing.assert_close(out[:, channel], (x[:, channel] - mean) / std)


def test_madry_cnn_by_hand() -> None:
    model, x = MadryCNN(5, 3), torch.rand(2, 1, 28, 28)
    p = dict(model.named_parameters())
    h = F.relu(F.conv2d(x, p["conv1.weight"], p["conv1.bias"], padding=2)).unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    h = F.relu(F.conv2d(h, p["conv2.weight"], p["conv2.bias"], padding=2)).unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    h = F.relu(h.reshape(2, -1) @ p["fc1.weight"].T + p["fc1.bias"])
    torch.testing.assert_close(model(x), h @ p["fc2.weight"].T + p["fc2.bias"])


def test_convpool_by_hand() -> None:
    model, x = ConvPoolCNN(5, 0.1, batch_norm=False), torch.rand(2, 3, 32, 32)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [6, 13, 13, 26, 26, 51, 5]
    h = x
    for position, convolution in enumerate(convolutions[:-1], 1):
        h = F.relu(convolution(h))
        if position % 2 == 0:
            h = h.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert h.shape[2:] == (4, 4)
    torch.testing.assert_close(model(x), convolutions[-1](h).mean((2, 3)))


def test_lenet5_returns_logits_not_log_probabilities() -> None:
    logits = LeNet5()(torch.rand(8, 1, 28, 28))
    assert not torch.allclose(logits.exp().sum(1), torch.ones(8))


@pytest.mark.parametrize("missing", [0, 2, 3])
def test_padded_channels_sit_in_the_middle(missing: int) -> None:
    x = torch.rand(2, 4, 3, 3)
    out = pad_channels(x, 4 + missing)
    assert out.shape == (2, 4 + missing, 3, 3)
    inside = range(missing // 2, missing // 2 + 4)
    assert torch.equal(out[:, inside.start : inside.stop], x)
    assert not any(out[:, channel].any() for channel in range(4 + missing) if channel not in inside)


def test_padding_never_drops_channels() -> None:
    with pytest.raises(ValueError, match="4 channels to 3"):
        pad_channels(torch.rand(1, 4, 2, 2), 3)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_preact_shortcuts(activation: str) -> None:
    act = F.relu if activation == "relu" else F.softplus
    x = torch.randn(2, 4, 6, 6)
    same = without_branch(PreActBlock(4, 4, 1, activation), "conv2")  # type: ignore[arg-type]
    assert torch.equal(same(x), x)
    block = PreActBlock(4, 8, 2, activation)  # type: ignore[arg-type]
    nn.init.uniform_(block.bn1.weight)
    changed = without_branch(block, "conv2")
    assert block.shortcut is not None and block.shortcut.bias is None
    torch.testing.assert_close(changed(x), F.conv2d(act(block.bn1(x)), block.shortcut.weight, stride=2))


def test_the_final_bn_ends_in_relu_even_with_softplus_inside() -> None:
    model = PreActResNet18(5, 2, final_bn=True, activation="softplus").eval()
    assert model.bn is not None
    nn.init.constant_(model.bn.weight, 0.0)
    nn.init.constant_(model.bn.bias, -1.0)
    torch.testing.assert_close(model(torch.rand(2, 3, 32, 32)), model.fc.bias.expand(2, 5))


@pytest.mark.parametrize("stride", [1, 2])
def test_thin_shortcut_has_no_parameters(stride: int) -> None:
    x = torch.rand(2, 4, 6, 6)
    block = without_branch(ThinBlock(4, 8, stride), "bn2")
    torch.testing.assert_close(block(x), F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 2, 2)))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_padded_unit_shortcut(shared: bool, stride: int) -> None:
    x = torch.randn(2, 4, 6, 6)
    unit = PaddedUnit(4, 8, stride, shared)
    nn.init.uniform_(unit.bn1.weight)
    silent = without_branch(unit, "conv2")
    source = F.leaky_relu(unit.bn1(x), 0.1) if shared else x
    torch.testing.assert_close(silent(x), F.pad(F.avg_pool2d(source, stride), (0, 0, 0, 0, 2, 2)))


@pytest.mark.parametrize("block", [BasicBlock(4, 4, 1), Bottleneck(16, 4, 1)])
def test_residual_blocks_have_a_skip_and_the_reference_has_none(block: nn.Module) -> None:
    x = torch.rand(2, 4, 6, 6)
    wide = x if isinstance(block, BasicBlock) else x.repeat(1, 4, 1, 1)
    silent = without_branch(block, "bn2" if isinstance(block, BasicBlock) else "bn3")
    assert torch.equal(silent(wide), wide)
    assert not without_branch(SkiplessBlock(4, 4, 1), "bn2")(x).any()


def test_reference_block_doubles_its_own_output() -> None:
    x, block = torch.rand(2, 4, 6, 6), SkiplessBlock(4, 4, 1).eval()
    h = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(2 * h))


def test_only_the_first_madry_unit_shares_its_activation() -> None:
    units = [unit for unit in MadryWideResNet((16, 32, 64)).modules() if isinstance(unit, PaddedUnit)]
    assert [unit.shared for unit in units] == [True] + 14 * [False]
    assert [unit.stride for unit in units] == 5 * [1] + [2] + 4 * [1] + [2] + 4 * [1]


def test_madry_batch_norm_settings() -> None:
    norms = [m for m in MadryWideResNet((16, 32, 64)).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.1)}


def test_standardised_images_forget_brightness_and_contrast() -> None:
    x = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    out = standardized(x)
    torch.testing.assert_close(standardized(0.3 * x + 0.2), out)
    torch.testing.assert_close(out.flatten(1).mean(1), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(out.flatten(1).std(1, correction=0), torch.ones(3, dtype=torch.float64))


def test_standardising_an_image_of_one_colour() -> None:
    x = torch.full((1, 3, 32, 32), 0.25, requires_grad=True)
    out = standardized(x)
    (gradient,) = torch.autograd.grad(out[0, 0, 0, 0], x)
    assert not out.any()
    floor = math.sqrt(3 * 32 * 32)
    torch.testing.assert_close(gradient[0, 0, 0, 0].item(), floor * (1 - 1 / floor**2), rtol=1e-4, atol=0)


def spread(weight: Tensor) -> float:
    return float(weight.detach().std())


def test_initialisation() -> None:
    torch.manual_seed(0)
    for model in (WideResNet(10, 4), MadryWideResNet((64, 64, 64), units=1)):
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.weight.numel() > 8000:
                fan_out = module.out_channels * math.prod(module.kernel_size)
                assert spread(module.weight) == pytest.approx(math.sqrt(2 / fan_out), rel=0.04)
    assert not WideResNet(10, 1).fc.bias.any()
    thin = CifarResNet(8, width=32)
    block = thin.blocks[1]
    assert isinstance(block, ThinBlock)
    assert spread(block.conv1.weight) == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.04)
    lenet = LeNet5()
    assert spread(lenet.conv3.weight) == pytest.approx(0.02, rel=0.04)
    assert not any(p.any() for name, p in lenet.named_parameters() if name.endswith("bias"))


def test_imagenet_stem_leaves_a_quarter_of_the_side() -> None:
    small, large = ResNet50(5, 3, 2), ResNet50(5, 7, 2)
    x = torch.rand(1, 3, 64, 64)
    assert small.pool(small.stem(x)).shape[2:] == (64, 64)
    assert large.pool(large.stem(x)).shape[2:] == (16, 16)


def test_the_reference_network_reads_four_averaged_corners() -> None:
    model, x = ResNet18MNGReference(5, 2), torch.rand(2, 3, 64, 64)  # batch statistics keep the features large
    h = model.blocks(F.relu(model.bn(model.stem(x))))
    corners = [h[:, :, a : a + 4, b : b + 4].mean((2, 3)) for a in (0, 4) for b in (0, 4)]
    torch.testing.assert_close(model(x), model.fc(torch.stack(corners, 2).flatten(1)))
