"""Raw logs with columns other than Criteo's: their values, and messages that name their columns."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.raw_logs.diagnosis import likely_format
from dlrm_pl.data.raw_logs.line import BadLineError, longest_line, parse_line
from dlrm_pl.data.raw_logs.reader import iter_raw_records
from dlrm_pl.errors import DataFormatError

COLUMNS = Columns(
    "click",
    (DenseColumn(name="hour"), DenseColumn(name="visits")),
    tuple(SparseColumn(name=name, kind="hex") for name in ("site", "app", "device")),
)
LINES = [b"1\t10\t-5\tff\t\t00000abc", b"0\t\t7\t0\t1\t2"]


def log_of(folder: Path, lines: list[bytes]) -> Path:
    (folder / "log").write_bytes(b"\n".join(lines) + b"\n")
    return folder / "log"


def test_rows_are_read(tmp_path: Path) -> None:
    assert COLUMNS.has_raw_text
    found = list(iter_raw_records(log_of(tmp_path, LINES), 100, columns=COLUMNS))
    assert [rows.tolist() for rows in found] == [[[1, 10, 0, 255 % 100, 0, 0xABC % 100], [0, 0, 7, 0, 1, 2]]]


def test_a_log_without_labels_has_a_field_less(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = log_of(tmp_path, [line[2:] for line in LINES])
    with caplog.at_level(logging.INFO, "dlrm_pl"):
        found = list(iter_raw_records(log, 0, labelled=False, columns=COLUMNS))
    assert [rows.tolist() for rows in found] == [[[0, 10, 0, 255, 0, 0xABC], [0, 0, 7, 0, 1, 2]]]
    assert "line 1 has 5 fields, so the log has no labels" in caplog.text


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        (b"2\t1\t2\ta\tb\tc", "label", r"field 1 \(click\) is '2'; expected 0 or 1"),
        (b"1\tx\t2\ta\tb\tc", "integer", r"field 2 \(hour\) is 'x'; expected an integer"),
        (b"1\t1\t2147483648\ta\tb\tc", "range", r"field 3 \(visits\) is '2147483648', which does not fit in 32 bits"),
        (b"1\t1\t2\ta\tb\tdevice", "category", r"field 6 \(device\) is 'device'; expected up to 8 hexadecimal digits"),
        (b"1\t1\t2\ta\tb", "fields", "has 5 fields; expected 6"),
        (b"1" * 32_001, "length", "is longer than 32,000 bytes"),
    ],
)
def test_a_bad_field_is_named_after_its_column(line: bytes, kind: str, message: str) -> None:
    with pytest.raises(BadLineError, match=message) as stopped:
        parse_line(line, 0, columns=COLUMNS)
    assert stopped.value.kind == kind


def test_the_longest_line_grows_with_the_columns() -> None:
    assert [longest_line(fields) for fields in (3, 1333, 1334, 5000)] == [32_000, 32_000, 32_016, 120_000]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line.replace(b"\t", b",") for line in LINES], r"seems to have 6 fields separated by commas; expected tabs"),
        ([b"click\thour\tvisits\tsite\tapp\tdevice", *LINES], "Line 1 looks like a header: delete it"),
        ([b"900\t" + line for line in LINES], r"an extra column, perhaps an id: remove it \(cut -f2-\)"),
        ([line + b"\t2014" for line in LINES], r"end with an extra column: remove it \(cut -f1-6\)"),
        ([line[2:] for line in LINES], "no label, like those of Kaggle's test file"),
        (
            [line.replace(b"\t", b"\t1.5", 1) for line in LINES],
            r"\(label, 2 integers, 3 categories, separated by tabs\)",
        ),
        ([b"\0binary"] * 3, r"looks like binary data; expected tab-separated text \(label, 2 integers, 3 categories\)"),
    ],
)
def test_another_format_is_recognised(tmp_path: Path, lines: list[bytes], message: str) -> None:
    log = log_of(tmp_path, lines)
    with pytest.raises(DataFormatError, match=message):
        list(iter_raw_records(log, 0, columns=COLUMNS))


def test_one_column_of_each_kind_is_said_in_the_singular(tmp_path: Path) -> None:
    columns = Columns("y", (DenseColumn(name="x"),), (SparseColumn(name="c", kind="hex"),))
    assert "(label, 1 integer, 1 category, " in likely_format(log_of(tmp_path, [b"1\tx\ty"] * 3), columns=columns)
    assert likely_format(log_of(tmp_path, [b"1\t5\tfe"]), columns=columns) == ""
