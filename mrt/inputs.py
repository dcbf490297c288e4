"""What people evaluate: models and data as they have them, as one callable and one set of images."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

import mrt.models
from mrt import checks
from mrt.config import import_attribute
from mrt.data.images import Data, Images, as_images
from mrt.protocols import Model
from mrt.records import write_tensors
from mrt.weights import is_tagged, make_for, read_tensors

ADAPTERS = {"foolbox": "mrt_foolbox", "art": "mrt_art"}  # by the package that a model's class comes from
ROUNDING = 1e-3  # float images this far outside [0, 1] are a conversion's rounding, and are clipped


def as_model(model: Any) -> tuple[Model, list[str]]:
    """The model as a callable on images in [0, 1], with what to warn of. Foolbox's and ART's go through their
    adapters."""
    packages = {kind.__module__.split(".")[0] for kind in type(model).__mro__}  # classes of one's own extend theirs
    for host, adapter in ADAPTERS.items():
        if host in packages:
            # By name and only now: `mrt` works without its adapters, and they import it.
            model = importlib.import_module(adapter).as_model(model)
    if not callable(model):
        raise ValueError(f"model must be a callable from images to logits; got {type(model).__name__}")
    owner = getattr(model, "__self__", model)  # the module of which it is a method
    training = isinstance(owner, nn.Module) and any(m.training and _depends_on_mode(m) for m in owner.modules())
    remark = "the model is in train mode (BatchNorm, dropout); it was evaluated in eval mode"
    return model, [remark] if training else []


def _depends_on_mode(module: nn.Module) -> bool:
    """May the module do something else in train mode? Of torch's own some do; anybody's may that has no parts."""
    # A module with parts is mostly a container, whose mode nobody looks at: it would warn of every network for nothing.
    if type(module).__module__.startswith("torch.nn"):
        return isinstance(module, (_NormBase, _DropoutNd, nn.RReLU, nn.MultiheadAttention, nn.RNNBase))
    return not any(True for _ in module.children())


def device_of(model: Model, device: str | None) -> torch.device | str:
    """Where the images go: `device`, else where the model's parameters are, else the CPU."""
    owner = getattr(model, "__self__", model)
    first = next(owner.parameters(), None) if isinstance(owner, nn.Module) else None
    if device is None:
        return "cpu" if first is None else first.device
    if first is not None and torch.device(device).type != first.device.type:
        raise ValueError(f"device={device!r}, but the model is on {first.device}: move it there first")
    return device


def open_data(data: Data) -> tuple[Images, list[str]]:
    """The data as Images, with what to warn of. Arrays are taken as well."""
    if isinstance(data, Images):
        images, remarks = data, list[str]()
    else:
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise ValueError(f"data must be (x, y) or Images; got {type(data).__name__}")
        x, y = (torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in data)
        if not isinstance(x, Tensor) or not isinstance(y, Tensor):
            raise ValueError(f"data must be a pair of tensors; got {type(x).__name__} and {type(y).__name__}")
        if y.ndim != 1 or y.is_floating_point():
            hint = " (one-hot? y.argmax(1))" if y.ndim == 2 else ""
            raise ValueError(f"y must hold class numbers, integers of shape (N,); got {y.dtype} {tuple(y.shape)}{hint}")
        x, remarks = _clip_rounding(x.float() if x.is_floating_point() else x)
        images = as_images((x, y.long()))  # which checks shapes and labels
    if not len(images):
        raise ValueError("data must hold at least one example; got none")
    return images, remarks


def _clip_rounding(x: Tensor) -> tuple[Tensor, list[str]]:
    """x (N, C, H, W) with rounding beyond [0, 1] taken off, and a remark if there was any; more is a ValueError."""
    if not x.is_floating_point() or not x.numel():
        return x, []
    if x.isnan().any():
        raise ValueError(f"images must be numbers; got NaN in {int(x.flatten(1).isnan().any(1).sum())} of {len(x)}")
    low, high = (float(v) for v in torch.aminmax(x))
    if low >= 0 and high <= 1:
        return x, []
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise ValueError(
            f"images must lie in [0, 1]; got values from {low:g} to {high:g} (pixels of 0 to 255: pass uint8; "
            "normalised inputs: put the normalisation into the model, mrt.models.Normalized)"
        )
    return x.clamp(0, 1), [f"inputs outside [0, 1], from {low:g} to {high:g}, were clipped"]


def load_model(spec: str, factory: str | None = None, device: str | None = None, trust: bool = False) -> Model:
    """The model that a command line names, in eval mode.

    `package.module:factory` is imported and called (or used, if it is a module already): this runs its code.
    `robustbench:dataset/threat/name` asks robustbench. `FILE.pt2` is a torch.export program with a dynamic batch, whose
    code runs: only with `trust`. Any other file holds weights, as `mrt.save_model` or `torch.save(model.state_dict())`
    wrote them, and no code of it is run; the latter need `factory`, a name such as `mrt.models:MadryCNN` that makes the
    network.
    """
    path, place = Path(spec), find_device(device)
    if spec.startswith("robustbench:"):
        model = _load_robustbench(spec.partition(":")[2])
    elif path.is_file() and path.suffix == ".pt2":
        return _load_exported(path, trust)
    elif path.exists() and not path.is_dir():
        model = _load_checkpoint(path, factory)
    elif (path.parent / "checkpoint.pt").is_file() and not path.exists():
        raise ValueError(
            f"{spec} is not there yet: its training has not finished, and the same command goes on with it"
        )
    elif ":" in spec:
        model = call_factory(spec)
    else:
        raise ValueError(f"{spec!r} is no file, no package.module:factory and no robustbench:dataset/threat/name")
    return model.eval().to(place) if isinstance(model, nn.Module) else model


