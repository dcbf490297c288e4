"""Believe nobody: every returned image is checked and classified again before it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.attacks.smallest import Smallest
from mrt.crafting.checked_model import ask_any_number
from mrt.crafting.expectation import EOT
from mrt.crafting.gradient import crafting
from mrt.crafting.losses import ce
from mrt.crafting.undefined import UndefinedGradients
from mrt.evaluation.exact import exact
from mrt.hosts.hosted import Attempt, Hosted
from mrt.hosts.hosted_motions import HostedSpatial
from mrt.protocols import Attack, Model, Spatial, Threat
from mrt.threats.gauge import bound, has_distance
from mrt.threats.gauge import distance as measure
from mrt.threats.projections import per_example
from mrt.threats.radii import in_box


class CountedModel(nn.Module):
    """The user's model, for attacks: counts the images that pass through it and the gradients asked for, of EOT's mean
    every draw, and looks at these. The model gets copies of the images, since it may write into them. Where it gives no
    gradient at all there are zero ones, so that every attack at least runs. `watch` is told of every pass, for a sign
    of life."""

    def __init__(self, model: Model, connected: bool = True, watch: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.model, self.connected, self.watch = model, connected, watch
        self.draws = model.samples if isinstance(model, EOT) else 1
        self.forwards = 0
        self.gradients = UndefinedGradients()
        # A new module is in train mode; this one does nothing there, and should not look as if the model were.
        self.training = getattr(model, "training", False)

    def forward(self, x: Tensor) -> Tensor:
        return self.around(self.model)(x)

    def around(self, f: Model) -> Model:
        """`f`, another way to run the same model (a fast attack's copy), with its passes counted here."""

        def counted(x: Tensor) -> Tensor:
            self._count_forwards(len(x))
            x = self.gradients.watch(x)
            logits = f(x.clone())
            # The added zero gives autograd a way from the logits to the input, and changes no logit.
            lost = x.requires_grad and not self.connected
            return logits + 0 * x.flatten(1).sum(1, keepdim=True) if lost else logits

        return counted

    @property
    def backwards(self) -> int:
        """The gradients asked for, one for each image and draw."""
        return self.gradients.total * self.draws

    @property
    def undefined(self) -> int:
        """How many of these were NaN or infinite in places."""
        return self.gradients.count * self.draws

    @property
    def takes_counts(self) -> bool:
        """May passes be made unseen, and told afterwards? Not where this has to help out with gradients."""
        return self.connected

    def count(self, forwards: int, backwards: int, undefined: Tensor | int = 0) -> None:
        """Add passes that were made unseen, in a replayed CUDA graph: so many images in, so many gradients back, and of
        these so many undefined in places."""
        self._count_forwards(forwards)
        self.gradients.add(backwards, undefined)

    def _count_forwards(self, images: int) -> None:
        self.forwards += images * self.draws
        if self.watch is not None:
            self.watch(images * self.draws)


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
    """The verdict on x_adv (N, C, H, W), with the model as it is, in float32 without shortcuts. `delta` (N, ...) is
    what a motion or a mixture needs to show that x_adv lies in its threat."""
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        answer = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise ValueError(f"an attack must return a tensor of the images' shape {tuple(x.shape)}; got {answer}")
    x_adv = x_adv.detach().to(x)
    number, boxed = ~x_adv.flatten(1).isnan().any(1), in_box(x_adv)  # bool (N,)
    # The model is asked only about images it may be asked about; where there is none, about x, which then counts as
    # nothing: one row of NaN could end the whole batch in an error.
    safe = torch.where(per_example(number & boxed, x), x_adv, x)
    with crafting(model):  # an attack may have put it into another mode
        logits = exact_logits(model, safe)
    if int(y.max()) >= logits.shape[1]:  # it had as many when the clean images passed
        raise ValueError(f"the model answers with {logits.shape[1]} classes, and labels go up to {int(y.max())}")
    wrong = ~is_right(logits, y) & number & boxed
    inside = threat.contains(x, safe, delta) & number & boxed
    distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    if has_distance(threat):
        far = measure(threat, x, safe).double()
        # `contains` forgives rounding beyond the radius, so a curve of distances must forgive it, too: else accuracy at
        # the threat's own radius would be another number than the threat's column.
        far = torch.where(inside, far.clamp(max=bound(threat)), far)
        # Not only inside: a search for the closest point may end beyond the radius, and its distance is the result.
        distance = torch.where(wrong, far, distance)
    # Infinite logits make a loss of NaN, which would never count as larger than another.
    loss = ce(logits, y, None).nan_to_num(torch.inf)
    faults = {"nan": ~number, "box": number & ~boxed, "outside": number & boxed & ~inside}
    return Verdict(
        broken=wrong & inside,
        distance=distance,
        loss=torch.where(inside, loss, -torch.inf),
        faults={name: int(rows.sum()) for name, rows in faults.items()},
    )


def run_attack(attack: Attack, model: Model, x: Tensor, y: Tensor, seeds: Tensor) -> tuple[Attempt, Tensor | None]:
    """What the attack returned, and the delta where membership needs it."""
    # A host's attack says more than its `__call__` returns: on which examples it failed, and points beyond the radius,
    # which the call would project.
    if isinstance(attack, Hosted):
        return attack.attempt(model, x, y, rng=seeds), None
    none_failed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    # A call of ours returns what lies in the threat, and the closest point may lie beyond.
    if isinstance(attack, Smallest):
        return Attempt(attack.closest(model, x, y, rng=seeds), none_failed), None
    # No image shows by itself which motion made it, so the motion is asked for and the image made here.
    if isinstance(attack, (Spatial, HostedSpatial)):
        delta = attack.search(model, x, y, rng=seeds)
        with torch.no_grad():
            return Attempt(attack.threat.apply(x, delta), none_failed), delta
    return Attempt(attack(model, x, y, rng=seeds), none_failed), None


def exact_logits(model: Model, x: Tensor, answered: int = 0) -> Tensor:
    """Logits in float32, from arithmetic in float32, whatever autocast the caller is in. `answered`: how many images
    the model was given before, if any."""
    with torch.no_grad(), exact(), torch.autocast(x.device.type, enabled=False):
        return checks.logits(ask_any_number(model, x.clone(), answered), x)  # a copy, which it may write into


def is_right(logits: Tensor, y: Tensor) -> Tensor:
    """bool (N,): the largest logit is the label's. Where the model answers NaN it is not right."""
    return (logits.argmax(1) == y) & ~logits.isnan().any(1)
