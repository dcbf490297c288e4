"""Tables of Maini, Wong and Kolter 2020, "Adversarial robustness against the union of multiple perturbation models"
(MSD)."""

from __future__ import annotations

from mrt.recipes.table import Table
from mrt.threats import L0, L1, L2, Linf

COLUMNS = ("clean", "linf", "l2", "l1", "union")
# On CIFAR-10 the l-infinity radius is 0.03, and not the usual 8/255 = 0.0314.
MNIST, CIFAR = (Linf(0.3), L1(10.0), L2(2.0)), (Linf(0.03), L2(0.5), L1(12.0))
SCHOTT = (Linf(0.3), L2(1.5), L0(12))

TABLES: dict[str, Table] = {
    "msd-mnist": Table(
        "Maini et al. 2020, MNIST", "mnist", "msd", MNIST, COLUMNS,
        (
            ("P linf", (99.1, 90.3, 13.6, 4.2, 3.7)),
            ("P l2", (99.2, 0.4, 69.2, 43.4, 0.4)),
            ("P l1", (99.3, 0.0, 38.5, 70.0, 0.0)),
            ("MAX", (98.6, 51.0, 61.9, 52.6, 42.1)),
            ("AVG", (99.1, 65.2, 60.1, 39.2, 34.9)),
            ("MSD", (98.3, 62.7, 67.9, 65.0, 58.4)),
        ),
    ),
    # The same table's quotations of Schott et al. 2019, in whole percent, who took other radii, had l0 for l1, did not
    # restart, and estimated gradients. The union is the lowest of the three, an upper bound.
    "msd-mnist-abs": Table(
        "Maini et al. 2020, MNIST", "mnist", "msd", SCHOTT, ("clean", "linf", "l2", "l0", "union"),
        (
            ("B-ABS of Schott et al.", (99.0, 77.0, 39.0, 82.0, 39.0)),
            ("ABS of Schott et al.", (99.0, 8.0, 80.0, 78.0, 8.0)),
        ),
        unasked=False,
    ),
    "msd-cifar10": Table(
        "Maini et al. 2020, CIFAR-10", "cifar10", "msd", CIFAR, COLUMNS,
        (
            ("P linf", (83.3, 50.7, 57.3, 16.0, 15.6)),
            ("P l2", (90.2, 28.3, 61.6, 46.6, 27.5)),
            ("P l1", (73.3, 0.2, 0.0, 7.9, 0.0)),
            ("MAX", (81.0, 44.9, 61.7, 39.4, 34.9)),
            ("AVG", (84.6, 42.5, 65.0, 54.0, 40.6)),
            # The code's README reports 81.7, 47.6, 64.3, 53.4 and 46.1 for its weights.
            ("MSD", (81.1, 48.0, 64.3, 53.0, 47.0)),
        ),
    ),
}  # fmt: skip
