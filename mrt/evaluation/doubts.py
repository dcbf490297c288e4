"""Reasons to doubt the numbers: what the clean pass shows of a model, and what attacks' results show of each other."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mrt.attacks.apgd import APGD
from mrt.attacks.gradient import input_grad
from mrt.attacks.losses import ce
from mrt.data.images import Images
from mrt.evaluation.battery import Battery, Entry, Foreign
from mrt.evaluation.exact import exact
from mrt.evaluation.judge import answers, judge, perform, right
from mrt.protocols import Model
from mrt.threats import L1, L2, Linf, noise

if TYPE_CHECKING:
    from mrt.evaluation.report import Report
    from mrt.evaluation.run import Run

FLAT = 1e-30  # a gradient below this is lost in rounding wherever it is used
SHARE = 0.01  # of examples that may be flat, or newly broken without gradients, before it means anything
LEAST = 3  # examples: fewer may be chance
PROBED, QUERIES = 64, 300
UNSEARCHED = "gradient masking was not looked for by a random search"


@dataclass(frozen=True, eq=False)
class Look:
    """What the model does on the clean images: its predictions, which are right, how many classes it has, whether a
    gradient connects its output to its input, and what to warn of."""

    predicted: Tensor
    correct: Tensor
    classes: int
    connected: bool
    warnings: list[str]


@exact()
def look(model: Model, data: Images, batch_size: int) -> Look:
    """Every image once; the first batch twice more."""
    try:
        outputs = [answers(model, data.float(index)) for index in torch.arange(len(data)).split(batch_size)]
    except (RuntimeError, TypeError, IndexError) as error:
        why = str(error).strip().splitlines()[0]
        raise ValueError(f"the model fails on images of shape {tuple(data.x.shape[1:])}: {why}") from error
    logits, y = torch.cat(outputs), data.y
    classes = logits.shape[1]
    if int(y.max()) >= classes:
        raise ValueError(f"labels must be below {classes}, as the model has {classes} classes; got {int(y.max())}")
    if logits.isnan().any(1).all():
        raise ValueError("the model must return numbers for clean images; got NaN for every one")
    x, correct = data.float(torch.arange(min(batch_size, len(data)))), right(logits, y)
    remarks, connected = _gradient(model, x, y[: len(x)], correct[: len(x)])
    half = max(len(x) // 2, 1)
    if _differ(answers(model, x), logits[: len(x)]):
        remarks.append("the model's outputs are random: one attack run sees one draw, and no mean over draws is taken")
    elif _differ(answers(model, x[:half]), logits[:half]):
        remarks.append("the model's outputs depend on batch mates: a BatchNorm in train mode that cannot be reached?")
    if classes < 4:
        remarks.append(
            f"the model has {classes} classes: the DLR loss needs four, so targeted APGD is weaker or left out"
        )
    if logits.isnan().any():
        remarks.append(f"the model answers NaN on {int(logits.isnan().any(1).sum())} clean images; they count as wrong")
    if (logits >= 0).all() and ((logits.sum(1) - 1).abs() < 1e-4).all():
        remarks.append("the outputs look like probabilities: attacks on logits are weaker on a softmax; return logits")
    return Look(logits.argmax(1).cpu(), correct.cpu(), classes, connected, remarks)


def _differ(one: Tensor, two: Tensor) -> bool:
    """By more than rounding?"""
    return bool(((one - two).abs().nan_to_num() > 1e-3 * two.abs().nan_to_num().amax().clamp(min=1e-6)).any())


def _gradient(model: Model, x: Tensor, y: Tensor, correct: Tensor) -> tuple[list[str], bool]:
    """Is there a gradient to follow, and is it more than rounding?"""
    if not correct.any():
        return [], True
    x, y = x[correct], y[correct]
    try:
        grad, _, _ = input_grad(model, x, lambda logits: ce(logits.float(), y))
    except ValueError:  # its output does not depend differentiably on its input: the model did run, in `look`
        return ["gradient masking: the model has no gradient, so gradient-based attacks show nothing"], False
    flat = int((grad.flatten(1).abs().amax(1) <= FLAT).sum())
    if flat < LEAST and flat < len(x) or flat <= SHARE * len(x):
        return [], True
    text = f"gradient masking: the gradient of the cross-entropy vanishes on {flat} of {len(x)} images"
    return [f"{text}, where attacks that follow it stand still"], True


def unsearched(battery: Battery) -> list[str]:
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
        _square(threat).made(None)
    except ValueError as error:
        return f"{UNSEARCHED}: {error}"
    return ""


def of(report: Report, run: Run) -> list[str]:
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
    return remarks + run.team.gathered(_masking(report, run))[0]


def _masking(report: Report, run: Run) -> list[str]:
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


def _probed(run: Run, entry: Entry, which: Tensor) -> int:
    """How many of the first of those examples that attack breaks."""
    index = which.nonzero().squeeze(1)[:PROBED]
    if not len(index):
        return 0
    x, y = run.data.float(index), run.data.y[index.to(run.data.device)]
    attempt, _ = perform(entry.made(None), run.model, x, y, noise.of_index(index, run.seed).to(x.device))
    return int(judge(run.model, entry.threat, x, y, attempt.found, None).broken.sum())


def tell(remarks: list[str]) -> None:
    """Each as a UserWarning, on the caller's line."""
    for remark in remarks:
        warnings.warn(remark, UserWarning, stacklevel=3)
