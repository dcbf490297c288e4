"""A Foolbox script, of which one line has changed: the import. What it was stands beside it.

    python examples/06_a_foolbox_script.py [--images 100]

The attacks have Foolbox's names, keywords and defaults. Each returns the best point of its path; the l1 attack stays in
its ball, aims well when it is targeted, and treats every image alone.
"""

from __future__ import annotations

import argparse

import mrt_foolbox as fa  # was: import foolbox.attacks as fa
import torch

import mrt

import foolbox as fb  # isort: skip


def trained() -> torch.nn.Module:
    torch.manual_seed(0)
    data, model = mrt.data.digits("train"), mrt.models.DigitsCNN()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(data.x), data.y).backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    args = parser.parse_args()

    test = mrt.data.digits("test").take(args.images)
    images, labels = test.x, test.y
    fmodel = fb.PyTorchModel(trained(), bounds=(0, 1), device="cpu")
    aim = fb.criteria.TargetedMisclassification((labels + 1) % 10)

    attacks = {
        "linf": (fa.LinfPGD(), [0.05, 0.1, 0.2]),
        "l2": (fa.L2PGD(steps=20, rel_stepsize=0.1), [0.3, 0.7, 1.0]),
        "l1": (fa.SparseL1DescentAttack(quantile=0.95, steps=20), [1.0, 2.0, 4.0]),
    }
    robust = torch.ones(args.images, dtype=torch.bool)
    for norm, (attack, epsilons) in attacks.items():
        raw, clipped, success = attack(fmodel, images, labels, epsilons=epsilons)
        _, _, hits = attack(fmodel, images, aim, epsilons=epsilons)
        robust &= ~success[1]
        left = ", ".join(f"{100 * (1 - s.float().mean()):.0f}% at {e}" for s, e in zip(success, epsilons, strict=True))
        largest = (raw[1] - images).flatten(1).norm(1, dim=1).max() if norm == "l1" else None
        told = "" if largest is None else f"; raw l1 norms up to {largest:.3f} at {epsilons[1]}"
        print(f"{norm}: {left} left; {100 * hits[-1].float().mean():.0f}% reach the next class at {epsilons[-1]}{told}")
    print(f"union of the middle radii: {100 * robust.float().mean():.0f}%")


if __name__ == "__main__":
    main()
