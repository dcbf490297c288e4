"""Data for robust self-training (RST): images that a model has labelled, beside truly labelled ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.data.images import Augment, Images
from mrt.protocols import Model


def concatenate(*sets: Images) -> Images:
    """The examples of all sets, one after the other. The sets agree in all but their number of examples; where only
    some have a `pseudo` mask, the examples of the others count as truly labelled."""
    if not sets:
        raise ValueError("concatenate needs at least one set of images; got none")
    # Compared by name, so that the error can say in what they differ.
    first, others = _traits(sets[0]), [_traits(each) for each in sets[1:]]
    for other in others:
        for name, value in first.items():
            if other[name] != value:
                raise ValueError(f"sets to concatenate must agree in their {name}; got {value} and {other[name]}")
    masks = [torch.zeros_like(each.y, dtype=torch.bool) if each.pseudo is None else each.pseudo for each in sets]
    # None stays None: "no label is known to be a model's" is less than "all are true".
    pseudo = None if all(each.pseudo is None for each in sets) else torch.cat(masks)
    x, y = torch.cat([each.x for each in sets]), torch.cat([each.y for each in sets])
    return replace(sets[0], x=x, y=y, pseudo=pseudo)


def pseudo_label(
    model: Model, x: Tensor, classes: tuple[str, ...], *, batch_size: int = 256, augment: Augment = "none"
) -> Images:
    """The images `x`, uint8 or float32 in [0, 1], labelled by what the model in eval mode holds most likely, their
    `pseudo` all True. The set lives where x does; the model, in the end, is as it was.

    A callable that is no nn.Module, nor a method of one, is called as it is and on x's device.
    """
    checks.count("batch_size", batch_size)
    if not isinstance(x, Tensor) or x.ndim != 4:
        description = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor of images (N, C, H, W); got {description}")
    # A set with labels that are still to come: `Images` checks x, and makes floats of it batch by batch.
    y = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    data = Images(x, y, classes, augment, torch.ones_like(y, dtype=torch.bool))
    with _eval_mode(model) as device:
        for index in torch.arange(len(x)).split(batch_size) if len(x) else ():
            batch = data.float(index).to(device or x.device)
            logits = checks.logits(model(batch), batch)
            if logits.shape[1] != len(classes):
                raise ValueError(f"classes must name the model's {logits.shape[1]} classes; got {len(classes)} names")
            if bool(logits.isnan().any()):  # argmax would take NaN for the largest
                raise checks.NoNumbers("the model must return numbers for images to label; got NaN")
            y[index.to(y.device)] = logits.argmax(1).to(y.device)
    return replace(data, y=y)


def _traits(data: Images) -> dict[str, object]:
    """What sets in one concatenation have to have in common, by name."""
    if not isinstance(data, Images):
        raise ValueError(f"concatenate takes Images; got {type(data).__name__}")
    return {
        "shape": tuple(data.x.shape[1:]),
        "dtype": data.x.dtype,
        "classes": data.classes,
        "augment": data.augment,
        "device": data.device,
        "images' device": data.x.device,
    }


@contextmanager
def _eval_mode(model: Model) -> Iterator[torch.device | None]:
    """Until the block ends every module of the model is in eval mode and nothing is differentiated. Gives the device of
    the model's weights, if it has any."""
    owner = getattr(model, "__self__", model)  # of model.forward, say
    modules = list(owner.modules()) if isinstance(owner, nn.Module) else []
    # Module by module, since a caller may have put some of them in another mode than the rest.
    modes = [module.training for module in modules]
    weight = next((p for module in modules for p in module.parameters(recurse=False)), None)
    try:
        for module in modules:
            module.training = False  # not by eval(), which a module may override
        with torch.no_grad():
            yield None if weight is None else weight.device
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
