"""SLIDE and MSD as published in code: their numbers, and the quirks that shaped the published tables. For comparison
runs only: outputs may lie outside the ball, and MSD's depend on the batch. Half precision is the one quirk left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.best import Best, run_with_restarts
from mrt.crafting.gradient import BatchNormMode, input_grad
from mrt.crafting.losses import ce, margin
from mrt.crafting.task import Task, open_task
from mrt.protocols import Model, Rng
from mrt.threats import L1, L2, AnyOf, Linf, noise, projections

GREY_LEVEL = 1 / 255


@dataclass(frozen=True)
class ReferenceSLIDE:
    """Tramer and Boneh's code (2019): margin loss, last iterate, cross-entropy between restarts. Its quirks: the l1
    threshold averages over one entry too many, so that the ball is left by some percent; if the quantile of |grad| is
    zero all entries count as chosen and the step shrinks; on CIFAR-10 the first gradient is taken at an image clipped
    to the darkest grey level, and that step goes down by one grey level at most."""

    threat: L1
    steps: int = field(default=100, kw_only=True)
    step_size: float = field(default=0.5, kw_only=True)
    quantile: float = field(default=0.99, kw_only=True)
    restarts: int = field(default=40, kw_only=True)
    dark_start: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        checks.count("steps", self.steps)
        checks.count("restarts", self.restarts)
        checks.number("step_size", self.step_size, open_low=True)
        checks.number("quantile", self.quantile, high=1)

    @staticmethod
    def preset(dataset: str) -> ReferenceSLIDE:
        """Return the settings of the published evaluation on that dataset."""
        if checks.choice("dataset", dataset, ("mnist", "cifar10")) == "mnist":
            return ReferenceSLIDE(L1(10.0))
        return ReferenceSLIDE(L1(2000 / 255), step_size=2.0, restarts=20, dark_start=True)

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
        with open_task(self.threat, ce, (model, x, y, target, rng, start)) as task:
            return run_with_restarts(task, self.restarts, "broken", self._run).point

    def _begin(self, task: Task[L1]) -> Tensor:
        """Begin at a Laplace direction of length eps, clipped to the box."""
        x = task.x
        if task.start is not None and task.restart == 0:
            return task.first_point(random_start=True) - x
        direction = noise.laplace(noise.fold(task.seeds, 0), *x.shape[1:])
        length = direction.flatten(1).abs().sum(1)
        return projections.box(direction * projections.per_example(task.threat.eps / length, x), x)

    def _run(self, task: Task[L1]) -> Best:
        x, goal = task.x, task.goal
        delta = self._begin(task)
        for step in range(self.steps):
            dark = self.dark_start and step == 0  # CIFAR-10's clip to the darkest grey level, in the first step alone
            shown = (x + delta).clamp(0, GREY_LEVEL if dark else 1)
            grad, _, _ = input_grad(task.f, shown, lambda logits: margin(logits, goal.y, goal.target))
            stuck = ((shown >= 1) & (grad > 0)) | ((shown <= 0) & (grad < 0))
            size = grad.masked_fill(stuck, 0).flatten(1).abs()
            chosen = size >= size.quantile(self.quantile, dim=1, keepdim=True)
            move = (
                self.step_size * (grad.masked_fill(stuck, 0).sign().flatten(1) * chosen) / chosen.sum(1, keepdim=True)
            )
            move = move.clamp(min=-GREY_LEVEL) if dark else move
            delta = projections.box(project_l1_one_too_many(delta + move.view_as(x), task.threat.eps), x)
        best = Best("broken")
        best.judge((x + delta).clamp(0, 1), task)
        return best


@dataclass(frozen=True)
class ReferenceMSD:
    """Maini, Wong and Kolter's code (2020): one number of entries for the batch and step; entries that stand on 0 or 1
    never move, whatever the gradient's sign; as soon as one example is outside the l1 ball all are projected, those
    inside outwards (on MNIST to length eps exactly); later candidates win ties; BatchNorm in train mode on CIFAR-10."""

    threats: tuple[Linf, L2, L1]
    steps: int = field(default=100, kw_only=True)
    step_size: tuple[float, float, float] = field(default=(0.01, 0.1, 0.8), kw_only=True)
    keep: tuple[int, int] = field(default=(5, 20), kw_only=True)
    mnist: bool = field(default=True, kw_only=True)
    bn: BatchNormMode = field(default="eval", kw_only=True)

    def __post_init__(self) -> None:
        checks.count("steps", self.steps)
        for size in self.step_size:
            checks.number("step_size", size, open_low=True)

    @staticmethod
    def preset(dataset: str) -> ReferenceMSD:
        """Return the settings of the model that was reported for that dataset."""
        if checks.choice("dataset", dataset, ("mnist", "cifar10")) == "mnist":
            return ReferenceMSD((Linf(0.3), L2(2.0), L1(10.0)))
        union = (Linf(0.03), L2(0.5), L1(12.0))
        return ReferenceMSD(union, steps=50, step_size=(0.003, 0.05, 1.0), mnist=False, bn="batch")

    @property
    def threat(self) -> AnyOf:
        return AnyOf(self.threats)

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
        with open_task(self.threat, ce, (model, x, y, target, rng, start), bn=self.bn) as task:
            return self._run(task).point

    def _run(self, task: Task[AnyOf]) -> Best:
        x = task.x
        delta, best = task.first_point(random_start=False) - x, Best("loss")
        for step in range(self.steps):
            grad, _, _ = input_grad(task.f, (x + delta).clamp(0, 1), task.goal)
            k = int(noise.integers(noise.fold(task.seeds, 1 + step)[:1], *self.keep))
            linf, l2, l1 = self._linf(delta, grad, x), self._l2(delta, grad, x), self._l1(delta, grad, x, k)
            # Theirs let later candidates win ties; ours keeps the first, so that the order is turned round.
            proposals = [l2, l1, linf] if self.mnist else [linf, l2, l1]
            winner = Best("loss")
            for proposal in proposals:
                logits = task.f((x + proposal).clamp(0, 1))
                winner.offer(proposal, task.goal(logits), task.goal.reached(logits))
            delta = winner.point
            best.offer((x + delta).clamp(0, 1), winner.loss, winner.broken)
        return best

    def _linf(self, delta: Tensor, grad: Tensor, x: Tensor) -> Tensor:
        moved = delta + self.step_size[0] * grad.sign()
        return projections.box(projections.linf(moved, self.threats[0].eps), x)

    def _l2(self, delta: Tensor, grad: Tensor, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(grad.flatten(1), dim=1).clamp(min=1e-12)
        moved = delta + self.step_size[1] * grad / projections.per_example(norm, grad)
        eps = self.threats[1].eps
        return (
            projections.l2(projections.box(moved, x), eps)
            if self.mnist
            else projections.box(projections.l2(moved, eps), x)
        )

    def _l1(self, delta: Tensor, grad: Tensor, x: Tensor, k: int) -> Tensor:
        now, gap = (x + delta).flatten(1), self.step_size[2] / k  # the step that each entry would take
        flat = grad.flatten(1)
        barred = (now <= 0) | (now >= 1) | ((now <= gap) & (flat < 0)) | ((now >= 1 - gap) & (flat > 0))
        top = flat.abs().masked_fill(barred, 0).topk(min(k, flat.shape[1]), dim=1)
        move = torch.zeros_like(flat).scatter(1, top.indices, flat.gather(1, top.indices).sign() * (top.values > 0))
        moved = delta + (self.step_size[2] / k) * move.view_as(delta)
        eps = self.threats[2].eps
        if self.mnist:
            return project_l1_whole_batch(projections.box(moved, x), eps, rescale=True)
        return projections.box(project_l1_whole_batch(moved, eps, rescale=False), x)


def project_l1_one_too_many(delta: Tensor, eps: float) -> Tensor:
    """The l1 projection of Tramer and Boneh's code: the support ends at the first entry that fails the test,
    included."""
    size = delta.flatten(1).abs()
    ordered = size.sort(dim=1, descending=True).values
    rank = torch.arange(1, size.shape[1] + 1, device=size.device)
    fails = ordered - (ordered.cumsum(1) - eps) / rank <= 0
    last = fails.int().argmax(1, keepdim=True)  # 0 where none fails, as in their search
    level = (ordered.cumsum(1).gather(1, last) - eps) / (last + 1)
    projected = (delta.sign().flatten(1) * (size - level).clamp(min=0)).view_as(delta)
    outside = size.sum(1) > eps
    return torch.where(outside.reshape(-1, *[1] * (delta.ndim - 1)), projected, delta)


def project_l1_whole_batch(delta: Tensor, eps: float, rescale: bool) -> Tensor:
    """The l1 projection of the MSD code: nothing moves while every example is inside, and all do once one is not."""
    size = delta.flatten(1).abs()
    if bool((size.sum(1) <= eps).all()):
        return delta
    ordered = size.sort(dim=1, descending=True).values
    rank = torch.arange(1, size.shape[1] + 1, device=size.device)
    support = (ordered * rank > ordered.cumsum(1) - eps).sum(1, keepdim=True)
    level = (ordered.cumsum(1).gather(1, support - 1) - eps) / support
    moved = delta.sign().flatten(1) * (size - level).clamp(min=0)
    if rescale:
        moved = moved * (eps / moved.abs().sum(1, keepdim=True).clamp(min=1e-12))
    return moved.view_as(delta)
