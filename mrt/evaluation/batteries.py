"""Batteries by name: `quick`, `standard`, and one for each paper as its evaluation lists it.

Each is `battery(threats, classes=10, budget=1.0)`: the attacks that it has for each threat, cheap first. `budget`
scales steps, restarts and queries, for a first look; published figures need 1. Steps follow the paper, its code where
the paper is silent, and the host's defaults where both are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mrt import checks
from mrt.attacks import APGD, FGM, FGSM, MIM, PGD, SLIDE, AffineAttack, CWLinf, RTGrid, RTWorstOf
from mrt.evaluation.battery import Battery, Entry, Foreign, check_battery
from mrt.protocols import Ball, Threat
from mrt.threats import L0, L1, L2, Affine, Linf, RotationTranslation

ENTRY = ("threat", "runs", "distances", "column")


class _Plan:
    """One threat's entries being listed, with counts scaled by the budget."""

    def __init__(self, threat: Threat, classes: int, budget: float) -> None:
        self.threat, self.classes, self.budget = threat, classes, budget
        self.entries: list[Entry] = []

    def n(self, count: int, least: int = 1) -> int:
        return max(round(count * self.budget), min(least, count))

    def ours(self, name: str, attack: Any, **how: Any) -> None:
        self.entries.append(Entry(name, attack, attack.threat, **how))

    def host(self, host: Any, name: str, attack: str, **how: Any) -> None:
        """How an entry counts (threat, runs, distances, column) and the host's settings, told apart by name."""
        entry = {"threat": self.threat} | {key: how.pop(key) for key in ENTRY if key in how}
        self.entries.append(Entry(name, Foreign(host, attack, tuple(sorted(how.items()))), **entry))


def _targeted(plan: _Plan, ball: Ball, steps: int) -> None:
    """APGD towards the likeliest wrong classes; with fewer than four classes on the margin, which needs only two."""
    loss, targets = ("dlr", min(9, plan.classes - 1)) if plan.classes >= 4 else ("margin", plan.classes - 1)
    plan.ours("apgd-t", APGD(ball, steps=steps, loss=loss, targets=targets))


def _quick(plan: _Plan) -> None:
    threat = plan.threat
    if isinstance(threat, (Linf, L2, L1)):
        plan.ours("apgd-ce", APGD(threat, steps=plan.n(100, 2), restarts=plan.n(5) if isinstance(threat, L1) else 1))
        _targeted(plan, threat, plan.n(100, 2))
    elif isinstance(threat, RotationTranslation):
        plan.ours("grid", RTGrid(threat))
    elif isinstance(threat, Affine):
        plan.ours("affine", AffineAttack(threat, restarts=plan.n(10)))


def _standard(plan: _Plan) -> None:
    if not isinstance(plan.threat, (Linf, L2, L1)):
        return _quick(plan)
    for part in ("apgd-ce", "apgd-t", "fab-t"):
        if plan.classes >= 4 or part != "apgd-t":
            plan.host("autoattack", part, part)
    plan.host("autoattack", "square", "square", queries=plan.n(5000))
    return None


def _tramer_boneh(plan: _Plan) -> None:
    """The margin is the loss they follow. Their Boundary Attack++ is HopSkipJump."""
    threat, runs = plan.threat, plan.n(40)
    if isinstance(threat, Linf):
        plan.ours("pgd-100", PGD(threat, steps=plan.n(100, 2), loss="margin", restarts=runs))
        plan.ours("pgd-1000", PGD(threat, steps=plan.n(1000, 2), loss="margin"))
        plan.host("foolbox", "hopskipjump", "HopSkipJumpAttack", steps=plan.n(64))
    elif isinstance(threat, L1):
        small, large = threat.eps / 20, threat.eps * 0.255  # 0.5 of 10 on MNIST; 2 of 2000/255 on CIFAR-10
        slide = {"random_start": True, "loss": "margin"}
        plan.ours("slide", SLIDE(threat, steps=plan.n(100, 2), step_size=small, restarts=runs, **slide))  # type: ignore[arg-type]
        plan.ours("slide-1000", SLIDE(threat, steps=plan.n(1000, 2), step_size=large, **slide))  # type: ignore[arg-type]
        ead = {"regularization": 1e-2, "decision_rule": "L1", "initial_stepsize": 1e-2}
        plan.host("foolbox", "ead", "EADAttack", steps=plan.n(1000, 5), binary_search_steps=plan.n(9, 2), **ead)
        plan.host("foolbox", "pointwise", "PointwiseAttack")
    elif isinstance(threat, L2):
        plan.ours("pgd-100", PGD(threat, steps=plan.n(100, 2), loss="margin", restarts=runs))
        cw = {"steps": plan.n(1000, 5), "binary_search_steps": plan.n(9, 2), "stepsize": 5e-3}
        plan.host("foolbox", "cw", "L2CarliniWagnerAttack", **cw)
        plan.host("foolbox", "boundary", "BoundaryAttack", steps=plan.n(5000, 10))
    elif isinstance(threat, RotationTranslation):
        plan.ours("worst-of-10", RTWorstOf(threat, k=10))
        plan.ours("grid", RTGrid(threat))
    else:
        _quick(plan)


