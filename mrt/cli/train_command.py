"""The run that a command line or a config.json describes, from data to model.pt."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from mrt import checks
from mrt.cli import parsing
from mrt.cli.choices import ALIASES, ATTACKS, ONLY, OPTIMIZERS, STRATEGIES, TEXT
from mrt.config import import_attribute
from mrt.data import CropFlip, Images
from mrt.evaluation import save_model
from mrt.fast import Fast
from mrt.generators import save_generator
from mrt.inputs import find_device, load_weights, read_weights
from mrt.records import write_tensors
from mrt.training import Run, Validation, fit, ratios, tune
from mrt.training.progress import COUNTS
from mrt.training.tune import split_off

HERE = ("out", "root", "device", "progress", "tensorboard")  # of one call; config.json keeps the other options


@dataclass
class Options:
    """The options of a training run, besides those of its strategy, attack and optimizer."""

    data: str = "digits"
    """digits, mnist, cifar10, cifar100, svhn, a FILE.npz, or a folder of class folders."""
    root: Path = Path("data")
    """Where mnist, cifar10, cifar100 and svhn are."""
    images: int | None = None
    """The first so many training images only."""
    augment: Literal["none", "crop-flip"] = "none"
    """crop-flip has options of its own, --pad, --mode, --flip."""
    model: str = "digits-cnn"
    """A network of mrt.models, e.g. madry-cnn, preact-resnet18, or package.module:factory, which RUNS ITS CODE."""
    model_settings: tuple[str, ...] = ()
    """For example width=8."""
    weights: Path | None = None
    """Fine-tune: start from the weights in this file."""
    epochs: float | None = None
    iterations: int | None = None
    batch_size: int = 128
    """Over all processes."""
    labelled: float | None = None
    """Where some labels are a model's (pseudo, in an npz file): the share of every batch with true ones."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Its settings are options of their own, --lr and others."""
    schedule: str = "triangular"
    """triangular=0.4 (share at the peak), cosine=0.1 (share of warm-up), constant, drops=0.5:0.1,0.75:0.01,
    piecewise=0:0,0.4:1,1:0 (share:factor)."""
    ema: float | None = None
    """Decay of an average of the weights, which then is what is judged and kept."""
    clip: float | None = None
    """Bound on the gradient's norm."""
    holdout: float = 0.0
    """Share of the training images held out: judged under attack, it picks the best weights."""
    validate_every: int | None = None
    """Epochs; after each if left out."""
    validate_steps: int | None = None
    """Of APGD; 20 if left out."""
    validate_threats: tuple[str, ...] = ()
    """What the held-out images are judged under; the strategy's own threats if left out."""
    tune: bool = False
    """msd: first choose the ratio of step sizes by union accuracy on held-out training images (0.2 of them unless
    --holdout says otherwise), in as many runs as there are candidates."""
    out: Path | None = None
    """Run folder: config.json, metrics.jsonl, checkpoint.pt, model.pt. The same command goes on after a kill."""
    checkpoint_every: int = 1000
    """Updates; besides, after each epoch."""
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    """Attacks run the model through torch.compile on a GPU, and their steps through compiled C++ on a CPU."""
    graph: bool = False
    """Replay the steps of PGD, SLIDE and MSD as CUDA graphs."""
    reuse: bool = False
    """MSD goes back through the winner's own forward pass."""
    channels_last: bool = True
    """How convolutions lie in memory while they train."""
    tensorboard: bool = False
    """Also write OUT/tensorboard (needs the tensorboard package)."""
    seed: int = 0
    device: str | None = None
    """cpu or cuda; cuda if there is one."""
    progress: bool = True


def find_strategy(name: str) -> Any:
    """Return the class of strategies, or the user's own class or function, that a name stands for."""
    if ":" in name:
        return import_attribute(name)
    return STRATEGIES[checks.choice("strategy", ALIASES.get(name, name), (*STRATEGIES, "module:Class"))]


