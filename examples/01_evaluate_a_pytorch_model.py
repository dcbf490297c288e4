"""How robust is a plain PyTorch model against several threats at once?

    python examples/01_evaluate_a_pytorch_model.py [--out runs/example]

A small network is trained on scikit-learn's digits (no download), then attacked in three norms and by rotations. The
report prints; with --out it is kept as JSON, arrays, and a page of curves and pictures.
"""

from __future__ import annotations

import argparse

import torch

import mrt


def trained() -> torch.nn.Module:
    """Any module from images in [0, 1] to logits will do; this one takes seconds."""
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
    parser.add_argument("--out", help="folder for the report")
    parser.add_argument("--images", type=int, default=100)
    args = parser.parse_args()

    test = mrt.data.digits("test").take(args.images)
    threats = (mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0), mrt.RotationTranslation(degrees=15, pixels=1))
    # budget=0.2: a fifth of the steps, for a first look. Leave it out for figures that you report.
    report = mrt.evaluate(trained(), test, battery="quick", threats=threats, budget=0.2, out=args.out)

    print(report)
    print(f"still correct under everything: {100 * report.union:.1f}% of {report.n}")
    unlucky = int((report.correct & ~report.robust).nonzero()[0, 0])
    fallen = [a for a in report.masks if report.ran[a][unlucky] and not report.masks[a][unlucky]]
    print(f"image {unlucky} falls to {', '.join(fallen)}")


if __name__ == "__main__":
    main()
