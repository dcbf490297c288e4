"""Tables of an anonymous ICLR 2020 submission, "Adversarial training with perturbation generator networks".

Accuracies in percent under FGM and MIM, in l2 at 0.5; mean and median l2 distances to what DeepFool and C&W find;
accuracies on images made on another network; seconds an epoch on an RTX 2080 Ti. FGM and PGD trained with radii that
cost no clean accuracy."""

from __future__ import annotations

from mrt.recipes.table import Table
from mrt.threats import L2

# The paper's Tables 2 and 3 have a row for each attack on a defence; here a defence is one row.
COLUMNS = (
    "clean", "fgm-l2", "mim-l2",
    "mean deepfool-l2", "median deepfool-l2", "mean cw-l2", "median cw-l2",
    "transferred fgm-l2", "transferred mim-l2", "transferred deepfool-l2", "transferred cw-l2",
    "seconds",
)  # fmt: skip

TABLES: dict[str, Table] = {
    "pgn-cifar100": Table(
        "PGN 2020, CIFAR-100", "cifar100", "pgn", (L2(0.5),), COLUMNS,
        (
            ("Nat", (70.02, 11.73, 1.67, 0.0994, 0.0626, 0.0791, 0.0503, 38.43, 29.13, 66.88, 66.59, 8.18)),
            ("FGM 0.02", (69.93, 22.13, 10.68, 0.1669, 0.1089, 0.1334, 0.0867, 52.11, 51.15, 69.02, 68.94, 25.12)),
            ("PGD 0.02", (70.0, 21.39, 10.0, 0.1625, 0.1061, 0.1305, 0.0851, 51.64, 50.14, 69.06, 68.80, 175.86)),
            ("PGN 50", (70.04, 39.06, 34.44, 0.3184, 0.2064, 0.2617, 0.1674, 64.28, 64.56, 69.58, 69.61, 51.77)),
        ),
        unasked=False,
    ),
    "pgn-cifar10": Table(
        "PGN 2020, CIFAR-10", "cifar10", "pgn", (L2(0.5),), COLUMNS,
        (
            ("Nat", (91.89, 29.34, 9.39, 0.2129, 0.1844, 0.1742, 0.1596, 49.79, 36.33, 85.27, 86.11, 8.28)),
            ("FGM 0.1", (91.80, 63.35, 55.43, 0.5135, 0.4502, 0.4196, 0.3919, 84.28, 85.10, 91.19, 91.16, 25.14)),
            ("PGD 0.1", (91.72, 62.59, 54.26, 0.4977, 0.4370, 0.4091, 0.3820, 83.69, 84.68, 91.04, 91.0, 175.25)),
            ("PGN 50", (91.86, 65.34, 59.58, 0.5102, 0.4483, 0.4365, 0.4062, 85.01, 85.68, 91.27, 91.20, 52.19)),
        ),
        unasked=False,
    ),
}  # fmt: skip
