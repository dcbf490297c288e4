"""Several processes that train one model: what they share, and when.

Each attacks and passes its own part of the global batch through its own copy. After every backward pass gradients, the
loss and BatchNorm's running statistics are averaged over the processes in one message, so that all copies stay equal
to the last bit. BatchNorm normalises by the statistics of a process's own part (put torch.nn.SyncBatchNorm into the
model where that is too small).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mrt.processes import Processes, longest_wait, naming_lost_processes


class Together:
    """What one process shares with the others; a process that is alone shares nothing, at no cost."""

    def __init__(self, team: Processes, device: torch.device) -> None:
        self.team = team
        self.group: Any = team.group
        # The team's own group sends tensors of a CPU; only NCCL sends those of a GPU without a detour.
        if team.count > 1 and device.type == "cuda":
            self.group = dist.new_group(backend="nccl", timeout=longest_wait())

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of the value over processes."""
        if self.team.count == 1:
            return value
        total = value.detach().clone()
        with naming_lost_processes():
            dist.all_reduce(total, group=self.group)
        return total / self.team.count

    def average(self, model: nn.Module, trained: list[Tensor], loss: Tensor) -> Tensor:
        """Return the mean of the loss over processes; gradients of `trained` and BatchNorm's statistics become their
        means in place."""
        loss = loss.detach()
        if self.team.count == 1:
            return loss
        shared = [p.grad for p in trained if p.grad is not None]
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        shared += [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
        with torch.no_grad():
            # One message in place of hundreds, for each of which the processes would have to wait for one another.
            bucket = self.mean(torch.cat([loss.float().reshape(1), *(t.float().flatten() for t in shared)]))
            parts = bucket[1:].split([t.numel() for t in shared])
            for mine, part in zip(shared, parts, strict=True):
                mine.copy_(part.view_as(mine))
        return bucket[0]

    def copy_from_first(self, module: nn.Module) -> None:
        """Every process takes the first one's weights and buffers."""
        if self.team.count > 1:
            with torch.no_grad(), naming_lost_processes():
                for tensor in (*module.parameters(), *module.buffers()):
                    dist.broadcast(tensor.data, 0, group=self.group)
