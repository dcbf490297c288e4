"""Train the two MNIST networks that the strength table attacks: one naturally, one against linf 0.3.

    python -m benchmarks.mnist_models --data data --out runs/mnist

A short honest recipe (Adam, radius ramp, PGD-7): minutes on two cores, not the papers' accuracy. Both have width 8, a
quarter of Madry's network.
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


def load(path: Path) -> MadryCNN:
    """The network saved there, in eval mode."""
    model = MadryCNN(width=WIDTH)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def ramped(model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
    """PGD-7 in a ball that grows over the first 40% of the updates."""
    threat = mrt.Linf(EPS * min(1.0, 0.05 + step.index / step.total / 0.4))
    return cross_entropy(model(mrt.PGD(threat, steps=7, best="loss")(model, x, y, rng=step.seeds)), y)


def train(data: Images, epochs: int, robust: bool, seed: int = 0) -> MadryCNN:
    """Adam, with a rate that rises over 20% of the updates and falls to zero."""
    torch.manual_seed(seed)
    model = MadryCNN(width=WIDTH)
    how: dict[str, Any] = {"epochs": epochs, "optimizer": mrt.Adam(2e-3), "schedule": mrt.Triangular(0.2), "seed": seed}
    mrt.fit(model, ramped if robust else mrt.Standard(), data, **how)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw")
    parser.add_argument("--out", default="runs/mnist", type=Path)
    parser.add_argument("--images", default=20000, type=int)
    parser.add_argument("--epochs", default=8, type=int, help="of the robust network; the natural one gets 3")
    args = parser.parse_args()
    data, test = mnist(args.data, "train").take(args.images), mnist(args.data, "test").take(1000)
    args.out.mkdir(parents=True, exist_ok=True)
    x, y = test.float(torch.arange(len(test))), test.y
    for name, epochs in (("natural", 3), ("linf", args.epochs)):
        model = train(data, epochs, robust=name == "linf")
        attack = mrt.PGD(mrt.Linf(EPS), steps=20)
        clean, robust = [(model(z).argmax(1) == y).float().mean().item() for z in (x, attack(model, x, y))]
        print(f"{name}: {100 * clean:.1f}% clean, {100 * robust:.1f}% after PGD-20 at {EPS}")
        torch.save(model.state_dict(), args.out / f"{name}.pt")


if __name__ == "__main__":
    main()
