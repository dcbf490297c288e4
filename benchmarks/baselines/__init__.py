"""What our figures stand beside: other libraries' attacks, called as their users call them (here), and a published
scheme written anew (`published_msd`). A library is imported when it is asked for; ask `missing` first."""

from __future__ import annotations

import copy
import io
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from benchmarks.environment import Meter, Row, meter, seconds
from mrt.protocols import Ball

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # ART imports it, and complains where there is no git

Attacker = Callable[[int], object]
"""Runs the attack with that many steps."""
Run = Callable[[], object]
CLASSES = 10  # of every network here
NORMS = {"linf": float("inf"), "l2": 2, "l1": 1}
STEP = {"linf": 1 / 10, "l2": 1 / 10, "l1": 1 / 12}
"""Shares of the radius that a step is long; those of `benchmarks.attack_overhead`, about."""


def missing(package: str) -> str | None:
    """Why that library has no row; None where it can have one."""
    return None if find_spec(package) else "not installed"


def foolbox(ball: Ball, model: nn.Module, x: Tensor, y: Tensor) -> Attacker:
    """LinfPGD, L2PGD or SparseL1DescentAttack, from x."""
    import foolbox as host

    wrapped = host.PyTorchModel(model, bounds=(0, 1), device=x.device)
    wrong, size = host.criteria.Misclassification(y), STEP[ball.name] * ball.eps
    attacks: dict[str, Any] = {
        "linf": host.attacks.LinfPGD,
        "l2": host.attacks.L2PGD,
        "l1": host.attacks.SparseL1DescentAttack,
    }

    def run(steps: int) -> object:
        attack = attacks[ball.name](steps=steps, abs_stepsize=size, random_start=False)
        return attack.run(wrapped, x, wrong, epsilon=ball.eps)

    return run


def art(ball: Ball, model: nn.Module, x: Tensor, y: Tensor, auto: bool = False) -> Attacker:
    """ProjectedGradientDescentPyTorch from x, or AutoProjectedGradientDescent with one random start, on arrays."""
    from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch

    host, images = art_classifier(model, x), x.cpu().numpy()
    labels = nn.functional.one_hot(y.cpu(), CLASSES).float().numpy()
    how: dict[str, Any] = {"norm": NORMS[ball.name], "eps": ball.eps, "batch_size": len(x), "verbose": False}

    def run(steps: int) -> object:
        if auto:
            more = {"eps_step": 2 * ball.eps, "nb_random_init": 1, "loss_type": "cross_entropy"}
            return AutoProjectedGradientDescent(host, max_iter=steps, **how, **more).generate(images, labels)
        size = STEP[ball.name] * ball.eps
        return ProjectedGradientDescentPyTorch(host, max_iter=steps, eps_step=size, **how).generate(images, labels)

    return run


def art_classifier(model: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer | None = None) -> Any:
    """The model as ART takes it, on the device of x."""
    from art.estimators.classification import PyTorchClassifier

    logging.getLogger("art").setLevel(logging.ERROR)
    kind = "gpu" if x.is_cuda else "cpu"
    how: dict[str, Any] = {"optimizer": optimizer, "clip_values": (0.0, 1.0), "device_type": kind}
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), CLASSES, **how)


def art_trainer(
    ball: Ball, size: float, steps: int, batch: int, lr: float, attack_batch: int | None
) -> Callable[[nn.Module, Tensor, Tensor], None]:
    """An epoch of AdversarialTrainerMadryPGD; its attack works in batches of 32 unless told otherwise."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> None:
        from art.defences.trainer import AdversarialTrainerMadryPGD

        host = art_classifier(model, x, torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9))
        how = {"eps": ball.eps, "eps_step": size, "max_iter": steps, "num_random_init": 1}
        trainer = AdversarialTrainerMadryPGD(host, nb_epochs=1, batch_size=batch, **how)
        if attack_batch is not None:
            trainer.attack.set_params(batch_size=attack_batch)
        with redirect_stderr(io.StringIO()):  # its progress bars
            trainer.fit(x.cpu().numpy(), y.cpu().numpy())

    return run


def autoattack(ball: Ball, model: nn.Module, x: Tensor, y: Tensor) -> Attacker:
    """pyautoattack's APGD on cross-entropy, one random start. It attacks what the model has right."""
    from pyautoattack.autopgd_base import APGDAttack

    norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[ball.name]

    def run(steps: int) -> object:
        return APGDAttack(model, n_iter=steps, norm=norm, eps=ball.eps, loss="ce", device=str(x.device)).perturb(x, y)

    return run


def peers(kind: str, ball: Ball, model: nn.Module, x: Tensor, y: Tensor, steps: int) -> dict[str, Run | str]:
    """The hosts' attacks of that kind (pgd, slide, apgd, msd), each made when it first runs; or why there is none. The
    model is copied, and everything lies contiguously, as hosts expect."""
    model, x = copy.deepcopy(model).to(memory_format=torch.contiguous_format), x.contiguous()
    has: dict[str, Any] = {
        "foolbox": {"pgd": foolbox, "slide": foolbox},
        "art": {"pgd": art, "slide": art, "apgd": partial(art, auto=True)},
        "pyautoattack": {"apgd": autoattack},
    }
    made: dict[str, Attacker] = {}

    def run(host: str) -> object:
        if host not in made:
            made[host] = has[host][kind](ball, model, x, y)
        return made[host](steps)

    none = {host: f"has no {kind}" for host in has if kind not in has[host]}
    return {host: none.get(host) or missing(host) or partial(run, host) for host in has}


def slopes(x: Tensor, y: Tensor, balls: Sequence[Ball], few: int, many: int) -> dict[str, Row]:
    """Steps of our SLIDE (the last ball is to be an l1 one) and of the hosts' attacks on a linear model, each the slope
    between so many steps, the model's passes included; and these alone, as "model". Fast is a graph on a GPU, compiled
    steps on a CPU."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), CLASSES)).to(x.device).eval()

    def bare() -> None:
        z = x.clone().requires_grad_()
        torch.autograd.grad(nn.functional.cross_entropy(model(z), y, reduction="sum"), z)

    def slope(make: Callable[[], Attacker]) -> Row:
        def made() -> Meter:
            run = make()
            took = [partial(seconds, partial(run, steps), x.device) for steps in (few, many)]
            took[0]()
            return lambda: 1e6 * (took[1]() - took[0]()) / (many - few)

        return made

    def slide(fast: mrt.Fast) -> Attacker:
        ball: Any = balls[-1]
        size = STEP[ball.name] * ball.eps
        return lambda steps: mrt.SLIDE(ball, steps=steps, step_size=size, best="last", fast=fast)(model, x, y)

    fast = mrt.Fast(graph=True) if x.is_cuda else mrt.Fast(compile=True)
    found: dict[str, Row] = {"model": lambda: meter([bare], x.device)}
    found |= {"mrt.SLIDE": slope(lambda: slide(mrt.Fast())), "mrt.SLIDE, fast": slope(lambda: slide(fast))}
    for host, attack in (("foolbox", foolbox), ("art", art)):
        for ball in balls:
            found[f"{host} {ball.name}"] = missing(host) or slope(partial(attack, ball, model, x, y))
    return found


def autoattack_projection(ball: mrt.L1, x: Tensor, delta: Tensor) -> Callable[[], object]:
    """pyautoattack's projection of x + delta on ball and box, and nothing else of a step."""
    from pyautoattack.autopgd_base import L1_projection

    return lambda: L1_projection(x, delta, ball.eps)
