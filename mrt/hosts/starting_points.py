"""Where a walk from a misclassified point may start: one point per example."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mrt.crafting.task import Task
from mrt.data.images import Data, as_images
from mrt.threats import noise
from mrt.threats.projections import per_example

SHARES, DRAWS = tuple(i / 12 for i in range(1, 13)), 3  # of entries in salt-and-pepper starts; tries with each


def find_starting_points(task: Task[Any], pool: Data | None) -> tuple[Tensor, Tensor]:
    """For each example a misclassified image, and whether there is one: the `start` it was given if that will do; else
    the nearest (l2) pool image of another class which the model classifies as that class; else salt-and-pepper noise of
    growing share."""
    points = task.x.clone()
    ready = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    offers = [] if task.start is None else [task.start]
    if pool is not None:
        offers.append(_nearest_in_pool(task, pool))
    for offer in itertools.chain(offers, _salt_and_pepper(task)):
        # Each offer is tried on the model: a start that is not misclassified ends a host's walk, often for the batch.
        taken = ~ready & task.goal.reached(task.f(offer))
        points, ready = torch.where(per_example(taken, points), offer, points), ready | taken
        if ready.all():
            break
    return points, ready


def _nearest_in_pool(task: Task[Any], pool: Data, batch: int = 256) -> Tensor:
    """For each example the nearest image of the pool that the model classifies as its own class, which is not the
    example's (or is the target); the example itself if there is none."""
    images = as_images(pool)
    if images.x.shape[1:] != task.x.shape[1:]:
        raise ValueError(f"pool needs images of shape {tuple(task.x.shape[1:])}; got {tuple(images.x.shape[1:])}")
    y = task.goal.y if task.goal.target is None else task.goal.target
    # In batches, with the nearest so far: a pool is a training set, and its distances at once would be N times as many.
    best, nearest = torch.full((len(y),), torch.inf, device=y.device), task.x
    for index in torch.arange(len(images)).split(batch):
        # Another label alone will not do: the model may answer the example's own class to that image.
        x, label = images.float(index).to(task.x.device), images.y[index.to(images.device)].to(y.device)
        right = task.f(x).argmax(1) == label
        wrong = (y[:, None] != label) if task.goal.target is None else (y[:, None] == label)
        distance = torch.cdist(task.x.flatten(1), x.flatten(1)).masked_fill(~(wrong & right), torch.inf)
        closest, which = distance.min(1)  # (N,) of (N, batch)
        nearest = torch.where(per_example(closest < best, x), x[which], nearest)
        best = torch.minimum(best, closest)
    return nearest


def _salt_and_pepper(task: Task[Any]) -> Iterator[Tensor]:
    """Offers for all examples at once: each with a growing share of its entries set to 0 or 1."""
    # From few to many, since a walk that starts nearer ends nearer.
    for i, share in enumerate(share for share in SHARES for _ in range(DRAWS)):
        where = noise.uniform(noise.fold(task.seeds, 2 * i), *task.x.shape[1:])
        value = noise.uniform(noise.fold(task.seeds, 2 * i + 1), *task.x.shape[1:]).round()
        yield torch.where(where < share, value, task.x)
