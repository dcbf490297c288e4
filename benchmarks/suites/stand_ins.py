"""python -m benchmarks.suites.stand_ins SCRIPT: runs an example of a host's without a network and in little time.

What it would download is stood in for: data sets are a few drawn images, and a pretrained network of torchvision is a
small one drawn at random. The seeds are the same each time, so that two versions of a script see the same.
"""

from __future__ import annotations

import random
import runpy
import sys
from typing import Any

import art.utils
import numpy as np
import torch
import torchvision
from torch import nn

SIZES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
TRAIN, TEST = 136, 48  # images; ART asks for more than the 128 of its examples' batches


def drawn_set(name: str, raw: bool = False) -> tuple[tuple[Any, Any], tuple[Any, Any], float, float]:
    """A set of images as ART loads it: each class has a pattern of its own, so that it can be learned."""
    draws = np.random.default_rng(0)
    patterns, halves = draws.random((10, *SIZES[name])), list[tuple[Any, Any]]()
    for count in (TRAIN, TEST):
        y = np.arange(count) % 10
        x = (0.7 * patterns[y] + 0.3 * draws.random((count, *SIZES[name]))).astype(np.float32)
        halves.append((x * 255 if raw else x, y if raw else np.eye(10, dtype=np.float32)[y]))
    return halves[0], halves[1], 0.0, 255.0 if raw else 1.0


def small_network(**_: Any) -> nn.Module:
    """What stands for a network that classifies images of 224 x 224 pixels into the 1000 classes of ImageNet."""
    layers = nn.Conv2d(3, 8, 7, stride=8), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(128, 1000))


def stand_in() -> None:
    """Put the stand-ins where examples find what they download."""
    art.utils.load_mnist = lambda raw=False: drawn_set("mnist", raw)
    art.utils.load_cifar10 = lambda raw=False: drawn_set("cifar10", raw)
    art.utils.load_dataset = drawn_set
    torchvision.models.resnet18 = small_network
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


if __name__ == "__main__":
    stand_in()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
