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
from mrt.generators import save_generator
from mrt.inputs import find_device, load_weights, read_weights
from mrt.protocols import Fast
from mrt.records import write_file
from mrt.training import Run, Validation, fit, ratios, tune
from mrt.training.progress import COUNTS
from mrt.training.tune import split_off

HERE = ("out", "root", "device", "progress", "tensorboard")  # of one call; the rest makes the run what it is


@dataclass
class Options:
    """Of the run."""

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


def strategy_named(name: str) -> Any:
    """A class of strategies, or a function, from its name."""
    if ":" in name:
        return import_attribute(name)
    return STRATEGIES[checks.choice("strategy", ALIASES.get(name, name), (*STRATEGIES, "module:Class"))]


@dataclass
class Command:
    """A run as it was typed: names and texts, which config.json keeps."""

    strategy: str
    settings: dict[str, Any]
    attack: dict[str, Any]
    optimizer: dict[str, Any]
    crop: dict[str, Any]
    options: Options

    def run(self) -> None:
        """From data to model.pt."""
        o = self.options
        strategy = make_strategy(self.strategy, self.settings, self.attack)
        data, held = data_of(o)
        threats = tuple(parsing.parse_threat(text) for text in o.validate_threats) or None
        how = self.fit_arguments()
        if o.tune:
            out = None if o.out is None else o.out / "tune"
            share = 0.2 if held is None else held
            found = tune(lambda: make_network(o), ratios(strategy), data, held=share, threats=threats, out=out, **how)
            strategy = found.strategy
            if is_first_process():
                print(f"{found}\nchosen on held-out training images: ratio {strategy.ratio}")
        validation = None
        if held is not None:
            validation = Validation(held, threats, every=o.validate_every or 1, steps=o.validate_steps or 20)
        how["tensorboard"] = o.tensorboard
        run = fit(make_network(o), strategy, data, validation=validation, out=o.out, **how)
        if is_first_process():
            given = self.settings.get("threats", [self.settings.get("threat", "...")])
            conclude(run, o, " ".join(o.validate_threats or given))

    def fit_arguments(self) -> dict[str, Any]:
        """What `fit` takes besides."""
        o, told = self.options, {k: v for k, v in asdict(self).items() if k != "options"}
        kept = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(o).items() if k not in HERE}
        how: dict[str, Any] = {"epochs": o.epochs, "iterations": o.iterations, "batch_size": o.batch_size}
        how["labelled"] = o.labelled
        how |= {
            "optimizer": OPTIMIZERS[o.optimizer](**with_tuples(self.optimizer)),
            "schedule": parsing.parse_schedule(o.schedule),
        }
        how |= {"ema": o.ema, "clip": o.clip, "checkpoint_every": o.checkpoint_every, "seed": o.seed}
        fast = Fast(o.precision, compile=o.compile, graph=o.graph, reuse=o.reuse)
        how |= {"crop": CropFlip(**self.crop), "fast": fast, "channels_last": o.channels_last}
        return how | {"progress": o.progress, "info": {"command": {**told, "options": kept}}}


def is_first_process() -> bool:
    """Of several processes, or alone."""
    return os.environ.get("RANK", "0") == "0"


def with_tuples(held: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where settings have tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in held.items()}


def make_strategy(name: str, settings: dict[str, Any], attack: dict[str, Any]) -> Any:
    """The strategy, with threats and attacks from their texts."""
    kind = strategy_named(name)
    given = with_tuples(settings)
    if given.get("keep"):
        given["keep"] = parsing.parse_keep(given["keep"])
    given = {k: v for k, v in given.items() if k != "keep" or v}
    if "noise_ball" in given:
        given["noise_ball"] = parsing.parse_threat(given["noise_ball"]) if given["noise_ball"] else None
    for key in {"threat", "threats"} & set(given):
        texts = given[key] if isinstance(given[key], tuple) else [given[key]]
        if not any(texts):
            raise ValueError(f"{name} needs --{key}: {ONLY.get(name, TEXT[key])}")
        found = tuple(attack_on(parsing.parse_threat(text), attack, given) for text in texts)
        given[key] = found if key == "threats" else found[0]
    return kind(**given) if isinstance(kind, type) else kind


def attack_on(threat: Any, attack: dict[str, Any], strategy: dict[str, Any]) -> Any:
    """The threat, or where it is a ball and an attack was named, that attack on it."""
    if attack["name"] is None or not hasattr(threat, "steepest"):
        return threat
    kind = ATTACKS[attack["name"]]
    own = {k: v for k, v in with_tuples(attack).items() if k != "name"}
    own |= {k: strategy[k] for k in ("steps", "bn") if k in kind.__dataclass_fields__ and k in strategy}
    if "keep" in own:
        own["keep"] = parsing.parse_keep(own["keep"])
    return kind(threat, **own)


def data_of(options: Options) -> tuple[Images, Images | None]:
    """Training images, and those held out."""
    data = parsing.load_data(parsing.check_data(options.data), options.root, "train")
    data = data if options.images is None else data.take(min(checks.count("images", options.images), len(data)))
    data = replace(data, augment=options.augment)
    if not options.holdout:
        for name in ("threats", "every", "steps"):
            if getattr(options, f"validate_{name}") and not (name == "threats" and options.tune):
                raise ValueError(f"--validate-{name} needs images to judge on: --holdout 0.1, say")
        return data, None
    return split_off(data, options.holdout, options.seed)


def make_network(options: Options) -> nn.Module:
    """The network before training, the same for the same seed."""
    torch.manual_seed(options.seed)
    model, _ = parsing.make_model(options.model, options.model_settings)
    if options.weights is not None:
        if not options.weights.is_file():
            raise ValueError(f"--weights names no file: {options.weights}")
        model = load_weights(model, read_weights(options.weights), str(options.weights))
    return model.to(find_device(options.device))  # type: ignore[no-any-return]


def conclude(run: Run, options: Options, threats: str) -> None:
    """Keep the model, and say where it is."""
    last = run.metrics[-1]
    said = "  ".join(f"{k} {100 * last[k]:.1f}" for k in last if k not in COUNTS)
    state = "had finished before" if run.finished else "finished"
    print(f"{state}: epoch {last['epoch']:g}, loss {last['loss']:.4f}" + (f", held out: {said}" if said else ""))
    if run.path is None:
        print("nothing was kept: --out names a folder for the run and its model")
        return
    kept = {"best": run.best, "averaged": run.ema, "last": run.model}
    which, model = next((name, model) for name, model in kept.items() if model is not None)
    path = run.path / "model.pt"
    _, settings = parsing.make_model(options.model, options.model_settings)
    if ":" in options.model:
        write_file(path, lambda file: torch.save(model.state_dict(), file))
    else:
        write_file(path, lambda file: save_model(model, file, **settings))
    factory = f" --factory {options.model}" if ":" in options.model else ""
    print(f"{which} weights: {path}")
    if hasattr(run.state, "generator") and getattr(run.state.settings, "noise", "learned") == "learned":
        generator = run.path / "generator.pt"
        write_file(generator, lambda file: save_generator(run.state.generator, file))
        print(f"the generator, for mrt.generators.load_generator: {generator}")
    where = f"--data {options.data} --threats {threats} --out {run.path / 'judged'}"
    print(f"judge it: mrt evaluate {path}{factory} {where}")
