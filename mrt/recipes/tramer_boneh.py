"""Tables of Tramer and Boneh 2019, "Adversarial training and robustness for multiple perturbations"."""

from __future__ import annotations

from mrt.recipes.table import Table
from mrt.threats import L1, L2, Affine, Linf, RotationTranslation

LP = ("clean", "linf", "l1", "l2", "union", "average")
RT = ("clean", "linf", "rt", "union", "average")
# CIFAR-10's radii are 4 and 2000 in the paper's pixels of 0 to 255.
MNIST, CIFAR = (Linf(0.3), L1(10.0), L2(2.0)), (Linf(4 / 255), L1(2000 / 255))
# Up to 30 degrees, and 3 pixels each way: the ranges of Engstrom et al.
MOVED = RotationTranslation(30.0, 3.0)
# Of most rows the text that we have prints these columns neither in the table nor in words; the figures reproduce the
# averages, which it prints.
BLANK_LP, BLANK_RT = ("clean", "linf", "l1", "l2"), ("clean", "linf", "rt")

TABLES: dict[str, Table] = {
    "tramer-boneh-mnist": Table(
        "Tramer and Boneh 2019, MNIST", "mnist", "tramer-boneh", MNIST, LP,
        (
            ("Nat", (99.4, 0.0, 12.4, 8.5, 0.0, 7.0)),
            ("Adv linf", (99.1, 91.1, 12.1, 11.3, 6.8, 38.2)),
            ("Adv l1", (98.9, 0.0, 78.5, 50.6, 0.0, 43.0)),
            ("Adv l2", (98.5, 0.4, 68.0, 71.8, 0.4, 46.7)),
            ("Adv avg", (97.3, 76.7, 53.9, 58.3, 49.9, 63.0)),
            ("Adv max", (97.2, 71.7, 62.6, 56.0, 52.4, 63.4)),
        ),
        dict.fromkeys(("Adv linf", "Adv l1", "Adv l2", "Adv avg", "Adv max"), BLANK_LP),
    ),
    "tramer-boneh-mnist-rt": Table(
        "Tramer and Boneh 2019, MNIST", "mnist", "tramer-boneh", (Linf(0.3), MOVED), RT,
        (
            ("Nat", (99.4, 0.0, 0.0, 0.0, 0.0)),
            ("Adv linf", (99.1, 91.4, 0.2, 0.2, 45.8)),
            ("Adv rt", (99.3, 0.0, 94.6, 0.0, 47.3)),
            ("Adv avg", (99.2, 88.2, 86.4, 82.9, 87.3)),
            ("Adv max", (98.9, 89.6, 85.6, 83.8, 87.6)),
        ),
        {"Adv linf": ("clean", "rt"), "Adv rt": ("clean", "linf"), "Adv avg": BLANK_RT, "Adv max": BLANK_RT},
    ),
    "tramer-boneh-cifar10": Table(
        "Tramer and Boneh 2019, CIFAR-10", "cifar10", "tramer-boneh", CIFAR,
        ("clean", "linf", "l1", "union", "average"),
        (
            ("Nat", (95.7, 0.0, 0.0, 0.0, 0.0)),
            ("Adv linf", (92.0, 71.0, 18.9, 16.4, 44.9)),
            ("Adv l1", (90.8, 53.8, 66.2, 53.1, 60.0)),
            ("Adv avg", (91.1, 64.1, 60.8, 59.4, 62.5)),
            ("Adv max", (91.2, 65.7, 62.5, 61.1, 64.1)),
        ),
        {
            "Adv linf": ("l1",),
            "Adv l1": ("linf",),
            "Adv avg": ("clean", "linf", "l1"),
            "Adv max": ("clean", "linf", "l1"),
        },
    ),
    "tramer-boneh-cifar10-rt": Table(
        "Tramer and Boneh 2019, CIFAR-10", "cifar10", "tramer-boneh", (Linf(4 / 255), MOVED), RT,
        (
            ("Nat", (95.7, 0.0, 5.9, 0.0, 3.0)),
            ("Adv linf", (92.0, 71.0, 8.9, 8.7, 40.0)),
            ("Adv rt", (94.9, 0.0, 82.5, 0.0, 41.3)),
            ("Adv avg", (93.6, 67.8, 78.2, 65.2, 73.0)),
            ("Adv max", (93.1, 69.6, 75.2, 65.7, 72.4)),
        ),
        # Adv linf is the network of the table above, whose clean and linf figures are printed there and in words.
        {"Adv linf": ("rt",), "Adv rt": BLANK_RT, "Adv avg": (*BLANK_RT, "union"), "Adv max": BLANK_RT},
    ),
    # Table 3, each of Adv max above under an affine attack. Its other column, the accuracy on the union of the members,
    # is the union of that row above; a report's union would count the affine set, too.
    "tramer-boneh-mnist-affine-rt": Table(
        "Tramer and Boneh 2019, MNIST", "mnist", "tramer-boneh", (Affine((MOVED, Linf(0.3))),), ("affine",),
        (("Adv max on linf and rt", (62.6,)),),
    ),
    "tramer-boneh-cifar10-affine-rt": Table(
        "Tramer and Boneh 2019, CIFAR-10", "cifar10", "tramer-boneh", (Affine((MOVED, Linf(4 / 255))),), ("affine",),
        (("Adv max on linf and rt", (56.0,)),),
    ),
    "tramer-boneh-cifar10-affine-l1": Table(
        "Tramer and Boneh 2019, CIFAR-10", "cifar10", "tramer-boneh", (Affine(CIFAR),), ("affine",),
        (("Adv max on linf and l1", (58.0,)),),
    ),
}  # fmt: skip
