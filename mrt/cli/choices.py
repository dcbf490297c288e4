"""What may be named on the command line of `mrt train`."""

from __future__ import annotations

from typing import Any

import mrt.attacks
import mrt.strategies
from mrt.attacks.iterative import Iterative
from mrt.training import SGD, Adam

STRATEGIES: dict[str, Any] = {
    "standard": mrt.strategies.Standard,
    "adversarial": mrt.strategies.Adversarial,
    "average": mrt.strategies.Average,
    "worst": mrt.strategies.Worst,
    "alternate": mrt.strategies.Alternate,
    "msd": mrt.strategies.MSDTraining,
    "sat": mrt.strategies.SAT,
    "eat": mrt.strategies.EAT,
    "ramp": mrt.strategies.RAMP,
    "trades": mrt.strategies.TRADES,
    "mng-ac": mrt.strategies.MNGAC,
    "l2l-da": mrt.strategies.L2LDA,
    "pgn": mrt.strategies.PGN,
    "ant": mrt.strategies.ANT,
}
ALIASES = {"avg": "average", "max": "worst"}  # the names that the papers' tables use
# --attack names one attack for every ball: only attacks that take a ball and go by gradient steps can be meant.
ATTACKS = {name.lower(): getattr(mrt.attacks, name) for name in mrt.attacks.__all__}
ATTACKS = {name: kind for name, kind in ATTACKS.items() if issubclass(kind, (Iterative, mrt.attacks.FGM))}
# How settings are written that no type of the command line covers: `parsing` reads these texts.
TEXT = {
    "threat": "linf=8/255, l2=0.5, l1=12, l0=12 or rt=30,3 (degrees, pixels)",
    "keep": "10, 0.99, or 5,20; the attack's own if left out",
}
TEXT["threats"] = f"each {TEXT['threat']}"
TEXT["noise_ball"] = "what noise is brought onto where a threat is no ball: l2=0.5; the first l2 ball if left out"
# Strategies that take one kind of threat alone, for the message that names what is missing.
ONLY = {"l2l-da": "linf=8/255", "ant": "linf=8/255, l2=0.5 or l1=12"}
OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}
