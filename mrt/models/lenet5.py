"""LeNet-5, the network that L2L-DA trains on MNIST."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mrt.models.checks import require_images, require_positive


class LeNet5(nn.Module):
    """Three 5x5 convolutions (6, 16, 120), the first two with 2x2 max-pooling, and a hidden layer of 84; for 1x28x28.

    61,706 parameters, initialised as in L2L-DA's code (Jang et al. 2019): convolutions N(0, 0.02^2), linear layers
    Xavier, biases 0. Returns logits; the paper's code ends in a log-softmax, so that its attacks see log-probabilities
    where they expect logits (cross-entropy and margins are the same for both).
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        require_positive(classes=classes)
        # LeNet-5's widths. The sides go 28 (padded) -> 14 -> 10 -> 5 -> 1, so that conv3 leaves 120 numbers.
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120, 84)
        self.fc2 = nn.Linear(84, classes)
        # As L2L-DA's code draws its generators, too.
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name.startswith("conv"):
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, (1, 28, 28))
        h = F.max_pool2d(F.relu(self.conv1(x)), 2)
        h = F.max_pool2d(F.relu(self.conv2(h)), 2)
        h = F.relu(self.conv3(h))
        # Here the published code goes on with a log-softmax, which a second one in the cross-entropy leaves as it is.
        logits: Tensor = self.fc2(F.relu(self.fc1(h.flatten(1))))
        return logits
