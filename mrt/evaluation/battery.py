"""A battery as data: which attacks, on which threats, in which order. Checked, named and written to a file here."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import mrt.attacks as attacks
import mrt.threats as threats
from mrt import checks
from mrt.config import decode, encode
from mrt.data.images import Data
from mrt.fast import Fast
from mrt.files import read_json
from mrt.hosts.hosted import Hosted
from mrt.protocols import Attack, Threat
from mrt.records import write_file
from mrt.threats.radii import radii_of

Host = Literal["foolbox", "art", "autoattack", "advlib"]
PREFIX = {"foolbox": "foolbox.", "art": "art.", "autoattack": "aa.", "advlib": "advlib."}  # in a report's names
PACKAGE = {  # what pip is asked for
    "foolbox": "foolbox",
    "art": "adversarial-robustness-toolbox",
    "autoattack": "pyautoattack",
    "advlib": "--no-deps adv-lib",  # what it asks for cannot be built everywhere, and is not needed
}
LOGS = ("tensorboard", "summary_writer")  # settings that name folders to write to


@dataclass(frozen=True)
class Foreign:
    """An attack of a host by its name there, with its settings: ("steps", 100), ... Made by `evaluate` alone."""

    host: Host
    name: str
    settings: tuple[tuple[str, object], ...] = ()

    def __post_init__(self) -> None:
        checks.choice("host", self.host, get_args(Host))
        pairs = tuple(tuple(pair) for pair in self.settings)  # whatever they came as: the value has a hash
        if not isinstance(self.name, str) or not all(len(p) == 2 and isinstance(p[0], str) for p in pairs):
            raise ValueError(f"a foreign attack is a host, a name and (setting, value) pairs; got {self!r}")
        logs = [name for name, _ in pairs if name in LOGS]
        if logs:
            raise ValueError(f"{logs[0]} would have {self.name} write to a folder of its own choice; leave it out")
        object.__setattr__(self, "settings", pairs)


@dataclass(frozen=True)
class Entry:
    """One attack of a battery. It runs `runs` times, on what it has not broken yet.

    `distances`: it sees every correctly classified example in every run, and the smallest distance counts. `column` is
    the threat it counts for, its own unless said: an l0 search may count for l1, as in MSD's paper. `draws`: it follows
    the mean over so many draws of a model whose answers are random (`mrt.EOT`); what counts in the end is one draw.
    """

    name: str
    attack: Attack | Foreign
    threat: Threat
    runs: int = 1
    distances: bool = field(default=False, kw_only=True)
    column: Threat | None = field(default=None, kw_only=True)
    draws: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        checks.name("name", self.name)
        if not isinstance(self.attack, (Attack, Foreign)):
            raise ValueError(f"attack of {self.name!r} must be an attack or Foreign(...); got {self.attack!r}")
        for threat in (self.threat, self.counts_for):
            # A class has all methods of a threat, so it would pass for one.
            if isinstance(threat, type) or not isinstance(threat, Threat):
                raise ValueError(f"threat of {self.name!r} must be a threat such as Linf(0.3); got {threat!r}")
            checks.name(f"the name of {threat!r}", threat.name)  # of a column, and of files
        if isinstance(self.attack, Attack) and self.attack.threat != self.threat:
            raise ValueError(f"{self.name!r} attacks {self.attack.threat!r} and cannot be judged in {self.threat!r}")
        checks.count("runs", self.runs)
        checks.count("draws", self.draws)
        checks.flag("distances", self.distances)

    @property
    def counts_for(self) -> Threat:
        """The threat in whose column of a report the attack counts."""
        return self.threat if self.column is None else self.column

    def build(self, pool: Data | None) -> Attack:
        """The attack itself: a foreign one from its adapter, which is imported now. A hosted one without a pool of its
        own gets this one."""
        if isinstance(self.attack, Hosted):
            return self.attack if pool is None or self.attack.pool is not None else replace(self.attack, pool=pool)
        if isinstance(self.attack, Attack):
            return self.attack
        adapter = _import_adapter(self.attack.host)
        # AutoAttack's names are those of its parts, which its adapter resolves; the others' are their classes'.
        make = getattr(adapter, "resolve", None) or adapter.attack
        try:
            attack: Attack = make(self.attack.name, self.threat, pool=pool, **dict(self.attack.settings))
        except TypeError as error:  # a setting that it does not have, or whose value is of another type
            why = checks.first_line(error)
            raise ValueError(
                f"{self.name!r}: {self.attack.name} of {self.attack.host} cannot be made: {why}"
            ) from error
        return attack


Battery = tuple[Entry, ...]


def _import_adapter(host: Host) -> Any:
    """The module mrt_<host>; a ValueError of one line where what it adapts is not installed."""
    try:
        return importlib.import_module(f"mrt_{host}")
    except ModuleNotFoundError as error:
        package = PACKAGE[host]
        raise ValueError(f"{package.split()[-1]} is not installed ({error}): pip install {package}") from error


def with_fast(battery: Battery, fast: Fast) -> Battery:
    """The battery with its attacks run as `fast` says, but for those that were told themselves, and for hosts'."""
    if fast == Fast():
        return battery
    return tuple(replace(entry, attack=_with_fast(entry.attack, fast)) for entry in battery)


