"""Reasons to doubt a finished evaluation: what attacks' results show of each other, and what was not looked for."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from mrt.attacks.apgd import APGD
from mrt.attacks.smallest import Smallest
from mrt.crafting.undefined import CURE
from mrt.evaluation.batteries import DRAWS
from mrt.evaluation.battery import Battery, Entry, Foreign
from mrt.evaluation.clean_pass import LEAST, SHARE
from mrt.evaluation.judge import CountedModel, judge, run_attack
from mrt.evaluation.loop import Evaluation
from mrt.evaluation.report import Report
from mrt.threats import L1, L2, Linf, noise

PROBED, QUERIES = 64, 300  # examples and queries of the random search: a few seconds per ball
UNSEARCHED = "gradient masking was not looked for by a random search"


def name_early_doubts(battery: Battery) -> list[str]:
    """What can be said before an attack runs: a cube holds every image; a ball has none but gradient attacks of ours,
    and what would look for masking there is not installed. Of others' attacks only a run shows whether they need
    gradients."""
    threats = dict.fromkeys(entry.threat for entry in battery)
    # Not where a ball is made, since Foolbox and ART may ask for radii beyond their range.
    wide = [t for t in threats if isinstance(t, Linf) and t.eps > 1]
    said = [f"{t!r} holds every image, since pixels lie in [0, 1]: is Linf({t.eps:g} / 255) meant?" for t in wide]
    for threat in threats:
        ours = all(_is_ours(entry.attack) for entry in battery if entry.threat == threat)
        if isinstance(threat, (Linf, L2, L1)) and ours:
            why = _why_no_random_search(threat)
            if why:
                return [*said, why]  # once is enough: it is the same package for every ball
    return said


def describe_draws(battery: Battery) -> str:
    """What attacks of the battery see of a model whose answers are random."""
    # AutoAttack's version for random models averages itself.
    draws = [DRAWS if ("version", "rand") in getattr(e.attack, "settings", ()) else e.draws for e in battery]
    text = "the model's outputs are random"
    if any(isinstance(e.attack, Smallest) for e in battery):
        text += ", so that a distance is to where one draw was fooled, and says little"
    if 1 not in draws:
        means = " or ".join(str(count) for count in sorted(set(draws)))
        return f"{text}: attacks see the mean over {means} draws, and one draw of each result counts"
    names = f"{draws.count(1)} of {len(draws)} attacks see" if len(draws) > 1 else "the attack sees"
    return f"{text}, and {names} one draw of them: Entry(..., draws={DRAWS}) gives an attack their mean"


def _is_ours(attack: object) -> bool:
    """Whether the attack comes with `mrt`: on balls all of these follow gradients."""
    return type(attack).__module__.startswith("mrt.attacks.")


def _why_no_random_search(threat: Linf | L2 | L1) -> str:
    """Why no random search can be made; empty where it can."""
    try:
        _random_search(threat).build(None)
    except ValueError as error:
        return f"{UNSEARCHED}: {error}"
    return ""


def find_doubts(report: Report, run: Evaluation) -> list[str]:
    """What the results of a finished run say about themselves."""
    remarks = []
    descriptions = {"nan": "NaN", "box": "outside [0, 1]", "outside": "outside the threat"}
    for label, work in report.info["attacks"].items():
        faults = [f"{work[kind]:.0f} {text}" for kind, text in descriptions.items() if work[kind]]
        if faults:
            remarks.append(f"{label} returned images that do not count: {', '.join(faults)}")
        # A host's black images say that it found nothing. On a few examples that is a result.
        if work["black"] > 0.5 * report.ran[label].sum():
            remarks.append(f"{label} found nothing on most images: it needs more steps to mean anything")
        if work["failed"]:
            lost = f"{work['failed']:.0f} of {int(report.ran[label].sum())} examples, which count as standing"
            remarks.append(f"{label} failed on {lost}: {work['why']}")
    remarks += _find_undefined(report)
    if run.clean_pass.random:
        return remarks  # a search of many queries would be lucky with one draw, and show no mask
    # Each process looks for itself, and what the first finds holds for all.
    return remarks + run.team.gather(_find_masking(report, run))[0]


def _find_undefined(report: Report) -> list[str]:
    """A remark on attacks of whose gradients more than SHARE were NaN or infinite in places, if there are any."""
    work = {label: (w["undefined"], w["backward"]) for label, w in report.info["attacks"].items()}
    counts = [f"{bad:.0f} of {asked:.0f} in {a}" for a, (bad, asked) in work.items() if bad > SHARE * asked]
    text = "gradient masking: gradients were NaN or infinite in places, where attacks stand still"
    return [f"{text} ({', '.join(counts)}): {CURE}"] if counts else []


def _find_masking(report: Report, run: Evaluation) -> list[str]:
    """Remarks on threats where an attack without gradients breaks what attacks with gradients left standing: then these
    did not find what is there. It warns, and changes no column."""
    remarks: list[str] = []
    for threat in dict.fromkeys(entry.threat for entry in run.battery):
        labels = [label for (label, _), e in zip(run.labels, run.battery, strict=True) if e.threat == threat]
        work = {label: report.info["attacks"][label] for label in labels}
        # Whether an attack asked for gradients is known by what came back through the model, not by its name.
        with_gradients = [label for label in labels if work[label]["backward"]]
        if not with_gradients:
            continue
        # An attack that failed on everything never looked, so it cannot vouch for the others. Nor can one that never
        # asked the model, such as a transferred one.
        without = [a for a in labels if work[a]["forward"] and a not in with_gradients]
        without = [a for a in without if work[a]["failed"] < report.ran[a].sum()]
        stood = torch.stack([report.masks[label] for label in with_gradients]).all(0)  # bool (n,), as all below
        given_gradients = torch.stack([report.ran[label] for label in with_gradients]).any(0)
        newly_broken, never_given = torch.zeros_like(stood), torch.zeros_like(stood)
        for label in without:
            broken = report.ran[label] & ~report.masks[label]
            newly_broken |= stood & broken
            never_given |= broken & ~given_gradients
        count, asked, attacker = int(newly_broken.sum()), int(stood.sum()), " and ".join(without)
        if isinstance(threat, (Linf, L2, L1)):
            why = "" if without else _why_no_random_search(threat)
            if why:
                remarks += [why] if why not in [*report.warnings, *remarks] else []
            elif not without:
                # A steep but smooth first layer has a gradient at the clean images, and only a search shows its mask.
                asked, attacker = min(asked, PROBED), f"a random search of {QUERIES} queries"
                count = _count_broken(run, _random_search(threat), stood)
            elif not count and never_given.any():  # a cascade that began without gradients: would they have done it?
                asked = min(int(never_given.sum()), PROBED)
                count = asked - _count_broken(run, Entry("apgd", APGD(threat), threat), never_given)
        if count >= max(LEAST, SHARE * asked):
            text = f"gradient masking, or too few steps: in {threat!r} {attacker} broke {count} of {asked} examples"
            remarks.append(f"{text} that every gradient-based attack had left standing")
    return remarks


def _random_search(threat: Linf | L2 | L1) -> Entry:
    """A short run of AutoAttack's Square, which asks for no gradient."""
    return Entry("square", Foreign("autoattack", "square", (("queries", QUERIES),)), threat)


def _count_broken(run: Evaluation, entry: Entry, mask: Tensor) -> int:
    """How many of the first PROBED examples in the mask that attack breaks."""
    index = mask.nonzero().squeeze(1)[:PROBED]
    if not len(index):
        return 0
    x, y = run.data.float(index), run.data.y[index.to(run.data.device)]
    seen = CountedModel(run.model, run.clean_pass.connected)
    attempt, _ = run_attack(entry.build(None), seen, x, y, noise.seeds_of_index(index, run.seed).to(x.device))
    return int(judge(run.model, entry.threat, x, y, attempt.found, None).broken.sum())


def warn_of(remarks: list[str]) -> None:
    """Give each remark as a UserWarning, on the line of who called the function that calls this one."""
    for remark in remarks:
        warnings.warn(remark, UserWarning, stacklevel=3)
