"""The description of columns in a few lines."""

from __future__ import annotations

from dlrm_pl import Columns, DenseColumn, SparseColumn
from dlrm_pl.columns.description import column_lines


def test_columns_that_are_alike_share_a_line() -> None:
    columns = Columns(
        "click",
        (
            DenseColumn(name="hour"),
            DenseColumn(name="price", type="float", transform="standardize", mean=2.5, deviation=0.125),
            DenseColumn(name="age"),
        ),
        (
            SparseColumn(name="C1", kind="integer"),
            SparseColumn(name="site"),
            SparseColumn(name="C2", kind="integer"),
            *(SparseColumn(name=f"C{number}", kind="integer") for number in range(14, 18)),
            SparseColumn(name="tags", ids="hash", rows=1000, at_most=5, pooling="mean"),
            SparseColumn(name="pair", kind="hex", bag=2),
        ),
    )
    assert column_lines(columns) == [
        ("label", "click"),
        ("dense", "hour, age: integer, log1p"),
        ("dense", "price: float, standardize (mean 2.5, deviation 0.125)"),
        ("sparse", "C1, C2, C14 to C17: integer, vocabulary"),
        ("sparse", "site: string, vocabulary"),
        ("sparse", "tags: string, hash into 1,000 ids, lists of at most 5, pooled by mean"),
        ("sparse", "pair: hex, vocabulary, lists of 2, pooled by sum"),
    ]


def test_many_names_are_cut() -> None:
    names = [f"{letter}x" for letter in "abcdefghijklm"]
    columns = Columns("y", (DenseColumn(name="d"),), tuple(SparseColumn(name=name) for name in names))
    assert column_lines(columns)[-1][1] == "ax, bx, cx, dx, ex, fx, gx, hx, ix, jx and 3 more: string, vocabulary"


def test_numbers_that_do_not_count_upwards_are_no_run() -> None:
    names = ["a1", "a3", "a2", "b3", "b4", "b05", "b6"]
    columns = Columns("y", (DenseColumn(name="d"),), tuple(SparseColumn(name=name) for name in names))
    assert column_lines(columns)[-1][1] == "a1, a3, a2, b3, b4, b05, b6: string, vocabulary"