def _with_fast(value: Any, fast: Fast) -> Any:
    """The attack, or the value of one of its fields, with `fast` wherever in it the default stands. What has nothing
    to change is returned as it is."""
    if type(value) in (tuple, list):  # of attacks, as WorstOf has them
        parts = [_with_fast(part, fast) for part in value]
        unchanged = all(new is old for new, old in zip(parts, value, strict=True))
        return value if unchanged else type(value)(parts)
    if not isinstance(value, Attack) or isinstance(value, type) or not is_dataclass(value):
        return value
    # Where BatchNorm sees the batch, examples see each other, and then no forward pass can be used again.
    usable = replace(fast, reuse=False) if getattr(value, "bn", "eval") == "batch" else fast
    changes = {}
    for f in fields(value):
        if f.init:
            old = getattr(value, f.name)
            new = usable if f.name == "fast" and old == Fast() else _with_fast(old, fast)
            if new is not old:
                changes[f.name] = new
    return replace(value, **changes) if changes else value


def name_entries(battery: Battery) -> list[tuple[str, str]]:
    """(attack, column) names, one pair per entry: apgd-ce-l1 and l1; linf@0.1 where a norm has several radii."""
    names = _name_threats([threat for entry in battery for threat in (entry.threat, entry.counts_for)])
    pairs = []
    for entry in battery:
        prefix = PREFIX[entry.attack.host] if isinstance(entry.attack, Foreign) else ""
        suffix = f"-{names[entry.threat]}".replace("-any", "-union")  # "union" itself is the row of all threats
        pairs.append((f"{prefix}{entry.name}{suffix}", names[entry.counts_for]))
    labels = [label for label, _ in pairs]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"two entries of the battery are called {label!r}; names must differ within a threat")
    return pairs


def _name_threats(mentioned: list[Threat]) -> dict[Threat, str]:
    """A name for each threat: linf; linf@0.1 where several are called linf; linf@0.1#2 where their radii are equal,
    too, since they differ in something else."""
    distinct = list(dict.fromkeys(mentioned))
    names = {}
    for threat in distinct:
        alike = [t for t in distinct if t.name == threat.name]
        suffix = ",".join(f"{r:g}" for r in radii_of(threat)) or str(alike.index(threat) + 1)
        names[threat] = threat.name if len(alike) == 1 else f"{threat.name}@{suffix}"
        if list(names.values()).count(names[threat]) > 1:
            names[threat] += f"#{alike.index(threat) + 1}"
    return names


def check_battery(battery: Any) -> Battery:
    """`battery` as a tuple, if it is a tuple or list of entries with names of their own."""
    entries: Battery = checks.several("battery", battery, "Entry(...) values")
    for entry in entries:
        if not isinstance(entry, Entry):
            raise ValueError(f"a battery holds Entry(...) values; got {entry!r}")
    name_entries(entries)  # refuses names that come twice
    return entries


def write_battery(battery: Battery, path: Path | str) -> None:
    """The battery as a JSON file that `read_battery` and `mrt evaluate --battery FILE` take."""
    entries = ",\n  ".join(json.dumps(encode(entry)) for entry in check_battery(battery))
    write_file(Path(path), lambda file: file.write(f"[\n  {entries}\n]\n".encode()))


def read_battery(path: Path | str, allow: tuple[str, ...] = ()) -> Battery:
    """A battery from a file. Types are exports of `mrt`; one of your own, "module:Class", must be named in `allow`."""
    values = read_json(path, "a battery is a JSON list of entries, as mrt.write_battery writes it")
    try:
        return check_battery(decode(values, KNOWN, allow))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


# The types that a battery's file may name. A file can therefore make nothing but settings: no code in it runs.
KNOWN = {kind.__name__: kind for kind in (Entry, Foreign, Fast)}
KNOWN |= {name: getattr(module, name) for module in (attacks, threats) for name in module.__all__}
KNOWN = {name: kind for name, kind in KNOWN.items() if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")}
