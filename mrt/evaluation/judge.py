"""Believe nobody: every returned image is checked and classified again before it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.crafting.losses import ce
from mrt.evaluation.exact import exact
from mrt.hosts.hosted import Attempt, Hosted
from mrt.hosts.hosted_motions import HostedSpatial
from mrt.protocols import Attack, Model, Spatial, Threat
from mrt.threats.projections import per_example
from mrt.threats.radii import in_box


class CountedModel(nn.Module):
    """The user's model, for attacks: counts the images that pass through it and the gradients asked for. Where the
    model gives no gradient at all it gives zero ones, so that every attack at least runs."""

    def __init__(self, model: Model, connected: bool = True, watch: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.model, self.connected, self.watch = model, connected, watch
        self.forwards = self.backwards = 0
        self.training = getattr(model, "training", False)

    def forward(self, x: Tensor) -> Tensor:
        return self.around(self.model)(x)

    def around(self, f: Model) -> Model:
        """The same watch over another way to run the model: a fast attack's."""

        def seen(x: Tensor) -> Tensor:
            self.forwards += len(x)
            if self.watch is not None:
                self.watch(len(x))
            if not x.requires_grad:
                return f(x)
            x = x.view_as(x)
            x.register_hook(self._count)
            logits = f(x)
            return logits if self.connected else logits + 0 * x.flatten(1).sum(1, keepdim=True)

        return seen

    @property
    def takes_counts(self) -> bool:
        """May passes be made unseen, and told afterwards? Not where this has to help out with gradients."""
        return self.connected

    def count(self, forwards: int, backwards: int) -> None:
        """So many images passed through the model, and so many gradients came back."""
        self.forwards += forwards
        self.backwards += backwards
        if self.watch is not None:
            self.watch(forwards)

    def _count(self, grad: Tensor) -> None:
        self.backwards += len(grad)


@dataclass(frozen=True, eq=False)
class Verdict:
    """Per example of a batch, (N,): `broken`, misclassified and within the threat; `distance` of a misclassified image
    within the box, wherever it lies, else inf; `loss`, cross-entropy of an image within the threat, else -inf;
    `faults`, counts of outputs that were not what an attack may return."""

    broken: Tensor
    distance: Tensor
    loss: Tensor
    faults: dict[str, int]


@torch.no_grad()
def judge(model: Model, threat: Threat, x: Tensor, y: Tensor, x_adv: Tensor, delta: Tensor | None) -> Verdict:
    """The verdict on x_adv, with the model as it is, in float32 without shortcuts."""
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        given = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise ValueError(f"an attack must return a tensor of the images' shape {tuple(x.shape)}; got {given}")
    x_adv = x_adv.detach().to(x)
    number, boxed = ~x_adv.flatten(1).isnan().any(1), in_box(x_adv)
    safe = torch.where(per_example(number & boxed, x), x_adv, x)
    with crafting(model):  # an attack may have put it into another mode
        logits = exact_logits(model, safe)
    wrong = ~is_right(logits, y) & number & boxed
    inside = threat.contains(x, safe, delta) & number & boxed
    distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    if hasattr(threat, "distance"):
        far = threat.distance(x, safe).double()
        far = torch.where(inside, far.clamp(max=bound_of(threat)), far)  # rounding beyond the radius
        distance = torch.where(wrong, far, distance)
    loss = ce(logits, y, None).nan_to_num(torch.inf)
    faults = {"nan": ~number, "box": number & ~boxed, "outside": number & boxed & ~inside}
    counts = {name: int(rows.sum()) for name, rows in faults.items()}
    return Verdict(wrong & inside, distance, torch.where(inside, loss, -torch.inf), counts)


def run_attack(attack: Attack, model: Model, x: Tensor, y: Tensor, seeds: Tensor) -> tuple[Attempt, Tensor | None]:
    """What the attack returned, and the delta where membership needs it."""
    if isinstance(attack, Hosted):
        return attack.attempt(model, x, y, rng=seeds), None
    none = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    if isinstance(attack, (Spatial, HostedSpatial)):
        delta = attack.search(model, x, y, rng=seeds)
        with torch.no_grad():
            return Attempt(attack.threat.apply(x, delta), none), delta
    return Attempt(attack(model, x, y, rng=seeds), none), None


def exact_logits(model: Model, x: Tensor) -> Tensor:
    """Logits in float32, from arithmetic in float32, whatever autocast the caller is in."""
    with torch.no_grad(), exact(), torch.autocast(x.device.type, enabled=False):
        return checks.logits(model(x), x)


def bound_of(threat: Threat) -> float:
    """The one number that bounds its distances."""
    return float(getattr(threat, "eps", getattr(threat, "count", torch.inf)))


def is_right(logits: Tensor, y: Tensor) -> Tensor:
    """bool (N,): the largest logit is the label's. Where the model answers NaN it is not right."""
    return (logits.argmax(1) == y) & ~logits.isnan().any(1)
