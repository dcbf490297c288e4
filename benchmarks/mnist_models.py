"""Train the two MNIST networks that the strength table attacks: one naturally, one against linf 0.3.

    python -m benchmarks.mnist_models --data data --out runs/mnist

A short honest recipe (Adam, radius ramp, PGD-7), until the training loop of the library exists: minutes on two cores,
not the papers' accuracy. Both have width 8, a quarter of Madry's network.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

import mrt
from mrt.data import Images, batches, mnist
from mrt.models import MadryCNN

EPS, WIDTH = 0.3, 8


def load(path: Path) -> MadryCNN:
    """The network saved there, in eval mode."""
    model = MadryCNN(width=WIDTH)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def train(data: Images, epochs: int, robust: bool, seed: int = 0) -> MadryCNN:
    """Adam with a rate that rises over 20% of the steps and falls to zero; the radius grows over the first 40%."""
    torch.manual_seed(seed)
    model = MadryCNN(width=WIDTH)
    optimizer = torch.optim.Adam(model.parameters())
    total, index, began = epochs * -(-len(data) // 128), 0, time.time()
    for epoch in range(epochs):
        for batch in batches(data, 128, seed=seed, epoch=epoch):
            done = index / total
            x = batch.x
            if robust:
                threat = mrt.Linf(EPS * min(1.0, 0.05 + done / 0.4))
                x = mrt.PGD(threat, steps=7, best="loss")(model, x, batch.y, rng=batch.index + epoch * len(data))
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(done / 0.2, (1 - done) / 0.8)
            loss = cross_entropy(model(x), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            index += 1
            if index % 50 == 0:
                left = (time.time() - began) / index * (total - index)
                print(
                    f"\r{'linf' if robust else 'natural'} {index}/{total}, loss {loss.item():.3f}, {left:.0f} s left ",
                    end="",
                    flush=True,
                )
    print()
    return model.eval()


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
