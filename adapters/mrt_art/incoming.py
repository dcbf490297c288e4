"""ART attacks behind our interface, each trap of theirs survived (`mrt.hosts.hosted` says how); ART classifiers as our
models."""

from __future__ import annotations

import contextlib
import inspect
import io
from typing import Any

import art.attacks.evasion as evasion
import numpy as np
import torch
from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from mrt.crafting.task import Task
from mrt.data.images import Data
from mrt.hosts.agreement import IMAGES
from mrt.hosts.hosted import Hosted, ModelForHost, settings_tuple, suggest
from mrt.hosts.hosted_motions import HostedSpatial
from mrt.protocols import Attack, Model, Threat
from mrt.threats import L0, L1, L2, Linf, RotationTranslation
from mrt_art.bridge import Bridge

NORMS: dict[type, Any] = {Linf: np.inf, L2: 2, L1: 1}
NEEDS = {"BrendelBethgeAttack": "numba", "AutoAttack": "multiprocess"}  # ART leaves out or breaks without these
OURS = ("eps", "norm", "targeted", "verbose", "batch_size", "th")  # settings that we choose for each call
STARTS = ("BoundaryAttack", "HopSkipJump", "SignOPTAttack")  # attacks that walk from a misclassified point


def attack(name: str, threat: Threat, *, pool: Data | None = None, **settings: Any) -> Attack:
    """Return art.attacks.evasion.<name>(classifier, **settings) as an attack on `threat`, with its radius and norm.

    `eps_step`, where it has one, is 2.5 eps / max_iter unless set (2 eps for AutoProjectedGradientDescent), since ART's
    default is an absolute 0.1. Attacks without a radius look for the closest point and may be judged in any norm; those
    that walk from a misclassified point get one per example from `pool` (training images), else noise.
    """
    if not isinstance(name, str):
        raise ValueError(f"name an attack of art.attacks.evasion, such as 'SquareAttack'; got {name!r}")
    kinds = {n: c for n, c in vars(evasion).items() if inspect.isclass(c) and issubclass(c, EvasionAttack)}
    if name not in kinds:
        remedy = f"it needs {NEEDS[name]}: pip install {NEEDS[name]}; " if name in NEEDS else ""
        raise ValueError(f"ART has no attack {name!r}: {remedy}{suggest(name, sorted(kinds))}")
    parameters = list(inspect.signature(kinds[name].__init__).parameters)[2:]  # after self and the classifier
    for key in settings:
        if key in OURS:
            raise ValueError(f"{key} of {name} follows from the threat, the target and the batch; leave it out")
        if key not in parameters:
            raise ValueError(f"{name} has no setting {key!r}: {suggest(key, [p for p in parameters if p not in OURS])}")
    if kinds[name] is evasion.SpatialTransformation:
        if not isinstance(threat, RotationTranslation):
            raise ValueError(f"{name} needs a threat of type RotationTranslation; got {threat!r}")
        return ARTSpatial(name, threat, settings_tuple(settings))
    if not isinstance(threat, (Linf, L2, L1, L0)) or ("eps" in parameters and isinstance(threat, L0)):
        raise ValueError(f"{name} needs a threat of type Linf, L2 or L1; got {threat!r}")
    if name == "PixelAttack" and not isinstance(threat, L0):
        raise ValueError(f"PixelAttack needs a threat of type L0; got {threat!r}")
    return ARTAttack(name, threat, settings_tuple(settings), pool)


