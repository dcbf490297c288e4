"""`mrt train --config FILE`: a run once more, from what its config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mrt import checks
from mrt.cli.choices import ATTACKS, OPTIMIZERS, TEXT
from mrt.cli.train_command import HERE, Command, Options, find_strategy, lists_to_tuples
from mrt.cli.train_options import settings_of
from mrt.data import CropFlip
from mrt.files import read_json


@dataclass
class RepeatRun:
    """Train a model that withstands several kinds of perturbation at once. Say `mrt train` for the strategies.

    With --config a run is repeated from its config.json alone.
    """

    config: Path
    out: Path
    """Folder of the new run."""
    root: Path = Path("data")
    """Where mnist, cifar10, cifar100 and svhn are."""
    allow: tuple[str, ...] = ()
    """Types of your own, module:Class, that the file may import, which RUNS THEIR CODE."""
    device: str | None = None
    """cpu or cuda; cuda if there is one."""
    progress: bool = True

    def run(self) -> None:
        here: dict[str, Any] = {"out": self.out, "root": self.root, "device": self.device, "progress": self.progress}
        held = read_json(self.config, "`mrt train` writes such a file as config.json")
        try:
            recorded = held["info"]["command"]
            self._check(recorded)
            options = lists_to_tuples(recorded["options"])
            options["weights"] = None if options["weights"] is None else Path(options["weights"])
            groups = {name: recorded[name] for name in ("settings", "attack", "optimizer", "crop")}
            command = Command(recorded["strategy"], options=Options(**options, **here), **groups)
        except (ValueError, KeyError, TypeError) as error:
            why = f"{error}" if isinstance(error, ValueError) else repr(error)
            raise ValueError(f"{self.config} was not written by this version of `mrt train`: {why}") from error
        command.run()

    def _check(self, recorded: dict[str, Any]) -> None:
        """Raise an error unless each value is of its setting's type, and what would be imported is allowed."""
        # The file may come from somebody else: what it names is only imported if the user has allowed it.
        for name in (recorded["strategy"], recorded["options"]["model"]):
            if not isinstance(name, str):
                raise ValueError(f"a strategy and a model are named by texts; got {name!r}")
            if ":" in name and name not in self.allow:
                raise ValueError(f"it would import code of yours, {name}: repeat it after --allow")
        _check_types(
            "options", recorded["options"], {k: v for k, v in get_type_hints(Options).items() if k not in HERE}
        )
        optimizer, attack = recorded["options"]["optimizer"], recorded["attack"]["name"]
        kinds: dict[str, Any] = {"settings": find_strategy(recorded["strategy"]), "optimizer": OPTIMIZERS[optimizer]}
        kinds |= {"crop": CropFlip, "attack": None}
        if attack is not None:
            kinds["attack"] = ATTACKS[checks.choice("attack", attack, tuple(ATTACKS))]
        for group, kind in kinds.items():
            hints = {name: hint for name, (hint, _) in settings_of(kind).items()}
            hints |= {name: str for name in TEXT if name in hints}  # such a setting is written as a text
            hints |= {"threats": tuple[str, ...]} if "threats" in hints else {}
            _check_types(group, recorded[group], hints | ({"name": str | None} if group == "attack" else {}))


def _check_types(what: str, values: Any, hints: Mapping[str, Any]) -> None:
    """Raise ValueError unless `values` is a dict that has these names and values of these types."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be an object; got {values!r}")
    for name, value in values.items():
        if not _is_of_type(value, hints[checks.choice(f"a name in {what}", name, tuple(hints))]):
            raise ValueError(f"{what}.{name} cannot be {value!r}")


def _is_of_type(value: Any, hint: Any) -> bool:
    """Return whether a value from a file of JSON is one of that type, as far as files hold it."""
    inner = get_args(hint)
    if hint is Any:
        return True
    if get_origin(hint) is Literal:
        return value in inner
    if get_origin(hint) in (Union, UnionType):
        return any(_is_of_type(value, kind) for kind in inner)
    if get_origin(hint) is tuple:
        kinds = inner[:1] * len(value) if isinstance(value, list) and ... in inner else inner
        return isinstance(value, list) and len(value) == len(kinds) and all(map(_is_of_type, value, kinds))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is (str if hint is Path else hint)
