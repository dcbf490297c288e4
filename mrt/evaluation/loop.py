"""The evaluation loop: which attack sees which examples, in which order, and what is kept of its answers."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrt.data.images import Data, Images, as_images
from mrt.evaluation.battery import Battery, Entry, name_entries
from mrt.evaluation.clean_pass import CleanPass
from mrt.evaluation.exact import JUDGED_IN
from mrt.evaluation.judge import CountedModel, Verdict, exact_logits, judge, run_attack
from mrt.evaluation.progress import Progress
from mrt.evaluation.report import Report
from mrt.evaluation.report.results import Samples
from mrt.evaluation.store import Outcome, Store
from mrt.hosts.hosted import Attempt
from mrt.processes import Processes
from mrt.protocols import Attack, Fast, Model
from mrt.records import fingerprint, identity, versions
from mrt.threats import noise
from mrt.threats.radii import radii_of

FAULTS = ("nan", "black", "box", "outside")
PICTURES = 4  # per attack


@dataclass(eq=False)
class Evaluation:
    """An evaluation as it goes along: what stands, what is known."""

    model: Model
    data: Images
    battery: Battery
    attacks: list[Attack]
    pool: Data | None
    first: CleanPass
    team: Processes
    store: Store
    cascade: bool
    batch_size: int
    seed: int
    bar: Progress
    fast: Fast = field(default=Fast())

    def __post_init__(self) -> None:
        self.labels = name_entries(self.battery)
        self.clean = self.first.correct
        self.standing = {column: self.clean.clone() for _, column in self.labels}
        self.worst = self.data.float(torch.arange(len(self.data))).cpu()
        self.known = torch.full((len(self.data),), -torch.inf), torch.zeros(len(self.data), dtype=torch.bool)

    def config(self) -> dict[str, object]:
        """What two runs must share to be one evaluation."""
        return {
            "battery": [[label, identity(e)] for (label, _), e in zip(self.labels, self.battery, strict=True)],
            "data": fingerprint(self.data.x, self.data.y),
            "model": fingerprint(*(tensors_of(self.model) or [self.first.predicted])),
            "pool": None if self.pool is None else fingerprint(as_images(self.pool).x, as_images(self.pool).y),
            "versions": versions(),
            "cascade": self.cascade,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "fast": repr(self.fast),
        }

    def run(self, remarks: list[str], name: str | None) -> Report:
        """Every attack in turn. `remarks` are warnings from before, `name` is the battery's."""
        told = {"data set": repr(self.data), "judged in": JUDGED_IN}
        report = Report(self.clean, self.worst, {"name": name} | self.config() | told, warnings=remarks)
        for number, (entry, (label, column)) in enumerate(zip(self.battery, self.labels, strict=True)):
            seen = self.standing[column] if self.cascade and not entry.distances else self.clean
            outcomes = self._attack_all(number, seen.nonzero().squeeze(1))
            broken, distance = torch.zeros_like(self.clean), torch.full((len(self.clean),), torch.inf).double()
            for outcome in outcomes:
                broken[outcome.index], distance[outcome.index] = outcome.broken, outcome.distance
                self._keep_worst(outcome)
            report.columns[label], report.masks[label], report.ran[label] = column, seen & ~broken, seen.clone()
            if hasattr(entry.threat, "distance"):
                report.distances[label] = torch.where(self.clean, distance, 0.0)
            report.samples[label] = self._pictures(outcomes)
            what = {
                "attack": identity(entry.attack),
                "threat": repr(entry.threat),
                "closest": seeks_closest(self.attacks[number]),
            }
            report.info["attacks"][label] = what | sum_work(outcomes)
            report.info["threats"][column] = repr(entry.counts_for)
            report.info["radii"][column] = radii_of(entry.counts_for)
            self.standing[column] = self.standing[column] & ~broken
            self.bar.done(label, report.attacks[label])
        report.warnings += self.first.warnings
        return report

    def _attack_all(self, number: int, rows: Tensor) -> list[Outcome]:
        """The attack on those examples, in batches that the processes share."""
        parts = [part for part in rows.split(self.batch_size) if len(part)]
        self.bar.attack(self.labels[number][0], number, len(self.battery), len(parts))
        mine = []
        for j, part in enumerate(parts):
            if j % self.team.count == self.team.rank:
                unit = f"{number:03d}-{j:05d}"
                outcome = self.store.load(unit)
                if outcome is None:
                    outcome = self._attack_batch(number, part)
                    self.store.save(unit, outcome)
                mine.append((j, outcome))
            self.bar.step()
        gathered = [pair for pairs in self.team.gather(mine) for pair in pairs]
        return [outcome for _, outcome in sorted(gathered, key=lambda pair: pair[0])]

    def _attack_batch(self, number: int, index: Tensor) -> Outcome:
        """The attack on one batch, in all its runs, and what the judge says of it."""
        entry, began = self.battery[number], time.perf_counter()
        x, y = self.data.float(index), self.data.y[index.to(self.data.device)]
        tally = Tally(x)
        seen = CountedModel(self.model, self.first.connected, self.bar.passed)
        for run in range(entry.runs):
            at = torch.arange(len(x), device=x.device) if entry.distances else (~tally.broken).nonzero().squeeze(1)
            if not len(at):
                break
            attempt, delta = run_attack(
                self.attacks[number],
                seen,
                x[at],
                y[at],
                entry_seeds(entry, index[at.cpu()], self.seed, run).to(x.device),
            )
            verdict = judge(self.model, entry.threat, x[at], y[at], attempt.found, delta)
            tally.add(at, attempt, verdict, seeks_closest(self.attacks[number]))
        counts = tally.counts | {
            "failed": int((tally.failed & ~tally.broken).sum()),
            "forward": seen.forwards,
            "backward": seen.backwards,
        }
        counts["seconds"] = time.perf_counter() - began
        kept = self._worth_keeping(index, tally)
        broken, distance = tally.broken.cpu(), tally.distance.cpu()
        return Outcome(
            index, broken, distance, kept, tally.image[kept].cpu(), tally.loss[kept].cpu(), counts, tally.why
        )

    def _worth_keeping(self, index: Tensor, tally: Tally) -> Tensor:
        """Positions whose image is the worst so far, and the first few broken ones, for the pictures."""
        loss, broken = self.known[0][index], self.known[1][index]
        better = beats(tally.loss.cpu(), tally.broken.cpu(), loss, broken)
        better[tally.broken.cpu().nonzero().squeeze(1)[:PICTURES]] = True
        return better.nonzero().squeeze(1)

    def _keep_worst(self, outcome: Outcome) -> None:
        """The worst image of each example: one that fools the model, then that of largest cross-entropy."""
        index, broken = outcome.index[outcome.kept], outcome.broken[outcome.kept]
        loss, known = self.known
        better = beats(outcome.loss, broken, loss[index], known[index])
        broken = broken[better]
        index = index[better]
        self.worst[index], loss[index], known[index] = outcome.images[better], outcome.loss[better], broken

    def _pictures(self, outcomes: list[Outcome]) -> Samples:
        """The first broken examples, with their images."""
        index = torch.cat([o.index[o.kept[o.broken[o.kept]]] for o in outcomes] or [torch.zeros(0).long()])[:PICTURES]
        images = torch.cat([o.images[o.broken[o.kept]] for o in outcomes] or [self.worst[:0]])[:PICTURES]
        said = exact_logits(self.model, images.to(self.data.device)).argmax(1).cpu() if len(index) else index
        return Samples(index, self.data.float(index).cpu(), images, self.data.y.cpu()[index], said)


