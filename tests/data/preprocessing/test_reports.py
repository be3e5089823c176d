"""What a run's report states and warns about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
