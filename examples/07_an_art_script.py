"""An ART script, of which the lines have changed that name trainer and attack. What they were stands beside them.

    python examples/07_an_art_script.py [--images 100] [--epochs 15]

The rest is ART's: the classifier with its optimizer, `fit` with one-hot labels, `generate`, `predict`.
"""

from __future__ import annotations

import argparse

import mrt_art as defences  # was: import art.defences.trainer as defences
import mrt_art as evasion  # was: import art.attacks.evasion as evasion
import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier

import mrt

EPS = {"inf": 0.2, "2": 0.7, "1": 2.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=15)
    args = parser.parse_args()

    torch.manual_seed(0)
    np.random.seed(0)
    train, test = mrt.data.digits("train"), mrt.data.digits("test").take(args.images)
    x_train, y_train = train.x.numpy(), np.eye(10, dtype=np.float32)[train.y]
    x_test, y_test = test.x.numpy(), test.y.numpy()

    model = mrt.models.DigitsCNN()
    classifier = PyTorchClassifier(
        model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), lr=8e-3),
        input_shape=(1, 8, 8),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )

    trainer = defences.AdversarialTrainerMSD(classifier, EPS, max_iter=5, keep=(1, 6))  # was: trainer = defences.AdversarialTrainerMadryPGD(classifier, eps=0.2, eps_step=0.1, max_iter=5)  # fmt: skip  # noqa: E501
    trainer.fit(x_train, y_train, nb_epochs=args.epochs, batch_size=64)

    robust = np.ones(args.images, dtype=bool)
    for norm, eps in EPS.items():
        attack = evasion.AutoProjectedGradientDescent(
            classifier, norm=float(norm), eps=eps, eps_step=eps / 4, max_iter=40, batch_size=100, verbose=False
        )
        x_adv = attack.generate(x_test, y_test)
        left = classifier.predict(x_adv).argmax(1) == y_test
        robust &= left
        print(f"l{norm} {eps}: {100 * left.mean():.0f}% left")
    print(f"union: {100 * robust.mean():.0f}%")


if __name__ == "__main__":
    main()
