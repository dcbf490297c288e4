"""A plugin of pytest for Foolbox's own tests, with OURS=1 on our attacks. `foolbox.attacks` is `mrt_foolbox.attacks`
then, as after a change of import, and our attacks under our own names stand in its lists of attacks as well.

Networks whose weights Foolbox downloads are replaced, either way, by small ones that know its sample images by heart.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import foolbox
import pytest
import torch
from torch import nn

OURS = os.environ.get("OURS") == "1"
torch.set_num_threads(1)

if OURS:
    import mrt_foolbox.attacks

    sys.modules["foolbox.attacks"] = foolbox.attacks = mrt_foolbox.attacks


@cache
def digits_model() -> tuple[Any, Any, Any]:
    """A model, its images and labels, of which it is right about all."""
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
    net = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(256, 10))
    fmodel = foolbox.PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")
    x, y = foolbox.samples(fmodel, dataset="mnist", batchsize=8)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(400):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    return fmodel, x, y


@cache
def photographs_model() -> tuple[Any, Any, Any]:
    """A random linear model of coarse pixels, and its own answers as labels: every attack can change them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 28 * 28, 1000, bias=False)).eval()
    usual = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "axis": -3}
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu", preprocessing=usual)
    x, _ = foolbox.samples(fmodel, dataset="imagenet", batchsize=8)
    return fmodel, x, fmodel(x).argmax(-1)


def pytest_configure() -> None:
    import conftest  # Foolbox's
    import eagerpy as ep

    for name, make in (("pytorch_mnist", digits_model), ("pytorch_shufflenetv2", photographs_model)):

        def model(request: Any, make: Any = make) -> Any:
            if request.config.option.backend != "pytorch":
                pytest.skip()
            fmodel, x, y = make()
            return fmodel, ep.astensor(x), ep.astensor(y)

        conftest.models[name] = conftest.models[name]._replace(model_fn=model)
    if OURS:
        enter_ours()


def enter_ours() -> None:
    """Append our attacks, each under our name, to the lists from which Foolbox's tests take theirs."""
    import mrt_foolbox as ours
    import test_attacks
    import test_attacks_base
    import test_attacks_raise

    radii = {"linf": 1.0, "l2": 50.0, "l1": 5000.0}
    attacks: list[tuple[Any, float]] = [(ours.SLIDE(), 5000.0)]
    attacks += [(ours.PGD(norm, steps=20), radius) for norm, radius in radii.items()]
    attacks += [(ours.APGD(norm, steps=20), radius) for norm, radius in radii.items()]
    attacks += [(ours.MSD(**radii, steps=20), 1.0), (ours.Affine(linf=1.0, l1=5000.0, steps=3, restarts=2), 1.0)]
    targets = [test_attacks.AttackTestTarget(attack, epsilon, True) for attack, epsilon in attacks]
    moved = [ours.RotationTranslation(grid=(3, 3, 5)), ours.RotationTranslation(samples=10)]
    test_attacks.attacks += targets
    test_attacks.attacks += [test_attacks.AttackTestTarget(a, 1.0, True, requires_real_model=True) for a in moved]
    test_attacks.targeted_attacks += targets
    few = [ours.SLIDE(steps=3), ours.APGD("l1", steps=3), ours.MSD(steps=3), ours.Affine(steps=2, restarts=2)]
    test_attacks_base.attacks += [attack.repeat(times) for attack in few for times in (1, 2)]
    test_attacks_raise.targeted_attacks_raises_exception += [(attack, True) for attack in (*few, moved[1])]