class ARTAttack(Hosted):
    """An ART attack on a ball behind our interface; see `attack`."""

    @property
    def minimal(self) -> bool:
        return "eps" not in self._parameters

    @property
    def starts(self) -> bool:
        return self.name in STARTS

    @property
    def targetable(self) -> bool:
        return "targeted" in self._parameters

    def run(self, seen: ModelForHost, task: Task[Threat]) -> Tensor:
        goal, threat = task.goal, task.threat
        classes = seen(task.x[:1]).shape[1]  # the model does not say how many it has: one image is asked
        classifier = make_classifier(seen, task.x, classes)
        # What follows from the threat, the goal and the batch; each attack gets the part that it has parameters for.
        ours: dict[str, Any] = {"batch_size": len(task.x), "verbose": False, "targeted": goal.target is not None}
        ours |= {"norm": NORMS.get(type(threat), 2), "eps": getattr(threat, "eps", None)}
        ours |= {"eps_step": self._step(), "th": getattr(threat, "count", None)}
        host = self._kind(classifier, **{k: v for k, v in ours.items() if k in self._parameters} | dict(self.settings))
        y = goal.y if goal.target is None else goal.target
        extra = {} if task.start is None or not self.starts else {"x_adv_init": task.start.cpu().numpy()}
        with contextlib.redirect_stderr(io.StringIO()):  # bars of inner attacks that `verbose` does not reach
            x_adv = host.generate(task.x.cpu().numpy(), np.eye(classes, dtype=np.float32)[y.cpu().numpy()], **extra)
        return torch.from_numpy(np.asarray(x_adv, dtype=np.float32))

    def _step(self) -> float:
        """Return a step that suits the radius: ART's default is an absolute 0.1, whatever the radius."""
        eps = float(getattr(self.threat, "eps", 0.0))
        if self.name == "AutoProjectedGradientDescent":
            return 2 * eps
        default = inspect.signature(self._kind.__init__).parameters.get("max_iter")
        steps = dict(self.settings).get("max_iter", default.default if default else 1)
        return 2.5 * eps / max(int(steps), 3)  # with one or two steps they would be longer than the radius

    @property
    def _kind(self) -> Any:
        return getattr(evasion, self.name)

    @property
    def _parameters(self) -> list[str]:
        """The host's settings: what its constructor takes after self and the classifier."""
        return list(inspect.signature(self._kind.__init__).parameters)[2:]


class ARTSpatial(HostedSpatial):
    """ART's SpatialTransformation behind our interface, searching our motions in place of its own; see `attack`."""

    def propose(self, seen: ModelForHost, task: Task[RotationTranslation]) -> Tensor:
        """Return the motion, (N, 3), that the host chose for each example."""
        # The host counts shifts in percent of the second and the third axis, which on (N, C, H, W) are channels and
        # rows. It is shown (N, H, W, C), where they are rows and columns, and a model that turns the images back.
        limits = {"max_translation": 100 * self.threat.pixels / min(task.x.shape[2:])}
        limits["max_rotation"] = self.threat.degrees
        settings = {"num_translations": 5, "num_rotations": 5, "verbose": False} | limits | dict(self.settings)
        channels_last, classes = ModelForHost(lambda z: seen(z.permute(0, 3, 1, 2))), seen(task.x[:1]).shape[1]
        deltas = []
        for x in task.x.split(1):  # one by one: the host chooses one motion for all images that it is given
            classifier = make_classifier(channels_last, x.permute(0, 2, 3, 1), classes, False)
            host = evasion.SpatialTransformation(classifier, **settings)

            def motion(down: float, right: float, angle: float, x: Tensor = x) -> Tensor:
                return self.threat.project(x.new_tensor([[right, down, angle]]), x)

            def move(image: Any, *shifts_and_angle: float, x: Tensor = x, motion: Any = motion) -> Any:
                return self.threat.apply(x, motion(*shifts_and_angle)).permute(0, 2, 3, 1).cpu().numpy()

            host._perturb = move
            host.generate(x.permute(0, 2, 3, 1).cpu().numpy())
            # Its image is not looked at: the motion that it settled on stands in these attributes.
            deltas.append(motion(host.attack_trans_x, host.attack_trans_y, host.attack_rot))
        return torch.cat(deltas)


def make_classifier(seen: nn.Module, x: Tensor, classes: int, channels_first: bool = True) -> PyTorchClassifier:
    """Return the model as ART takes it, for images in [0, 1] of the shape of x."""
    return PyTorchClassifier(
        model=seen,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=classes,
        channels_first=channels_first,
        clip_values=(0.0, 1.0),
        device_type="gpu" if x.is_cuda else "cpu",
    )


def as_model(classifier: PyTorchClassifier) -> Model:
    """Return an ART classifier as one of our models: images in [0, 1], whatever its clip values, through its
    preprocessing. It is called on a few random images, and refused where its `predict` answers otherwise."""
    if not isinstance(classifier, PyTorchClassifier):
        raise ValueError(f"only a PyTorchClassifier can be attacked or evaluated; got {type(classifier).__name__}")
    bridge = Bridge(classifier)
    model = bridge.unit_model(bridge.pixel_range())
    # No image is known here: random ones tell as well whether two functions are one.
    shape = bridge.to_channels_first(torch.empty(0, *classifier.input_shape)).shape[1:]
    bridge.need_same_answers(model, torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0)))
    return model
