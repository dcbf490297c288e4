"""Data sets in memory, where they come from, and how an epoch walks through them."""

from __future__ import annotations

from mrt.data.archives import npz
from mrt.data.augment import CropFlip, crop_flip
from mrt.data.batches import Batch, balanced_order, batches, gather, order
from mrt.data.class_folders import folder
from mrt.data.digits_set import digits
from mrt.data.images import Augment, Data, Images, as_images
from mrt.data.semi_supervised import concatenate, pseudo_label
from mrt.data.stream import Stream
from mrt.data.torchvision_sets import cifar10, cifar100, mnist, svhn

__all__ = [
    "Augment",
    "Batch",
    "CropFlip",
    "Data",
    "Images",
    "Stream",
    "as_images",
    "balanced_order",
    "batches",
    "cifar10",
    "cifar100",
    "concatenate",
    "crop_flip",
    "digits",
    "folder",
    "gather",
    "mnist",
    "npz",
    "order",
    "pseudo_label",
    "svhn",
]