def find_device(name: str | None) -> torch.device:
    """The device of that name, if there is one; for None a GPU before the CPU."""
    try:
        if name is not None and name != "cuda":
            device = torch.device(name)
        elif torch.cuda.is_available():
            device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")  # torchrun: a GPU for each process
        else:
            device = torch.device(name or "cpu")
        torch.empty(0, device=device)  # a device may have a name and not be there
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be cpu, or a cuda device that is there; got {name!r}") from error
    return device


def call_factory(path: str, **settings: Any) -> Any:
    """What the factory at `path` makes, or the value itself if it is a module or not callable."""
    value = import_attribute(path)
    return value if isinstance(value, nn.Module) or not callable(value) else value(**settings)


def save_model(model: nn.Module, path: Path | str | BinaryIO, **settings: Any) -> None:
    """Weights with what makes their network: its class, an export of `mrt.models`, and that class's settings, e.g.
    save_model(net, "net.pt", width=8)."""
    name = type(model).__name__
    if getattr(mrt.models, name, None) is not type(model):
        raise ValueError(f"save_model keeps networks of mrt.models; use torch.save(model.state_dict()) for {name}")
    # Wrong settings are noticed now, and not when the file is read: do they make a network that takes these weights?
    load_weights(getattr(mrt.models, name)(**settings), model.state_dict(), "settings")
    write_tensors({"mrt": 1, "model": name, "settings": settings, "weights": model.state_dict()}, path)


def read_weights(path: Path) -> Any:
    """The state dict in a file of `save_model`'s or of torch.save's."""
    content = read_tensors(path)
    return content["weights"] if _is_ours(content) else content


def _is_ours(content: Any) -> bool:
    """Whether a file's content is what `save_model` wrote."""
    return is_tagged(content, "mrt")


def _load_checkpoint(path: Path, factory: str | None) -> nn.Module:
    """The network in a file of `save_model`'s, or made by `factory` with the weights in the file."""
    content = read_tensors(path)
    if _is_ours(content):
        # Only names of our own networks: a file must not choose what is called.
        name = content.get("model") if isinstance(content.get("model"), str) else None
        checks.choice(f"the model of {path}", name, tuple(mrt.models.__all__))
        make: Callable[..., Any] = getattr(mrt.models, content["model"])
        settings, weights = content.get("settings"), content.get("weights")
        try:
            model = make_for(make, settings, weights)
        except ValueError as error:
            raise ValueError(f"{path} does not say how to make its {content['model']}: {error}") from error
        return load_weights(model, weights, str(path))
    if factory is None:
        raise ValueError(f"{path} holds weights alone: name what makes the network, --factory package.module:factory")
    return load_weights(call_factory(factory), content, str(path))


def load_weights(model: Any, weights: Any, what: str) -> nn.Module:
    """The model, in which those weights now are; `what` is named where they do not fit."""
    if not isinstance(model, nn.Module) or not isinstance(weights, dict):
        raise ValueError(f"{what}: expected a module and a dict of weights; got {type(model)} and {type(weights)}")
    try:
        model.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        short = " ".join(str(error).split())[:200]  # torch lists every key, a line each
        raise ValueError(f"{what}: these weights are not those of {type(model).__name__} ({short} ...)") from error
    return model


def _load_exported(path: Path, trust: bool) -> Model:
    """The program that torch.export saved, as a callable; a ValueError unless its code is trusted."""
    # Guards are executed, expressions evaluated, and names pasted into source code: torch has no other way to read it.
    if not trust:
        raise ValueError(
            f"{path} is a program, and reading it runs code of whoever wrote it: --trust (trust=True) permits that; "
            "weights alone (mrt.save_model) need no trust"
        )
    try:
        program = torch.export.load(path).module()
    except Exception as error:  # whatever a broken archive makes the reader raise
        raise ValueError(f"{path} cannot be read as a torch.export program: {type(error).__name__}") from error

    def model(x: Tensor) -> Tensor:
        try:
            logits: Tensor = program(x)
        except (AssertionError, RuntimeError) as error:
            why = checks.first_line(error)
            raise ValueError(
                f"{path} refuses a batch {tuple(x.shape)}: export it with a dynamic batch ({why})"
            ) from error
        return logits

    return model


def _load_robustbench(name: str) -> nn.Module:
    """The network that robustbench calls dataset/threat/name."""
    parts = name.split("/")
    if len(parts) != 3:
        raise ValueError(
            f"expected robustbench:dataset/threat/name, as in robustbench:cifar10/Linf/Standard; got {name!r}"
        )
    try:
        from robustbench.utils import load_model as load
    except ModuleNotFoundError as error:
        raise ValueError("robustbench is not installed: pip install robustbench") from error
    model: nn.Module = load(model_name=parts[2], dataset=parts[0], threat_model=parts[1])
    return model
