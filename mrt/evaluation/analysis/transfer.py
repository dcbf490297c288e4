"""Black box: images made against one model and shown to others."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.data.images import Data, Images
from mrt.evaluation.battery import Battery, Entry, check_battery
from mrt.evaluation.clean_pass import pass_clean_images
from mrt.evaluation.judge import CountedModel, judge, run_attack
from mrt.evaluation.loop import entry_seeds
from mrt.evaluation.progress import Progress
from mrt.evaluation.reliability import warn_of
from mrt.inputs import as_model, device_of, open_data
from mrt.protocols import Attack, Model, Rng, Spatial, Threat


@dataclass(frozen=True, eq=False)
class Transferred:
    """What `attack` makes against `surrogate`, whatever model it is called with.

    The surrogate is on the images' device. A hosted attack has a pool only if it was made with one. In an evaluation's
    folder a surrogate that is an nn.Module is known by its weights; a plain function is not known again by another
    process, which then refuses to go on there.
    """

    attack: Attack
    surrogate: Model

    def __post_init__(self) -> None:
        if isinstance(self.attack, type) or not isinstance(self.attack, Attack):
            raise ValueError(f"a transferred attack needs an attack such as PGD(Linf(0.3)); got {self.attack!r}")
        if not callable(self.surrogate):
            raise ValueError(f"surrogate must be a callable from images to logits; got {self.surrogate!r}")
        if isinstance(self.attack, Spatial) and not isinstance(self, Spatial):
            raise ValueError(f"{self.attack!r} has to show its motions, too: let transfer(...) make the entry")

    @property
    def threat(self) -> Threat:
        """The attack's own: that the model in between is another one changes nothing of what may change."""
        return self.attack.threat

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """What the attack makes against the surrogate; `model` is not asked."""
        return self.attack(self.surrogate, x, y, target=target, rng=rng, start=start)


class TransferredSearch(Transferred):
    """The same of a spatial attack, whose motions are needed to show that the image lies in its threat."""

    attack: Spatial

    def search(self, model: Model, x: Tensor, y: Tensor, *, rng: Rng = None) -> Tensor:
        """The motion that is worst for the surrogate, per example."""
        return self.attack.search(self.surrogate, x, y, rng=rng)


def transfer(attacks: Mapping[str, Attack], surrogates: Mapping[str, Model]) -> Battery:
    """An entry "attack@surrogate" for each attack made on each surrogate, the surrogates of one attack side by side.

    Evaluated with cascade=False, `report.minimum` is the lowest of the columns (L2L-DA's Table 3). Generators fitted to
    one surrogate each are a `transfer` each; batteries are tuples, and add.
    """
    for name, argument in (("attacks", attacks), ("surrogates", surrogates)):
        if not isinstance(argument, Mapping) or not argument:
            raise ValueError(f"{name} must be a non-empty mapping from names; got {argument!r}")
    entries = []
    for name, attack in attacks.items():
        # With `search` only where the attack has one: to have it is what makes the evaluator ask for motions.
        kind = TransferredSearch if isinstance(attack, Spatial) else Transferred
        for source, surrogate in surrogates.items():
            transferred = kind(attack, as_model(surrogate)[0])
            entries.append(Entry(f"{name}@{source}", transferred, transferred.threat))
    return check_battery(tuple(entries))


