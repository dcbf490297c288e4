"""The papers' classifiers: modules from float images in [0, 1], NCHW, to logits."""

from __future__ import annotations

from mrt.models.cifar_resnet import CifarResNet
from mrt.models.convpool_cnn import ConvPoolCNN
from mrt.models.digits_cnn import DigitsCNN
from mrt.models.lenet5 import LeNet5
from mrt.models.madry_cnn import MadryCNN
from mrt.models.madry_wide_resnet import MadryWideResNet
from mrt.models.normalized import Normalized
from mrt.models.preact_resnet import PreActResNet18
from mrt.models.resnet import ResNet18, ResNet50
from mrt.models.resnet_mng_reference import ResNet18MNGReference
from mrt.models.wide_resnet import WideResNet

__all__ = [
    "CifarResNet",
    "ConvPoolCNN",
    "DigitsCNN",
    "LeNet5",
    "MadryCNN",
    "MadryWideResNet",
    "Normalized",
    "PreActResNet18",
    "ResNet18",
    "ResNet18MNGReference",
    "ResNet50",
    "WideResNet",
]
