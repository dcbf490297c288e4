"""A foreign attack behind our interface, kept from harming the model, the process or its batch mates. The adapters add
only how each host is called. tests/adapters/test_traps.py shows each trap that this avoids."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from mrt.crafting.losses import margin
from mrt.crafting.task import Task, open_task
from mrt.data.images import Data
from mrt.hosts.isolation import isolate_globals
from mrt.hosts.starting_points import find_starting_points
from mrt.inputs import as_model
from mrt.protocols import Model, Rng, Threat
from mrt.threats.projections import per_example

CALLS = 1_000_000  # of the model in one run: far beyond any published budget, so a host that gets there never ends
LISTED = 20  # names in a message
SAME = 1e-6  # a pixel that differs by less came back from another number format


class ModelForHost(nn.Module):
    """The model as a host may see it: a module in eval mode that takes any float type and layout, returns float32, and
    whose gradients are contiguous."""

    def __init__(self, f: Model) -> None:
        super().__init__()
        self.f, self.calls = f, 0
        self.training = False  # a new module is in train mode, of which Foolbox warns
        self.error: Exception | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > CALLS:
            raise RuntimeError(f"no end after {CALLS} calls of the model")
        # Numpy attacks hand over doubles, and layouts that the model need not know.
        x = x.float().contiguous()
        if x.requires_grad:
            # A model in channels_last gives gradients in that layout, which some hosts cannot `view`. The hook stands
            # on a view of x, since on x itself it would fire for every later pass of x as well.
            x = x.view_as(x)
            x.register_hook(Tensor.contiguous)
        try:
            return self.f(x)
        except Exception as error:
            self.error = error  # the model's own failure, which no host may swallow
            raise


def host_seed(seeds: Tensor) -> int:
    """The one seed that a host is given for a batch: its first example's, within what every generator takes."""
    return int(seeds[0]) % 2**31


@dataclass(frozen=True, eq=False)
class Attempt:
    """What a host found: the input itself where it found nothing. `failed` marks examples on which it
    raised or for which there was no start; `why` is the last reason. `empty` counts its answers that are none, by kind:
    nan, and black where that stands for failure."""

    found: Tensor  # (N, C, H, W)
    failed: Tensor  # bool (N,)
    why: str = ""
    empty: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, repr=False)
