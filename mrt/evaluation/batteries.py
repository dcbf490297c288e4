"""Batteries by name: `quick`, `standard`, `smallest`, and one for each paper as its evaluation lists it.

Each is `battery(threats, classes=10, budget=1.0)`: the attacks that it has for each threat, cheap first. `budget`
scales steps, restarts and queries, for a first look; published figures need 1. Steps follow the paper, its code where
the paper is silent, and the host's defaults where both are. A battery knows the radii and not the data set: at the
paper's own radii steps have the lengths that it took there, and at others the same share of the radius. Against a
model whose answers are random, `quick` and `standard` have a form with `draws`, over which attacks average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from mrt import checks
from mrt.attacks import (
    APGD,
    FGM,
    FGSM,
    MIM,
    MSD,
    PGD,
    SLIDE,
    AffineAttack,
    CWLinf,
    GreedyL0,
    RTGrid,
    RTWorstOf,
    Smallest,
    WorstOf,
)
from mrt.attacks.apgd import LEAST_STEPS
from mrt.evaluation.battery import PACKAGE, Battery
from mrt.evaluation.plan import Plan, make_battery
from mrt.protocols import Ball, Threat
from mrt.threats import L0, L1, L2, Affine, AnyOf, Linf, RotationTranslation
from mrt.threats.gauge import has_gauge

# Radii of the balls that aimed walks run through, over eps; the wider ones where there are steps for that many.
WIDE = (8.0, 4.0, 2.0, 1.0)
WIDER, WIDER_STEPS = (32.0, 16.0, *WIDE), 100


def quick(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0, draws: int = 1) -> Battery:
    """APGD on cross-entropy and targeted APGD for each ball, in l1 and l2 from far outside it, a grid for rotations and
    translations; for threats that share a budget these of each alone, and then AffineAttack. With draws > 1 APGD on
    cross-entropy and on the DLR loss, as in AutoAttack's version for random models."""
    return make_battery(_quick, threats, classes, budget, checks.count("draws", draws))


def standard(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0, draws: int = 1) -> Battery:
    """The parts of AutoAttack's standard version for each ball, a grid for rotations and translations. With draws > 1
    those of its version for random models, which averages over 20 draws itself."""
    return make_battery(_standard, threats, classes, budget, checks.count("draws", draws))


def smallest(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0) -> Battery:
    """The closest point to each image in the norm of each ball, by APGD at ten radii: its distances, their median, and
    the accuracy at every radius. For several balls also in their union, by MSD as well: how many times all radii must
    grow. In l0 by adv-lib's sigma-zero and PDPGD, where that is installed, and Foolbox's Pointwise, beside
    GreedyL0."""
    threats = checks.several("threats", threats, "threats such as Linf(0.3)")
    balls = tuple(threat for threat in threats if isinstance(threat, Ball))
    union = (AnyOf(balls),) if len(balls) > 1 and AnyOf(balls) not in threats else ()
    return make_battery(_smallest, (*threats, *union), classes, budget)


def tramer_boneh(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0) -> Battery:
    """The attacks of Tramèr and Boneh (2019). Their gradient attacks follow the margin; their Boundary Attack++ is
    HopSkipJump."""
    return make_battery(_tramer_boneh, threats, classes, budget)


def msd(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0) -> Battery:
    """The attacks of Maini et al. (2020): ten runs, or restarts, of what is random; every distance kept. The two l0
    attacks are judged by the number of changed entries, at most the l1 radius, and count for l1."""
    return make_battery(_msd, threats, classes, budget)


def mng_ac(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0) -> Battery:
    """The attacks of Madaan et al. (2021) with their code's settings, AutoAttack included."""
    return make_battery(_mng_ac, threats, classes, budget)


def l2l_da(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0) -> Battery:
    """The attacks of Jang et al. (2019), without the generators, which join when they are trained. Their Min is
    `report.minimum`, and needs cascade=False."""
    return make_battery(_l2l_da, threats, classes, budget)


def pgn(threats: Sequence[Threat], classes: int = 10, budget: float = 1.0) -> Battery:
    """The attacks of the paper on perturbation generator networks (PGN): accuracy under FGM and MIM, distances under
    DeepFool and C&W, from which `report.rho` follows."""
    return make_battery(_pgn, threats, classes, budget)


