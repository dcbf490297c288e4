"""A host's search of rotations and translations behind our interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mrt.attacks.spatial import apply_motion
from mrt.crafting.losses import margin
from mrt.crafting.task import Task, open_task
from mrt.hosts.hosted import ModelForHost, call_text, host_seed
from mrt.hosts.isolation import isolate_globals
from mrt.inputs import as_model
from mrt.protocols import Model, Rng
from mrt.threats import RotationTranslation


@dataclass(frozen=True, repr=False)
class HostedSpatial(ABC):
    """A host's search of rotations and translations. It searches our motions, and the image is ours,
    `threat.apply(x, delta)`, so that "3 pixels" are 3 pixels on images of any shape and nothing leaves the threat."""

    # In the hosts' own motions Foolbox moves "3 pixels" by 2.89, pads by its own rule and mixes up the axes of wide
    # images; ART counts in percent of the wrong axis.

    name: str
    threat: RotationTranslation
    settings: tuple[tuple[str, Any], ...] = ()

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        if target is not None or start is not None:
            raise ValueError(f"{self!r} takes no target and no start")
        return apply_motion(self.threat, x, self.search(model, x, y, rng=rng))

    def search(self, model: Model, x: Tensor, y: Tensor, *, rng: Rng = None) -> Tensor:
        """(N, 3), the motion that the host chose for each example, zero where it found none."""
        model, _ = as_model(model)
        with open_task(self.threat, margin, (model, x, y, None, rng, None)) as task:
            host_model = ModelForHost(task.f)
            with isolate_globals(host_seed(task.seeds)):
                # Projected, so that whatever the host proposes lies within the limits.
                return self.threat.project(self.propose(host_model, task).to(task.x), task.x)

    @abstractmethod
    def propose(self, host_model: ModelForHost, task: Task[RotationTranslation]) -> Tensor:
        """The host's choice for each example, (N, 3): pixels right, pixels down, degrees, as `threat` counts them."""

    def __repr__(self) -> str:
        return call_text(self)
