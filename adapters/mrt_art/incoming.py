"""ART attacks behind our interface, each trap of theirs survived (`mrt.hosts.hosted` says how)."""

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
from mrt.hosts.hosted import Hosted, ModelForHost, settings_tuple, suggest
from mrt.hosts.hosted_motions import HostedSpatial
from mrt.protocols import Attack, Model, Threat
from mrt.threats import L0, L1, L2, Linf, RotationTranslation
from mrt_art.bridge import Bridge

NORMS: dict[type, Any] = {Linf: np.inf, L2: 2, L1: 1}
NEEDS = {"BrendelBethgeAttack": "numba", "AutoAttack": "multiprocess"}  # ART leaves out or breaks without these
OURS = ("eps", "norm", "targeted", "verbose", "batch_size", "th")
STARTS = ("BoundaryAttack", "HopSkipJump", "SignOPTAttack")


def attack(name: str, threat: Threat, *, pool: Data | None = None, **settings: Any) -> Attack:
    """art.attacks.evasion.<name>(classifier, **settings) as an attack on `threat`, whose radius and norm it is given.

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
    own = list(inspect.signature(kinds[name].__init__).parameters)[2:]
    for key in settings:
        if key in OURS:
            raise ValueError(f"{key} of {name} follows from the threat, the target and the batch; leave it out")
        if key not in own:
            raise ValueError(f"{name} has no setting {key!r}: {suggest(key, [o for o in own if o not in OURS])}")
    if kinds[name] is evasion.SpatialTransformation:
        if not isinstance(threat, RotationTranslation):
            raise ValueError(f"{name} needs a threat of type RotationTranslation; got {threat!r}")
        return ARTSpatial(name, threat, settings_tuple(settings))
    if not isinstance(threat, (Linf, L2, L1, L0)) or ("eps" in own and isinstance(threat, L0)):
        raise ValueError(f"{name} needs a threat of type Linf, L2 or L1; got {threat!r}")
    if name == "PixelAttack" and not isinstance(threat, L0):
        raise ValueError(f"PixelAttack needs a threat of type L0; got {threat!r}")
    return ARTAttack(name, threat, settings_tuple(settings), pool)


class ARTAttack(Hosted):
    """An ART attack; see `attack`."""

    @property
    def minimal(self) -> bool:
        return "eps" not in self._own

    @property
    def starts(self) -> bool:
        return self.name in STARTS

    @property
    def targetable(self) -> bool:
        return "targeted" in self._own

    def run(self, seen: ModelForHost, task: Task[Threat]) -> Tensor:
        goal, threat = task.goal, task.threat
        classes = seen(task.x[:1]).shape[1]
        classifier = wrapped(seen, task.x, classes)
        ours: dict[str, Any] = {"batch_size": len(task.x), "verbose": False, "targeted": goal.target is not None}
        ours |= {"norm": NORMS.get(type(threat), 2), "eps": getattr(threat, "eps", None)}
        ours |= {"eps_step": self._step(), "th": getattr(threat, "count", None)}
        host = self._kind(classifier, **{k: v for k, v in ours.items() if k in self._own} | dict(self.settings))
        y = goal.y if goal.target is None else goal.target
        extra = {} if task.start is None or not self.starts else {"x_adv_init": task.start.cpu().numpy()}
        with contextlib.redirect_stderr(io.StringIO()):  # bars of inner attacks that `verbose` does not reach
            found = host.generate(task.x.cpu().numpy(), np.eye(classes, dtype=np.float32)[y.cpu().numpy()], **extra)
        return torch.from_numpy(np.asarray(found, dtype=np.float32))

    def _step(self) -> float:
        eps = float(getattr(self.threat, "eps", 0.0))
        if self.name == "AutoProjectedGradientDescent":
            return 2 * eps
        default = inspect.signature(self._kind.__init__).parameters.get("max_iter")
        steps = dict(self.settings).get("max_iter", default.default if default else 1)
        return 2.5 * eps / max(int(steps), 3)

    @property
    def _kind(self) -> Any:
        return getattr(evasion, self.name)

    @property
    def _own(self) -> list[str]:
        return list(inspect.signature(self._kind.__init__).parameters)[2:]


class ARTSpatial(HostedSpatial):
    """ART's SpatialTransformation, for one example at a time: it chooses one motion for all that it is given."""

    def propose(self, seen: ModelForHost, task: Task[RotationTranslation]) -> Tensor:
        """The host tries our motions in place of its own. It counts shifts in percent of the second and third axis,
        which on (N, C, H, W) are channels and rows; here the image lies on its side, so that both are its own."""
        limits = {"max_translation": 100 * self.threat.pixels / min(task.x.shape[2:])}
        limits["max_rotation"] = self.threat.degrees
        settings = {"num_translations": 5, "num_rotations": 5, "verbose": False} | limits | dict(self.settings)
        sideways, classes = ModelForHost(lambda z: seen(z.permute(0, 3, 1, 2))), seen(task.x[:1]).shape[1]
        delta = []
        for x in task.x.split(1):
            host = evasion.SpatialTransformation(wrapped(sideways, x.permute(0, 2, 3, 1), classes, False), **settings)

            def motion(down: float, right: float, angle: float, x: Tensor = x) -> Tensor:
                return self.threat.project(x.new_tensor([[right, down, angle]]), x)

            def moved(image: Any, *how: float, x: Tensor = x, motion: Any = motion) -> Any:
                return self.threat.apply(x, motion(*how)).permute(0, 2, 3, 1).cpu().numpy()

            host._perturb = moved
            host.generate(x.permute(0, 2, 3, 1).cpu().numpy())
            delta.append(motion(host.attack_trans_x, host.attack_trans_y, host.attack_rot))
        return torch.cat(delta)


def wrapped(seen: nn.Module, x: Tensor, classes: int, channels_first: bool = True) -> PyTorchClassifier:
    """The model as ART takes it, for images in [0, 1]."""
    return PyTorchClassifier(
        model=seen,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=classes,
        channels_first=channels_first,
        clip_values=(0.0, 1.0),
        device_type="gpu" if x.is_cuda else "cpu",
    )


def as_model(classifier: Any) -> Model:
    """An ART classifier as one of ours: images in [0, 1], whatever its clip values, through its preprocessing."""
    if not isinstance(classifier, PyTorchClassifier):
        raise ValueError(f"only a PyTorchClassifier can be attacked or evaluated; got {type(classifier).__name__}")
    bridge = Bridge(classifier)
    return bridge.model(bridge.range())
