"""The operations of the published MSD training (Maini, Wong and Kolter 2020, algorithm 1 and their code's habits),
written anew from their description in plain eager torch: what a fast one is measured against.

Every step of the attack is one pass forward and back in which the parameters get gradients too, then each ball's step
with a forward pass of its own, the l1 projection by sorting (Duchi et al. 2008), and the choice among the three: six
forward passes' worth of operations. The model stays in train mode throughout, so BatchNorm uses and moves its batch
statistics. The published projection also reads numbers back to the host, 129 times a call; this one never waits, in
the published scheme's favour. Half precision and the code's quirks are left out: `mrt.MSD.reference` has those.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt

Union = tuple[mrt.Linf, mrt.L2, mrt.L1]
KEEP = (5, 20)


def linf_step(x: Tensor, delta: Tensor, grad: Tensor, eps: float, size: float) -> Tensor:
    """Along the sign, clipped to the cube and to the pixel box."""
    moved = (delta + size * grad.sign()).clamp(-eps, eps)
    return torch.min(torch.max(moved, -x), 1 - x)


def l2_step(x: Tensor, delta: Tensor, grad: Tensor, eps: float, size: float) -> Tensor:
    """Along the gradient, scaled back to the ball, clipped to the pixel box."""
    moved = delta + size * grad / _column(grad.flatten(1).norm(dim=1).clamp(min=1e-12), grad)
    moved = moved * _column((eps / moved.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1), grad)
    return torch.min(torch.max(moved, -x), 1 - x)


def l1_step(x: Tensor, delta: Tensor, grad: Tensor, eps: float, size: float, keep: int) -> Tensor:
    """Along the `keep` largest entries that the pixel box lets move, projected by sorting, clipped to the box."""
    now = x + delta
    stuck = ((now <= 0) & (grad < 0)) | ((now >= 1) & (grad > 0))
    flat = torch.where(stuck, torch.zeros_like(grad), grad).flatten(1)
    least = flat.abs().topk(keep, dim=1).values[:, -1:]
    chosen = (flat.abs() >= least).to(flat.dtype)
    moved = sorted_projection(delta + (size / keep) * (flat.sign() * chosen).view_as(delta), eps)
    return torch.min(torch.max(moved, -x), 1 - x)


def sorted_projection(delta: Tensor, eps: float) -> Tensor:
    """The nearest point of the l1 ball: soft thresholding at the level that the sorted entries' sums give."""
    flat = delta.flatten(1)
    ordered = flat.abs().sort(dim=1, descending=True).values
    rank = torch.arange(1, flat.shape[1] + 1, device=flat.device)
    levels = (ordered.cumsum(1) - eps) / rank
    support = (ordered > levels).sum(1, keepdim=True).clamp(min=1)
    level = levels.gather(1, support - 1).clamp(min=0)  # below 0 where the point is inside
    return (flat.sign() * (flat.abs() - level).clamp(min=0)).view_as(delta)


def full_grad(model: nn.Module, point: Tensor, y: Tensor) -> Tensor:
    """The loss's gradient in the input, from a backward pass that computes the parameters' gradients as well."""
    point = point.detach().requires_grad_()
    cross_entropy(model(point), y).backward()
    assert point.grad is not None
    return point.grad


def attack(model: nn.Module, x: Tensor, y: Tensor, union: Union, steps: int) -> Tensor:
    """The perturbed inputs of largest loss on the path."""
    sizes = [2.5 * ball.eps / steps for ball in union]
    linf, l2, l1 = union
    delta, best, best_loss = torch.zeros_like(x), x, x.new_full((len(x),), -torch.inf)
    for _ in range(steps):
        grad = full_grad(model, x + delta, y)
        keep = int(torch.randint(KEEP[0], KEEP[1] + 1, ()))
        proposals = (
            linf_step(x, delta, grad, linf.eps, sizes[0]),
            l2_step(x, delta, grad, l2.eps, sizes[1]),
            l1_step(x, delta, grad, l1.eps, sizes[2], min(keep, x[0].numel())),
        )
        loss = x.new_full((len(x),), -torch.inf)
        for proposal in proposals:
            with torch.no_grad():
                now = cross_entropy(model(x + proposal), y, reduction="none")
            delta = torch.where(_column(now > loss, x), proposal, delta)
            loss = torch.maximum(now, loss)
        best = torch.where(_column(loss > best_loss, x), x + delta, best)
        best_loss = torch.maximum(loss, best_loss)
    return best


def update(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, union: Union, steps: int) -> None:
    """One batch of the training: the attack, then a step down on what it found."""
    x_adv = attack(model, x, y, union, steps)
    optimizer.zero_grad()
    cross_entropy(model(x_adv), y).backward()
    optimizer.step()


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))
