"""A batch of the toy shape, and the step in which a strategy meets it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import mrt
from mrt.protocols import Step
from mrt.threats import noise
from tests.support import images


def a_step(x: Tensor, index: int = 0, **changes: Any) -> Step:
    seeds = noise.seeds_of_index(torch.arange(len(x)), 5, 0)
    step = Step(index, 10, index / 5, 0.1, x, seeds, 1234 + index, mrt.Fast(), lambda t: t)
    return replace(step, **changes)


def batch(n: int = 12, seed: int = 0, shape: tuple[int, ...] = (1, 8, 8)) -> tuple[Tensor, Tensor]:
    return images(shape, n, seed), torch.arange(n) % 5
