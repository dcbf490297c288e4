"""Weight initialisation that several of the papers' networks share."""

from __future__ import annotations

from torch import nn


def he_fan_out(network: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / (out_channels * kernel area)) (He et al. 2015, fan-out), in place.

    Biases of convolutions, normalisation layers and linear layers are left as they are.
    """
    for module in network.modules():
        # Fan-out: the variance of gradients, not of activations, is what stays the same from layer to layer.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
