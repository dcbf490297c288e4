"""Which of the reports that `mrt report` is given are runs of one method: trainings that are alike but for the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mrt.evaluation.report.methods import Method, Runs
from mrt.files import read_json
from mrt.training.folder import CONFIG, FREE

NUMBER = re.compile(r"[-_/]+(seed)?[-_=]*\d+$")  # what a run's path has behind its method: msd-0, msd/1, msd_seed2
# What a run with --holdout or --tune draws by its seed or tunes on what was drawn; its command line says all else.
DRAWN = ("data", "validation", "strategy")


def find_methods(folders: Sequence[Path], reports: Runs, names: Sequence[str]) -> tuple[list[Method], list[str]]:
    """Return the methods with several runs among the reports, and a line for each that was found and has no mean.

    Methods are those of the given names and, of the other reports, those whose trainings differ in the seed alone.
    """
    methods, remarks = list[Method](), list[str]()
    left = [(folder.resolve(), run) for folder, run in zip(folders, reports, strict=True)]
    for name in names:
        named = [(folder, run) for folder, run in left if name in map(_name_before_number, (folder, folder.parent))]
        # The numbered folder is a training: one that was judged twice is one run.
        homes = {f if _name_before_number(f) == name else f.parent for f, _ in named}
        if len(homes) < len(named):
            raise ValueError(f"no mean of {name}: {len(named)} reports are of {len(homes)} trainings")
        methods.append(Method(name, [run for _, run in named]))
        left = [pair for pair in left if pair not in named]
    alike: dict[str, list[tuple[Path, dict[str, Any], tuple[str, Any]]]] = {}
    for folder, run in left:
        home, config = _find_training(folder)
        identity = None if config is None else identify_method(config)
        if config is not None and identity is not None:
            alike.setdefault(identity, []).append((home, config, run))
    for trainings in alike.values():
        homes, configs, several = zip(*trainings, strict=True)
        if len(set(homes)) < 2:  # one training that was judged in several ways
            continue
        shared = {_name_before_number(home) for home in homes}
        name = shared.pop() if len(shared) == 1 else ""
        name = name or next(iter(configs[0]["strategy"].values()))  # the strategy's type
        if name in [method.name for method in methods]:
            name = f"{name} ({several[0][0]} and others)"
        try:
            method = Method(name, several)
        except ValueError as error:
            remarks.append(str(error))
            continue
        if len({config["seed"] for config in configs}) == len(configs):
            methods.append(method)
        else:
            titles = ", ".join(title for title, _ in several)
            remarks.append(f"no mean of {name} over {titles}: two of these were trained with one seed")
    return methods, remarks


def identify_method(config: Mapping[str, Any]) -> str | None:
    """Return what a config.json says of a training except its seed, as a text; None where that is not all there is to
    know of it."""
    kept = {key: value for key, value in config.items() if key not in (*FREE, "seed")}
    command = config.get("info", {}).get("command")  # of `mrt train`
    if not isinstance(command, dict) or not isinstance(command.get("options"), dict):
        text = json.dumps(kept, sort_keys=True)
        # Functions and schedulers are recorded by their names alone, which two with other settings may share.
        return None if '"live":' in text else text
    options = {key: value for key, value in command["options"].items() if key != "seed"}
    kept["info"] = {**config["info"], "command": {**command, "options": options}}
    if options.get("holdout") or options.get("tune"):
        kept = {key: value for key, value in kept.items() if key not in DRAWN}
    return json.dumps(kept, sort_keys=True)


def _find_training(folder: Path) -> tuple[Path, dict[str, Any] | None]:
    """Return the run folder that the report is in, itself or the one above, and what its config.json holds; None if
    there is none."""
    for home in (folder, folder.parent):
        with suppress(OSError, ValueError):
            config = read_json(home / CONFIG, "methods are found without it")
            if isinstance(config, dict) and {"seed", "strategy", "data", "info"} <= set(config):
                return home, config
    return folder, None


def _name_before_number(folder: Path) -> str:
    """Return msd for runs/msd-0, runs/msd_seed1 and runs/msd/2; nothing where no number stands at the end."""
    path = folder.as_posix()
    found = NUMBER.search(path)
    return path[: found.start()].rpartition("/")[2] if found else ""