def _quick(plan: Plan) -> None:
    threat = plan.threat
    if isinstance(threat, (Linf, L2, L1)):
        steps = plan.scale(100, 2)
        if plan.draws > 1:
            plan.add("apgd-ce", APGD(threat, steps=steps))
            plan.add("apgd-dlr", APGD(threat, steps=steps, loss="dlr" if plan.classes >= 3 else "margin"))
            return
        # Five restarts in l1, as AutoAttack's standard version has them there.
        restarts = plan.scale(5) if isinstance(threat, L1) else 1
        plan.add("apgd-ce", APGD(threat, steps=steps, restarts=restarts))
        plan.add("apgd-t", _aim(plan, threat, steps, 9))
    elif isinstance(threat, RotationTranslation):
        plan.add("grid", RTGrid(threat))
    elif isinstance(threat, Affine):
        plan.add_parts()
        plan.add("affine", AffineAttack(threat, restarts=plan.scale(10)))


def _aim(plan: Plan, ball: Ball, steps: int, targets: int) -> APGD:
    """Make an APGD towards so many wrong classes; with fewer than four classes on the margin, which needs only two."""
    loss = "dlr" if plan.classes >= 4 else "margin"
    return APGD(ball, steps=steps, loss=loss, targets=min(targets, plan.classes - 1), radii=_choose_radii(ball, steps))


def _choose_radii(ball: Ball, steps: int) -> tuple[float, ...] | None:
    """Choose the balls that a walk in l1 and l2 runs through, if it has the steps for it."""
    # On a network trained in linf (MNIST, 200 images) aimed walks in l1 at 3 left 71.0% as from 8 eps and 66.0% as from
    # 32 eps, at 6 39.0% and 32.5%, in l2 at 1 82.5% and 80.0%; on CIFAR-10 networks the same. With cross-entropy some
    # examples are lost on the way, so that `quick` has both.
    if not isinstance(ball, (L2, L1)) or steps < LEAST_STEPS:
        return None
    return WIDER if steps >= WIDER_STEPS else WIDE


def _standard(plan: Plan) -> None:
    if not isinstance(plan.threat, (Linf, L2, L1)):
        _quick(plan)
        return
    # Without a setting where the budget is whole: then it is AutoAttack's standard version as it stands.
    steps: dict[str, Any] = {} if plan.budget == 1 else {"steps": plan.scale(100, 10)}
    if plan.draws > 1:
        for part in ("apgd-ce", "apgd-dlr") if plan.classes >= 4 else ("apgd-ce",):
            plan.add_foreign("autoattack", part, part, version="rand", **steps)
        return
    for part in ("apgd-ce", "apgd-t", "fab-t"):
        if plan.classes >= 4 or part != "apgd-t":  # whose DLR loss needs four classes
            plan.add_foreign("autoattack", part, part, **steps)
    plan.add_foreign("autoattack", "square", "square", queries=plan.scale(5000))


def _list_walks(plan: Plan, ball: Ball) -> tuple[APGD, APGD]:
    """List what `smallest` runs at each radius. At equal passes both together come closer than either alone."""
    steps = plan.scale(40, 10)
    return APGD(ball, steps=steps, radii=_choose_radii(ball, steps)), _aim(plan, ball, plan.scale(30, 10), 2)


def _smallest(plan: Plan) -> None:
    threat = plan.threat
    if isinstance(threat, (Linf, L2, L1)):
        plan.add("smallest", Smallest(WorstOf(_list_walks(plan, threat))), distances=True)
    elif isinstance(threat, AnyOf):
        if not has_gauge(threat):
            raise ValueError(f"only a union of balls (Linf, L2, L1) has a closest point; got {threat!r}")
        # The union is as far away as the nearest ball, so each ball is searched as it is alone. MSD by itself, at equal
        # passes, ended a third further out.
        balls: tuple[Ball, ...] = threat.threats  # type: ignore[assignment]
        walks = [walk for ball in balls for walk in _list_walks(plan, ball)]
        msd = MSD(balls, steps=plan.scale(40, 10), best="broken")
        plan.add("smallest", Smallest(WorstOf((*walks, msd))), distances=True)
    elif isinstance(threat, L0):
        # Of the attacks on this threat that a package here has, these come closest, each on some networks
        # (benchmarks.l0_points). None has Sparse-RS or sPGD.
        plan.add("greedy", GreedyL0(threat))
        if _has_advlib():
            steps = {"num_steps": plan.scale(1000, 10), "distances": True}
            plan.add_foreign("advlib", "sigma-zero", "sigma_zero", **steps)
            # 23: the proximal operator of l2/3, which its authors prefer to that of l0.
            plan.add_foreign("advlib", "pdpgd", "pdpgd", proximal_operator=23, **steps)
        plan.add_foreign("foolbox", "pointwise", "PointwiseAttack", distances=True)
    else:
        _quick(plan)  # a motion's radius is none to search by


