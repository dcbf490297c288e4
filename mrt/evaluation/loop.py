"""The evaluation loop: which attack sees which examples, in which order, and what is kept of its answers."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrt.crafting.expectation import EOT
from mrt.data.images import Data, Images, as_images
from mrt.evaluation.battery import Battery, Entry, name_entries
from mrt.evaluation.clean_pass import CleanPass
from mrt.evaluation.exact import JUDGED_IN
from mrt.evaluation.judge import CountedModel, exact_logits, judge, run_attack
from mrt.evaluation.progress import Progress
from mrt.evaluation.report import Report
from mrt.evaluation.report.results import Samples
from mrt.evaluation.store import COUNTS, Outcome, Store
from mrt.evaluation.tally import Tally, beats
from mrt.fast import Fast
from mrt.processes import Processes
from mrt.protocols import Attack, Model
from mrt.records import fingerprint, identity, versions
from mrt.stopping import NotedSignals
from mrt.threats import noise
from mrt.threats.gauge import has_distance
from mrt.threats.radii import radii_of

PICTURES = 4  # broken examples of each attack that the report shows


@dataclass(eq=False)
class Evaluation:
    """One evaluation while it runs: what was asked for, which examples still stand in each threat, and the worst image
    of each example. `attacks` are the battery's entries, built."""

    model: Model
    data: Images
    battery: Battery
    attacks: list[Attack]
    pool: Data | None
    clean_pass: CleanPass
    team: Processes
    store: Store
    cascade: bool
    batch_size: int
    seed: int
    bar: Progress
    fast: Fast = field(default=Fast())
    signals: NotedSignals = field(default_factory=NotedSignals)

    def __post_init__(self) -> None:
        n = len(self.data)
        self.labels = name_entries(self.battery)  # (the attack's name, its threat's name) per entry
        self.means: dict[int, EOT] = {}
        self.correct = self.clean_pass.correct  # bool (n,), on the CPU like all that follows
        # What the attacks on each threat have left standing so far. An image that is misclassified as it is counts as
        # broken in every threat, since the zero perturbation lies in each.
        self.standing = {column: self.correct.clone() for _, column in self.labels}
        # The worst image of each example so far: at first the clean one, whose -inf every image within a threat beats.
        self.worst = self.data.float(torch.arange(n)).cpu()
        self.worst_loss = torch.full((n,), -torch.inf)
        self.worst_fools = torch.zeros(n, dtype=torch.bool)

    def config(self) -> dict[str, object]:
        """What two runs must share to be one evaluation, so that a folder of results is not taken for another's."""
        # A function has no weights to compare: its answers to the clean images then stand for it.
        weights = tensors_of(self.model) or [self.clean_pass.predicted]
        return {
            "battery": [[label, identity(e)] for (label, _), e in zip(self.labels, self.battery, strict=True)],
            "data": fingerprint(self.data.x, self.data.y),
            "model": fingerprint(*weights),
            "pool": None if self.pool is None else fingerprint(as_images(self.pool).x, as_images(self.pool).y),
            "versions": versions(),
            "cascade": self.cascade,
            "batch_size": self.batch_size,  # hosts' attacks depend on their batch
            "seed": self.seed,
            "fast": repr(self.fast),
        }

    def run(self, remarks: list[str], name: str | None, budget: float) -> Report:
        """The report of all attacks, made one after the other. `remarks` are warnings from before; `name` and `budget`
        are the battery's."""
        info = {"name": name, "budget": budget} | self.config() | {"data set": repr(self.data), "judged in": JUDGED_IN}
        info |= {"data name": self.data.name, "shape": list(self.data.x.shape[1:])}
        report = Report(self.correct, self.worst, info, warnings=remarks)
        for number, (entry, (label, column)) in enumerate(zip(self.battery, self.labels, strict=True)):
            # What has fallen in a threat stays fallen, so a cascade spares later attacks on that threat the effort. It
            # spares none to an attack that measures distances: those of survivors alone would not be the data's.
            attacked = self.standing[column] if self.cascade and not entry.distances else self.correct
            outcomes = self._attack_all(number, attacked.nonzero().squeeze(1))
            broken = self._record(report, number, attacked, outcomes)
            self.standing[column] = self.standing[column] & ~broken
            self.bar.done(label, report.attacks[label])
        report.warnings += self.clean_pass.warnings
        return report

    def _record(self, report: Report, number: int, attacked: Tensor, outcomes: list[Outcome]) -> Tensor:
        """Write what attack `number` did to the examples `attacked` into the report; bool (n,): what it broke."""
        entry, (label, column) = self.battery[number], self.labels[number]
        broken = torch.zeros_like(self.correct)
        distance = torch.full((len(self.correct),), torch.inf, dtype=torch.float64)
        for outcome in outcomes:
            broken[outcome.index], distance[outcome.index] = outcome.broken, outcome.distance
            self._keep_worst(outcome)
        report.columns[label] = column
        report.masks[label], report.ran[label] = attacked & ~broken, attacked.clone()
        if has_distance(entry.threat):  # motions have none
            # An image that is misclassified as it stands needs no change: it counts as 0 in PGN's rho (Eq. 6).
            report.distances[label] = torch.where(self.correct, distance, 0.0)
        report.samples[label] = self._pictures(outcomes)
        description = {
            "attack": identity(entry.attack),
            "threat": repr(entry.threat),
            "closest": seeks_closest(self.attacks[number]),
            "distances": entry.distances,
        }
        report.info["attacks"][label] = description | sum_work(outcomes)
        report.info["threats"][column] = repr(entry.counts_for)
        report.info["radii"][column] = radii_of(entry.counts_for)
        return broken

    def _attack_all(self, number: int, rows: Tensor) -> list[Outcome]:
        """What attack `number` did to the examples `rows`, in batches that the processes share."""
        batches = [batch for batch in rows.split(self.batch_size) if len(batch)]
        self.bar.attack(self.labels[number][0], number, len(self.battery), len(batches))
        finished = []
        for j, batch in enumerate(batches):
            self.signals.stop_if_asked()
            if j % self.team.count == self.team.rank:
                unit = f"{number:03d}-{j:05d}"
                outcome = self.store.load(unit, batch, tuple(self.data.x.shape[1:]))  # done before a kill
                if outcome is None:
                    outcome = self._attack_batch(number, batch)
                    self.store.save(unit, outcome)
                finished.append((j, outcome))
            self.bar.step()
        self.signals.stop_if_asked()
        try:
            gathered = [pair for pairs in self.team.gather(finished) for pair in pairs]
        except ConnectionError:  # the others may have been asked to stop, as this process was while it waited for them
            self.signals.stop_if_asked()
            raise
        # In the order of the data, whoever did which batch: ties between worst images and the choice of pictures depend
        # on it, and must not on the number of processes.
        return [outcome for _, outcome in sorted(gathered, key=lambda pair: pair[0])]

    def _attack_batch(self, number: int, index: Tensor) -> Outcome:
        """What the judge says of attack `number` on the examples `index` (n,), over all its runs."""
        entry, began = self.battery[number], time.perf_counter()
        minimal = seeks_closest(self.attacks[number])
        x, y = self.data.float(index), self.data.y[index.to(self.data.device)]
        tally = Tally(x)
        # One mean for each number of draws: what fast attacks make of a model they keep by the module.
        model = self.means.setdefault(entry.draws, EOT(self.model, entry.draws)) if entry.draws > 1 else self.model
        counted = CountedModel(model, self.clean_pass.connected, self.bar.passed)
        for run in range(entry.runs):
            # Later runs see what the earlier ones left, but for distances, where a later one may come closer.
            at = torch.arange(len(x), device=x.device) if entry.distances else (~tally.broken).nonzero().squeeze(1)
            if not len(at):
                break
            # By place in the data, not in the batch: an example's noise does not depend on who else still stands.
            seeds = entry_seeds(entry, index[at.cpu()], self.seed, run).to(x.device)
            attempt, delta = run_attack(self.attacks[number], counted, x[at], y[at], seeds)
            # The model itself, not the counted one: the judge's passes are no work of the attack's.
            verdict = judge(self.model, entry.threat, x[at], y[at], attempt.found, delta)
            tally.add(at, attempt, verdict, minimal)
        work = {
            "failed": int((tally.failed & ~tally.broken).sum()),
            "forward": counted.forwards,
            "backward": counted.backwards,
            "undefined": counted.undefined,
        }
        kept = self._worth_keeping(index, tally)
        return Outcome(
            index=index,
            broken=tally.broken.cpu(),
            distance=tally.distance.cpu(),
            kept=kept,
            images=tally.image[kept].cpu(),
            loss=tally.loss[kept].cpu(),
            counts=tally.counts | work | {"seconds": time.perf_counter() - began},
            why=tally.why,
        )

    def _worth_keeping(self, index: Tensor, tally: Tally) -> Tensor:
        """Positions in the batch whose image is the example's worst so far, and of the first few broken ones, for the
        pictures. No other image goes to the disk or to other processes."""
        keep = beats(tally.loss.cpu(), tally.broken.cpu(), self.worst_loss[index], self.worst_fools[index])
        keep[tally.broken.cpu().nonzero().squeeze(1)[:PICTURES]] = True
        return keep.nonzero().squeeze(1)

    def _keep_worst(self, outcome: Outcome) -> None:
        """Take over the images that are worse than the worst so far: one that fools the model, then that of largest
        cross-entropy."""
        index, broken = outcome.index[outcome.kept], outcome.broken[outcome.kept]
        # Looked at again, since an image may have been kept for the pictures alone.
        better = beats(outcome.loss, broken, self.worst_loss[index], self.worst_fools[index])
        rows = index[better]
        self.worst[rows] = outcome.images[better]
        self.worst_loss[rows], self.worst_fools[rows] = outcome.loss[better], broken[better]

    def _pictures(self, outcomes: list[Outcome]) -> Samples:
        """The first broken examples of an attack, with their images and what the model answers to them."""
        rows, images = [torch.zeros(0).long()], [self.worst[:0]]  # empty, for an attack that broke nothing
        for outcome in outcomes:
            broken = outcome.broken[outcome.kept]
            rows.append(outcome.index[outcome.kept][broken])
            images.append(outcome.images[broken])
        index, x_adv = torch.cat(rows)[:PICTURES], torch.cat(images)[:PICTURES]
        predicted = exact_logits(self.model, x_adv.to(self.data.device)).argmax(1).cpu() if len(index) else index
        return Samples(index, self.data.float(index).cpu(), x_adv, self.data.y.cpu()[index], predicted)


def tensors_of(model: Model) -> list[Tensor]:
    """A module's parameters and buffers; of another callable nothing is known but its answers."""
    owner = getattr(model, "__self__", model)  # the module whose method it is
    return list(owner.state_dict().values()) if isinstance(owner, torch.nn.Module) else []


def entry_seeds(entry: Entry, index: Tensor, seed: int, run: int = 0) -> Tensor:
    """int64 seeds of those examples, for that run of that entry: the same whatever else is in the battery."""
    # A checksum, since Python's own hash of a string differs from process to process.
    tag = zlib.crc32(f"{entry.name} {entry.threat!r}".encode())
    return noise.fold(noise.seeds_of_index(index, seed, tag), run)


def seeks_closest(attack: Attack) -> bool:
    """Whether the attack looks for the closest misclassified point, rather than within a radius."""
    return bool(getattr(attack, "minimal", False))


def sum_work(outcomes: list[Outcome]) -> dict[str, object]:
    """Work and faults of an attack over all its batches."""
    sums: dict[str, object] = {}
    for name in COUNTS:
        sums[name] = sum(o.counts[name] for o in outcomes)
    sums["why"] = next((o.why for o in outcomes if o.why), "")
    return sums
