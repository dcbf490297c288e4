"""Foolbox attacks behind our interface, each trap of theirs survived (`mrt.hosts.hosted` says how)."""

from __future__ import annotations

import inspect
import os
import warnings
from typing import Any
from unittest import mock

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else `import foolbox` fails where there is no git

import eagerpy
import foolbox
import torch
from foolbox.attacks import base
from foolbox.attacks import spatial_attack as spatial
from torch import Tensor, nn

from mrt.crafting.task import Task
from mrt.data.images import Data
from mrt.hosts.hosted import Hosted, ModelForHost, settings_tuple, suggest
from mrt.hosts.hosted_motions import HostedSpatial
from mrt.protocols import Attack, Model, Threat
from mrt.threats import L0, L1, L2, Linf, RotationTranslation

NORMS: dict[type, Any] = {Linf: foolbox.distances.linf, L2: foolbox.distances.l2, L1: foolbox.distances.l1}
NORMS[L0] = foolbox.distances.l0


def attack(name: str, threat: Threat, *, pool: Data | None = None, **settings: Any) -> Attack:
    """foolbox.attacks.<name>(**settings) as an attack on `threat`.

    A fixed-epsilon attack runs at the threat's radius, or at each of `epsilons` (a setting of ours), of which the
    closest that fools is kept, and its norm must be the threat's. A minimum-norm attack may be judged in any. Attacks
    that walk from a misclassified point get one per example from `pool` (training images), else noise.
    """
    if not isinstance(name, str):
        raise ValueError(f"name an attack of foolbox.attacks, such as 'L2PGD', with its settings; got {name!r}")
    kinds = {n: c for n, c in vars(foolbox.attacks).items() if inspect.isclass(c) and issubclass(c, base.Attack)}
    kinds = {n: c for n, c in kinds.items() if n != "Attack"}
    if name not in kinds:
        raise ValueError(f"Foolbox has no attack {name!r}: {suggest(name, sorted(kinds))}")
    if issubclass(kinds[name], foolbox.attacks.SpatialAttack):
        return FoolboxSpatial.checked(name, threat, settings)
    made = FoolboxAttack(name, threat, settings_tuple(settings), pool)
    if not isinstance(threat, (Linf, L2, L1, L0)):
        raise ValueError(f"{name} needs a threat of type Linf, L2, L1 or L0; got {threat!r}")
    distance = getattr(made.host(), "distance", None)
    if not made.minimal and distance is not NORMS[type(threat)]:
        raise ValueError(f"{name} searches an {distance} ball, but the threat is {threat!r}")
    if made.minimal and "epsilons" in settings:
        raise ValueError(f"{name} looks for the closest point and takes no epsilons; got {settings['epsilons']!r}")
    return made


class FoolboxAttack(Hosted):
    """A Foolbox attack; see `attack`."""

    @property
    def minimal(self) -> bool:
        return issubclass(self._kind, base.MinimizationAttack)

    @property
    def starts(self) -> bool:
        return "starting_points" in inspect.signature(self._kind.run).parameters and "FMN" not in self.name

    @property
    def targetable(self) -> bool:
        return self.name not in (
            "FGSM",
            "FGM",
            "LinfFastGradientAttack",
            "L2FastGradientAttack",
            "L1FastGradientAttack",
        )

    def host(self) -> Any:
        """The Foolbox attack itself."""
        settings = {key: value for key, value in self.settings if key != "epsilons"}
        parameters = inspect.signature(self._kind.__init__).parameters
        own = [p for p, v in parameters.items() if p != "self" and v.kind not in (v.VAR_POSITIONAL, v.VAR_KEYWORD)]
        for key in settings:
            if key not in own:
                raise ValueError(f"{self.name} has no setting {key!r}: {suggest(key, [*own, 'epsilons'])}")
        if "distance" in own and "distance" not in settings:
            settings["distance"] = NORMS[type(self.threat)]
        if "constraint" in own and "constraint" not in settings:  # HopSkipJump walks in linf or l2
            settings["constraint"] = "linf" if isinstance(self.threat, Linf) else "l2"
        try:
            with warnings.catch_warnings():  # Brendel&Bethge announces half a minute of compilation
                warnings.simplefilter("ignore")
                return self._kind(**settings)
        except ModuleNotFoundError as error:
            raise ValueError(f"{self.name} needs {error.name}: pip install {error.name} (mrt-robust[bb])") from error

    def run(self, seen: ModelForHost, task: Task[Threat]) -> Tensor:
        fmodel = foolbox.PyTorchModel(seen, bounds=(0, 1), device=task.x.device)
        goal = task.goal
        criterion: Any = foolbox.criteria.Misclassification(goal.y)
        if goal.target is not None:
            criterion = foolbox.criteria.TargetedMisclassification(goal.target)
        if self.name == "SparseL1DescentAttack" and len(task.x) > 1:  # it moves a batch as soon as one image needs it
            return torch.cat([self.run(seen, task.at(row)) for row in torch.arange(len(task.x)).split(1)])
        extra = {"starting_points": self._start(fmodel, criterion, task)} if self.starts else {}
        if self.minimal:
            found: Tensor = self.host()(fmodel, task.x, criterion, epsilons=None, **extra)[0]
            return found
        size = task.threat.count if isinstance(task.threat, L0) else task.threat.eps  # type: ignore[attr-defined]
        radii = dict(self.settings).get("epsilons", (float(size),))
        _, clipped, success = self.host()(fmodel, task.x, criterion, epsilons=sorted(radii, reverse=True))
        found = clipped[0]
        for image, fooled in zip(clipped[1:], success[1:], strict=True):
            found = torch.where(fooled.reshape(-1, *[1] * (found.ndim - 1)), image, found)
        return found

    def _start(self, fmodel: Any, criterion: Any, task: Task[Threat]) -> Tensor:
        """The points to walk from. Pointwise undoes changes one by one, so it starts from few: the host's own
        salt-and-pepper noise where that fools, since from another image it ends much farther away."""
        assert task.start is not None
        if self.name != "PointwiseAttack":
            return task.start
        noisy = foolbox.attacks.SaltAndPepperNoiseAttack().run(fmodel, task.x, criterion)
        fools = task.goal.reached(task.f(noisy))
        return torch.where(fools.reshape(-1, *[1] * (noisy.ndim - 1)), noisy, task.start)

    @property
    def _kind(self) -> Any:
        return getattr(foolbox.attacks, self.name)