def _tramer_boneh(plan: Plan) -> None:
    # At other radii than CIFAR-10's the settings are MNIST's. Steps without a size are 2.5 eps / steps, as in the code.
    # HopSkipJump stands in for MNIST's l-p networks alone there, and pgd-1000 for all others; here both run.
    threat, cifar = plan.threat, plan.has_radius(4 / 255) or plan.has_radius(2000 / 255)
    restarts = plan.scale(20 if cifar else 40)
    if isinstance(threat, Linf):
        plan.add("pgd-100", PGD(threat, steps=plan.scale(100, 2), loss="margin", restarts=restarts))
        plan.add("pgd-1000", PGD(threat, steps=plan.scale(1000, 2), loss="margin"))
        plan.add_foreign("foolbox", "hopskipjump", "HopSkipJumpAttack", steps=plan.scale(64))
    elif isinstance(threat, L1):
        # The code's step sizes as shares of the radius: 0.5 of 10 on MNIST; 2 of 2000/255 on CIFAR-10, where alone it
        # has a run of 1000 steps.
        small, large = threat.eps / 20, threat.eps * 0.255
        slide = SLIDE(threat, **plan.stride(100, large if cifar else small), loss="margin", random_start=True)
        plan.add("slide", replace(slide, restarts=restarts))
        plan.add("slide-1000", replace(slide, **plan.stride(1000, large)))
        ead = {"regularization": 1e-2, "decision_rule": "L1", "initial_stepsize": 1e-2}
        steps = {"steps": plan.scale(1000, 5), "binary_search_steps": plan.scale(9, 2)}
        plan.add_foreign("foolbox", "ead", "EADAttack", **ead, **steps)
        plan.add_foreign("foolbox", "pointwise", "PointwiseAttack")
    elif isinstance(threat, L2):
        plan.add("pgd-100", PGD(threat, steps=plan.scale(100, 2), loss="margin", restarts=restarts))
        cw = {"steps": plan.scale(1000, 5), "binary_search_steps": plan.scale(9, 2), "stepsize": 5e-3}
        plan.add_foreign("foolbox", "cw", "L2CarliniWagnerAttack", **cw)
        plan.add_foreign("foolbox", "boundary", "BoundaryAttack", steps=plan.scale(5000, 10))
    elif isinstance(threat, RotationTranslation):
        plan.add("worst-of-10", RTWorstOf(threat, k=10))
        plan.add("grid", RTGrid(threat))
    elif isinstance(threat, Affine):
        # Loss and steps of the other gradient attacks; the text that we have gives neither for Table 3, nor restarts.
        plan.add_parts()
        settings: dict[str, Any] = {"steps": plan.scale(100, 2), "restarts": plan.scale(10), "loss": "margin"}
        plan.add("affine", AffineAttack(threat, **settings))
    else:
        _quick(plan)


