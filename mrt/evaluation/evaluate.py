"""`evaluate`, the front door: from a model, images and a battery of attacks to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrt import checks
from mrt.crafting.expectation import EOT
from mrt.crafting.gradient import crafting
from mrt.data.images import Data
from mrt.evaluation import batteries, reliability
from mrt.evaluation.battery import Battery, check_battery, with_fast
from mrt.evaluation.clean_pass import pass_clean_images
from mrt.evaluation.loop import Evaluation
from mrt.evaluation.progress import Progress
from mrt.evaluation.report import Report
from mrt.evaluation.store import Store
from mrt.fast import Fast
from mrt.inputs import as_model, device_of, open_data
from mrt.processes import processes
from mrt.protocols import Model, Threat
from mrt.stopping import noting_signals


def evaluate(
    model: Model,
    data: Data,
    battery: str | Battery = "quick",
    *,
    threats: Sequence[Threat] | None = None,
    pool: Data | None = None,
    budget: float = 1.0,
    cascade: bool = True,
    out: Path | str | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: str | None = None,
    fast: Fast = Fast(),  # noqa: B008
    progress: bool = True,
) -> Report:
    """How much of `data` the model still classifies correctly under each attack, each threat, and their union.

    `battery` is a name, with `threats` and a `budget` that scales its steps, or a tuple of Entry(...). Attacks see what
    the model classifies correctly; with `cascade` only what the earlier attacks on the same threat left standing.
    `pool` (training images) gives walks from a misclassified point their start. Attacks of ours that were not told
    themselves run as `fast` says. Where the model's answers are random, "quick" and "standard" average over draws of
    them. Every returned image is checked and classified again by the model as it is, in
    float32 (TF32 off), in eval mode.

    With `out`, results are written as they are obtained: the same call goes on after a kill, and returns the report of
    a finished evaluation. Under torchrun the processes share the work and each returns the same report. What should
    make one doubt the numbers comes as a UserWarning and in `report.warnings`. ART classifiers and Foolbox models are
    taken as they are. Host attacks depend on their batch: equal settings and batches, equal results.
    """
    for name, value in (("cascade", cascade), ("progress", progress)):
        checks.flag(name, value)
    checks.count("batch_size", batch_size)
    checks.count("seed", seed, low=0)
    if not isinstance(fast, Fast):
        raise ValueError(f"fast must be a Fast(...); got {fast!r}")
    expected = _choose_battery(battery, threats, budget, fast)
    for entry in expected:
        entry.build(pool)  # what is not installed, or misspelt, is refused before the model runs
    early = reliability.name_early_doubts(expected)
    if isinstance(battery, str):
        early += batteries.name_what_is_missing(battery, threats)
    f, remarks = as_model(model)
    images, clipped = open_data(data)
    images = images.to(device_of(f, device))
    reliability.warn_of(early)  # now and not in hours, while the missing package can still be installed
    store = Store(out)
    with (
        processes() as team,
        noting_signals(None if out is None else store.describe_kept, team.first) as signals,
        crafting(f),
        Progress(progress and team.first) as bar,
    ):
        # The first process's answers hold for all of them: were one to round otherwise, they would share out different
        # sets of examples.
        clean_pass = team.gather(pass_clean_images(f, images, batch_size))[0]
        # Once more, with the model's own number of classes, which decides what targeted attacks a named battery has.
        random = clean_pass.random and not isinstance(f, EOT)  # which is a mean over draws already
        entries = _choose_battery(battery, threats, budget, fast, clean_pass.classes, random)
        if random:
            remarks.append(reliability.describe_draws(entries))
        evaluation = Evaluation(
            model=f,
            data=images,
            battery=entries,
            attacks=[entry.build(pool) for entry in entries],
            pool=pool,
            clean_pass=clean_pass,
            team=team,
            store=store,
            cascade=cascade,
            batch_size=batch_size,
            seed=seed,
            bar=bar,
            fast=fast,
            signals=signals,
        )
        battery_name = battery if isinstance(battery, str) else None
        with store.lock(team.first):  # only now that everything has been accepted, since it makes the folder
            report = _run_or_read(evaluation, [*early, *remarks, *clipped], battery_name, budget)
    reliability.warn_of([remark for remark in report.warnings if remark not in early])
    return report


def _run_or_read(evaluation: Evaluation, remarks: list[str], name: str | None, budget: float) -> Report:
    """The report that a finished evaluation left in its folder; else that of this one, run and written there. `remarks`
    are warnings from before, `name` and `budget` are the battery's."""
    store, team = evaluation.store, evaluation.team
    # What the first process finds in the folder holds for all: the others may look when it has begun to write.
    if team.gather(store.open(evaluation.config(), team.first))[0]:
        if team.first:
            store.close()  # a kill after the report was whole may have left results of single batches
        return Report.load(store.folder)
    report = evaluation.run(remarks, name, budget)
    report.warnings += reliability.find_doubts(report, evaluation)
    if team.first and store.folder is not None:
        report.save(store.folder)
        store.close()  # last, so that a kill before the report is whole costs no results
    return report


def _choose_battery(
    battery: str | Battery,
    threats: Sequence[Threat] | None,
    budget: float,
    fast: Fast,
    classes: int = 10,
    random: bool = False,
) -> Battery:
    """The battery that was asked for, by name or as entries, its attacks run as `fast` says. `random`: the model's
    answers are."""
    if isinstance(battery, str):
        return with_fast(batteries.named(battery, threats, classes, budget, random), fast)
    if threats is not None or budget != 1:
        raise ValueError("threats= and budget= belong to a battery given by name; an Entry(...) holds its own")
    return with_fast(check_battery(battery), fast)
