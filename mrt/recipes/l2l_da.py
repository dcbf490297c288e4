"""Tables of Jang, Zhao, Hong and Lee 2019, "Adversarial defense via learning to generate diverse attacks" (L2L-DA).
`min` is the lowest column of its table, learned attacks among them where it has any."""

from __future__ import annotations

from mrt.recipes.table import Table
from mrt.threats import Linf

# The paper's Table 2, attacks on the network itself; `min` is the least of these accuracies, and not the accuracy under
# all of the attacks.
COLUMNS = (
    "clean", "fgsm-linf", "pgd-10-linf", "pgd-100-linf", "cw-100-linf", "cw-1000-linf",
    "advgan-linf", "gap-linf", "l2l-da-linf", "min",
)  # fmt: skip
# Its Table 1: what recursion, diversity and the generator's inputs are good for.
PARTS = ("clean", "fgsm-linf", "pgd-100-linf", "cw-1000-linf", "min")
# Its Table 3, images made on another network: A naturally trained, B with FGSM, C with PGD10.
TRANSFER = (*(f"{attack} from {net}" for attack in ("l2l-da", "pgd-10", "pgd-100") for net in "ABC"), "min")

TABLES: dict[str, Table] = {
    "l2l-da-mnist": Table(
        "Jang et al. 2019, MNIST", "mnist", "l2l-da", (Linf(0.3),), COLUMNS,
        (
            ("plain", (99.14, 0.90, 0.0, 0.0, 63.14, 0.85, 0.47, 3.94, 0.0, 0.0)),
            ("PGD10", (98.52, 96.14, 92.21, 90.22, 96.66, 88.92, 98.30, 96.56, 89.49, 88.92)),
            ("PGD100", (98.29, 94.07, 90.15, 88.93, 96.48, 89.76, 95.0, 96.79, 89.95, 88.93)),
            ("C&W100", (99.09, 17.54, 0.25, 0.25, 69.99, 0.05, 4.90, 3.74, 34.51, 0.05)),
            ("L2L*", (98.95, 36.59, 0.18, 0.02, 81.63, 2.46, 10.87, 2.01, 3.89, 0.02)),
            ("L2L-DA", (98.47, 97.87, 95.70, 95.15, 97.26, 95.26, 95.72, 96.92, 94.61, 94.61)),
        ),
    ),
    "l2l-da-cifar10": Table(
        "Jang et al. 2019, CIFAR-10", "cifar10", "l2l-da", (Linf(8 / 255),), COLUMNS,
        (
            ("plain", (91.73, 17.63, 0.0, 0.0, 0.0, 0.0, 24.13, 17.42, 0.04, 0.0)),
            # 72.00 under FGSM and 0.32 under L2L-DA suggest masked gradients; that is our reading.
            ("PGD10", (87.43, 72.0, 41.77, 37.37, 35.12, 34.81, 69.96, 67.38, 0.32, 0.32)),
            ("PGD100", (81.11, 44.96, 37.60, 35.80, 36.25, 35.85, 77.79, 77.97, 36.95, 35.80)),
            ("C&W100", (88.36, 25.76, 9.44, 6.82, 8.27, 6.97, 83.11, 72.94, 8.88, 6.82)),
            ("L2L*", (88.96, 59.48, 0.0, 0.0, 0.0, 0.0, 30.13, 19.36, 0.0, 0.0)),
            ("L2L-DA", (78.91, 45.77, 39.69, 38.39, 37.75, 37.40, 75.31, 76.35, 39.20, 37.40)),
        ),
    ),
    "l2l-da-mnist-ablation": Table(
        "Jang et al. 2019, MNIST, recursion and diversity", "mnist", "l2l-da", (Linf(0.3),), PARTS,
        (
            ("L2L*", (98.95, 36.59, 0.02, 2.46, 0.02)),
            # L2L* is the deterministic generator of a single step; the other rows are L2L-DA's parts.
            ("neither", (98.81, 97.02, 87.86, 86.12, 86.12)),
            ("diversity alone", (98.94, 97.46, 91.40, 90.45, 90.45)),
            ("recursion alone", (98.51, 96.91, 93.97, 94.68, 93.97)),
            ("both: L2L-DA", (98.47, 97.87, 95.15, 95.26, 95.15)),
        ),
        unasked=False,
    ),
    "l2l-da-mnist-inputs": Table(
        "Jang et al. 2019, MNIST, what the generator is given", "mnist", "l2l-da", (Linf(0.3),), PARTS,
        (
            ("delta and y: L2L-DA", (98.47, 97.87, 95.15, 95.26, 95.15)),
            ("delta alone", (98.51, 96.75, 93.44, 94.02, 93.44)),
            ("y alone", (98.50, 95.73, 92.46, 93.59, 92.46)),
            ("neither", (98.40, 95.58, 92.36, 93.24, 92.36)),
        ),
        unasked=False,
    ),
    "l2l-da-mnist-black-box": Table(
        "Jang et al. 2019, MNIST, black box", "mnist", "l2l-da", (Linf(0.3),), TRANSFER,
        (
            ("plain", (0.0, 42.70, 90.36, 0.01, 44.46, 86.04, 0.0, 42.36, 84.54, 0.0)),
            ("PGD10", (94.13, 94.61, 96.52, 94.90, 95.45, 95.85, 94.89, 95.52, 95.49, 94.13)),
            ("PGD100", (94.23, 94.91, 96.32, 94.91, 95.52, 95.29, 95.05, 95.59, 94.91, 94.23)),
            ("C&W100", (15.15, 41.76, 93.49, 23.55, 41.72, 89.30, 21.47, 39.10, 88.63, 15.15)),
            ("L2L*", (59.29, 70.62, 94.79, 69.36, 75.01, 93.43, 66.83, 72.91, 93.13, 59.29)),
            ("L2L-DA", (95.08, 95.40, 96.65, 95.72, 96.0, 96.31, 95.63, 96.09, 96.03, 95.08)),
        ),
        unasked=False,
    ),
}  # fmt: skip