class Hosted(ABC):
    """A host's attack as one of ours: made by the adapters' `attack(name, threat, ...)`.

    Batches that make the host raise are halved until only the unlucky examples are left out. Images that are NaN, or
    black where the host means "nothing found", never leave here. All randomness follows from the first example's seed,
    so the result does depend on the batch, as the host's does.
    """

    name: str
    threat: Threat
    settings: tuple[tuple[str, Any], ...] = ()
    pool: Data | None = field(default=None, compare=False)

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
        """What the host found where that lies in the threat, else its projection on it."""
        attempt = self.attempt(model, x, y, target=target, rng=rng, start=start)
        # Where all examples fail it is not their bad luck but a mistake, in the settings say.
        if attempt.failed.all() and len(x) > 1:
            raise ValueError(f"{self!r} failed on all {len(x)} examples: {attempt.why}")
        if attempt.failed.any():
            lost = f"{int(attempt.failed.sum())} of {len(x)} examples"
            warnings.warn(f"{self!r} failed on {lost}, which count as still standing: {attempt.why}", stacklevel=2)
        with torch.inference_mode(False), torch.no_grad():
            return self._bring_within(x.detach().clone(), attempt.found)

    def attempt(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        rng: Rng = None,
        start: Tensor | None = None,
    ) -> Attempt:
        """What the host found: within the threat, unless a search for the closest point, which may lie anywhere."""
        if target is not None and not self.targetable:
            raise ValueError(f"{self!r} cannot aim at a class; call it without target=")
        model, _ = as_model(model)
        with open_task(self.threat, margin, (model, x, y, target, rng, start)) as task:
            failed = torch.zeros(len(task.x), dtype=torch.bool, device=task.x.device)
            if self.starts:
                points, ready = find_starting_points(task, self.pool)
                task, failed = replace(task, start=points), ~ready
            x_adv, why = task.x.clone(), "nothing misclassified to start from" if failed.any() else ""
            rows, empty = (~failed).nonzero().squeeze(1), Counter[str]()
            for part, answer in self._run_halving(task, rows, ModelForHost(task.f)):
                if isinstance(answer, Exception):
                    failed[part], why = True, f"{type(answer).__name__}: {answer}".strip(": ").splitlines()[0]
                else:
                    x_adv[part] = self._without_failures(task.at(part), answer, empty)
            if not self.minimal:
                x_adv = self._bring_within(task.x, x_adv)
            return Attempt(x_adv, failed, why, empty)

    @property
    @abstractmethod
    def minimal(self) -> bool:
        """Does it look for the closest misclassified point, rather than within a radius?"""

    @property
    @abstractmethod
    def starts(self) -> bool:
        """Does it need a misclassified point to start from?"""

    @property
    @abstractmethod
    def targetable(self) -> bool:
        """Can it aim at a class?"""

    @abstractmethod
    def run(self, host_model: ModelForHost, task: Task[Threat]) -> Tensor:
        """The host's answer for a batch, (N, C, H, W), of which nothing is believed; its own exceptions pass."""

    def _bring_within(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """`x_adv` where the threat contains it, else its projection."""
        # A projection of a point inside would still round it, and may so unfool it.
        inside = per_example(self.threat.contains(x, x_adv), x)
        return torch.where(inside, x_adv, self.threat.apply(x, self.threat.project(x_adv - x, x)))

    def _run_halving(
        self, task: Task[Threat], rows: Tensor, host_model: ModelForHost
    ) -> Iterator[tuple[Tensor, Tensor | Exception]]:
        """(rows, the host's answer) for all of them, or (one row, what the host raised on it)."""
        if not len(rows):
            return
        part = task.at(rows)
        part = replace(part, x=part.x.contiguous())  # AutoAttack breaks on channels_last
        try:
            # Gradients on: the caller may be under no_grad, where hosts' attacks fail. A half starts from a seed of its
            # own, its first example's, as if it had come alone.
            with torch.enable_grad(), isolate_globals(host_seed(part.seeds)):
                answer = self.run(host_model, part)
            yield rows, answer.detach().to(task.x)
        except Exception as error:  # hosts raise whatever they like
            if host_model.error is not None:
                raise host_model.error from None
            if len(rows) == 1:
                yield rows, error
                return
            # Some starts or values end a host's whole batch; halving leaves out those alone, in few calls more.
            middle = len(rows) // 2
            yield from self._run_halving(task, rows[:middle], host_model)
            yield from self._run_halving(task, rows[middle:], host_model)

    def _without_failures(self, task: Task[Threat], answer: Tensor, empty: Counter[str]) -> Tensor:
        """The answer without what is no answer: NaN, changes below the number format unless they are what fools, and,
        from a search for the closest point, whatever is not misclassified or is the black image that stands for
        failure."""
        x = task.x
        finite = answer.flatten(1).isfinite().all(1)
        empty["nan"] += int((~finite).sum())
        raw = torch.where(per_example(finite, x), answer, x).clamp(0, 1)
        # Else an image that went to another number format and back has every entry changed, and l0 counts them.
        cleaned = torch.where((raw - x).abs() < SAME, x, raw)
        if not self.minimal:
            return cleaned
        # Foolbox returns black where it found nothing closest, and the model may well call black another class.
        black = (cleaned == 0).flatten(1).all(1) & (x != 0).flatten(1).any(1)
        empty["black"] += int(black.sum())
        # Such a search ends as close to the boundary as it can, so taking off even its rounding may cost the success.
        fools, raw_fools = (task.goal.reached(task.f(image)) & ~black for image in (cleaned, raw))
        return torch.where(per_example(fools, x), cleaned, torch.where(per_example(raw_fools, x), raw, x))

    def __repr__(self) -> str:
        return call_text(self)


def call_text(attack: Any) -> str:
    """The call of an adapter's `attack` that makes this attack again: its repr."""
    settings = "".join(f", {key}={value!r}" for key, value in attack.settings)
    return f"{type(attack).__module__.split('.')[0]}.attack({attack.name!r}, {attack.threat!r}{settings})"


def settings_tuple(settings: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Keyword settings as a hashable value, in a fixed order."""
    return tuple(sorted((key, tuple(v) if isinstance(v, list) else v) for key, v in settings.items()))


def suggest(name: str, allowed: list[str]) -> str:
    """A message part for a misspelt name: what may have been meant, and what there is."""
    import difflib

    similar = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
    if similar:
        return f"did you mean {' or '.join(similar)}?"
    return f"there are {', '.join(allowed[:LISTED])}" + (" and others" if len(allowed) > LISTED else "")
