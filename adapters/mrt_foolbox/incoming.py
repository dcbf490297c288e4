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
from torch import Tensor

from mrt.crafting.task import Task
from mrt.data.images import Data
from mrt.hosts.hosted import Hosted, ModelForHost, settings_tuple, suggest
from mrt.hosts.hosted_motions import HostedSpatial
from mrt.protocols import Attack, Threat
from mrt.threats import L0, L1, L2, Linf, RotationTranslation

NORMS: dict[type, Any] = {Linf: foolbox.distances.linf, L2: foolbox.distances.l2, L1: foolbox.distances.l1}
NORMS[L0] = foolbox.distances.l0


def attack(name: str, threat: Threat, *, pool: Data | None = None, **settings: Any) -> Attack:
    """Return foolbox.attacks.<name>(**settings) as an attack on `threat`.

    A fixed-epsilon attack runs at the threat's radius, or at each of `epsilons` (a setting of ours), of which the
    closest that fools is kept, and its norm must be the threat's. A minimum-norm attack may be judged in any. Attacks
    that walk from a misclassified point get one per example from `pool` (training images), else noise.
    """
    if not isinstance(name, str):
        raise ValueError(f"name an attack of foolbox.attacks, such as 'L2PGD', with its settings; got {name!r}")
    kinds = {n: c for n, c in vars(foolbox.attacks).items() if inspect.isclass(c) and issubclass(c, base.Attack)}
    kinds = {n: c for n, c in kinds.items() if n != "Attack"}  # the abstract class, which searches nothing
    if name not in kinds:
        raise ValueError(f"Foolbox has no attack {name!r}: {suggest(name, sorted(kinds))}")
    if issubclass(kinds[name], foolbox.attacks.SpatialAttack):
        return FoolboxSpatial.check_and_make(name, threat, settings)
    hosted = FoolboxAttack(name, threat, settings_tuple(settings), pool)
    if not isinstance(threat, (Linf, L2, L1, L0)):
        raise ValueError(f"{name} needs a threat of type Linf, L2, L1 or L0; got {threat!r}")
    # Only an instance knows its norm, and making one here also finds wrong settings before anything runs.
    distance = getattr(hosted.host(), "distance", None)
    if not hosted.minimal and distance is not NORMS[type(threat)]:
        raise ValueError(f"{name} searches an {distance} ball, but the threat is {threat!r}")
    if hosted.minimal and "epsilons" in settings:
        raise ValueError(f"{name} looks for the closest point and takes no epsilons; got {settings['epsilons']!r}")
    return hosted


