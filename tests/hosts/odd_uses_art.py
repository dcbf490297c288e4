"""Odd uses of ART's attacks and trainers, each on ART's own class and on ours of the same name, side by side:

    PYTHONPATH=.:adapters python -m tests.hosts.odd_uses_art

A use is *same* where both answer alike and ours fools as many images, up to one in five; *both refuse*; *ours only*
where ART raises; *refused* where ours does, which REFUSED explains; or *differs*, which DIFFERS explains.
"""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import art.attacks.evasion as evasion
import art.defences.trainer as trainers
import mrt_art
import numpy as np
import torch

from tests.adapters.support import classifier, victim
from tests.support import digits

X, Y = (t.numpy() for t in digits(8))
HOT = np.eye(10, dtype=np.float32)[Y]
FOOLED = 0.2  # of the images: by so much less may ours fool


@dataclass
class Kit:
    """One side's classes."""

    attacks: Any
    trainers: Any

    def pgd(self, where: Any = None, **how: Any) -> Any:
        settings = {"eps": 0.3, "eps_step": 0.1, "max_iter": 3, "verbose": False, **how}
        return self.attacks.ProjectedGradientDescent(host() if where is None else where, **settings)

    def apgd(self, where: Any = None, **how: Any) -> Any:
        settings = {"eps": 0.3, "eps_step": 0.1, "max_iter": 3, "nb_random_init": 1, "verbose": False, **how}
        return self.attacks.AutoProjectedGradientDescent(host() if where is None else where, **settings)

    def madry(self, where: Any = None, **how: Any) -> Any:
        settings = {"nb_epochs": 1, "batch_size": 5, "eps": 0.1, "eps_step": 0.1, "max_iter": 1, **how}
        return quiet(self.trainers.AdversarialTrainerMadryPGD(host() if where is None else where, **settings))

    def trades(self, where: Any = None, attack: Any = None, beta: float = 1.0) -> Any:
        where = host() if where is None else where
        attack = self.pgd(where, max_iter=1) if attack is None else attack(where)
        return quiet(self.trainers.AdversarialTrainerTRADESPyTorch(where, attack, beta))


THEIRS, OURS = Kit(evasion, trainers), Kit(mrt_art, mrt_art)


def quiet(trainer: Any) -> Any:
    trainer.verbose = False
    if "verbose" in getattr(getattr(trainer, "attack", None), "attack_params", ()):
        trainer.attack.set_params(verbose=False)
    return trainer


def host(module: Any = None, **how: Any) -> Any:
    """A classifier of digits with an optimizer."""
    module = victim() if module is None else module
    how = {"optimizer": torch.optim.SGD(module.parameters(), 0.01), "clip_values": (0, 1), **how}
    return classifier(module, how.pop("clip_values"), (1, 8, 8), 10, **how)


def attacked(attack: Any, x: Any = X, y: Any = Y, eps: Any = 0.3, context: Any = None, **how: Any) -> dict[str, Any]:
    """What came of an attack: the form of its result, whether that is within the radius, and what it fooled."""
    np.random.seed(0)
    with context or nullcontext():
        x_adv = attack.generate(x, y, **how)
    made = np.asarray(x_adv)
    plain = np.asarray(x, dtype=np.float64)
    told: dict[str, Any] = {"kind": type(x_adv).__name__, "shape": made.shape, "dtype": str(made.dtype)}
    told["inside"] = bool((abs(made - plain) <= eps + 1e-5).all())
    answers = attack.estimator.predict(made.astype(np.float32)) if len(made) else np.zeros((0, 10))
    right = np.zeros(0) if not len(made) else attack.estimator.predict(plain.astype(np.float32)).argmax(1)
    return told | {"fooled": float((answers.argmax(1) != right).mean()) if len(made) else 0.0}


def trained(trainer: Any, x: Any = X, y: Any = HOT, **how: Any) -> dict[str, Any]:
    """What came of a training: whether weights have moved, and how many updates of which sizes there were."""
    where = trainer.get_classifier()
    before = [p.detach().clone() for p in where.model.parameters()]
    steps = [0]
    step = None if where.optimizer is None else where.optimizer.step
    if step is not None:
        where.optimizer.step = lambda *a, **k: (steps.__setitem__(0, steps[0] + 1), step(*a, **k))[1]
    np.random.seed(0)
    trainer.fit(x, y, **how)
    moved = any(not torch.equal(a, b) for a, b in zip(before, where.model.parameters(), strict=True))
    return {"moved": moved, "updates": steps[0], "clean": bool(np.isfinite(where.predict(X)).all())}


USES: dict[str, Callable[[Kit], Any]] = {}
REFUSED: dict[str, str] = {}
DIFFERS: dict[str, str] = {}


def row(kit: Kit, name: str) -> tuple[str, dict[str, Any] | None, list[str]]:
    """What came of one use on one side: a line, its summary if it ended well, and what was warned of."""
    torch.manual_seed(0)
    np.random.seed(0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            told = USES[name](kit)
        except Exception as error:  # whatever a host raises is an outcome
            return f"{type(error).__name__}: {error}", None, []
    remarks = [str(w.message) for w in said if issubclass(w.category, UserWarning)]
    told = told if isinstance(told, dict) else {"value": told}
    return ", ".join(f"{k} {v}" for k, v in told.items()), told, remarks


def verdict(theirs: dict[str, Any] | None, ours: dict[str, Any] | None) -> str:
    """The word for two outcomes."""
    if theirs is None or ours is None:
        return {(True, True): "both refuse", (True, False): "ours only"}.get((theirs is None, ours is None), "refused")
    alike = all(ours.get(k) == v for k, v in theirs.items() if k != "fooled")
    return "same" if alike and ours.get("fooled", 0) >= theirs.get("fooled", 0) - FOOLED else "differs"


def compare(names: list[str]) -> list[tuple[str, str, str, str]]:
    """(use, verdict, ART's outcome, ours) for these uses; ours says what it warned of."""
    found = []
    for name in names:
        (line, told, _), (own, own_told, said) = row(THEIRS, name), row(OURS, name)
        found.append((name, verdict(told, own_told), line, own + "".join(f" [warns: {s}]" for s in said)))
    return found


def print_table() -> None:
    """Print every use, and how often each verdict was given."""
    table = compare(list(USES))
    for name, word, theirs, ours in table:
        why = REFUSED.get(name) or DIFFERS.get(name)
        print(f"{name:44} {word:12} {theirs[:60]!r:64} {ours[:90]!r}" + (f"  ({why})" if why else ""))
    print(", ".join(f"{count} {word}" for word, count in Counter(word for _, word, _, _ in table).items()))


if __name__ == "__main__":
    # By its name: what runs as a script is another module than the one that the lists fill.
    for part in ("odd_uses_art_list", "odd_uses_art_models"):
        importlib.import_module(f"tests.hosts.{part}")
    importlib.import_module("tests.hosts.odd_uses_art").print_table()