@dataclass
class Command:
    """A run as it was typed, in names and texts: config.json keeps these, and a run can be repeated from them."""

    strategy: str
    settings: dict[str, Any]
    attack: dict[str, Any]
    optimizer: dict[str, Any]
    crop: dict[str, Any]
    options: Options

    def run(self) -> None:
        """Train as the options say and write model.pt, with the settings of the strategy tuned first if asked for."""
        o = self.options
        # Everything that was typed is read before anything is trained, so that a mistyped word is noticed at once.
        strategy = make_strategy(self.strategy, self.settings, self.attack)
        data, held_out = load_training_data(o)
        threats = tuple(parsing.parse_threat(text) for text in o.validate_threats) or None
        arguments = self.fit_arguments()
        if o.tune:
            out = None if o.out is None else o.out / "tune"
            judges, candidates = 0.2 if held_out is None else held_out, ratios(strategy)
            tuned = tune(lambda: make_network(o), candidates, data, held=judges, threats=threats, out=out, **arguments)
            strategy = tuned.strategy
            if is_first_process():
                print(f"{tuned}\nchosen on held-out training images: ratio {strategy.ratio}")
        validation = None
        if held_out is not None:
            validation = Validation(held_out, threats, every=o.validate_every or 1, steps=o.validate_steps or 20)
        arguments["tensorboard"] = o.tensorboard  # of the run itself, not of the candidates
        run = fit(make_network(o), strategy, data, validation=validation, out=o.out, **arguments)
        if is_first_process():
            trained_on = self.settings.get("threats", [self.settings.get("threat", "...")])
            save_and_report(run, o, " ".join(o.validate_threats or trained_on))

    def fit_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `fit` that follow from the options alone."""
        o, command = self.options, {k: v for k, v in asdict(self).items() if k != "options"}
        command["options"] = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(o).items() if k not in HERE}
        arguments: dict[str, Any] = {"epochs": o.epochs, "iterations": o.iterations, "batch_size": o.batch_size}
        arguments["labelled"] = o.labelled
        arguments |= {
            "optimizer": OPTIMIZERS[o.optimizer](**lists_to_tuples(self.optimizer)),
            "schedule": parsing.parse_schedule(o.schedule),
        }
        arguments |= {"ema": o.ema, "clip": o.clip, "checkpoint_every": o.checkpoint_every, "seed": o.seed}
        fast = Fast(o.precision, compile=o.compile, graph=o.graph, reuse=o.reuse)
        arguments |= {"crop": CropFlip(**self.crop), "fast": fast, "channels_last": o.channels_last}
        return arguments | {"progress": o.progress, "info": {"command": command}}


def is_first_process() -> bool:
    """Return whether this is the first of several processes, which alone speaks, or the only one."""
    return os.environ.get("RANK", "0") == "0"  # torchrun's


def lists_to_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with tuples in place of lists, which is what JSON makes of tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def make_strategy(name: str, settings: dict[str, Any], attack: dict[str, Any]) -> Any:
    """Return the strategy, with threats and attacks made from their texts."""
    kind = find_strategy(name)
    arguments = lists_to_tuples(settings)
    if arguments.get("keep"):
        arguments["keep"] = parsing.parse_keep(arguments["keep"])
    # An empty text stands for a default that the command line cannot write.
    arguments = {k: v for k, v in arguments.items() if k != "keep" or v}
    if "noise_ball" in arguments:
        arguments["noise_ball"] = parsing.parse_threat(arguments["noise_ball"]) if arguments["noise_ball"] else None
    for key in {"threat", "threats"} & set(arguments):
        texts = arguments[key] if isinstance(arguments[key], tuple) else [arguments[key]]
        if not any(texts):
            raise ValueError(f"{name} needs --{key}: {ONLY.get(name, TEXT[key])}")
        threats = tuple(choose_attack(parsing.parse_threat(text), attack, arguments) for text in texts)
        arguments[key] = threats if key == "threats" else threats[0]
    try:
        return kind(**arguments) if isinstance(kind, type) else kind
    except TypeError as error:  # a setting that is missing in a config.json, or is not one of its own
        raise ValueError(f"{name} cannot be made of these settings: {checks.first_line(error)}") from error


def choose_attack(threat: Any, attack: dict[str, Any], strategy: dict[str, Any]) -> Any:
    """Return the threat, or where it is a ball and an attack was named, that attack on it."""
    if attack["name"] is None or not hasattr(threat, "steepest"):
        return threat
    kind = ATTACKS[attack["name"]]
    settings = {k: v for k, v in lists_to_tuples(attack).items() if k != "name"}
    # A strategy does not pass these two on to a ready attack, though --steps is meant for every attack of the run.
    settings |= {k: strategy[k] for k in ("steps", "bn") if k in kind.__dataclass_fields__ and k in strategy}
    if "keep" in settings:
        settings["keep"] = parsing.parse_keep(settings["keep"])
    return kind(threat, **settings)


def load_training_data(options: Options) -> tuple[Images, Images | None]:
    """Return the training images, and those held out, None if there are none."""
    data = parsing.load_data(parsing.check_data(options.data), options.root, "train")
    data = data if options.images is None else data.take(min(checks.count("images", options.images), len(data)))
    data = replace(data, augment=options.augment)
    if not options.holdout:
        # `tune` holds images out by itself and judges them under --validate-threats.
        for name in ("threats", "every", "steps"):
            if getattr(options, f"validate_{name}") and not (name == "threats" and options.tune):
                raise ValueError(f"--validate-{name} needs images to judge on: --holdout 0.1, say")
        return data, None
    return split_off(data, options.holdout, options.seed)


def make_network(options: Options) -> nn.Module:
    """Return the network before training, the same for the same seed."""
    torch.manual_seed(options.seed)
    model, _ = parsing.make_model(options.model, options.model_settings)
    if options.weights is not None:
        if not options.weights.is_file():
            raise ValueError(f"--weights names no file: {options.weights}")
        model = load_weights(model, read_weights(options.weights), str(options.weights))
    return model.to(find_device(options.device))  # type: ignore[no-any-return]


def save_and_report(run: Run, options: Options, threats: str) -> None:
    """Write model.pt and, where one has learned, generator.pt, and print where they are and how to judge the model."""
    last = run.metrics[-1]
    accuracies = "  ".join(f"{k} {100 * last[k]:.1f}" for k in last if k not in COUNTS)
    state = "had finished before" if run.finished else "finished"
    judged = f", held out: {accuracies}" if accuracies else ""
    print(f"{state}: epoch {last['epoch']:g}, loss {last['loss']:.4f}{judged}")
    if run.path is None:
        print("nothing was kept: --out names a folder for the run and its model")
        return
    # The most telling weights that there are: held-out images have chosen the best, an average is steadier than the
    # last update.
    weights = {"best": run.best, "averaged": run.ema, "last": run.model}
    which, model = next((name, model) for name, model in weights.items() if model is not None)
    path = run.path / "model.pt"
    _, settings = parsing.make_model(options.model, options.model_settings)
    if ":" in options.model:  # save_model knows mrt's own networks alone: of a user's the weights are written
        write_tensors(model.state_dict(), path)
    else:
        save_model(model, path, **settings)
    factory = f" --factory {options.model}" if ":" in options.model else ""
    print(f"{which} weights: {path}")
    # With noise="plain" MNG-AC's state has a generator that nothing trains.
    if hasattr(run.state, "generator") and getattr(run.state.settings, "noise", "learned") == "learned":
        generator = run.path / "generator.pt"
        save_generator(run.state.generator, generator)
        print(f"the generator, for mrt.generators.load_generator: {generator}")
    tested = parsing.has_split(options.data, "test")
    where = f"--data {options.data if tested else 'IMAGES'} --threats {threats} --out {run.path / 'judged'}"
    remark = "" if tested else ", on IMAGES that it was not trained on"
    print(f"judge it{remark}: mrt evaluate {path}{factory} {where}")
