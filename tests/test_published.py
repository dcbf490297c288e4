"""mrt/recipes/published.py, table.py: The papers' tables hold together: what follows from other columns, rows or
tables does."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

import mrt
from mrt.evaluation import batteries
from mrt.evaluation.report import tables
from mrt.recipes.published import PUBLISHED, lines
from mrt.recipes.table import Table
from mrt.threats.radii import radii_of

SHARED = ("clean", "union", "average", "min")
NO_PERCENTAGE = ("hours", "seconds", "mean deepfool-l2", "median deepfool-l2", "mean cw-l2", "median cw-l2")
each_table = pytest.mark.parametrize("table", PUBLISHED.values(), ids=PUBLISHED)


def rows(name: str) -> dict[str, dict[str, float | None]]:
    """A table's rows by their titles."""
    table = PUBLISHED[name]
    return {title: dict(zip(table.columns, values, strict=True)) for title, values in table.rows}


@each_table
def test_a_row_has_a_figure_for_each_column(table: Table) -> None:
    assert len(set(table.columns)) == len(table.columns) and len({t for t, _ in table.rows}) == len(table.rows)
    assert all(len(values) == len(table.columns) for _, values in table.rows)
    assert table.battery in batteries.NAMES
    titles = {title for title, _ in table.rows}
    assert set(table.recalled) <= titles and set(table.spreads) in (set(), titles)
    assert all(set(columns) < set(table.columns) for columns in table.recalled.values())
    with_spread = [column for column in table.columns if column not in NO_PERCENTAGE]
    assert all(len(spread) == len(with_spread) for spread in table.spreads.values())
    for line in table.lines():
        for column, value in line.values.items():
            assert value >= 0 and (value <= 100 or column in NO_PERCENTAGE), (line.title, column)
        assert {t.name: tuple(radii_of(t)) for t in table.threats} == line.radii


@each_table
def test_every_threat_is_a_column_if_any_is(table: Table) -> None:
    """l2l-da and pgn print no accuracy per threat, only per attack."""
    names = {t.name for t in table.threats}
    assert names <= set(table.columns) or not names & set(table.columns)
    for column in set(table.columns) - names - set(SHARED) - set(NO_PERCENTAGE):
        assert any(column.endswith(f"-{name}") for name in names) or " from " in column, column


@each_table
def test_figures_follow_from_each_other(table: Table) -> None:
    """A mean of columns is their mean, a union lies under every column, and the minimum is the lowest; up to rounding
    and to papers that average over runs."""
    for line in table.lines():
        columns = [v for k, v in line.values.items() if k in line.radii]
        attacks = [v for k, v in line.values.items() if k not in (*line.radii, *SHARED, *NO_PERCENTAGE)]
        if "average" in line.values:
            off = 0.65 if line.title == "Madaan et al. 2021, Tiny-ImageNet: MSD" else 0.4  # as printed
            assert line.values["average"] == pytest.approx(sum(columns) / len(columns), abs=off), line.title
        if "union" in line.values:
            assert line.values["union"] <= min(columns) + 0.25, line.title
        if "min" in line.values:
            assert line.values["min"] == min(attacks), line.title
        if "clean" in line.values and not line.title.startswith("Jang et al. 2019, MNIST, black box"):
            assert all(v <= line.values["clean"] + 0.25 for v in (*columns, *attacks)), line.title


def test_the_same_network_has_the_same_figures_in_every_table() -> None:
    main, parts, inputs = rows("l2l-da-mnist"), rows("l2l-da-mnist-ablation"), rows("l2l-da-mnist-inputs")
    whole = parts["both: L2L-DA"]
    assert whole == inputs["delta and y: L2L-DA"]
    for one, other in ((whole, main["L2L-DA"]), (parts["L2L*"], main["L2L*"])):
        assert {k: v for k, v in one.items() if k != "min"}.items() <= other.items()
    assert rows("mng-ac-svhn")["MNG-AC"] == rows("mng-ac-svhn-ablation")["SAT + AC + MNG"]
    printed, again = rows("mng-ac-cifar10")["MNG-AC"], rows("mng-ac-cifar10-ablation")["SAT + AC + MNG"]
    assert {**printed, "l1": printed["l2"], "l2": printed["l1"]} == again  # the paper swaps them
    for data in ("cifar10", "svhn"):  # and leaves the deviations in their places
        main_table, again_table = PUBLISHED[f"mng-ac-{data}"], PUBLISHED[f"mng-ac-{data}-ablation"]
        assert main_table.spreads["MNG-AC"] == again_table.spreads["SAT + AC + MNG"]
    # Table 3 of Tramer and Boneh begins with the union on which it looks for affine attacks.
    unions = {"mnist-rt": 83.8, "cifar10-rt": 65.7, "cifar10": 61.1}
    assert {name: rows(f"tramer-boneh-{name}")["Adv max"]["union"] for name in unions} == unions


