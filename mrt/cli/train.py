"""`mrt train STRATEGY ...`: the options are the fields of the strategy, of its attack and of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from mrt import checks
from mrt.cli.training import ATTACKS, TEXT, Options, strategy_named, train

HELP = TEXT | {
    "steps": "of each attack",
    "bn": "what BatchNorm normalises by while an attack runs: its running statistics, or the batch at hand",
    "ratio": "factors of the balls' steps, 2.5 eps / steps each; --tune chooses that of l1",
    "beta": "weight of the divergence",
    "how": "one step on the mean, all batches as one, or a step for each",
    "step_size": "of the attack; 2.5 eps / steps if left out",
}


@dataclass
class Again:
    """Train a model that withstands several kinds of perturbation at once.

    `mrt train STRATEGY --threats linf=0.2 l2=0.7 --epochs 10 --out runs/a`; `mrt train STRATEGY --help`: options.
    STRATEGY: standard, adversarial, average (avg), worst (max), alternate, msd, sat, eat, trades, or module:Class of
    your own. With --config a finished or broken run is repeated from its config.json alone.
    """

    config: Path
    out: Path
    """Folder of the new run."""
    allow: tuple[str, ...] = ()
    """Types of your own, module:Class, that the file may import, which RUNS THEIR CODE."""
    device: str | None = None
    progress: bool = True

    def run(self) -> None:
        try:
            held = json.loads(self.config.read_text("utf-8"))["info"]["command"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.config} was not written by `mrt train`: it holds no command") from error
        for name in (held["strategy"], held["options"]["model"]):
            if ":" in name and name not in self.allow:
                raise ValueError(f"{self.config} would import code of yours, {name}: repeat it after --allow")
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in held["options"].items()}
        options |= {k: Path(options[k]) for k in ("root", "weights") if options[k] is not None}
        here: dict[str, Any] = {"out": self.out, "device": self.device, "progress": self.progress}
        train(held["strategy"], held["settings"], held["attack"], Options(**options, **here))


def command(arguments: list[str]) -> Any:
    """What `mrt train` was asked for, as something that runs; None where no strategy is named."""
    if not arguments or arguments[0].startswith("-"):
        return None
    name, kind = arguments[0], strategy_named(arguments[0])
    parts: list[Any] = []
    if shown := settings_of(kind):
        parts.append(("settings", Annotated[_form(f"of {name}", shown), tyro.conf.arg(name="")]))
    attack = _after("--attack", arguments)
    parts.append(("options", Annotated[Options, tyro.conf.arg(name="")]))
    if "threat" in shown or "threats" in shown:
        told = f"the attack on every ball, one of {', '.join(ATTACKS)}; its options then are in --help"
        parts.append(("attack", Annotated[str | None, tyro.conf.arg(help=told)], None))
    if attack is not None:
        chosen = ATTACKS[checks.choice("attack", attack, tuple(ATTACKS))]
        own = {n: t for n, t in settings_of(chosen).items() if n not in ("threat", "fast", "steps", "bn")}
        parts.append(("attack_options", Annotated[_form(f"of {attack}", own), tyro.conf.arg(name="attack")]))
    form = make_dataclass("Train", parts, kw_only=True)
    form.__doc__ = kind.__doc__ if isinstance(kind, type) else f"The strategy {name}."
    return Typed(name, tyro.cli(form, prog=f"mrt train {name}", args=arguments[1:]))


@dataclass
class Typed:
    """A parsed command."""

    name: str
    form: Any

    def run(self) -> None:
        attack = {"name": getattr(self.form, "attack", None)}
        if hasattr(self.form, "attack_options"):
            attack |= asdict(self.form.attack_options)
        settings = asdict(self.form.settings) if hasattr(self.form, "settings") else {}
        train(self.name, settings, attack, self.form.options)


def settings_of(kind: Any) -> dict[str, Any]:
    """The fields of a settings class, (type, default) by name."""
    if not is_dataclass(kind):
        return {}
    hints = get_type_hints(kind)
    return {f.name: (hints[f.name], () if f.default is MISSING else f.default) for f in fields(kind) if f.init}


def _form(title: str, shown: Mapping[str, Any]) -> type:
    """A class of options for tyro; fields of text where the rules of `parsing` read them."""
    parts = []
    for name, (kind, default) in shown.items():
        if name == "threats":
            kind, default = tuple[str, ...], ()
        elif name in TEXT:
            kind, default = str, ",".join(map(str, default if isinstance(default, tuple) else [default]))
        told: Any = Annotated.__class_getitem__((kind, tyro.conf.arg(help=HELP.get(name, ""))))  # type: ignore[attr-defined]
        parts.append((name, told, field(default=default)))
    form = make_dataclass(title.replace(" ", "_"), parts, kw_only=True)
    form.__doc__ = f"Settings {title}."
    return form


def _after(flag: str, arguments: list[str]) -> str | None:
    """The word behind a flag, or behind its equals sign."""
    for i, word in enumerate(arguments):
        if word == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
