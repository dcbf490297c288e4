"""A Foolbox user's evaluation: the attacks you know, on a Foolbox model, without their traps.

    python examples/02_evaluate_with_foolbox.py [--out runs/example]

`mrt_foolbox.attack(name, threat, **settings)` makes one of our attacks of any Foolbox attack; `mrt.evaluate` takes a
`foolbox.PyTorchModel` as it is and judges every returned image again. Walks from a misclassified point get their start
from training images, so that no unlucky image stops the batch.
"""

from __future__ import annotations

import argparse

import mrt_foolbox  # before foolbox: where there is no git, foolbox alone does not import

import foolbox  # isort: skip
import torch

import mrt


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
    parser.add_argument("--out", help="folder for the report")
    parser.add_argument("--images", type=int, default=50)
    args = parser.parse_args()

    fmodel = foolbox.PyTorchModel(trained(), bounds=(0, 1))
    test, pool = mrt.data.digits("test").take(args.images), mrt.data.digits("train").take(300)
    l2, l1 = mrt.L2(0.7), mrt.L1(2.0)

    boundary = mrt_foolbox.attack("BoundaryAttack", l2, pool=pool, steps=200)
    battery = (
        mrt.Entry("ddn", mrt_foolbox.attack("DDNAttack", l2), l2, distances=True),
        mrt.Entry("boundary", boundary, l2, distances=True),
        mrt.Entry("pgd", mrt_foolbox.attack("L2PGD", l2), l2),
        mrt.Entry("slide", mrt_foolbox.attack("SparseL1DescentAttack", l1, steps=30), l1),
        mrt.Entry("pointwise", mrt_foolbox.attack("PointwiseAttack", l1, pool=pool), l1),
        mrt.Entry("our slide", mrt.SLIDE(l1, steps=30), l1),
    )
    report = mrt.evaluate(fmodel, test, battery, out=args.out)
    print(report)
    for name in ("ddn-l2", "boundary-l2"):
        rho = report.rho(name)
        print(
            f"{name}: mean distance {rho.mean:.3f}, median {rho.median:.3f}, nothing found on {100 * rho.failed:.0f}%"
        )

    x_adv = boundary(trained(), test.x, test.y)  # an attack of ours, whatever Foolbox did
    assert l2.contains(test.x, x_adv).all()


if __name__ == "__main__":
    main()