class Tally:
    """The best of an attack's runs on one batch."""

    def __init__(self, x: Tensor) -> None:
        self.image = x.clone()
        self.loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        self.counts: dict[str, float] = dict.fromkeys(FAULTS, 0)
        self.failed = torch.ones(len(x), dtype=torch.bool, device=x.device)  # in every run
        self.why = ""

    def add(self, at: Tensor, attempt: Attempt, verdict: Verdict, minimal: bool) -> None:
        """One run on the examples `at`. A search for the closest point may end outside the threat without fault."""
        better = beats(verdict.loss, verdict.broken, self.loss[at], self.broken[at])
        rows = at[better]
        self.image[rows], self.loss[rows] = attempt.found.to(self.image)[better], verdict.loss[better]
        self.broken[at] |= verdict.broken
        self.distance[at] = torch.minimum(self.distance[at], verdict.distance)
        for name, count in verdict.faults.items():
            self.counts[name] += 0 if minimal and name == "outside" else count
        for name, count in attempt.empty.items():
            self.counts[name] += count
        self.failed[at] &= attempt.failed
        self.why = attempt.why or self.why


def beats(loss: Tensor, broken: Tensor, other: Tensor, other_broken: Tensor) -> Tensor:
    """bool (N,): fooling the model beats not fooling it, then the larger loss; ties keep the earlier."""
    return (broken & ~other_broken) | ((broken == other_broken) & (loss > other))


def tensors_of(model: Model) -> list[Tensor]:
    """A module's parameters and buffers; of another callable nothing is known but its answers."""
    owner = getattr(model, "__self__", model)
    return list(owner.state_dict().values()) if isinstance(owner, torch.nn.Module) else []


def entry_seeds(entry: Entry, index: Tensor, seed: int, run: int = 0) -> Tensor:
    """int64 seeds of those examples, for that run of that entry: the same whatever else is in the battery."""
    tag = zlib.crc32(f"{entry.name} {entry.threat!r}".encode())
    return noise.fold(noise.seeds_of_index(index, seed, tag), run)


def seeks_closest(attack: Attack) -> bool:
    """Does it look for the closest point, rather than within a radius?"""
    return bool(getattr(attack, "minimal", False))


def sum_work(outcomes: list[Outcome]) -> dict[str, object]:
    """Work and faults of an attack over all its batches."""
    sums: dict[str, object] = {}
    for name in ("forward", "backward", "seconds", "failed", *FAULTS):
        sums[name] = sum(o.counts[name] for o in outcomes)
    sums["why"] = next((o.why for o in outcomes if o.why), "")
    return sums