@dataclass(frozen=True)
class Transfer:
    """accuracy[target][source][attack]: the share of `n` images that the target classifies correctly and keeps so under
    what the attack made against the source. clean[target]: without an attack. `vars` of it is JSON."""

    clean: dict[str, float]
    accuracy: dict[str, dict[str, dict[str, float]]]
    n: int

    @property
    def black_box(self) -> dict[str, float]:
        """Each target's lowest accuracy under attacks made on the others; of one model alone there is none."""
        lowest = {}
        for target, by_source in self.accuracy.items():
            shares: list[float] = []
            for source, by_attack in by_source.items():
                if source != target:
                    shares += by_attack.values()
            if shares:
                lowest[target] = min(shares)
        return lowest

    def __str__(self) -> str:
        """A table with a column for each target and a row for each attack on each source."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD)
        table.add_column("", no_wrap=True)
        for target in self.clean:
            table.add_column(Text(target), justify="right")
        table.add_row("clean", *_percent(self.clean.values()), end_section=True)
        first = next(iter(self.accuracy.values()))
        for attack in next(iter(first.values())):
            for source in first:
                shares = [by_source[source][attack] for by_source in self.accuracy.values()]
                table.add_row(Text(f"{attack}@{source}"), *_percent(shares))
            table.add_section()
        if self.black_box:
            table.add_row("lowest from others", *_percent(self.black_box.values()))
        text = io.StringIO()
        text.write(f"{self.n} examples; accuracy in % of each target, below it under each attack@source\n")
        Console(file=text, width=min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)).print(table)
        return text.getvalue().rstrip()


def matrix(
    attacks: Mapping[str, Attack],
    models: Mapping[str, Model],
    data: Data,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> Transfer:
    """Every model's accuracy under every attack made on every model, itself included. Images are made once, from all of
    `data`, and each target believes them as little as `evaluate` does. Doubts come as UserWarnings."""
    checks.flag("progress", progress)
    checks.count("batch_size", batch_size)
    checks.count("seed", seed, low=0)
    transfer(attacks, models)  # refused, if at all, before a model runs
    opened = {name: as_model(model) for name, model in models.items()}
    targets = {name: f for name, (f, _) in opened.items()}
    images, remarks = open_data(data)
    images = images.to(device_of(next(iter(targets.values())), device))
    remarks += _with_names({name: model_remarks for name, (_, model_remarks) in opened.items()})
    with ExitStack() as stack:
        for f in targets.values():
            stack.enter_context(crafting(f))
        clean_passes = {name: pass_clean_images(f, images, batch_size) for name, f in targets.items()}
        remarks += _with_names({name: clean_pass.warnings for name, clean_pass in clean_passes.items()})
        # Not for its counts: it gives a model without a gradient one of zero, so that every attack runs.
        sources = {name: CountedModel(f, clean_passes[name].connected) for name, f in targets.items()}
        entries, bar = transfer(attacks, sources), stack.enter_context(Progress(progress))
        accuracy: dict[str, dict[str, dict[str, float]]] = {t: {s: {} for s in models} for t in models}
        for number, (entry, (attack, source)) in enumerate(zip(entries, product(attacks, models), strict=True)):
            parts = torch.arange(len(images)).split(batch_size)
            bar.attack(entry.name, number, len(entries), len(parts))
            broken, faults = _judge_everywhere(entry, targets, images, parts, seed, bar)
            remarks += faults
            for target, mask in broken.items():
                accuracy[target][source][attack] = float((clean_passes[target].correct & ~mask).double().mean())
    warn_of(remarks)
    clean = {name: float(clean_pass.correct.double().mean()) for name, clean_pass in clean_passes.items()}
    return Transfer(clean, accuracy, len(images))


def _judge_everywhere(
    entry: Entry, targets: Mapping[str, Model], images: Images, parts: Sequence[Tensor], seed: int, bar: Progress
) -> tuple[dict[str, Tensor], list[str]]:
    """Which examples each target gets wrong within the threat, bool (n,) by target, and remarks on what was wrong with
    the images themselves."""
    attack = entry.build(None)
    broken: dict[str, list[Tensor]] = {target: [] for target in targets}
    faults = Counter[str]()
    for index in parts:
        x, y = images.float(index), images.y[index.to(images.device)]
        any_model = next(iter(targets.values()))  # the attack asks its surrogate instead
        attempt, delta = run_attack(attack, any_model, x, y, entry_seeds(entry, index, seed).to(x.device))
        for target, f in targets.items():
            verdict = judge(f, entry.threat, x, y, attempt.found, delta)
            broken[target].append(verdict.broken.cpu())
        faults.update(verdict.faults)  # of the images, and so the same for every target
        bar.step()
    counts = [f"{count} {name}" for name, count in faults.items() if count]
    remarks = [f"{entry.name} returned images that do not count: {', '.join(counts)}"] if counts else []
    return {target: torch.cat(masks) for target, masks in broken.items()}, remarks


def _with_names(remarks: Mapping[str, Sequence[str]]) -> list[str]:
    """All models' remarks, each with its model's name before it."""
    return [f"{name}: {remark}" for name, of_model in remarks.items() for remark in of_model]


def _percent(shares: Iterable[float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]
