"""Good rows keep their values and bad ones are named, wherever they are and however a file is cut into chunks.

Each value comes with the expected result: its number or text, None for a missing one, or ``Fault``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawRows
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.sources import source as source_module
from dlrm_pl.data.sources.readers import csv_file
from dlrm_pl.data.sources.source import open_source
from tests.support.examples import examples

COLUMNS = Columns(
    "click",
    (DenseColumn(name="age"), DenseColumn(name="price", type="float", transform="none")),
    (
        SparseColumn(name="site"),
        SparseColumn(name="hash", kind="hex"),
        SparseColumn(name="zone", kind="integer"),
        SparseColumn(name="user", kind="integer", ids="modulo", rows=5),
    ),
)
LISTS = Columns(
    "click",
    COLUMNS.dense,
    (
        *COLUMNS.sparse,
        SparseColumn(name="tags", at_most=2),
        SparseColumn(name="pair", kind="integer", ids="modulo", rows=9, bag=2),
    ),
)


class Fault(NamedTuple):
    """The fault of a value."""

    kind: str


def plain_numbers(low: int, high: int) -> st.SearchStrategy[tuple[str, Any]]:
    return st.integers(low, high).map(lambda number: (str(number), number))


OFTEN_GOOD = [("7", 7), ("-0", 0), ("007", 7), ("", None), (" 5 ", 5), ("3.0", 3), ("+4", 4), ("1e3", 1000)]
INT32, INT64 = 1 << 31, 1 << 63
NO_INTEGERS = [("x", Fault("integer")), ("2.5", Fault("integer")), ("nan", Fault("integer")), ("1_0", Fault("integer"))]
CSV_VALUES: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    "click": st.sampled_from(
        [("0", 0), ("1", 1), ("1", 1), ("0", 0), ("1.0", 1)] * 6
        + [
            (word, value)
            for word, value in (("true", 1), ("True", 1), ("TRUE", 1), ("false", 0), ("False", 0), ("FALSE", 0))
        ]
        + [
            ("tRue", Fault("label")),
            ("", Fault("null")),
            ("2", Fault("label")),
            ("-1", Fault("label")),
            ("yes", Fault("label")),
        ]
    ),
    "age": st.one_of(
        plain_numbers(-INT32, INT32 - 1),
        st.sampled_from([*OFTEN_GOOD, *NO_INTEGERS, (str(INT32), Fault("range")), ("9" * 50, Fault("range"))]),
    ),
    "price": st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda number: (repr(number), number)),
        st.sampled_from([("", None), (" 1.5", 1.5), (".5", 0.5), ("-2", -2.0), ("1e-50", 0.0)]),
        st.sampled_from(
            [("nan", Fault("nan")), ("-inf", Fault("nan")), ("1e39", Fault("range")), ("a", Fault("float"))]
        ),
    ),
    "site": st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5).map(
            lambda text: (text, text.encode())
        ),
        st.just(("", None)),
    ),
    "hash": st.one_of(
        st.integers(0, (1 << 32) - 1).map(lambda number: (f"{number:x}", number)),
        st.sampled_from([("", None), ("00fF", 255), ("123456789", Fault("category")), ("0g", Fault("category"))]),
    ),
    "zone": st.one_of(
        plain_numbers(2 - INT64, INT64 - 1),
        st.sampled_from([*OFTEN_GOOD, *NO_INTEGERS, *((str(1 - INT64), Fault("range")), (str(INT64), Fault("range")))]),
        # No float holds these.
        st.sampled_from([("9007199254740993.0", 9007199254740993), ("9007199254740993.5", Fault("integer"))]),
        st.sampled_from(
            [("-9.223372036854775806e18", 2 - INT64), ("1e30", Fault("range")), ("1e-400", Fault("integer"))]
        ),
        # Whatever else the chunk holds.
        st.sampled_from([("0x1F", 31), ("0x7fffffffffffffff", INT64 - 1), ("0xffffffffffffffff", Fault("range"))]),
    ),
    "user": st.one_of(
        plain_numbers(0, INT64 - 1),
        st.sampled_from([*OFTEN_GOOD, ("-1", Fault("negative")), (str(-INT64), Fault("range"))]),
    ),
}
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TAGS = st.lists(st.sampled_from(["a", "", "語", None]), max_size=3)
PARQUET_VALUES: dict[str, st.SearchStrategy[tuple[Any, Any]]] = {
    "click": st.sampled_from([(0, 0), (1, 1)] * 9 + [(None, Fault("null")), (2, Fault("label"))]),
    "age": st.one_of(
        st.integers(-INT32, INT32 - 1).map(lambda number: (number, number)),
        st.sampled_from([(None, None), (INT32, Fault("range")), (-INT64, Fault("range"))]),
    ),
    "price": st.one_of(
        FLOATS.map(lambda number: (number, number)),
        st.sampled_from([(None, None), (float("nan"), Fault("nan")), (1e300, Fault("range"))]),
    ),
    "site": st.sampled_from(
        [(b"a", b"a"), (b"", b""), (None, None), ("語".encode(), "語".encode()), (b"\xff", Fault("text"))]
    ),
    "hash": CSV_VALUES["hash"].filter(lambda value: value[0] != ""),
    "zone": st.sampled_from([(5, 5), (None, None), (-INT64, Fault("range"))]),
    "user": st.sampled_from([(5, 5), (None, None), (-2, Fault("negative"))]),
    "tags": st.one_of(
        st.just((None, [])),
        TAGS.map(
            lambda tags: (
                tags,
                Fault("length") if len(tags) > 2 else [None if tag is None else tag.encode() for tag in tags],
            )
        ),
    ),
    "pair": st.sampled_from(
        [
            ([1, 2], [1, 2]),
            ([3, None], [3, None]),
            (None, [None, None]),
            ([], Fault("length")),
            ([1, -2], Fault("negative")),
        ]
    ),
}

Row = dict[str, tuple[Any, Any]]


def plain(columns: Columns, rows: RawRows) -> list[list[Any]]:
    """Return rows as plain values."""
    assert rows.label is not None
    result: list[list[Any]] = [rows.label.tolist()]
    for dense in rows.dense:
        missing = np.zeros(rows.num_rows, bool) if dense.missing is None else dense.missing
        result.append([None if gone else value for value, gone in zip(dense.values.tolist(), missing, strict=True)])
    for column, sparse in zip(columns.sparse, rows.sparse, strict=True):
        values = sparse.values.to_list() if isinstance(sparse.values, Strings) else sparse.values.tolist()
        missing = np.zeros(len(values), bool) if sparse.missing is None else sparse.missing
        flat = [None if gone else value for value, gone in zip(values, missing, strict=True)]
        if sparse.offsets is not None:
            assert column.is_list
            flat = [flat[first:last] for first, last in zip(sparse.offsets[:-1], sparse.offsets[1:], strict=True)]
        result.append(flat)
    return [list(row) for row in zip(*result, strict=True)]


def check(path: Path, columns: Columns, rows: list[Row | None]) -> None:
    """Check the rows of a file; None stands for a row with the wrong number of fields."""
    good: list[list[Any]] = []
    bad: list[tuple[int, str, str]] = []
    for number, row in enumerate(rows):
        if row is None:
            bad.append((number, "", "fields"))
            continue
        values = [row[name][1] for name in columns.names]
        fault = next(
            (name for name, value in zip(columns.names, values, strict=True) if isinstance(value, Fault)), None
        )
        if fault is None:
            good.append(values)
        else:
            bad.append((number, fault, row[fault][1].kind))
    chunks = list(open_source(path, columns).chunks())
    assert [row for chunk in chunks for row in plain(columns, chunk.rows)] == good
    assert [(fault.row, fault.column, fault.kind) for chunk in chunks for fault in chunk.bad] == bad
    assert [chunk.first_row for chunk in chunks] == list(range(0, len(rows), 4))
    for chunk in chunks[1:2]:
        again = next(open_source(path, columns).chunks(first_row=chunk.first_row))
        assert plain(columns, again.rows) == plain(columns, chunk.rows)
        assert again.bad == chunk.bad


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 4)
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 512)


same_fixture = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30), deadline=None
)


@same_fixture
@given(
    st.lists(st.one_of(st.fixed_dictionaries(CSV_VALUES), st.none()), max_size=20), st.randoms(use_true_random=False)
)
def test_values_of_csv_become_what_they_stand_for(tmp_path: Path, rows: list[Row | None], random: Any) -> None:
    names = list(CSV_VALUES)
    random.shuffle(names)
    lines = [names]
    for row in rows:
        lines.append(["1"] * random.choice([2, 9]) if row is None else [row[name][0] for name in names])

    def field(text: str) -> str:
        needed = any(character in text for character in ',"\n\r') or text != text.strip()
        if needed or (text and random.random() < 0.2):
            return '"' + text.replace('"', '""') + '"'
        return text

    newline = random.choice(["\n", "\r\n"])
    text = newline.join(",".join(map(field, line)) for line in lines) + random.choice(["", newline])
    (tmp_path / "a.csv").write_bytes(text.encode())
    check(tmp_path / "a.csv", COLUMNS, rows)


@same_fixture
@given(st.lists(st.fixed_dictionaries(PARQUET_VALUES), max_size=20), st.integers(1, 6))
def test_values_of_parquet_become_what_they_stand_for(tmp_path: Path, rows: list[Row], group: int) -> None:
    types = {
        **{"click": pa.int8(), "age": pa.int64(), "price": pa.float64(), "site": pa.binary(), "hash": pa.string()},
        **{"zone": pa.int64(), "user": pa.int64(), "tags": pa.list_(pa.string()), "pair": pa.large_list(pa.int64())},
    }
    table = pa.table({name: pa.array([row[name][0] for row in rows], kind) for name, kind in types.items()})
    pa.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=group)
    check(tmp_path / "a.parquet", LISTS, list(rows))


def test_long_lists_can_be_cut_and_are_counted(tmp_path: Path) -> None:
    tags = [["a", "b", "c"], ["a"], None, ["d", None, "e", "f"]]
    table = pa.table(
        {
            **{"click": [0, 1, 0, 5], "age": [1] * 4, "price": [1.0] * 4, "site": ["s"] * 4, "hash": ["f"] * 4},
            **{"zone": [1] * 4, "user": [1] * 4, "tags": tags, "pair": [[1, 2]] * 4},
        }
    )
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    (chunk,) = open_source(tmp_path / "a.parquet", LISTS, truncate_lists=True).chunks()
    assert [row[7] for row in plain(LISTS, chunk.rows)] == [[b"a", b"b"], [b"a"], []]
    assert chunk.cut_lists == 1  # Only those of good rows.
    (chunk,) = open_source(tmp_path / "a.parquet", LISTS).chunks()
    assert [bad.kind for bad in chunk.bad] == ["length", "label"]


@pytest.mark.parametrize("text", ["NULL", "NaN", "n/a", r"\N"])
def test_what_other_programs_write_for_a_missing_number_is_told_from_other_texts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"click,age,price,site,hash,zone,user\n0,{text},1,a,1,1,1\n0,1,{text},a,1,1,1\n0,x,1,a,1,1,1\n")
    (chunk,) = open_source(path, COLUMNS).chunks()
    advice = ["; a missing value is an empty field" in fault.reason for fault in chunk.bad]
    assert advice == [True, True, False]
