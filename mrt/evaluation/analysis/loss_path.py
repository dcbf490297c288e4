"""The loss along an attack's path (L2L-DA, Figure 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrt import checks
from mrt.crafting.gradient import crafting
from mrt.crafting.losses import ce
from mrt.protocols import Attack, Model
from mrt.records import identity
from mrt.threats import noise


@dataclass(frozen=True, eq=False)
class LossPath:
    """What `attempts` searches from n images' starting points reach, (iterations + 1,): `mean` over the images of each
    one's largest cross-entropy, and `std`, the paper's bar, how far each image's attempts lie apart (their standard
    deviation, dividing by their number), averaged over the images. Entry 0 is the starting point, the last what the
    attack returns."""

    mean: Tensor
    std: Tensor
    n: int
    attempts: int

    @property
    def points(self) -> list[tuple[float, float, float]]:
        """(iteration, mean, std), as `charts.lines` takes them."""
        pairs = zip(self.mean.tolist(), self.std.tolist(), strict=True)
        return [(float(i), mean, std) for i, (mean, std) in enumerate(pairs)]


def loss_path(attack: Attack, model: Model, x: Tensor, y: Tensor, attempts: int = 10, seed: int = 0) -> LossPath:
    """How the loss rises with the attack's iterations, from every call it makes of the model and what it returns.

    It must ask for the whole batch once per iteration and judge nothing at the end: PGD(..., best="last"), or a
    generator's attack with one sample. Attempts differ by their seeds alone. The model is in eval mode meanwhile and
    left as it was.
    """
    checks.count("attempts", attempts)
    # A judged path, or the best of several samples, makes calls that are no iteration.
    for name, wanted in (("best", "last"), ("samples", 1)):
        if getattr(attack, name, wanted) != wanted:
            raise ValueError(f"a loss path needs an attack with {name}={wanted!r}; got {getattr(attack, name)!r}")
    checks.count("seed", seed, low=0)
    checks.images("x", x)
    checks.labels("y", y, x)
    paths: list[Tensor] = []
    with crafting(model):
        for attempt in range(attempts):
            recorded = _Recorded(model, len(x), attack)
            seeds = noise.seeds_of_index(torch.arange(len(x)), seed, attempt).to(x.device)
            x_adv = attack(recorded, x, y, rng=seeds)
            # The attack asked about each point before it moved on; the last one it returned unasked.
            with crafting(model), torch.no_grad():  # an attack may have put it into another mode
                recorded(x_adv)
            path = torch.stack([ce(logits, y) for logits in recorded.logits])  # (iterations + 1, n)
            if paths and len(path) != len(paths[0]):
                counts = f"{len(paths[0]) - 1} calls of the model in one attempt and {len(path) - 1} in another"
                raise ValueError(
                    f"an attack must make equally many calls in every attempt; {recorded.name} made {counts}"
                )
            paths.append(path)
    losses = torch.stack(paths)  # (attempts, iterations + 1, n)
    spread = losses.std(0, correction=0).mean(1)  # of every image by itself, then over images
    return LossPath(losses.amax(0).mean(1).cpu(), spread.cpu(), len(x), attempts)


class _Recorded(nn.Module):
    """The model, which keeps what it answers to each call on the whole batch of `n`."""

    def __init__(self, model: Model, n: int, attack: Attack) -> None:
        super().__init__()
        self.model, self.n, self.name = model, n, identity(attack)
        self.logits: list[Tensor] = []
        self.training = getattr(model, "training", False)  # a new module is in train mode

    def forward(self, x: Tensor) -> Tensor:
        if len(x) != self.n:
            raise ValueError(f"an attack must ask for all {self.n} images at once; {self.name} asked for {len(x)}")
        logits = self.model(x)
        self.logits.append(checks.logits(logits, x).detach())
        return logits