class FoolboxAttack(Hosted):
    """A Foolbox attack on a ball behind our interface; see `attack`."""

    @property
    def minimal(self) -> bool:
        return issubclass(self._kind, base.MinimizationAttack)

    @property
    def starts(self) -> bool:
        # FMN attacks take starting points but need none: without any they begin at the image itself.
        return "starting_points" in inspect.signature(self._kind.run).parameters and "FMN" not in self.name

    @property
    def targetable(self) -> bool:
        # Foolbox has no attribute for this: these attacks raise at a targeted criterion when they run.
        return self.name not in (
            "FGSM",
            "FGM",
            "LinfFastGradientAttack",
            "L2FastGradientAttack",
            "L1FastGradientAttack",
        )

    def host(self) -> Any:
        """Return the Foolbox attack itself, its distance or constraint that of the threat unless set."""
        settings = {key: value for key, value in self.settings if key != "epsilons"}
        parameters = inspect.signature(self._kind.__init__).parameters
        names = [p for p, v in parameters.items() if p != "self" and v.kind not in (v.VAR_POSITIONAL, v.VAR_KEYWORD)]
        for key in settings:
            if key not in names:
                raise ValueError(f"{self.name} has no setting {key!r}: {suggest(key, [*names, 'epsilons'])}")
        if "distance" in names and "distance" not in settings:
            settings["distance"] = NORMS[type(self.threat)]
        if "constraint" in names and "constraint" not in settings:  # HopSkipJump walks in linf or l2
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
            # epsilons=None asks for the closest points alone; with a number Foolbox's Pointwise crashes.
            closest: Tensor = self.host()(fmodel, task.x, criterion, epsilons=None, **extra)[0]
            return closest
        size = task.threat.count if isinstance(task.threat, L0) else task.threat.eps  # type: ignore[attr-defined]
        radii = dict(self.settings).get("epsilons", (float(size),))
        _, clipped, success = self.host()(fmodel, task.x, criterion, epsilons=sorted(radii, reverse=True))
        # From the largest radius down: each smaller one that fools takes the place of what is there, so that the
        # smallest wins, and the largest stays where none does.
        x_adv: Tensor = clipped[0]
        for image, fooled in zip(clipped[1:], success[1:], strict=True):
            x_adv = torch.where(fooled.reshape(-1, *[1] * (x_adv.ndim - 1)), image, x_adv)
        return x_adv

    def _start(self, fmodel: Any, criterion: Any, task: Task[Threat]) -> Tensor:
        """Return the points to walk from, (N, C, H, W)."""
        assert task.start is not None
        if self.name != "PointwiseAttack":
            return task.start
        # Pointwise undoes changes one by one, so it should begin with few: it starts from the host's own
        # salt-and-pepper noise where that fools, since from another image it ends several times as far away.
        noisy: Tensor = foolbox.attacks.SaltAndPepperNoiseAttack().run(fmodel, task.x, criterion)
        fools = task.goal.reached(task.f(noisy))
        return torch.where(fools.reshape(-1, *[1] * (noisy.ndim - 1)), noisy, task.start)

    @property
    def _kind(self) -> Any:
        return getattr(foolbox.attacks, self.name)


class FoolboxSpatial(HostedSpatial):
    """Foolbox's SpatialAttack behind our interface; see `attack`.

    It searches our motions in place of its own, which move "3 pixels" by 2.89, pad by a rule of their own and mix up
    the axes of wide images.
    """

    @classmethod
    def check_and_make(cls, name: str, threat: Threat, settings: dict[str, Any]) -> FoolboxSpatial:
        """Return the attack, or raise a ValueError for a threat or a setting that it does not take."""
        if not isinstance(threat, RotationTranslation):
            raise ValueError(f"{name} needs a threat of type RotationTranslation; got {threat!r}")
        names = [p for p in inspect.signature(spatial.SpatialAttack.__init__).parameters if p != "self"]
        for key in settings:
            if key not in names:
                raise ValueError(f"{name} has no setting {key!r}: {suggest(key, names)}")
        return cls(name, threat, settings_tuple(settings))

    def propose(self, seen: ModelForHost, task: Task[RotationTranslation]) -> Tensor:
        """Return the motion, (N, 3), that the host chose for each example, zero where it returned the input."""
        limits = {"max_translation": self.threat.pixels, "max_rotation": self.threat.degrees}
        host = spatial.SpatialAttack(**{**limits, **dict(self.settings)})
        tried: list[Tensor] = []

        def move_and_record(inputs: Any, translation: tuple[float, float], rotation: float) -> Any:
            motion = task.x.new_tensor([*translation, rotation]).expand(len(task.x), 3)
            tried.append(self.threat.project(motion, task.x))
            return eagerpy.astensor(self.threat.apply(inputs.raw, tried[-1]))

        fmodel = foolbox.PyTorchModel(seen, bounds=(0, 1), device=task.x.device)
        with mock.patch.object(spatial, "rotate_and_shift", move_and_record):
            x_adv = host.run(fmodel, task.x, foolbox.criteria.Misclassification(task.goal.y))
        # The host returns images, not motions: each example's motion is the first of those tried that makes its image.
        delta, open_rows = task.x.new_zeros(len(task.x), 3), (x_adv != task.x).flatten(1).any(1)
        for motion in tried:
            mine = open_rows & (self.threat.apply(task.x, motion) == x_adv).flatten(1).all(1)
            delta[mine], open_rows = motion[mine], open_rows & ~mine
        return delta