def test_the_claims_of_the_papers() -> None:
    """What a table is printed for: two figures that stood in each other's place would show."""
    for name in ("mng-ac-cifar10", "mng-ac-svhn", "mng-ac-tiny-imagenet"):
        found = {title: {k: v for k, v in row.items() if v is not None} for title, row in rows(name).items()}
        assert max(found, key=lambda title: found[title]["average"]) == "MNG-AC"
        assert all(found["MNG-AC"]["hours"] < 0.55 * found[other]["hours"] for other in ("MAX", "AVG", "MSD"))
    for name in ("pgn-cifar100", "pgn-cifar10"):
        clean, *others = rows(name).values()
        for column in set(clean) - {"clean", "seconds"}:
            assert all((row[column] or 0) > (clean[column] or 0) for row in others), (name, column)
        for row in (clean, *others):
            assert (row["mim-l2"] or 0) <= (row["fgm-l2"] or 0)
            assert (row["median cw-l2"] or 0) < (row["mean cw-l2"] or 0) < (row["mean deepfool-l2"] or 0)


# What a paper's text says of its tables: one figure less another.
SAID = [
    ("msd-mnist", "MSD union", "MAX union", 16.3),  # "over a 15% improvement"
    ("msd-cifar10", "AVG union", "MAX union", 5.7),
    ("msd-cifar10", "MSD union", "AVG union", 6.4),
    ("mng-ac-cifar10-rst", "MNG-AC + RST union", "RST linf union", 11.5),
    ("mng-ac-cifar10-rst", "MNG-AC + RST average", "RST linf average", 14.8),
    ("mng-ac-svhn-rst", "MNG-AC + RST union", "RST linf union", 40.3),
    ("mng-ac-svhn-rst", "MNG-AC + RST average", "RST linf average", 34.0),
    ("l2l-da-mnist", "L2L-DA min", "PGD100 min", 5.68),
    ("l2l-da-cifar10", "L2L-DA min", "PGD100 min", 1.60),
    ("l2l-da-mnist-ablation", "recursion alone min", "neither min", 7.85),
    ("l2l-da-mnist-ablation", "diversity alone min", "neither min", 4.33),
    ("l2l-da-mnist-ablation", "both: L2L-DA min", "recursion alone min", 1.18),
    ("l2l-da-mnist-inputs", "delta and y: L2L-DA min", "y alone min", 2.69),
    ("l2l-da-mnist-inputs", "delta and y: L2L-DA min", "delta alone min", 1.71),
]


@pytest.mark.parametrize(("name", "first", "second", "difference"), SAID)
def test_differences_are_those_that_the_text_names(name: str, first: str, second: str, difference: float) -> None:
    (row, _, column), (other, _, same) = first.rpartition(" "), second.rpartition(" ")
    table = rows(name)
    assert (table[row][column] or 0) - (table[other][same] or 0) == pytest.approx(difference) and column == same


