"""What a run's report states and warns about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.statistics.report import report_lines, warn_of_classes
from dlrm_pl.inspection import describe
from tests.support.logs.raw_logs import random_lines, write_days


def test_report_warns_of_what_looks_broken(tmp_path: Path) -> None:
    def day(seed: int) -> list[list[bytes]]:
        rows = [one.split(b"\t") for one in random_lines(1500, seed, values=50)]
        for row in rows:
            row[3], row[17] = b"7", b"00000001"  # I3 and C4 are constant; C26 differs in every row.
        return rows

    days = [day(seed) for seed in range(5)]
    for row in days[2]:
        row[0], row[5], row[20] = b"1", b"9999", b""
    raw = write_days(tmp_path, [[b"\t".join(row) for row in rows] for rows in days])
    report = preprocess(raw, tmp_path / "out")
    text = str(report)
    for warning in (
        "I3 is constant: 7 in every row",
        "C4 is constant",
        "C26 is nearly always distinct: 7,500 values in 7,500 rows",
        r"day 2: 100.00% clicks; the median day has",
        "day 2: C7 is missing in 100.0% of the rows",
        "day 2: the distribution of I5 differs",
    ):
        assert warning in text, text
    assert sum("day 0" in warning for warning in report.folder.report["warnings"]) == 0
    shares = report.folder.report["largest_shares"]
    assert {"column": "C4", "value": "00000001 (after modulo 40,000,000)", "share": 1.0} in shares
    assert {"column": "I3", "value": "7", "share": 1.0} in shares
    assert len(shares) == 10
    rates = report.folder.report["missing_rates"]
    assert rates["I1"] == pytest.approx(0.1, abs=0.02)
    assert rates["C26"] == 0
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["report"] == report.folder.report


def test_columns_that_tell_a_model_nothing_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 1500
    columns = Columns(
        "click",
        (
            DenseColumn(name="same", type="float", transform="none"),
            DenseColumn(name="zero", type="float", transform="log1p"),
            DenseColumn(name="none", type="float", transform="none"),
            DenseColumn(name="tenth", type="float", transform="standardize"),
            DenseColumn(name="seven", transform="standardize"),
            DenseColumn(name="narrow", type="float", transform="standardize"),
            DenseColumn(name="wide", type="float", transform="none"),
        ),
        (
            SparseColumn(name="few"),
            SparseColumn(name="user", kind="integer"),
            SparseColumn(name="gone", kind="integer"),
        ),
    )
    for day in range(2):
        values = {
            **{"click": rng.integers(0, 2, rows), "same": np.full(rows, -0.3), "zero": np.zeros(rows)},
            **{"none": pa.nulls(rows, pa.float32()), "tenth": np.full(rows, 0.1), "seven": [None, *[7] * (rows - 1)]},
            **{"narrow": 1e6 + rng.integers(0, 2, rows), "wide": rng.random(rows), "few": rng.choice(["a", "b"], rows)},
            **{"user": np.arange(rows), "gone": pa.nulls(rows, pa.int64())},
        }
        pq.write_table(pa.table(values), tmp_path / f"{day}.parquet")
    options = PreprocessOptions(columns=columns, vocabulary="train_only", min_count=2)
    made = preprocess(tmp_path, tmp_path / "out", options).folder
    found = made.report["warnings"]
    for warning in (
        "same is nearly constant: from -0.3125 to -0.2812 in every row.",
        "zero is constant: 0 in every row.",
        "none is constant: missing in every row.",
        "tenth is constant: 0.1 in every training row.",
        "seven is constant: 7 or missing in every training row.",
        "gone is constant: missing in every row.",
    ):
        assert warning in found, found
    assert any(
        "all values share one row in user: none has the 2 training rows that --min_count" in one for one in found
    )
    assert not any(one.startswith(("narrow is", "wide is", "few is")) for one in found)
    assert [column.deviation for column in made.columns.dense[3:6]] == [1, 1, pytest.approx(0.5, abs=0.01)]
    assert made.table_sizes == (3, 1, 2)


def test_day_without_clicks_at_all(tmp_path: Path) -> None:
    lines = [b"0" + one[1:] for one in random_lines(20, 0)]
    report = str(preprocess(write_days(tmp_path, [lines, lines]), tmp_path / "out"))
    assert "0.0% of the rows are clicks: is label the column of the clicks?" in report


def test_half_day_without_clicks_is_told_of_when_it_is_written_and_when_it_is_inspected(tmp_path: Path) -> None:
    days = [[row.split(b"\t") for row in random_lines(60, seed)] for seed in range(2)]
    for row in days[1][:30]:
        row[0] = b"0"
    report = preprocess(
        write_days(tmp_path / "raw", [[b"\t".join(row) for row in rows] for rows in days]), tmp_path / "o"
    )
    wanted = (
        "warning: the test split has no clicks in 30 rows: AUROC is undefined on it, so `test` and `quantize` refuse it"
    )
    assert wanted in str(report)
    assert wanted in describe(tmp_path / "o")
    assert "val split" not in str(report)


def test_the_report_prints_no_control_characters_of_the_log() -> None:
    report = {
        "missing_rates": {},
        "largest_shares": [{"column": "city", "value": "\x1b[31m日本\n\u202e", "share": 0.5}],
        "rejected": {},
        "unknown_values": 0,
        "warnings": ["day 0 (\x07)"],
    }
    lines = report_lines(report)
    assert all(line.isprintable() for line in lines)
    assert r"city=\x1b[31m日本\n\u202e 50.0%" in lines[1]


@pytest.mark.parametrize(("count", "lists"), [(1, "1 list was longer"), (2, "2 lists were longer")])
def test_one_is_no_plural(count: int, lists: str) -> None:
    report = {"missing_rates": {}, "largest_shares": [], "rejected": {}, "unknown_values": 0, "warnings": []}
    assert lists in report_lines({**report, "cut_lists": count})[-1]
    assert f"in {count} row{'s' if count > 1 else ''}: " in warn_of_classes([("val", count, 0)])[0]