def _msd(plan: Plan) -> None:
    # Ours have `restarts` and not `runs`: a second run of an attack that starts at the image would be the first again.
    # Steps are MNIST's, 0.01 of 0.3 and 0.1 of 2, but at CIFAR-10's radii 0.003 of 0.03 and 0.05 of 0.5; in l1 both
    # have 1. The curves over many radii are not here: the gradient attacks run at the nominal one.
    threat, restarts = plan.threat, plan.scale(10)
    once: dict[str, Any] = {"distances": True}
    ten: dict[str, Any] = {"runs": plan.scale(10), "distances": True}
    # Foolbox 1.8 searched for the smallest radius itself: FGSM and the noise tried 1000 sizes, as far as from black to
    # white, and the iterative attacks bisected. Here all try 20 up to the radius, as many as the published code sets
    # for FGSM without effect. At each the noise is drawn 100 times and not once; of salt and pepper 1000 shares of the
    # entries are tried and not 100.
    grid = tuple(float(threat.eps * i / 20) for i in range(1, 21)) if isinstance(threat, Ball) else ()
    if isinstance(threat, Linf):
        stride = plan.stride(50, threat.eps / 10) if plan.has_radius(0.03) else plan.stride(100, threat.eps / 30)
        plan.add("pgd", PGD(threat, **stride, random_start=False, restarts=restarts), **once)
        plan.add_foreign("foolbox", "fgsm", "FGSM", epsilons=grid, **once)
        plan.add_foreign("foolbox", "bim", "LinfBasicIterativeAttack", rel_stepsize=1 / 6, epsilons=grid, **once)
        plan.add_foreign("foolbox", "mim", "MIFGSM", epsilons=grid, **once)
    elif isinstance(threat, L2):
        stride = plan.stride(100, threat.eps / 10) if plan.has_radius(0.5) else plan.stride(200, threat.eps / 20)
        plan.add("pgd", PGD(threat, **stride, restarts=restarts), **once)
        plan.add_foreign("foolbox", "bim", "L2BasicIterativeAttack", rel_stepsize=1 / 6, epsilons=grid, **once)
        plan.add_foreign("foolbox", "gaussian", "L2RepeatedAdditiveGaussianNoiseAttack", epsilons=grid, **ten)
        # The paper runs Boundary and DDN once; DeepFool and C&W draw nothing.
        plan.add_foreign("foolbox", "boundary", "BoundaryAttack", steps=plan.scale(5000, 10), **once)
        plan.add_foreign("foolbox", "deepfool", "L2DeepFoolAttack", steps=plan.scale(100, 5), **once)
        plan.add_foreign("foolbox", "pointwise", "PointwiseAttack", **ten)
        plan.add_foreign("foolbox", "ddn", "DDNAttack", steps=plan.scale(100, 5), **once)
        cw = {"steps": plan.scale(200, 5), "binary_search_steps": plan.scale(5, 2), "stepsize": 0.025}
        plan.add_foreign("foolbox", "cw", "L2CarliniWagnerAttack", **cw, **once)
    elif isinstance(threat, L1):
        plan.add("pgd", SLIDE(threat, **plan.stride(100, 1.0), keep=(5, 20), restarts=restarts), **once)
        ten |= {"threat": L0(int(threat.eps)), "column": threat}
        # Entries are counted with channels apart, so the noise must change them apart.
        noise = {"steps": plan.scale(1000, 10), "across_channels": False}
        plan.add_foreign("foolbox", "salt-and-pepper", "SaltAndPepperNoiseAttack", **noise, **ten)
        plan.add_foreign("foolbox", "pointwise", "PointwiseAttack", **ten)
    else:
        _quick(plan)


def _mng_ac(plan: Plan) -> None:
    threat = plan.threat
    if isinstance(threat, Linf):
        # The code's steps are 1/255 here and 25/255 below on all data sets. That is the share of CIFAR-10's and SVHN's
        # radii, 8/255 and 128/255, that other radii have, too, but not of Tiny-ImageNet's, 4/255 and 80/255.
        size = 1 / 255 if plan.has_radius(4 / 255) else threat.eps / 8
        plan.add("pgd", PGD(threat, **plan.stride(50, size)))
        plan.add_foreign("foolbox", "pgd", "LinfPGD", steps=plan.scale(40, 2))
        plan.add_foreign("foolbox", "bb", "LinfinityBrendelBethgeAttack", steps=plan.scale(1000, 5))
        _standard(plan)
    elif isinstance(threat, L2):
        size = 25 / 255 if plan.has_radius(80 / 255) else threat.eps * 25 / 128
        plan.add("pgd", PGD(threat, **plan.stride(50, size), random_start=True))
        plan.add_foreign("foolbox", "pgd", "L2PGD", steps=plan.scale(50, 2))
        # The code has it, the paper does not list it.
        plan.add_foreign("foolbox", "gaussian", "L2RepeatedAdditiveGaussianNoiseAttack", repeats=plan.scale(100))
        cw = {"steps": plan.scale(200, 5), "binary_search_steps": plan.scale(5, 2)}
        plan.add_foreign("foolbox", "cw", "L2CarliniWagnerAttack", **cw)
        plan.add_foreign("foolbox", "bb", "L2BrendelBethgeAttack", steps=plan.scale(1000, 5))
        _standard(plan)
    elif isinstance(threat, L1):  # without AutoAttack, as in the paper
        plan.add("slide", SLIDE(threat, **plan.stride(100, 1.0), random_start=True))
        plan.add_foreign("foolbox", "slide", "SparseL1DescentAttack", steps=plan.scale(10, 2))
        # The code judges salt and pepper in l2, at a radius of 2000/255; here it is judged in l1 like the others.
        plan.add_foreign("foolbox", "salt-and-pepper", "SaltAndPepperNoiseAttack", steps=plan.scale(1000, 10))
        ead = {"steps": plan.scale(1000, 5), "binary_search_steps": plan.scale(5, 2), "decision_rule": "L1"}
        plan.add_foreign("foolbox", "ead", "EADAttack", **ead)
    else:
        _quick(plan)


