"""Rows get their days from files, from their order, or from a column."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.sources import source as source_module
from dlrm_pl.data.sources.days import Days
from dlrm_pl.data.sources.find_days import find_days
from dlrm_pl.data.sources.source import Source, open_source
from dlrm_pl.errors import ConfigurationError, DataFormatError

COLUMNS = Columns("click", (DenseColumn(name="row", transform="none"),), (SparseColumn(name="site"),))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 4)


def make(path: Path, rows: int, **columns: Any) -> Path:
    values = {"click": [0, 1] * (rows // 2) + [1] * (rows % 2), "row": range(rows), "site": ["a"] * rows} | columns
    table = pa.table({name: value if isinstance(value, pa.Array) else list(value) for name, value in values.items()})
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pa.parquet.write_table(table, path)
    return path


def days_of_rows(source: Source, days: Days) -> list[list[int]]:
    """Return the days of the good rows, by file."""
    result: list[list[int]] = [[] for _ in source.files]
    for chunk in source.with_days(days).chunks():
        assert chunk.days is not None
        assert chunk.days.dtype == np.int32
        result[chunk.file] += chunk.days.tolist()
    return result


def test_each_file_can_be_a_day(tmp_path: Path) -> None:
    for number in (2, 10):
        make(tmp_path / f"{number}.csv", 5)
    source = open_source(tmp_path, COLUMNS)
    days = find_days(source, "files")
    assert days.names == ("2.csv", "10.csv")
    assert days.rows == (None, None)
    assert days_of_rows(source, days) == [[0] * 5, [1] * 5]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_rows_are_divided_evenly_in_their_order(ending: str, tmp_path: Path) -> None:
    for number, rows in enumerate((1, 9, 1)):
        make(tmp_path / f"{number}{ending}", rows)
    source = open_source(tmp_path, COLUMNS)
    days = find_days(source, "rows", 3)
    assert days.names == ("rows 0 to 3", "rows 4 to 7", "rows 8 to 10")
    assert days.rows == (4, 4, 3)
    assert days_of_rows(source, days) == [[0], [0, 0, 0, 1, 1, 1, 1, 2, 2], [2]]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_values_of_a_column_are_days_sorted_by_number(ending: str, tmp_path: Path) -> None:
    source = open_source(make(tmp_path / f"a{ending}", 6, day=[10, 9, 10, 100, 9, 10]), COLUMNS)
    days = find_days(source, "day")
    assert days == Days("day", ("9", "10", "100"), (2, 3, 1))
    assert days_of_rows(source, days) == [[1, 0, 1, 2, 0, 1]]


def test_the_first_characters_of_a_feature_can_be_days(tmp_path: Path) -> None:
    source = open_source(
        make(tmp_path / "a.parquet", 5, row=[14102100, 14102123, 14102200, 14102101, 14103000]), COLUMNS
    )
    days = find_days(source, "row[:6]")
    assert days == Days("row[:6]", ("141021", "141022", "141030"), (3, 1, 1))
    assert days_of_rows(source, days) == [[0, 0, 1, 0, 2]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([datetime.datetime(2024, 1, day, 23, 59) for day in (2, 1, 2)]),
        pa.array([datetime.date(2024, 1, day) for day in (2, 1, 2)]),
        pa.array(["2024-01-02", "2024-01-01", "2024-01-02"]).dictionary_encode(),
    ],
    ids=["timestamps", "dates", "texts in a dictionary"],
)
def test_dates_come_from_columns_of_several_types(column: pa.Array, tmp_path: Path) -> None:
    source = open_source(make(tmp_path / "a.parquet", 3, when=column), COLUMNS)
    days = find_days(source, "when")
    assert days.names == ("2024-01-01", "2024-01-02")
    assert days_of_rows(source, days) == [[1, 0, 1]]
    assert find_days(source, "when[:7]").names == ("2024-01",)


def test_timestamps_with_a_zone_have_the_date_of_that_zone(tmp_path: Path) -> None:
    late = pa.array([datetime.datetime(2024, 1, 1, 23, 30)], pa.timestamp("us", "UTC")).cast(
        pa.timestamp("us", "Europe/Berlin")
    )
    source = open_source(make(tmp_path / "a.parquet", 1, when=late), COLUMNS)
    assert find_days(source, "when").names == ("2024-01-02",)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_rows_without_a_day_are_bad(ending: str, tmp_path: Path) -> None:
    source = open_source(make(tmp_path / f"a{ending}", 6, day=["x", None, "y", "", "x", "y"]), COLUMNS)
    days = find_days(source, "day")
    assert days == Days("day", ("x", "y"), (2, 2))
    chunks = list(source.with_days(days).chunks())
    assert [(bad.row, bad.column, bad.kind) for chunk in chunks for bad in chunk.bad] == [
        (1, "day", "null"),
        (3, "day", "null"),
    ]
    assert [chunk.rows.dense[0].values.tolist() for chunk in chunks] == [[0, 2], [4, 5]]
    assert days_of_rows(source, days) == [[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("split_by", "days", "error", "message"),
    [
        ("rows", None, ConfigurationError, "split_by=rows needs the number of days"),
        ("rows", 7, DataFormatError, "6 rows are too few for 7 days"),
        ("day[:0]", None, ConfigurationError, r"split_by='day\[:0\]' must be files, rows"),
        ("", None, ConfigurationError, "split_by='' must be files, rows"),
        ("days", None, DataFormatError, r"has no column days. Did you mean day\? There are [a-z, ]*\.$"),
        ("price", None, DataFormatError, "column price: it holds double, but texts, integers, dates"),
        ("day", 3, DataFormatError, r"has 2 days by day \(x, y\), not 3"),
        ("nothing", None, DataFormatError, "column nothing has no values"),
    ],
)
def test_wrong_splits_are_refused(
    split_by: str, days: int | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    nothing = pa.nulls(6, pa.string())
    path = make(tmp_path / "a.parquet", 6, day=["x", "y"] * 3, price=[0.5] * 6, nothing=nothing)
    with pytest.raises(error, match=message):
        find_days(open_source(path, COLUMNS), split_by, days)


def test_a_column_of_too_many_values_is_refused(tmp_path: Path) -> None:
    source = open_source(make(tmp_path / "a.parquet", 1_500), COLUMNS)
    with pytest.raises(
        DataFormatError, match=r"column row has more than 1,000 different values to be used as days.*row\[:6\]"
    ):
        find_days(source, "row")
