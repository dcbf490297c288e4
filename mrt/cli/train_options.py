"""`mrt train STRATEGY ...`: the options are the fields of the strategy, its attack, the optimizer and the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from mrt import checks
from mrt.cli.choices import ALIASES, ATTACKS, OPTIMIZERS, STRATEGIES, TEXT
from mrt.cli.train_command import Command, Options, strategy_named
from mrt.data import CropFlip

HELP = TEXT | {
    "steps": "of each attack",
    "bn": "what BatchNorm normalises by while an attack runs: its running statistics, or the batch at hand",
    "ratio": "factors of the balls' steps, 2.5 eps / steps each; --tune chooses that of l1",
    "beta": "weight of the divergence, or of the consistency",
    "noise": "from the generator, or plain Gaussian (the ablation SAT+AC)",
    "width": "channels of the generator",
    "conditional": "does the noise generator see the image?",
    "generator_rate": "the generator's learning rate, in units of the update's",
    "look_ahead": "length of the classifier's step ahead, in the same units",
    "rescale": "bring l2 noise to the sphere from inside, too",
    "squash": "linf noise by tanh rather than clamped",
    "step": "of the generator's recursion, in units of eps",
    "diversity": "weight of the distance between two latents' images",
    "recursive": "many small steps, or one of length eps",
    "latent": "is the generator given a random z?",
    "see_delta": "is it given the perturbation so far?",
    "labels": "is it given the true class?",
    "normalise": "the gradient it sees, by its norm over a channel, the image, or not",
    "deeper": "a U-Net with one more level",
    "generator_optimizer": "with its published momentum and weight decay, or plain Adam",
    "generator_lr": "the generator's learning rate",
    "clean": "weight of cross-entropy on clean images",
    "adversarial": "weight of cross-entropy on adversarial images",
    "clean_weight": "weight of clean images; by their number if left out",
    "warmup": "updates on clean images before the game begins",
    "penalty": "of the squared l2 length of the perturbation",
    "grad_norm": "of the gradient image that the generator sees",
    "space": "where the penalty is measured",
    "inputs": "what the generator is shown",
    "batch_norm": "in the generator",
    "how": "one step on the mean, all batches as one, or a step for each",
    "step_size": "of the attack; 2.5 eps / steps if left out",
    "decay": "what decays: all parameters, or weights without biases and BatchNorm",
    "decoupled": "AdamW",
    "pad": "pixels of border that a crop may reach into",
    "mode": "what the border holds",
}


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
        try:
            held = json.loads(self.config.read_text("utf-8"))["info"]["command"]
            told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in held["options"].items()}
            told["weights"] = None if told["weights"] is None else Path(told["weights"])
            parts = {name: held[name] for name in ("settings", "attack", "optimizer", "crop")}
            command = Command(held["strategy"], options=Options(**told, **here), **parts)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.config} was not written by this version of `mrt train`: {error!r}") from error
        for name in (command.strategy, command.options.model):
            if ":" in name and name not in self.allow:
                raise ValueError(f"{self.config} would import code of yours, {name}: repeat it after --allow")
        command.run()


class Overview:
    """The strategies, a line each."""

    def run(self) -> None:
        print("mrt train STRATEGY --threats linf=0.2 l2=0.7 l1=2.0 --epochs 10 --out runs/a")
        print("mrt train STRATEGY --help            its options, and those of the run")
        print("mrt train --config FILE --out DIR    the run of a config.json once more\n\nSTRATEGY is one of")
        for name, kind in STRATEGIES.items():
            also = "".join(f" ({short})" for short, long in ALIASES.items() if long == name)
            line = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            print(f"  {name + also:15s} {line.partition('. ')[0].rstrip('.')}")
        print("  module:Class    a class or function of your own, (model, x, y, step) -> loss")


def parse_command(arguments: list[str]) -> Command | Overview | None:
    """What `mrt train` was asked for; None where it is a run to be repeated."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return Overview()
    if arguments[0].startswith("-"):
        return None
    name, kind = arguments[0], strategy_named(arguments[0])
    shown = settings_of(kind)
    optimizer = checks.choice("optimizer", _after("--optimizer", arguments) or "sgd", tuple(OPTIMIZERS))
    groups = {"settings": shown, "optimizer": settings_of(OPTIMIZERS[optimizer])}
    if _after("--augment", arguments) == "crop-flip":
        groups["crop"] = settings_of(CropFlip)
    flat = tyro.conf.arg(name="")
    parts: list[Any] = [(group, Annotated[_form(group, held), flat]) for group, held in groups.items() if held]
    parts.append(("options", Annotated[Options, flat]))
    if takes_attack(name, shown):
        told = f"the attack on every ball, one of {', '.join(ATTACKS)}; its options then are in --help"
        parts.append(("attack", Annotated[str | None, tyro.conf.arg(help=told)], None))
        if (attack := _after("--attack", arguments)) is not None:
            chosen = settings_of(ATTACKS[checks.choice("attack", attack, tuple(ATTACKS))])
            own = {n: t for n, t in chosen.items() if n not in ("threat", "fast", "steps", "bn")}
            parts.append(("attack_options", Annotated[_form("attack", own), tyro.conf.arg(name="attack")]))
    form = make_dataclass("Train", parts, kw_only=True)
    form.__doc__ = kind.__doc__ if isinstance(kind, type) else f"The strategy {name}."
    found: Any = tyro.cli(form, prog=f"mrt train {name}", args=arguments[1:])
    given = {g: asdict(getattr(found, g)) if hasattr(found, g) else {} for g in ("settings", "optimizer", "crop")}
    attack_given = {"name": getattr(found, "attack", None)}
    attack_given |= asdict(found.attack_options) if hasattr(found, "attack_options") else {}
    return Command(name, options=found.options, attack=attack_given, **given)


def takes_attack(name: str, shown: Mapping[str, Any]) -> bool:
    """May an attack be named for the threats? MSD is one itself."""
    return name != "msd" and ("threat" in shown or "threats" in shown)


def settings_of(kind: Any) -> dict[str, Any]:
    """The fields of a settings class, (type, field) by name."""
    if not is_dataclass(kind):
        return {}
    hints = get_type_hints(kind)
    return {f.name: (hints[f.name], f) for f in fields(kind) if f.init}


def _form(title: str, shown: Mapping[str, Any]) -> type:
    """A class of options for tyro; fields of text where the rules of `parsing` read them."""
    parts = []
    for name, (kind, given) in shown.items():
        default: Any = {"default": given.default} if given.default is not MISSING else {}
        default = {"default_factory": given.default_factory} if given.default_factory is not MISSING else default
        if name == "threats":
            kind, default = tuple[str, ...], {"default": ()}
        elif name in TEXT:
            text = "" if given.default in (MISSING, None) else given.default
            kind, default = str, {"default": ",".join(map(str, text if isinstance(text, tuple) else [text]))}
        told: Any = Annotated.__class_getitem__((kind, tyro.conf.arg(help=HELP.get(name, ""))))  # type: ignore[attr-defined]
        parts.append((name, told, field(**default)))
    form = make_dataclass(title, parts, kw_only=True)
    form.__doc__ = f"Settings of the {title}."
    return form


def _after(flag: str, arguments: list[str]) -> str | None:
    """The word behind a flag, or behind its equals sign."""
    for i, word in enumerate(arguments):
        if word == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
