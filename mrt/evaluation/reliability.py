"""Reasons to doubt a finished evaluation: what attacks' results show of each other, and what was not looked for."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from mrt.attacks.apgd import APGD
from mrt.evaluation.battery import Battery, Entry, Foreign
from mrt.evaluation.clean_pass import LEAST, SHARE
from mrt.evaluation.judge import judge, run_attack
from mrt.evaluation.loop import Evaluation
from mrt.evaluation.report import Report
from mrt.threats import L1, L2, Linf, noise

PROBED, QUERIES = 64, 300
UNSEARCHED = "gradient masking was not looked for by a random search"


def name_unsearched(battery: Battery) -> list[str]:
    """What can be said before an attack runs: a ball has none but gradient attacks of ours, and what would look for
    masking there is not installed. Of others' attacks only a run shows whether they need gradients."""
    threats = dict.fromkeys(entry.threat for entry in battery)
    for threat in threats:
        ours = all(_ours(entry.attack) for entry in battery if entry.threat == threat)
        if isinstance(threat, (Linf, L2, L1)) and ours and (why := _no_square(threat)):
            return [why]
    return []


def _ours(attack: object) -> bool:
    return type(attack).__module__.startswith("mrt.attacks.")


def _no_square(threat: Linf | L2 | L1) -> str:
    """Why no random search can be made; empty where it can."""
    try:
        _square(threat).build(None)
    except ValueError as error:
        return f"{UNSEARCHED}: {error}"
    return ""


def find_doubts(report: Report, run: Evaluation) -> list[str]:
    """What the results of a finished run say about themselves."""
    remarks = []
    for label, work in report.info["attacks"].items():
        told = {"nan": "NaN", "box": "outside [0, 1]", "outside": "outside the threat"}
        faults = [f"{work[name]:.0f} {what}" for name, what in told.items() if work[name]]
        if faults:
            remarks.append(f"{label} returned images that do not count: {', '.join(faults)}")
        if work["black"] > 0.5 * report.ran[label].sum():
            remarks.append(f"{label} found nothing on most images: it needs more steps to mean anything")
        if work["failed"]:
            lost = f"{work['failed']:.0f} of {int(report.ran[label].sum())} examples, which count as standing"
            remarks.append(f"{label} failed on {lost}: {work['why']}")
    return remarks + run.team.gather(_masking(report, run))[0]


def _masking(report: Report, run: Evaluation) -> list[str]:
    """Does an attack without gradients break what attacks with gradients left standing, in the same threat?"""
    remarks: list[str] = []
    for threat in dict.fromkeys(entry.threat for entry in run.battery):
        mine = [label for (label, _), e in zip(run.labels, run.battery, strict=True) if e.threat == threat]
        work = {label: report.info["attacks"][label] for label in mine}
        seeing = [label for label in mine if work[label]["backward"]]
        blind = [a for a in mine if work[a]["forward"] and a not in seeing and work[a]["failed"] < report.ran[a].sum()]
        if not seeing:
            continue
        stood = torch.stack([report.masks[label] for label in seeing]).all(0)
        newly, unseen = torch.zeros_like(stood), torch.zeros_like(stood)
        for label in blind:
            newly |= stood & report.ran[label] & ~report.masks[label]
            unseen |= report.ran[label] & ~report.masks[label] & ~torch.stack([report.ran[a] for a in seeing]).any(0)
        count, asked, who = int(newly.sum()), int(stood.sum()), " and ".join(blind)
        if isinstance(threat, (Linf, L2, L1)):
            if not blind and (why := _no_square(threat)):
                remarks += [why] if why not in [*report.warnings, *remarks] else []
            elif not blind:
                asked, who = min(asked, PROBED), f"a random search of {QUERIES} queries"
                count = _probed(run, _square(threat), stood)
            elif not count and unseen.any():  # a cascade that began without gradients: would they have done it?
                asked = min(int(unseen.sum()), PROBED)
                count = asked - _probed(run, Entry("apgd", APGD(threat), threat), unseen)
        if count >= max(LEAST, SHARE * asked):
            text = f"gradient masking, or too few steps: in {threat!r} {who} broke {count} of {asked} examples that"
            remarks.append(f"{text} every gradient-based attack had left standing")
    return remarks


def _square(threat: Linf | L2 | L1) -> Entry:
    return Entry("square", Foreign("autoattack", "square", (("queries", QUERIES),)), threat)


def _probed(run: Evaluation, entry: Entry, which: Tensor) -> int:
    """How many of the first of those examples that attack breaks."""
    index = which.nonzero().squeeze(1)[:PROBED]
    if not len(index):
        return 0
    x, y = run.data.float(index), run.data.y[index.to(run.data.device)]
    attempt, _ = run_attack(entry.build(None), run.model, x, y, noise.seeds_of_index(index, run.seed).to(x.device))
    return int(judge(run.model, entry.threat, x, y, attempt.found, None).broken.sum())


def warn_of(remarks: list[str]) -> None:
    """Each as a UserWarning, on the caller's line."""
    for remark in remarks:
        warnings.warn(remark, UserWarning, stacklevel=3)
