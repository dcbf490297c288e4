"""AutoAttack (Croce and Hein 2020, 2021) behind our interface, its traps survived (`mrt.hosts.hosted` says how).
It comes from `pyautoattack`, or from `autoattack` as installed from its authors' repository, whichever is there."""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import Any

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.task import Task
from mrt.data.images import Data
from mrt.hosts.hosted import Hosted, ModelForHost, host_seed, settings_tuple
from mrt.protocols import Threat
from mrt.threats import L1, L2, Linf

PACKAGES = ("pyautoattack", "autoattack")  # looked for in this order
NORMS: dict[type, str] = {Linf: "Linf", L2: "L2", L1: "L1"}
PARTS = ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t")
NEEDS_FOUR = ("apgd-dlr", "apgd-t")  # classes, for the difference-of-logits-ratio loss
LEAST_STEPS = 5  # fewer leave none for the last of the three radii that APGD has in l1
VERSIONS = ("standard", "plus", "rand", "custom")


def attack(
    threat: Threat,
    version: str = "standard",
    attacks: tuple[str, ...] = (),
    *,
    queries: int | None = None,
    steps: int | None = None,
) -> AutoAttack:
    """Return AutoAttack on an linf, l2 or l1 ball, with that version's settings.

    `attacks` runs only those parts of it ("custom": any parts, five restarts and AutoAttack's other own defaults);
    `queries` is Square's budget, 5000 unless set, and `steps` are APGD's and FAB's, 100. With fewer than four classes
    the parts that need the DLR loss cannot run, and a version without any other part is an error.
    """
    if not isinstance(threat, (Linf, L2, L1)):
        raise ValueError(f"AutoAttack needs a threat of type Linf, L2 or L1; got {threat!r}")
    checks.choice("version", version, VERSIONS)
    for part in attacks:
        checks.choice("attacks", part, PARTS)
    if version == "custom" and not attacks:
        raise ValueError(f"version='custom' needs attacks, some of {', '.join(PARTS)}; got none")
    if queries is not None:
        checks.count("queries", queries)
    if steps is not None:
        checks.count("steps", steps, low=LEAST_STEPS)
    package()  # raises a ValueError now if AutoAttack is not installed, not in the middle of an evaluation
    settings = {"version": version, "attacks": tuple(attacks), "queries": queries, "steps": steps}
    return AutoAttack("AutoAttack", threat, settings_tuple({k: v for k, v in settings.items() if v}))


def resolve(name: str, threat: Threat, *, pool: Data | None = None, **settings: Any) -> AutoAttack:
    """Return AutoAttack under the name that a battery has for it: a version, or one part of the standard version."""
    if name in VERSIONS:
        return attack(threat, name, **settings)
    checks.choice("the name of an AutoAttack", name, (*VERSIONS, *PARTS))
    # The standard version has these two parts in their targeted forms only; "plus" has them as they are.
    version = "plus" if name in ("apgd-dlr", "fab") else "standard"
    return attack(threat, settings.pop("version", version), (name,), **settings)


class AutoAttack(Hosted):
    """AutoAttack behind our interface; see `attack`. Where it finds nothing it returns the input."""

    minimal, starts, targetable = False, False, False

    def run(self, seen: ModelForHost, task: Task[Threat]) -> Tensor:
        x, y = task.x, task.goal.y
        host = self.host(seen, x.device, host_seed(task.seeds))
        classes = seen(x[:1]).shape[1]
        # Below four classes the host crashes in the parts that use the DLR loss.
        host.attacks_to_run = [p for p in host.attacks_to_run if classes >= 4 or p not in NEEDS_FOUR]
        if not host.attacks_to_run:
            raise ValueError(f"{self!r} needs four classes or more; the model has {classes}")
        for part in (host.fab, host.apgd_targeted):  # both aim at 9 classes, which only ten classes have besides y
            part.n_target_classes = min(part.n_target_classes, classes - 1)
        # The two packages differ in the name of this argument and in whether they return labels as well.
        size = "batch_size" if "batch_size" in inspect.signature(host.run_standard_evaluation).parameters else "bs"
        answer = host.run_standard_evaluation(x, y, **{size: len(x)})
        x_adv: Tensor = answer[0] if isinstance(answer, tuple) else answer
        return x_adv

    def host(self, seen: ModelForHost, device: torch.device, seed: int) -> Any:
        """Return the AutoAttack object, from whichever package there is."""
        kind = package().AutoAttack
        settings = dict(self.settings)
        version, parts = settings["version"], list(settings.get("attacks", ()))
        parameters = inspect.signature(kind.__init__).parameters  # which differ between the packages
        arguments = {"norm": NORMS[type(self.threat)], "eps": self.threat.eps, "seed": seed, "device": device}  # type: ignore[attr-defined]
        arguments |= {"verbose": False} if "verbose" in parameters else {}
        if version == "custom":
            arguments["attacks" if "attacks" in parameters else "attacks_to_run"] = parts
        host = kind(seen, version=version, **arguments)
        host.attacks_to_run = list(parts or host.attacks_to_run)  # a copy: one release shares the list between objects
        host.square.n_queries = settings.get("queries", host.square.n_queries)
        if "steps" in settings:
            host.fab.n_iter = settings["steps"]
            for apgd in (host.apgd, host.apgd_targeted):
                _shorten(apgd, settings["steps"])
        return host

    def __repr__(self) -> str:
        settings = "".join(f", {key}={value!r}" for key, value in self.settings)
        return f"mrt_autoattack.attack({self.threat!r}{settings})"


def _shorten(apgd: Any, steps: int) -> None:
    """Give an APGD object so many steps, and the periods that its constructor would have derived from them."""
    apgd.n_iter = apgd.n_iter_orig = steps
    apgd.n_iter_2, apgd.n_iter_min = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
    apgd.size_decr = max(int(0.03 * steps), 1)


def package() -> Any:
    """Return the module `pyautoattack`, else `autoattack`."""
    for name in PACKAGES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:  # the package is there, and something that it needs is not
                raise
            continue
        # Its remarks on random or dynamic models are left to our own warnings.
        logging.getLogger("auto-attack").setLevel(logging.ERROR)
        return module
    raise ValueError("AutoAttack is not installed: pip install pyautoattack")
