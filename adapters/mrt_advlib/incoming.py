"""adv-lib's attacks (Rony et al., the adversarial-library) behind our interface, each trap of theirs survived
(`mrt.hosts.hosted` says how)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.task import Task
from mrt.data.images import Data
from mrt.hosts.hosted import Hosted, ModelForHost, settings_tuple, suggest
from mrt.protocols import Threat
from mrt.threats import L0, L1, L2, Linf
from mrt_advlib.library import library, with_replaced

NORMS: dict[type, float] = {L0: 0, L1: 1, L2: 2, Linf: math.inf}
BALLS: dict[str, tuple[type, ...]] = {  # in which an attack can search, where that is not any of the four
    "alma": (L1, L2),
    "apgd": (L1, L2, Linf),
    "apgd_targeted": (L1, L2, Linf),
    "df": (L2, Linf),
    "fab": (L1, L2, Linf),
    "pgd_linf": (Linf,),
    "tr": (L2, Linf),
}
UNAIMED = ("apgd_targeted", "df", "fab", "sdf", "sigma_zero", "tr")  # these answer a target with the input, or an error
RADIUS = {"apgd": "eps", "apgd_targeted": "eps", "pgd_linf": "ε"}  # tr's `eps` and fab's `ε` are settings of a search
NORM = ("norm", "p")
LEAST = {"pdgd": ("num_steps", 2), "pdpgd": ("num_steps", 2), "carlini_wagner_l2": ("max_iterations", 10)}
FOLLOWS = (  # settings that we choose for each call, and some that would change what comes back
    "model", "inputs", "labels", "targeted", "distance", "callback", "starting_points", "return_targets",
    "return_unsuccessful", *NORM,
)  # fmt: skip
DOUBLINGS = 100  # of ALMA's first step, by which it is beyond every number


def attack(name: str, threat: Threat, *, pool: Data | None = None, **settings: Any) -> AdvLibAttack:
    """Return adv_lib.attacks.<name>(**settings) as an attack on `threat`, with its norm, and its radius if it has one.

    Attacks without a radius look for the closest point; those that have one norm only may be judged in any. An image
    that is misclassified as it is comes back as it is. `pool` is not used: no attack here walks from another image.
    """
    if not isinstance(name, str):
        raise ValueError(f"name an attack of adv_lib.attacks, such as 'fmn', with its settings; got {name!r}")
    # perc_al calls its images `images`: it measures colours, for which there is no threat here.
    kinds = {n: list(inspect.signature(f).parameters) for n, f in vars(library()).items() if inspect.isfunction(f)}
    kinds = {n: parameters for n, parameters in kinds.items() if "inputs" in parameters}
    if name not in kinds:
        raise ValueError(f"adv-lib has no attack {name!r}: {suggest(name, sorted(kinds))}")
    for key in settings:
        if key in FOLLOWS or key == RADIUS.get(name):
            raise ValueError(f"{key} of {name} follows from the threat, the target and the batch; leave it out")
        if key not in kinds[name]:
            allowed = [p for p in kinds[name] if p not in FOLLOWS]
            raise ValueError(f"{name} has no setting {key!r}: {suggest(key, allowed)}")
    balls = BALLS.get(name, tuple(NORMS))
    if not isinstance(threat, balls):
        raise ValueError(f"{name} needs a threat of type {' or '.join(b.__name__ for b in balls)}; got {threat!r}")
    if name in LEAST:
        key, least = LEAST[name]
        checks.count(f"{key} of {name}", settings.get(key, least), low=least)  # below, the host divides by zero
    return AdvLibAttack(name, threat, settings_tuple(settings))


class AdvLibAttack(Hosted):
    """An attack of adv-lib on a ball behind our interface; see `attack`."""

    @property
    def minimal(self) -> bool:
        return self.name not in RADIUS

    @property
    def starts(self) -> bool:
        return False

    @property
    def targetable(self) -> bool:
        return self.name not in UNAIMED

    def run(self, seen: ModelForHost, task: Task[Threat]) -> Tensor:
        goal, x_adv = task.goal, task.x.clone()
        with torch.no_grad():
            logits = seen(x_adv)
        # Only what still stands: a batch in which everything is misclassified ends some of these attacks with an error,
        # and apgd_targeted would aim at the right class.
        rows = (~goal.reached(logits)).nonzero().squeeze(1)
        if len(rows):
            self._check_classes(logits.shape[1], goal.target is not None)
            labels = (goal.y if goal.target is None else goal.target)[rows]  # a target takes the labels' place
            # Indexing copies: `tr` writes to its input's flags.
            with suppress(NothingFound):
                x_adv[rows] = self.host()(seen, x_adv[rows], labels, **self.arguments(task))
        return x_adv

    def arguments(self, task: Task[Threat]) -> dict[str, Any]:
        """What the host is called with beside the model, the images and the labels."""
        ours: dict[str, Any] = {"targeted": task.goal.target is not None, "distance": self.threat.name}
        # By default DDN rounds every pixel to a 255th, so that images on no such grid move all over.
        ours["levels"] = None
        # By default str_attack adds groups that overlap as its authors did, who took rows for columns.
        ours["fix_y_step"] = task.x.shape[-1] != task.x.shape[-2]
        ours |= dict.fromkeys(NORM, NORMS[type(self.threat)])
        if self.name in RADIUS:
            ours[RADIUS[self.name]] = float(self.threat.eps)  # type: ignore[attr-defined]
        return {k: v for k, v in ours.items() if k in self._parameters} | dict(self.settings)

    def host(self) -> Callable[..., Tensor]:
        """Return the attack's function, mended where it would not end or crash."""
        function = getattr(library(), self.name)
        if self.name == "fmn":
            return with_replaced(function, l0_projection_=partial(_keep_one, function.__globals__["l0_projection_"]))
        if self.name == "alma":
            return with_replaced(function, init_lr_finder=partial(_give_up, function.__globals__["init_lr_finder"]))
        if self.name == "apgd":  # which with best_loss=True forgets n_iter, and makes 100 steps
            steps = dict(self.settings).get("n_iter", inspect.signature(function).parameters["n_iter"].default)
            return with_replaced(function, _apgd=partial(function.__globals__["_apgd"], n_iter=steps))
        if self.name == "str_attack":
            return with_replaced(function, np=SimpleNamespace(abs=np.abs, nonzero=np.nonzero, percentile=_percentile))
        return function  # type: ignore[no-any-return]

    def _check_classes(self, classes: int, aimed: bool) -> None:
        """Raise a ValueError where the loss compares more logits than the model has."""
        default = inspect.signature(getattr(library(), self.name)).parameters.get("loss_function")
        loss = dict(self.settings).get("loss_function", default.default if default else "")
        if self.name != "alma" and loss != "dlr":
            return
        least = 4 if aimed or self.name == "apgd_targeted" else 3
        if classes < least:
            other = "" if self.name == "alma" else ", or loss_function='ce'"
            raise ValueError(f"{self.name} needs {least} classes or more{other}; the model has {classes}")

    @property
    def _parameters(self) -> list[str]:
        return list(inspect.signature(getattr(library(), self.name)).parameters)


class NothingFound(Exception):
    """The attack is at its end, and has no point for any of these images."""


def _keep_one(project: Callable[..., Tensor], δ: Tensor, ε: Tensor) -> Tensor:
    """FMN's projection in l0, which fails where no image of the batch may change any entry: as for one entry, which is
    what it makes of such an image among others."""
    return project(δ=δ, ε=ε.clamp(min=1))


def _percentile(sizes: Any, share: float) -> float:
    """Of the changes that str_attack made, below which it makes no more. Where it found nothing for any image it made
    none, and would end with an IndexError, as if it had broken down."""
    if not len(sizes):
        raise NothingFound
    return float(np.percentile(sizes, share))


def _give_up(
    find: Callable[..., Tensor], inputs: Tensor, grad: Tensor, distance_function: Callable[..., Tensor], **rest: Any
) -> Tensor:
    """ALMA's first step size, for which it doubles the step until the image is far enough away: for ever where the box
    or a gradient of zero keeps it near."""
    calls = 0

    def counted(z: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > DOUBLINGS:
            raise RuntimeError("no step leads as far as init_lr_distance")
        return distance_function(z)

    return find(inputs, grad, counted, **rest)