def test_recalled_figures_are_named_and_no_others() -> None:
    """Of Tramer and Boneh our text prints Nat, all averages and all unions but one, and some figures in words."""
    recalled = {
        (name, row, column)
        for name, table in PUBLISHED.items()
        for row, columns in table.recalled.items()
        for column in columns
    }
    assert all(name.startswith("tramer-boneh") and row != "Nat" for name, row, _ in recalled)
    assert {cell for cell in recalled if cell[2] in ("union", "average")} == {
        ("tramer-boneh-cifar10-rt", "Adv avg", "union")
    }
    in_words = {("mnist-rt", "Adv linf", "linf"), ("mnist-rt", "Adv rt", "rt"), ("cifar10", "Adv linf", "clean"),
                ("cifar10", "Adv linf", "linf"), ("cifar10", "Adv l1", "clean"), ("cifar10", "Adv l1", "l1"),
                ("cifar10-rt", "Adv linf", "clean"), ("cifar10-rt", "Adv linf", "linf")}  # fmt: skip
    printed = ("union", "average")
    assert recalled - {("tramer-boneh-cifar10-rt", "Adv avg", "union")} == {
        (name, row, column)
        for name in PUBLISHED
        if name.startswith("tramer-boneh") and "affine" not in name
        for row, values in rows(name).items()
        for column in values
        if row != "Nat" and column not in printed and (name.removeprefix("tramer-boneh-"), row, column) not in in_words
    }
    titles = [line.title for line in lines(["tramer-boneh-cifar10"], [])]
    assert titles[:2] == [
        "Tramer and Boneh 2019, CIFAR-10: Nat",
        "Tramer and Boneh 2019, CIFAR-10: Adv linf (recalled: l1)",
    ]


def test_deviations_stand_behind_their_figures() -> None:
    """As the paper's Table 1 prints two of its rows; of the five papers this one alone gives any."""
    found = lines(["mng-ac-svhn"], [])
    names = tables.columns(found)
    assert names[0] == "clean" and names[-2:] == ["union", "average"]
    assert tables.cells(found[5], names) == [
        "91.6 ±0.3", "21.5 ±2.7", "61.2 ±4.1", "56.1 ±2.3", "20.4 ±2.7", "45.9 ±0.9",
    ]  # fmt: skip
    assert tables.cells(found[4], names) == [
        "93.9 ±0.1", "49.9 ±1.7", "4.2 ±0.4", "26.7 ±2.0", "4.1 ±0.4", "26.9 ±1.1",
    ]  # fmt: skip
    assert {name for name, table in PUBLISHED.items() if table.spreads} == {
        name for name in PUBLISHED if name.startswith("mng-ac")
    }


def test_affine_rows_stand_beside_sets_of_the_same_members() -> None:
    def beside(*members: Any) -> list[str]:
        info: dict[str, Any] = {"name": "tramer-boneh", "data name": "mnist test", "shape": [1, 28, 28]}
        report: Any = SimpleNamespace(info=info | {"radii": {"affine": radii_of(mrt.Affine(members))}})
        return [line.title for line in lines([], [report])]

    rt, title = mrt.RotationTranslation(30, 3), "Tramer and Boneh 2019, MNIST: Adv max on linf and rt"
    assert beside(rt, mrt.Linf(0.3)) == [title]
    assert beside(rt, mrt.Linf(0.2)) == beside(mrt.Linf(0.3), mrt.L1(10.0)) == []
    assert beside(rt, mrt.Linf(0.3), mrt.L1(10.0)) == []
    assert tables.columns(lines(["tramer-boneh-mnist-affine-rt"], [])) == ["clean", "affine 30,3,0.3"]
    for name, most in (("mnist-affine-rt", 62.6), ("cifar10-affine-rt", 56.0), ("cifar10-affine-l1", 58.0)):
        (row,) = rows(f"tramer-boneh-{name}").values()
        main = name.replace("-affine-l1", "").replace("-affine", "")
        assert row["affine"] == most < (rows(f"tramer-boneh-{main}")["Adv max"]["union"] or 0)


def test_the_abs_models_have_radii_of_their_own() -> None:
    """Their union is the lowest of their accuracies, as the paper says."""
    found = lines(["msd-mnist-abs"], [])
    assert tables.columns(found) == ["clean", "linf 0.3", "l2 1.5", "l0 12", "union"]
    for line in found:
        assert line.values["union"] == min(line.values[name] for name in line.radii)
    assert [line.values["linf"] for line in found] == [77, 8]  # binarized inputs resist the sign


def test_all_tables_can_be_set_side_by_side() -> None:
    """Columns that reports lack stay out of sight, and no row is without a figure."""
    found = lines(list(PUBLISHED), [])
    names = tables.columns(found)
    assert not {"hours", "seconds", "fgsm-linf"} & set(names) and len(found) == sum(
        len(t.rows) for t in PUBLISHED.values()
    )
    assert all(any(tables.cells(line, names)) for line in found if "black box" not in line.title)
    for one, other in itertools.combinations(found, 2):
        assert one.title != other.title or one.values != other.values
