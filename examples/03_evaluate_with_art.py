"""An ART user's evaluation: a PyTorchClassifier, ART's attacks, and AutoAttack over a union of threats.

    python examples/03_evaluate_with_art.py [--out runs/example]

The classifier keeps its clip values and preprocessing. ART's attacks run on numpy 2, find their starting points, follow
the seed, and leave the model as it was.
"""

from __future__ import annotations

import argparse

import mrt_autoattack
import torch
from art.estimators.classification import PyTorchClassifier

import mrt


def classifier() -> PyTorchClassifier:
    """For pixels of 0 to 255, normalised by ART's preprocessing, as classifiers often are."""
    torch.manual_seed(0)
    model = mrt.models.DigitsCNN()
    made = PyTorchClassifier(
        model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters()),
        input_shape=(1, 8, 8),
        nb_classes=10,
        clip_values=(0.0, 255.0),
        preprocessing=(127.5, 127.5),
        device_type="cpu",
    )
    train = mrt.data.digits("train")
    made.fit((train.x * 255).numpy(), train.y.numpy(), batch_size=1300, nb_epochs=40)
    model.eval()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="folder for the report")
    parser.add_argument("--images", type=int, default=24)
    args = parser.parse_args()

    model = classifier()
    test, pool = mrt.data.digits("test").take(args.images), mrt.data.digits("train").take(300)
    linf, l2 = mrt.Linf(0.2), mrt.L2(0.7)
    battery = (
        mrt.Entry("apgd", mrt.Foreign("art", "AutoProjectedGradientDescent", (("max_iter", 20),)), linf),
        mrt.Entry("square", mrt.Foreign("art", "SquareAttack"), linf),
        mrt.Entry("hopskipjump", mrt.Foreign("art", "HopSkipJump", (("max_iter", 3), ("max_eval", 100))), l2),
        mrt.Entry("apgd-ce", mrt.Foreign("autoattack", "apgd-ce"), l2),
    )
    report = mrt.evaluate(model, test, battery, pool=pool, out=args.out)
    print(report)

    union = mrt_autoattack.Union(model, (linf,), verbose=False)
    x_adv, answers = union.run_standard_evaluation(test.x[:4], test.y[:4])
    print(f"AutoAttack on the union leaves {100 * union.report.union:.0f}% of {len(answers)}")


if __name__ == "__main__":
    main()