def _msd(plan: _Plan) -> None:
    """Ten runs, or restarts, of what is random; every distance kept. The two l0 attacks are judged by the number of
    changed entries, at most the l1 radius, and count for l1. Steps are MNIST's: eps / 30, eps / 20, 1."""
    threat = plan.threat
    many: dict[str, Any] = {"runs": plan.n(10), "distances": True}
    once: dict[str, Any] = {"distances": True}
    ten: dict[str, Any] = {"restarts": plan.n(10)}
    grid = tuple(float(threat.eps * i / 20) for i in range(1, 21)) if isinstance(threat, Ball) else ()
    if isinstance(threat, Linf):
        plan.ours(
            "pgd", PGD(threat, steps=plan.n(100, 2), step_size=threat.eps / 30, random_start=False, **ten), **once
        )
        plan.host("foolbox", "fgsm", "FGSM", epsilons=grid, **once)
        plan.host("foolbox", "bim", "LinfBasicIterativeAttack", epsilons=grid, **once)
        plan.host("foolbox", "mim", "MIFGSM", epsilons=grid, **once)
    elif isinstance(threat, L2):
        plan.ours("pgd", PGD(threat, steps=plan.n(200, 2), step_size=threat.eps / 20, **ten), **once)
        plan.host("foolbox", "bim", "L2BasicIterativeAttack", epsilons=grid, **once)
        plan.host("foolbox", "gaussian", "L2RepeatedAdditiveGaussianNoiseAttack", epsilons=grid, **many)
        plan.host("foolbox", "boundary", "BoundaryAttack", steps=plan.n(5000, 10), **once)
        plan.host("foolbox", "deepfool", "L2DeepFoolAttack", steps=plan.n(100, 5), **once)
        plan.host("foolbox", "pointwise", "PointwiseAttack", **many)
        plan.host("foolbox", "ddn", "DDNAttack", steps=plan.n(100, 5), **once)
        cw = {"steps": plan.n(200, 5), "binary_search_steps": plan.n(5, 2), "stepsize": 0.025}
        plan.host("foolbox", "cw", "L2CarliniWagnerAttack", **cw, **once)
    elif isinstance(threat, L1):
        plan.ours("pgd", SLIDE(threat, steps=plan.n(100, 2), keep=(5, 20), step_size=1.0, **ten), **once)
        many |= {"threat": L0(int(threat.eps)), "column": threat}
        noise = {"steps": plan.n(1000, 10), "across_channels": False}
        plan.host("foolbox", "salt-and-pepper", "SaltAndPepperNoiseAttack", **noise, **many)
        plan.host("foolbox", "pointwise", "PointwiseAttack", **many)
    else:
        _quick(plan)