class FoolboxSpatial(HostedSpatial):
    """Foolbox's SpatialAttack; see `attack`."""

    @classmethod
    def checked(cls, name: str, threat: Threat, settings: dict[str, Any]) -> FoolboxSpatial:
        if not isinstance(threat, RotationTranslation):
            raise ValueError(f"{name} needs a threat of type RotationTranslation; got {threat!r}")
        own = [p for p in inspect.signature(spatial.SpatialAttack.__init__).parameters if p != "self"]
        for key in settings:
            if key not in own:
                raise ValueError(f"{name} has no setting {key!r}: {suggest(key, own)}")
        return cls(name, threat, settings_tuple(settings))

    def propose(self, seen: ModelForHost, task: Task[RotationTranslation]) -> Tensor:
        """The host tries our motions in place of its own, and tells images, not motions: which of those it tried gives
        the image it returned?"""
        limits = {"max_translation": self.threat.pixels, "max_rotation": self.threat.degrees}
        host = spatial.SpatialAttack(**{**limits, **dict(self.settings)})
        tried: list[Tensor] = []

        def moved(inputs: Any, translation: tuple[float, float], rotation: float) -> Any:
            motion = task.x.new_tensor([*translation, rotation]).expand(len(task.x), 3)
            tried.append(self.threat.project(motion, task.x))
            return eagerpy.astensor(self.threat.apply(inputs.raw, tried[-1]))

        fmodel = foolbox.PyTorchModel(seen, bounds=(0, 1), device=task.x.device)
        with mock.patch.object(spatial, "rotate_and_shift", moved):
            found = host.run(fmodel, task.x, foolbox.criteria.Misclassification(task.goal.y))
        delta, open_rows = task.x.new_zeros(len(task.x), 3), (found != task.x).flatten(1).any(1)
        for motion in tried:
            mine = open_rows & (self.threat.apply(task.x, motion) == found).flatten(1).all(1)
            delta[mine], open_rows = motion[mine], open_rows & ~mine
        return delta


def as_model(fmodel: Any, dtype: torch.dtype = torch.float32) -> Model:
    """A Foolbox PyTorch model, or a wrapper of one, as one of ours: images in [0, 1], whatever its bounds. It is given
    images of type `dtype`."""
    inner = fmodel
    while isinstance(inner, foolbox.Model) and not isinstance(inner, foolbox.PyTorchModel):
        inner = getattr(inner, "_model", None)
    if not isinstance(inner, foolbox.PyTorchModel):
        raise ValueError(f"only a foolbox.PyTorchModel can be attacked or evaluated; got {type(fmodel).__name__}")
    return _Ranged(fmodel, inner, dtype)


class _Ranged(nn.Module):
    """Holds the user's module, which Foolbox keeps in a closure, so that it can be put into eval mode and frozen."""

    def __init__(self, fmodel: Any, inner: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.fmodel, (self.low, self.high), self.dtype = fmodel, fmodel.bounds, dtype
        held = inspect.getclosurevars(inner._model).nonlocals.get("model")
        self.module = held if isinstance(held, nn.Module) else None
        self.training = self.module is not None and self.module.training

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fmodel(x.to(self.dtype) * (self.high - self.low) + self.low)
        return logits
