"""A labelled set of images, held in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from mrt.checks import choice
from mrt.data.checks import require_below

Augment = Literal["none", "crop-flip"]

# Of the memory that is free on a CUDA device. The rest is for the model, its attack and its graphs.
DEVICE_SHARE = 0.5
CLASSES = 100_000  # there are fewer where nobody named them; a higher label is a mistake, such as a pixel or an index


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images `x`, uint8 or float32 in [0, 1], (N, C, H, W), with labels `y`, int64 (N,), counting into `classes`.

    `augment` names what `batches` does to them in training. `pseudo` marks the examples whose label a model gave (bool,
    (N,)), None that no label is known to be such. `name` is what reports call the set. `y` decides where the set lives:
    batches come out on its device. `x` lives there, too, or on the host (see `to`). Everything is checked here, once; a
    tensor changed in place afterwards is not checked again.
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    augment: Augment = "none"
    pseudo: Tensor | None = None
    name: str = ""

    def __post_init__(self) -> None:
        _require_pixels(self.x)
        _require_labels(self.y, len(self.x), self.classes)
        if self.x.device not in (self.y.device, torch.device("cpu")):
            raise ValueError(f"x must be on the device of y ({self.y.device}) or on the CPU, got {self.x.device}")
        choice("augment", self.augment, get_args(Augment))
        if self.pseudo is None:
            return
        if self.pseudo.dtype != torch.bool or self.pseudo.shape != self.y.shape:
            got = f"{self.pseudo.dtype} {tuple(self.pseudo.shape)}"
            raise ValueError(f"pseudo must be bool of shape {tuple(self.y.shape)}, got {got}")
        if self.pseudo.device != self.y.device:
            raise ValueError(f"pseudo must be on the device of y ({self.y.device}), got {self.pseudo.device}")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def device(self) -> torch.device:
        """The device on which `float` and `batches` deliver images: that of the labels."""
        return self.y.device

    def float(self, index: Tensor) -> Tensor:
        """The images at `index` (int64, any device), float32 in [0, 1], on `device`; uint8 is divided by 255."""
        index = index.to(self.x.device)
        if self.x.device == self.device:
            rows = self.x.index_select(0, index)
        else:
            # Gathered straight into pinned memory, from which the copy does not wait for the device.
            pinned = torch.empty((len(index), *self.x.shape[1:]), dtype=self.x.dtype, pin_memory=True)
            rows = torch.index_select(self.x, 0, index, out=pinned).to(self.device, non_blocking=True)
        return rows.to(torch.float32) / 255 if rows.dtype == torch.uint8 else rows

    def to(self, device: torch.device | str) -> Images:
        """The same set on `device`, in the dtype it has: uint8 stays uint8 and becomes float batch by batch.

        On a CUDA device `x` moves only if it needs no more than DEVICE_SHARE of the memory free there at this moment;
        otherwise `x` stays on the host, `float` brings over the images it is asked for through pinned memory, and only
        `y` and `pseudo` move.
        """
        device = torch.device(device)
        free = None  # memory of a CPU is not asked for
        if device.type == "cuda":
            # "cuda" means the current one; as a device it equals no tensor's, which has a number.
            device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
            free = torch.cuda.mem_get_info(device)[0]
        x = self.x
        if x.device != device:
            x = x.to(device if fits(x.nbytes, free) else "cpu")
        pseudo = None if self.pseudo is None else self.pseudo.to(device)
        return replace(self, x=x, y=self.y.to(device), pseudo=pseudo)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.x.shape[1:]))
        name = f"{self.name}: " if self.name else ""
        images = f"{len(self)} of {shape} {self.x.dtype}"
        return f"Images({name}{images}, {len(self.classes)} classes, augment={self.augment!r})"

    def take(self, which: int | Tensor) -> Images:
        """The first `which` examples, or those at the int64 indices `which` (any order, repeats allowed)."""
        if isinstance(which, int):
            if not 0 <= which <= len(self):
                raise ValueError(f"cannot take {which} of {len(self)} examples")
            pseudo = None if self.pseudo is None else self.pseudo[:which]
            return replace(self, x=self.x[:which], y=self.y[:which], pseudo=pseudo)
        which = torch.as_tensor(which)
        if which.dtype != torch.int64 or which.ndim != 1:
            raise ValueError(f"indices must be int64 of shape (n,), got {which.dtype} {tuple(which.shape)}")
        require_below("indices", which, len(self))
        here = which.to(self.device)
        pseudo = None if self.pseudo is None else self.pseudo[here]
        return replace(self, x=self.x[which.to(self.x.device)], y=self.y[here], pseudo=pseudo)


Data = tuple[Tensor, Tensor] | Images


def as_images(data: Data) -> Images:
    """`data` itself if it is Images, else Images(x, y) without augmentation, its classes named "0", "1", ..."""
    if isinstance(data, Images):
        return data
    x, y = data
    return Images(x, y, number_classes(int(y.max()) if y.numel() else 0))  # Images wants a class, also of no examples


def number_classes(highest: int) -> tuple[str, ...]:
    """The names "0", "1", ... of classes up to the highest label."""
    if highest >= CLASSES:
        raise ValueError(f"labels must be below {CLASSES:,} where no classes are named; got {highest}")
    return tuple(map(str, range(highest + 1)))


def fits(needed: int, free: int | None) -> bool:
    """Whether `needed` bytes may move to a device that has `free` bytes (None: not known, then yes)."""
    return free is None or needed <= DEVICE_SHARE * free


def _require_pixels(x: Tensor) -> None:
    """Raise ValueError unless x is a batch of images: uint8, or float32 in [0, 1]."""
    if x.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"x must be uint8, or float32 in [0, 1], got {x.dtype}")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"x must have shape (N, C, H, W), got {tuple(x.shape)}")
    if x.dtype == torch.float32 and x.numel():
        low, high = (float(bound) for bound in torch.aminmax(x))  # both NaN if any pixel is
        if not (low >= 0 and high <= 1):
            raise ValueError(f"float images must be in [0, 1], got pixels from {low} to {high}")


def _require_labels(y: Tensor, count: int, classes: tuple[str, ...]) -> None:
    """Raise ValueError unless y is `count` labels that count into `classes`, and these are names."""
    if y.dtype != torch.int64 or y.shape != (count,):
        raise ValueError(f"y must be int64 of shape ({count},), one label per image, got {y.dtype} {tuple(y.shape)}")
    if not isinstance(classes, tuple) or not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"classes must be a tuple of at least one name, got {classes!r}")
    require_below("labels", y, len(classes))
