"""What an update costs, counted: floating-point operations of each strategy in units of one forward pass F of the
classifier per image, those of the generator in units of its own forward pass G.

    python -m benchmarks.step_cost [--result FILE.json]

Convolutions and matrix products are counted, forward, backward and second-order, on a PreActResNet-18 of width 16 at
32x32. The generator's share is what is left when the classifier costs nothing. MNG-AC's attacks take 10, 20 and 10
steps, as published; its cost is the mean over its three norms.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import mrt
from benchmarks.environment import environment
from mrt.protocols import Stateful, Step
from mrt.strategies.sat import draw_index
from mrt.threats import noise

BATCH, SHAPE = 8, (3, 32, 32)
LINF, L2, L1 = mrt.Linf(8 / 255), mrt.L2(128 / 255), mrt.L1(2000 / 255)
THREE: Any = (
    mrt.PGD(LINF, steps=10, best="last"),
    mrt.SLIDE(L1, steps=20, best="last"),
    mrt.PGD(L2, steps=10, best="last"),
)
STRATEGIES: dict[str, Any] = {
    "standard": mrt.Standard(),
    "adversarial, PGD-10": mrt.Adversarial(THREE[0]),
    "SAT 10/20/10": mrt.SAT(THREE),
    "SAT+AC": mrt.MNGAC(THREE, noise="plain"),
    "MNG-AC": mrt.MNGAC(THREE),
    "ANT": mrt.ANT(L2),
    "L2L-DA, T=10": mrt.L2LDA(LINF),
    "L2L*": mrt.L2LDA.star(LINF),
    "PGN": mrt.PGN(),
    "FGM": mrt.Adversarial(mrt.FGM(L2), clean=1.0),
    "PGD-10, clean too": mrt.Adversarial(THREE[2], clean=1.0),
}
SPECS = {"MNG-AC": "46.7 F", "L2L-DA, T=10": "51 F + 57.6 G", "SAT 10/20/10": "29.7 F"}


class Free(nn.Module):
    """A classifier that costs nothing and has a gradient everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.flatten(1)[:, :10].square()


class Counter(TorchDispatchMode):
    """Adds up what every operation costs, whichever way autograd asks for it."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def counted(call: Any) -> int:
    counter = Counter()  # type: ignore[no-untyped-call]
    with counter:
        call()
    return int(counter.total)


def update(strategy: Any, model: nn.Module, shared_seed: int) -> int:
    """Operations of one update."""
    x = torch.rand(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0))
    y, seeds = torch.arange(BATCH) % 10, noise.seeds_of_index(torch.arange(BATCH), 0)
    step = Step(0, 10, 0.0, 0.1, x, seeds, shared_seed, mrt.Fast(), lambda tensor: tensor)
    run: Any = strategy.start(model, x, y) if isinstance(strategy, Stateful) else strategy
    return counted(lambda: run(model.train(), x, y, step).backward())


def cost(strategy: Any) -> tuple[float, float]:
    """(in F of the classifier, in G of the generator), an image; the mean over the threats that may be drawn."""
    torch.manual_seed(0)
    model, free = mrt.models.PreActResNet18(width=16), Free()
    one = counted(lambda: model(torch.rand(BATCH, *SHAPE)))
    seeds = {number_drawn(seed): seed for seed in range(60)}.values() if hasattr(strategy, "threats") else (0,)
    whole = statistics.mean(update(strategy, model, seed) for seed in seeds)
    own = statistics.mean(update(strategy, free, seed) for seed in seeds)
    if not isinstance(strategy, Stateful):
        return whole / one, 0.0
    state: Any = strategy.start(model, torch.rand(2, *SHAPE), torch.arange(2))
    return (whole - own) / one, own / forward(state.generator)


def number_drawn(seed: int) -> int:
    """Which of three threats an update with that seed draws."""
    empty = torch.zeros(1)
    return draw_index(torch.ones(3), Step(0, 1, 0.0, 0.1, empty, empty, seed, mrt.Fast(), lambda tensor: tensor))


def forward(generator: Any) -> int:
    """Operations of a pass of the generator's network over a batch."""
    x, y, net = torch.rand(BATCH, *SHAPE), torch.arange(BATCH) % 10, generator.eval()
    if isinstance(generator, mrt.generators.MNGNoise):
        return counted(lambda: net(torch.rand(BATCH, 3, 34, 34), x))
    if isinstance(generator, mrt.generators.PGNGenerator):
        return counted(lambda: net(x, x, y))
    planes = torch.cat([x] * (3 if generator.see_delta else 2), 1)
    return counted(lambda: net.net(planes, torch.rand(BATCH, 8) if generator.latent else None, y))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    found = {}
    for name, strategy in STRATEGIES.items():
        f, g = cost(strategy)
        found[name] = {"F": f, "G": g, "spec": SPECS.get(name)}
        print(f"{name:22s} {f:6.2f} F + {g:5.1f} G   {'spec: ' + SPECS[name] if name in SPECS else ''}", flush=True)
    if args.result:
        args.result.write_text(json.dumps({"environment": environment(), "costs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
