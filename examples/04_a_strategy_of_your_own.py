"""A training strategy in a file of your own: MSD on radii that grow while the network is young.

    python examples/04_a_strategy_of_your_own.py --epochs 10
    cd examples; mrt train 04_a_strategy_of_your_own:Growing --threats linf=0.2 l2=0.7 l1=2 --epochs 10 --out runs/a

The fields of the class are its options on the command line. All it may know of the loop is `step`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.protocols import Ball, Step


@dataclass(frozen=True)
class Growing:
    """min E CE(f(x'), y), x' by MSD in balls that reach their full size after `ramp` of the training."""

    threats: tuple[Ball, ...]
    steps: int = 5
    ramp: float = 0.5

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Tensor:
        size = min(1.0, 0.1 + step.index / step.total / self.ramp)
        attack = mrt.MSD(tuple(ball.scaled(size) for ball in self.threats), steps=self.steps, keep=(1, 6))  # type: ignore[misc]
        x_adv = attack(model, x, y, rng=step.seeds)  # noise of the examples' own, whatever the batch or the process
        return cross_entropy(model(x_adv), y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/growing"))
    args = parser.parse_args()
    union = (mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0))
    model = mrt.models.DigitsCNN()
    how = {"epochs": args.epochs, "batch_size": 64, "out": args.out / "run"}
    mrt.fit(model, Growing(union), mrt.data.digits("train"), optimizer=mrt.Adam(4e-3), **how)
    test = mrt.data.digits("test").take(args.images)
    print(mrt.evaluate(model, test, "quick", threats=union, out=args.out))
    print(f"pictures: {args.out / 'index.html'}")


if __name__ == "__main__":
    main()
