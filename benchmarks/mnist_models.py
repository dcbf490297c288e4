"""Train the MNIST networks that the strength tables attack: one naturally, one against linf 0.3, one by MSD.

    python -m benchmarks.mnist_models --data data --out runs/mnist

A short honest recipe (Adam, radius ramp, PGD-7 or MSD-10): minutes on two cores, not the papers' accuracy. All have
width 8, a quarter of Madry's network.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.data import Images, mnist
from mrt.models import MadryCNN
from mrt.protocols import Step

EPS, WIDTH = 0.3, 8
UNION = (mrt.Linf(0.3), mrt.L2(1.5), mrt.L1(8.0))  # that the third one is trained on


def load(path: Path) -> MadryCNN:
    """The network saved there, in eval mode."""
    model = MadryCNN(width=WIDTH)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def ramp(step: Step) -> float:
    """The share of its radius that a threat has: it grows over the first 40% of the updates."""
    return min(1.0, 0.05 + step.index / step.total / 0.4)


def against_linf(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
    """PGD-7 in a ball that grows."""
    attack = mrt.PGD(mrt.Linf(EPS * ramp(step)), steps=7, best="loss")
    return cross_entropy(model(attack(model, x, y, rng=step.seeds)), y)


def against_union(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
    """MSD-10 in three balls that grow."""
    balls = tuple(type(ball)(ball.eps * ramp(step)) for ball in UNION)
    return cross_entropy(model(mrt.MSD(balls, steps=10)(model, x, y, rng=step.seeds)), y)


STRATEGIES: dict[str, Any] = {"natural": mrt.Standard(), "linf": against_linf, "msd": against_union}


def train(data: Images, epochs: int, name: str, seed: int = 0) -> MadryCNN:
    """Adam, with a rate that rises over 20% of the updates and falls to zero."""
    torch.manual_seed(seed)
    model = MadryCNN(width=WIDTH)
    how: dict[str, Any] = {"epochs": epochs, "optimizer": mrt.Adam(2e-3), "schedule": mrt.Triangular(0.2), "seed": seed}
    mrt.fit(model, STRATEGIES[name], data, **how)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw")
    parser.add_argument("--out", default="runs/mnist", type=Path)
    parser.add_argument("--images", default=20000, type=int)
    parser.add_argument("--epochs", default=8, type=int, help="of the robust networks; the natural one gets 3")
    parser.add_argument("--networks", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    args = parser.parse_args()
    data, test = mnist(args.data, "train").take(args.images), mnist(args.data, "test").take(1000)
    args.out.mkdir(parents=True, exist_ok=True)
    x, y = test.float(torch.arange(len(test))), test.y
    for name in args.networks:
        model = train(data, 3 if name == "natural" else args.epochs, name)
        attack = mrt.PGD(mrt.Linf(EPS), steps=20)
        clean, robust = [(model(z).argmax(1) == y).float().mean().item() for z in (x, attack(model, x, y))]
        print(f"{name}: {100 * clean:.1f}% clean, {100 * robust:.1f}% after PGD-20 at {EPS}")
        torch.save(model.state_dict(), args.out / f"{name}.pt")


if __name__ == "__main__":
    main()
