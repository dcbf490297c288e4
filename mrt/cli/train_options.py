"""The options of `mrt train STRATEGY`: they are the fields of the strategy, its attack, the optimizer and the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, field, fields, is_dataclass, make_dataclass
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import tyro

from mrt import checks
from mrt.attacks.iterative import Share
from mrt.cli.choices import ALIASES, ATTACKS, OPTIMIZERS, STRATEGIES, TEXT
from mrt.cli.train_command import Command, Options, find_strategy
from mrt.data import CropFlip

# Help texts by the names of fields. They stand here and not at the fields, since the classes of the library are written
# for readers of code, whose docstrings say more.
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
    "pairing": "weight of the divergence between the answers under the two hardest attacks",
    "projection": "share of natural training's update, once an epoch: 0.5 from scratch",
    "natural_optimizer": "of the twin that trains naturally",
    "how": "one step on the mean, all batches as one, or a step for each",
    "step_size": "of the attack; 2.5 eps / steps if left out",
    "decay": "what decays: all parameters, or weights without biases and BatchNorm",
    "decoupled": "AdamW",
    "pad": "pixels of border that a crop may reach into",
    "mode": "what the border holds",
}


class Overview:
    """The help of `mrt train` alone: it lists the strategies, a line each."""

    def run(self) -> None:
        print("mrt train STRATEGY --threats linf=0.2 l2=0.7 l1=2.0 --epochs 10 --out runs/a")
        print("mrt train STRATEGY --help            its options, and those of the run")
        print("mrt train --config FILE --out DIR    the run of a config.json once more\n\nSTRATEGY is one of")
        for name, kind in STRATEGIES.items():
            aliases = "".join(f" ({short})" for short, long in ALIASES.items() if long == name)
            line = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            print(f"  {name + aliases:15s} {line.partition('. ')[0].rstrip('.')}")
        print("  module:Class    a class or function of your own, (model, x, y, step) -> loss")


def parse_command(arguments: list[str]) -> Command | Overview | None:
    """Return what `mrt train` was asked for; None where it is a run to be repeated."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return Overview()
    if arguments[0].startswith("-"):
        return None
    name, kind = arguments[0], find_strategy(arguments[0])
    settings = settings_of(kind)
    # Which options there are depends on three words, which are looked for before tyro reads the whole line.
    optimizer = checks.choice("optimizer", _word_after("--optimizer", arguments) or "sgd", tuple(OPTIMIZERS))
    groups = {"settings": settings, "optimizer": settings_of(OPTIMIZERS[optimizer])}
    if _word_after("--augment", arguments) == "crop-flip":
        groups["crop"] = settings_of(CropFlip)
    flat = tyro.conf.arg(name="")  # --steps and not --settings.steps
    parts: list[Any] = [(group, Annotated[_make_form(group, shown), flat]) for group, shown in groups.items() if shown]
    parts.append(("options", Annotated[Options, flat]))
    if takes_attack(name, settings):
        text = f"the attack on every ball, one of {', '.join(ATTACKS)}; its options then are in --help"
        parts.append(("attack", Annotated[str | None, tyro.conf.arg(help=text)], None))
        if (attack := _word_after("--attack", arguments)) is not None:
            chosen = settings_of(ATTACKS[checks.choice("attack", attack, tuple(ATTACKS))])
            # These four are the run's: the threats, the speed, and what the strategy has for all attacks.
            chosen = {n: t for n, t in chosen.items() if n not in ("threat", "fast", "steps", "bn")}
            parts.append(("attack_options", Annotated[_make_form("attack", chosen), tyro.conf.arg(name="attack")]))
    form = make_dataclass("Train", parts, kw_only=True)
    form.__doc__ = kind.__doc__ if isinstance(kind, type) else f"The strategy {name}."
    typed: Any = tyro.cli(form, prog=f"mrt train {name}", args=arguments[1:])
    values = {g: asdict(getattr(typed, g)) if hasattr(typed, g) else {} for g in ("settings", "optimizer", "crop")}
    attack_values = {"name": getattr(typed, "attack", None)}
    attack_values |= asdict(typed.attack_options) if hasattr(typed, "attack_options") else {}
    return Command(name, options=typed.options, attack=attack_values, **values)


def takes_attack(name: str, settings: Mapping[str, Any]) -> bool:
    """Return whether an attack may be named for the strategy's threats; for MSD it may not, which is one itself."""
    return name != "msd" and ("threat" in settings or "threats" in settings)


def settings_of(kind: Any) -> dict[str, Any]:
    """Return the fields of a settings class, pairs (type, field) by name; nothing for a function."""
    if not is_dataclass(kind):
        return {}
    # The fields themselves hold types as texts, because of the import of annotations. The mark of keyword-only fields
    # is no type, and Python 3.10 refuses it among the annotations: something else is put in its place.
    hints = get_type_hints(kind, localns={"KW_ONLY": object})
    return {f.name: (_without_objects(hints[f.name]), f) for f in fields(kind) if f.init}


def _without_objects(hint: Any) -> Any:
    """Return the type without what no word can say: a function of the user's own, or a step as a share of a radius."""
    inner: Any = tuple(_without_objects(a) for a in get_args(hint) if a is not Share and get_origin(a) is not Callable)
    if get_origin(hint) in (Union, UnionType):
        return reduce(or_, inner)
    return tuple.__class_getitem__(inner) if get_origin(hint) is tuple else hint


def _make_form(title: str, settings: Mapping[str, Any]) -> type:
    """Return a class of options for tyro, whose fields are texts where the rules of `parsing` read them."""
    parts = []
    for name, (kind, setting) in settings.items():
        default: Any = {"default": setting.default} if setting.default is not MISSING else {}
        default = {"default_factory": setting.default_factory} if setting.default_factory is not MISSING else default
        if name == "threats":  # no default, yet not required: a missing one gets a message that shows how to write it
            kind, default = tuple[str, ...], {"default": ()}
        elif name in TEXT:
            text = "" if setting.default in (MISSING, None) else setting.default
            kind, default = str, {"default": ",".join(map(str, text if isinstance(text, tuple) else [text]))}
        annotated: Any = Annotated[kind, tyro.conf.arg(help=HELP.get(name, ""))]
        parts.append((name, annotated, field(**default)))
    form = make_dataclass(title, parts, kw_only=True)
    form.__doc__ = f"Settings of the {title}."
    return form


def _word_after(flag: str, arguments: list[str]) -> str | None:
    """Return the word behind a flag, or behind its equals sign; None if the flag is not there."""
    for i, word in enumerate(arguments):
        if word == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
