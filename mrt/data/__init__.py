"""Data sets in memory, where they come from, and how an epoch walks through them."""

from __future__ import annotations

from mrt.data.archives import npz
from mrt.data.augment import CropFlip, crop_flip
from mrt.data.batches import Batch, batches, gather, order
from mrt.data.class_folders import folder
from mrt.data.digits_set import digits
from mrt.data.images import Augment, Data, Images, as_images
from mrt.data.torchvision_sets import cifar10, cifar100, mnist, svhn

__all__ = [
    "Augment",
    "Batch",
    "CropFlip",
    "Data",
    "Images",
    "as_images",
    "batches",
    "cifar10",
    "cifar100",
    "crop_flip",
    "digits",
    "folder",
    "gather",
    "mnist",
    "npz",
    "order",
    "svhn",
]
