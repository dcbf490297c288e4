"""Attacks of ART's as ours, with their settings: what trainers are given to train on."""

from __future__ import annotations

from typing import Any

import art.attacks.evasion as evasion
import numpy as np
from art.estimators.classification import PyTorchClassifier

from mrt.protocols import Attack
from mrt_art.attack_base import Native
from mrt_art.host_named import AutoProjectedGradientDescent, ProjectedGradientDescent

OURS: tuple[Any, ...] = (Native,)
# ART's own classes that descend by plain steps in one ball; BasicIterativeMethod is one of them.
STEPPED: tuple[Any, ...] = (
    evasion.ProjectedGradientDescent,
    evasion.ProjectedGradientDescentPyTorch,
    evasion.ProjectedGradientDescentNumpy,
    evasion.FastGradientMethod,
)
KINDS = "an attack of mrt_art, or ART's PGD, BIM, FGM or AutoPGD"


def as_ours(attack: Any, classifier: PyTorchClassifier) -> Native:
    """Return the attack if it is one of ours, or ours with the settings of ART's; ValueError for any other, and for one
    that is targeted or on another classifier."""
    known = isinstance(attack, (*OURS, *STEPPED, evasion.AutoProjectedGradientDescent))
    # ART's AutoPGD makes another classifier around the same model where it has a loss of its own.
    same = known and getattr(attack.estimator, "model", None) is classifier.model
    same = same and np.array_equal(_bounds(attack.estimator), _bounds(classifier))  # of which its lengths are shares
    if not same or attack.targeted:
        raise ValueError(f"attack must be {KINDS}, untargeted and on this classifier; got {attack!r}")
    eps = getattr(attack, "eps", None)
    odd = {"eps in arrays": isinstance(eps, np.ndarray), "random_eps": bool(getattr(attack, "random_eps", False))}
    odd |= {"minimal": bool(getattr(attack, "minimal", False))}
    if any(odd.values()):
        lost = ", ".join(name for name, is_odd in odd.items() if is_odd)
        raise ValueError(f"the attack's {lost} would be lost: a training draws its batches and has one radius for all")
    if isinstance(attack, OURS):
        return attack  # type: ignore[no-any-return]
    names = ("norm", "eps", "eps_step", "max_iter", "batch_size")
    settings = {name: getattr(attack, name) for name in names if hasattr(attack, name)} | {"verbose": False}
    if isinstance(attack, evasion.AutoProjectedGradientDescent):
        more = {"nb_random_init": attack.nb_random_init, "loss_type": attack.loss_type}
        return AutoProjectedGradientDescent(classifier, **settings, **more)
    settings["num_random_init"] = attack.num_random_init
    if isinstance(attack, evasion.FastGradientMethod) and not hasattr(attack, "max_iter"):
        settings |= {"max_iter": 1, "eps_step": attack.eps}
    # ART's front keeps decay in the attack behind it alone.
    decay = getattr(getattr(attack, "_attack", attack), "decay", None)
    return ProjectedGradientDescent(classifier, **settings, decay=decay)


def _bounds(classifier: PyTorchClassifier) -> np.ndarray[Any, Any]:
    bounds = classifier.clip_values
    return np.array([]) if bounds is None else np.stack(np.broadcast_arrays(*map(np.asarray, bounds)))


def adversaries_of(attack: Any, classifier: PyTorchClassifier, width: float) -> tuple[Attack, ...]:
    """Return one attack, or each of several, as `mrt` has them: lengths divided by the pixels' range."""
    several = attack if isinstance(attack, (list, tuple)) else (attack,)
    if not several:
        raise ValueError(f"attack must be {KINDS}, or several of these; got {attack!r}")
    return tuple(as_ours(one, classifier).attack_for(width) for one in several)
