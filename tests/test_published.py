"""mrt/recipes/published.py, table.py: The papers' tables hold together: what follows from other columns, rows or
tables does."""

from __future__ import annotations

import itertools

import pytest

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
    assert set(table.recalled) <= {title for title, _ in table.rows} and table.battery in batteries.NAMES
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