def _l2l_da(plan: Plan) -> None:
    threat = plan.threat
    if not isinstance(threat, Linf):
        _quick(plan)
        return
    plan.add("fgsm", FGSM(threat))
    plan.add("pgd-10", PGD(threat, **plan.stride(10, threat.eps / 4)))
    plan.add("pgd-100", PGD(threat, **plan.stride(100, threat.eps / 12)))
    # Adam's rate is absolute: 100 steps of 0.001 move a pixel by some 0.1 at most, on MNIST less than the radius. The
    # code's ten rounds of binary search are left out, since they repeat one and the same search.
    plan.add("cw-100", CWLinf(threat, **plan.stride(100, 0.001)))
    plan.add("cw-1000", CWLinf(threat, **plan.stride(1000, 0.001)))


def _pgn(plan: Plan) -> None:
    if not isinstance(plan.threat, L2):
        _quick(plan)
        return
    # The paper gives 100 iterations each and no more; the other settings are the defaults of cleverhans, its library.
    plan.add("fgm", FGM(plan.threat))
    plan.add("mim", MIM(plan.threat, **plan.stride(100, 0.06)))
    plan.add_foreign("foolbox", "deepfool", "L2DeepFoolAttack", steps=plan.scale(100, 5), distances=True)
    cw = {"steps": plan.scale(100, 5), "binary_search_steps": plan.scale(5, 2), "stepsize": 5e-3, "initial_const": 1e-2}
    plan.add_foreign("foolbox", "cw", "L2CarliniWagnerAttack", **cw, distances=True)


def _has_advlib() -> bool:
    return find_spec("adv_lib") is not None


def name_what_is_missing(name: str, threats: Sequence[Threat] | None) -> list[str]:
    """A line for what the battery of that name leaves out because a package is not installed."""
    # Here and not where the battery is made, since that happens twice.
    if name != "smallest" or _has_advlib() or not any(isinstance(threat, L0) for threat in threats or ()):
        return []
    closest = "sigma-zero and PDPGD, which come closest"
    return [f"the battery smallest judges l0 without {closest}: pip install {PACKAGE['advlib']}"]


DRAWS = 20  # over which attacks average where a model's answers are random, as AutoAttack's version for such does
AVERAGING = ("quick", "standard")  # the batteries that have a form for random models; a paper's are as published

NAMES: dict[str, Callable[..., Battery]] = {
    "quick": quick,
    "standard": standard,
    "smallest": smallest,
    "tramer-boneh": tramer_boneh,
    "msd": msd,
    "mng-ac": mng_ac,
    "l2l-da": l2l_da,
    "pgn": pgn,
}


def named(
    name: str, threats: Sequence[Threat] | None, classes: int = 10, budget: float = 1.0, random: bool = False
) -> Battery:
    """The battery of that name for those threats; in its form for random models, if it has one and `random` says so."""
    make = NAMES[checks.choice("battery", name, tuple(NAMES))]
    if threats is None:
        raise ValueError(f"battery={name!r} needs threats=(Linf(0.3), L2(2.0), L1(10.0)), say; got none")
    return make(threats, classes, budget, **({"draws": DRAWS} if random and name in AVERAGING else {}))