def _mng_ac(plan: _Plan) -> None:
    """The paper's attacks with its code's settings, AutoAttack included."""
    threat = plan.threat
    if isinstance(threat, Linf):
        plan.ours("pgd", PGD(threat, steps=plan.n(50, 2), step_size=threat.eps / 8))
        plan.host("foolbox", "pgd", "LinfPGD", steps=plan.n(40, 2))
        plan.host("foolbox", "bb", "LinfinityBrendelBethgeAttack", steps=plan.n(1000, 5))
    elif isinstance(threat, L2):
        plan.ours("pgd", PGD(threat, steps=plan.n(50, 2), step_size=threat.eps * 25 / 128, random_start=True))
        plan.host("foolbox", "pgd", "L2PGD", steps=plan.n(50, 2))
        plan.host("foolbox", "gaussian", "L2RepeatedAdditiveGaussianNoiseAttack", repeats=plan.n(100))
        cw = {"steps": plan.n(200, 5), "binary_search_steps": plan.n(5, 2)}
        plan.host("foolbox", "cw", "L2CarliniWagnerAttack", **cw)
        plan.host("foolbox", "bb", "L2BrendelBethgeAttack", steps=plan.n(1000, 5))
    elif isinstance(threat, L1):
        plan.ours("slide", SLIDE(threat, steps=plan.n(100, 2), step_size=1.0, random_start=True))
        plan.host("foolbox", "slide", "SparseL1DescentAttack", steps=plan.n(10, 2))
        plan.host("foolbox", "salt-and-pepper", "SaltAndPepperNoiseAttack", steps=plan.n(1000, 10))
        ead = {"steps": plan.n(1000, 5), "binary_search_steps": plan.n(5, 2), "decision_rule": "L1"}
        plan.host("foolbox", "ead", "EADAttack", **ead)
        return
    else:
        return _quick(plan)
    _standard(plan)


def _l2l_da(plan: _Plan) -> None:
    """Without the generators, which join when they are trained, and without C&W's ten rounds. Its Min is
    `report.minimum`, and needs cascade=False."""
    if not isinstance(plan.threat, Linf):
        return _quick(plan)
    eps, threat = plan.threat.eps, plan.threat
    plan.ours("fgsm", FGSM(threat))
    plan.ours("pgd-10", PGD(threat, steps=plan.n(10, 2), step_size=eps / 4))
    plan.ours("pgd-100", PGD(threat, steps=plan.n(100, 2), step_size=eps / 12))
    plan.ours("cw-100", CWLinf(threat, steps=plan.n(100, 2), step_size=0.001))
    plan.ours("cw-1000", CWLinf(threat, steps=plan.n(1000, 2), step_size=0.001))
    return None


def _pgn(plan: _Plan) -> None:
    """Accuracy under FGM and MIM, distances under DeepFool and C&W, from which `report.rho` follows."""
    if not isinstance(plan.threat, L2):
        return _quick(plan)
    plan.ours("fgm", FGM(plan.threat))
    plan.ours("mim", MIM(plan.threat, steps=plan.n(100, 2), step_size=0.06))
    plan.host("foolbox", "deepfool", "L2DeepFoolAttack", steps=plan.n(100, 5), distances=True)
    cw = {"steps": plan.n(100, 5), "binary_search_steps": plan.n(5, 2), "stepsize": 5e-3, "initial_const": 1e-2}
    plan.host("foolbox", "cw", "L2CarliniWagnerAttack", **cw, distances=True)
    return None


def _named(fill: Callable[[_Plan], None]) -> Callable[..., Battery]:
    def battery(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0) -> Battery:
        entries: list[Entry] = []
        checks.count("classes", classes, low=2)
        checks.number("budget", budget, open_low=True)
        for threat in checks.several("threats", threats, "threats such as Linf(0.3)"):
            plan = _Plan(threat, classes, budget)
            fill(plan)
            if not plan.entries:
                raise ValueError(f"no named battery has an attack for {threat!r}; write the Entry(...) yourself")
            entries += plan.entries
        return check_battery(tuple(entries))

    battery.__doc__ = fill.__doc__
    return battery


quick, standard = _named(_quick), _named(_standard)
tramer_boneh, msd, mng_ac, l2l_da, pgn = map(_named, (_tramer_boneh, _msd, _mng_ac, _l2l_da, _pgn))
quick.__doc__ = "APGD on cross-entropy and targeted APGD for each ball, a grid for rotations and translations."
standard.__doc__ = "The parts of AutoAttack's standard version for each ball, a grid for rotations and translations."

NAMES: dict[str, Callable[..., Battery]] = {
    "quick": quick,
    "standard": standard,
    "tramer-boneh": tramer_boneh,
    "msd": msd,
    "mng-ac": mng_ac,
    "l2l-da": l2l_da,
    "pgn": pgn,
}


def named(name: str, threats: Sequence[Threat] | None, classes: int = 10, budget: float = 1.0) -> Battery:
    """The battery of that name for those threats."""
    make = NAMES[checks.choice("battery", name, tuple(NAMES))]
    if threats is None:
        raise ValueError(f"battery={name!r} needs threats=(Linf(0.3), L2(2.0), L1(10.0)), say; got none")
    return make(threats, classes, budget)
