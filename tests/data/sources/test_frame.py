"""Frames of every library become the same rows, and values that do not fit are refused."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawRows
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.sources.frame import rows_of_frame
from dlrm_pl.errors import DataFormatError

COLUMNS = Columns(
    "click",
    (DenseColumn(name="age"), DenseColumn(name="price", type="float", transform="none")),
    (
        SparseColumn(name="site"),
        SparseColumn(name="hash", kind="hex"),
        SparseColumn(name="zone", kind="integer"),
        SparseColumn(name="user", kind="integer", ids="modulo", rows=5),
        SparseColumn(name="tags", at_most=2),
        SparseColumn(name="pair", kind="integer", bag=2),
    ),
)
VALUES: dict[str, Any] = {
    "click": [0, 1, 1],
    "age": [1, None, -3],
    "price": [1.5, None, 2],
    "site": ["a", None, "ü語"],
    "hash": ["fF", None, "12345678"],
    "zone": [-5, None, 7],
    "user": [3, None, 9],
    "tags": [["x", None], None, []],
    "pair": [[1, 2], None, [3, None]],
}


def plain(rows: RawRows) -> dict[str, Any]:
    """Return rows as plain values, by column."""
    result: dict[str, Any] = {COLUMNS.label: None if rows.label is None else rows.label.tolist()}
    for column, dense in zip(COLUMNS.dense, rows.dense, strict=True):
        result[column.name] = with_missing(dense.values.tolist(), dense.missing)
    for column, sparse in zip(COLUMNS.sparse, rows.sparse, strict=True):
        values = sparse.values
        texts = values.to_list() if isinstance(values, Strings) else values.tolist()
        flat = with_missing(texts, sparse.missing)
        if sparse.offsets is None:
            result[column.name] = flat
        else:
            bounds = sparse.offsets.tolist()
            result[column.name] = [flat[first:last] for first, last in pairwise(bounds)]
    return result


def with_missing(values: list[Any], missing: np.ndarray | None) -> list[Any]:
    return values if missing is None else [None if gone else value for value, gone in zip(values, missing, strict=True)]


EXPECTED = {
    "click": [0, 1, 1],
    "age": [1, None, -3],
    "price": [1.5, None, 2],
    "site": [b"a", None, "ü語".encode()],
    "hash": [0xFF, None, 0x12345678],
    "zone": [-5, None, 7],
    "user": [3, None, 9],
    "tags": [[b"x", None], [], []],
    "pair": [[1, 2], [None, None], [3, None]],
}


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(VALUES, id="dictionary"),
        pytest.param(pa.table(VALUES), id="arrow"),
        pytest.param(pa.table(VALUES).to_batches()[0], id="batch"),
        pytest.param(pd.DataFrame(VALUES), id="pandas"),
        pytest.param(pl.DataFrame(VALUES), id="polars"),
        pytest.param(pl.DataFrame(VALUES).with_columns(pl.col("site").cast(pl.Categorical)), id="categorical"),
        pytest.param(
            pa.table(VALUES).set_column(8, "pair", pa.array(VALUES["pair"], pa.list_(pa.int64(), 2))), id="fixed lists"
        ),
        pytest.param(pa.table(VALUES | {"hash": [0xFF, None, 0x12345678]}), id="hex as integers"),
    ],
)
def test_frames_of_every_library_give_the_same_rows(frame: Any) -> None:
    assert plain(rows_of_frame(frame, COLUMNS)) == EXPECTED


def test_parts_of_frames_are_read_from_their_first_row() -> None:
    part = pl.concat([pl.DataFrame(VALUES), pl.DataFrame(VALUES)], rechunk=False)[1:5]
    expected = {name: (values * 2)[1:5] for name, values in EXPECTED.items()}
    assert plain(rows_of_frame(part, COLUMNS)) == expected
    assert plain(rows_of_frame(pa.table(VALUES).slice(1, 2), COLUMNS)) == {
        name: values[1:] for name, values in EXPECTED.items()
    }
    nothing = rows_of_frame(pa.table(VALUES).slice(3), COLUMNS)
    assert nothing.num_rows == 0
    assert plain(nothing) == {name: [] for name in EXPECTED}


def test_columns_that_are_not_needed_are_not_converted() -> None:
    frame = pd.DataFrame(VALUES | {"mixed": [1, "a", object()]})
    assert plain(rows_of_frame(frame, COLUMNS)) == EXPECTED


def test_values_of_the_right_type_are_not_copied() -> None:
    zone = np.arange(3)
    assert np.shares_memory(rows_of_frame(VALUES | {"zone": zone}, COLUMNS).sparse[2].values, zone)


def test_arrays_of_two_dimensions_are_lists() -> None:
    rows = rows_of_frame(VALUES | {"pair": np.arange(6).reshape(3, 2)}, COLUMNS)
    assert plain(rows)["pair"] == [[0, 1], [2, 3], [4, 5]]


def test_labels_may_be_missing_unless_they_are_needed() -> None:
    unlabelled = {name: values for name, values in VALUES.items() if name != "click"}
    assert rows_of_frame(unlabelled, COLUMNS).label is None
    assert plain(rows_of_frame(VALUES | {"click": [0, 1, 0]}, COLUMNS))["click"] == [0, 1, 0]
    assert rows_of_frame(VALUES, COLUMNS, labels="absent").label is None
    with pytest.raises(DataFormatError, match="has no column click"):
        rows_of_frame(unlabelled, COLUMNS, labels="needed")


@pytest.mark.parametrize("labels", [[None] * 3, pa.nulls(3), pa.nulls(3, pa.int8()), np.full(3, np.nan)])
def test_labels_that_are_all_null_are_no_labels(labels: Any) -> None:
    frame = VALUES | {"click": pa.array(labels, from_pandas=True)}
    assert rows_of_frame(frame, COLUMNS).label is None
    with pytest.raises(DataFormatError, match="column click"):
        rows_of_frame(frame, COLUMNS, labels="needed")


@pytest.mark.parametrize("labels", [[True, None, False], [1.0, None, 0.0]])
def test_null_among_labels_is_refused_with_its_row(labels: list[Any]) -> None:
    with pytest.raises(DataFormatError, match=r"row 1 \(from 0\): column click is null; expected 0 or 1"):
        rows_of_frame(VALUES | {"click": labels}, COLUMNS)


def test_long_lists_can_be_cut() -> None:
    frame = VALUES | {"tags": [["a", "b", "c"], None, ["d"]]}
    assert plain(rows_of_frame(frame, COLUMNS, truncate_lists=True))["tags"] == [[b"a", b"b"], [], [b"d"]]


@pytest.mark.parametrize("digits", [20, 38, 76])
def test_decimals_keep_all_their_digits(digits: int) -> None:
    ids = [Decimal((1 << 53) + 1), None, Decimal((1 << 63) - 1)]
    kind = pa.decimal128(digits) if digits < 39 else pa.decimal256(digits, 2)
    assert plain(rows_of_frame(VALUES | {"zone": pa.array(ids, kind)}, COLUMNS))["zone"] == ids


@pytest.mark.parametrize(("dtype", "bits"), [(np.float16, 11), (np.float32, 24), (np.float64, 53)])
def test_float_ids_that_may_have_been_rounded_are_refused(dtype: type[np.floating[Any]], bits: int) -> None:
    largest = 2**bits - 1
    ids = np.array([largest, -largest, 0], dtype)
    rows = plain(rows_of_frame(VALUES | {"zone": ids, "pair": pa.array([[i, None] for i in ids])}, COLUMNS))
    assert rows["zone"] == [largest, -largest, 0]
    assert rows["pair"] == [[largest, None], [-largest, None], [0, None]]
    rounded = [dtype(1), dtype(2**bits), None]
    advice = rf"expected an integer from .*{np.dtype(dtype).itemsize * 8}-bit floats.* store them as integers"
    for changes in (
        {"zone": pa.array(rounded)},
        {"user": pa.array(rounded)},
        {"pair": pa.array([[dtype(0), value] for value in rounded])},
    ):
        with pytest.raises(DataFormatError, match=rf"row 1 .*column .* is .*; {advice}"):
            rows_of_frame(VALUES | changes, COLUMNS)


def test_float_amounts_may_have_been_rounded() -> None:
    rows = plain(rows_of_frame(VALUES | {"age": np.array([2**30, 2**24, -(2**31)], np.float32)}, COLUMNS))
    assert rows["age"] == [2**30, 2**24, -(2**31)]


@pytest.mark.parametrize("kind", [pa.uint64(), pa.int8()])
def test_integers_of_string_columns_are_their_digits(kind: pa.DataType) -> None:
    largest = 2**64 - 1 if kind == pa.uint64() else -128
    frame = VALUES | {
        "site": pa.array([largest, None, 7], kind),
        "tags": pa.array([[largest, 3], None, []], pa.list_(kind)),
    }
    rows = plain(rows_of_frame(frame, COLUMNS))
    assert rows["site"] == [str(largest).encode(), None, b"7"]
    assert rows["tags"] == [[str(largest).encode(), b"3"], [], []]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "zone",
            [Decimal("9007199254740991.5")] * 3,
            r"column zone is 9007199254740991\.5; expected an integer",
        ),
        ("zone", [Decimal(1 << 63)] * 3, r"column zone is .*9223372036854775808.*; expected an integer from"),
        ("zone", [2.0**53] * 3, "column zone is 9007199254740992.0; expected an integer from"),
        ("click", [0, 2, 1], r"row 1 \(from 0\): column click is 2; expected 0 or 1"),
        ("click", [0, None, 1], "row 1 .*column click is null; expected 0 or 1"),
        ("age", [1, 1 << 31, 3], "column age is 2147483648; expected an integer from -2147483648 to 2147483647"),
        ("age", [1.5, 2, 3], r"row 0 .*column age is 1\.5; expected an integer"),
        ("age", [1, 2.0**60, 3], r"column age is 1\.15.*e\+18; expected an integer from"),
        ("price", [1, float("inf"), float("nan")], "row 1 .*column price is inf; .* 2 rows have such errors"),
        ("price", [1, 2, 1e300], r"row 2 .*column price is 1e\+300; expected a number that fits"),
        ("price", ["a", "b", "c"], "the frame: column price: it holds string, but floats are needed"),
        ("site", [1.0, 2, 3], "column site: it holds double, but texts or integers are needed: .*kind: integer"),
        ("site", [True, False, True], "column site: it holds bool, but texts or integers are needed"),
        ("site", [b"a", b"\xff", None], r"row 1 .*column site is '\\xff'; expected text in UTF-8"),
        ("site", [["a"], [], []], "column site: it holds list<.*>, which needs bag or at_most"),
        ("site", [{"a": 1}] * 3, r"column site: it holds struct<.*>, but texts or integers are needed: convert it\.$"),
        (
            "site",
            [[["a"]]] * 3,
            r"column site: it holds list<.*list<.*>, but texts or integers are needed: convert it\.$",
        ),
        ("zone", [[["a"]]] * 3, r"column zone: it holds list<.*list<.*>, but integers are needed: convert it\.$"),
        (
            "tags",
            [[["a"]], [], []],
            r"column tags: it holds list<.*list<.*>, but lists of texts or integers are needed: convert it\.$",
        ),
        (
            "pair",
            [[{"a": 1}]] * 3,
            r"column pair: it holds list<.*struct<.*>, but lists of integers are needed: convert it\.$",
        ),
        ("hash", ["a", "xyz", "123456789"], "row 1 .*column hash is 'xyz'; expected up to 8 hexadecimal digits"),
        ("hash", ["a", "b", "123456789"], "row 2 .*column hash is '123456789'"),
        ("hash", [1, 2, -1], "row 2 .*column hash is -1; expected an integer from 0 to 4294967295"),
        ("zone", [1, -(1 << 63), 1 - (1 << 63)], "column zone is -9223372036854775808; .*2 rows have such errors"),
        ("zone", pa.array([1, 1 << 63, 3], pa.uint64()), "row 1 .*column zone is 9223372036854775808; .*kind: string"),
        ("zone", ["a", "b", "c"], "column zone: it holds string, but integers are needed: .*kind: string"),
        ("user", [1, -1, None], "row 1 .*column user is -1; expected an integer of 0 or more"),
        ("tags", [["a"] * 3, [], []], "row 0 .*column tags is .*; expected a list of at most 2 elements"),
        ("tags", ["a", "b", "c"], "column tags: it holds string, but lists are needed"),
        ("pair", [[1, 2], [1], [1, 2]], r"row 1 .*column pair is \[1\]; expected a list of 2 elements"),
        ("pair", [[1, 2], [3, 4], [1, -(1 << 63)]], "row 2 .*column pair is -9223372036854775808"),
    ],
)
def test_values_that_do_not_fit_are_refused(name: str, values: Any, message: str) -> None:
    with pytest.raises(DataFormatError, match=message):
        rows_of_frame(VALUES | {name: values}, COLUMNS, labels="needed")


def test_values_of_several_types_are_refused() -> None:
    for frame in (VALUES | {"site": ["a", 1, 2.5]}, pd.DataFrame(VALUES | {"site": ["a", 1, 2.5]})):
        with pytest.raises(
            DataFormatError, match=r"the frame: column site has values of several types.*[a-z]\)\. Conv"
        ):
            rows_of_frame(frame, COLUMNS)


def test_texts_that_are_not_unicode_are_refused() -> None:
    with pytest.raises(DataFormatError, match=r"the frame: column site has values.*surrogates not allowed"):
        rows_of_frame(VALUES | {"site": ["a", "\ud800", "b"]}, COLUMNS)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataFormatError, match=r"has 3 rows, but site has 2. All columns must have the same number"):
        rows_of_frame(VALUES | {"site": ["a", "b"]}, COLUMNS)


def test_a_missing_column_is_named_with_the_nearest() -> None:
    frame = {("Site" if name == "site" else name): values for name, values in VALUES.items()}
    with pytest.raises(DataFormatError, match=r"has no column site\. Did you mean Site\?"):
        rows_of_frame(frame, COLUMNS)


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.table(VALUES)
    with pytest.raises(DataFormatError, match="has 2 columns named zone"):
        rows_of_frame(table.append_column("zone", table["zone"]), COLUMNS)


def test_something_else_is_no_frame() -> None:
    with pytest.raises(DataFormatError, match="'int' is not a frame"):
        rows_of_frame(3, COLUMNS)
    for series in (pd.Series(["a"]), pl.Series(["a"])):
        with pytest.raises(DataFormatError, match=r"'Series' is not a frame\. Pass a frame of pandas"):
            rows_of_frame(series, COLUMNS)


def test_rows_and_plans_are_no_frames() -> None:
    """A dictionary of single values is a row; a lazy frame has no values yet."""
    row = {name: values[0] for name, values in VALUES.items()}
    with pytest.raises(DataFormatError, match=r"column click is 0, a single value\. In a dictionary, each column"):
        rows_of_frame(row, COLUMNS)
    with pytest.raises(DataFormatError, match=r"'LazyFrame' is lazy and has no values yet\. Pass frame\.collect\(\)"):
        rows_of_frame(pl.DataFrame(VALUES).lazy(), COLUMNS)


def test_hexadecimals_of_a_part_of_a_long_array_are_its_own() -> None:
    long = pa.array([f"{value:x}" for value in range(1, 3_001)])
    for first in (0, 1, 2_990):
        part = pa.table({**VALUES, "hash": long.slice(first, 3)})
        assert plain(rows_of_frame(part, COLUMNS))["hash"] == [first + 1, first + 2, first + 3]
