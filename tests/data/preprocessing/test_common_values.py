"""The most frequent values of a report, compared with counts of the log's own fields."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import MISSING_INTEGER, MISSING_STRING
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.tables.summary import summary_of
from dlrm_pl.inspection import describe
from tests.support.logs.raw_logs import use_engine, write_days

NAMES = ["label", *(column.name for column in Columns.criteo().dense), *(c.name for c in Columns.criteo().sparse)]
MODULUS = 40_000_000
ROWS = 400
# Column: its values and their shares; b"" is a missing value. All other fields differ in every row.
SHARES = {
    "I1": {b"": 0.6, b"0": 0.3, b"2": 0.1},
    "I12": {b"": 0.75, b"0": 0.1, b"7": 0.15},
    "I3": {b"": 1.0},
    "C5": {b"3cfd25c5": 0.65, b"": 0.1, b"00000007": 0.25},
    "C22": {b"": 0.8, b"0000000b": 0.2},
    "C7": {b"": 0.3, b"00000000": 0.6, b"0000000c": 0.1},
    "C9": {b"": 1.0},
}


def lines(day: int) -> list[bytes]:
    rng = np.random.default_rng(day)
    fields = [[b"%d" % (row % 3 == 0) for row in range(ROWS)]]
    for number, name in enumerate(NAMES[1:]):
        if name not in SHARES:
            fields.append(
                [b"%d" % (row + 1) if name[0] == "I" else b"%08x" % (row + number + 1) for row in range(ROWS)]
            )
            continue
        values = [value for value, share in SHARES[name].items() for _ in range(round(share * ROWS))]
        fields.append([values[place] for place in rng.permutation(ROWS)])
    return [b"\t".join(row) for row in zip(*fields, strict=True)]


def counted(days: list[list[bytes]], name: str, modulus: int = 0) -> tuple[str, float] | None:
    """Return the most frequent value of the log and its share of the rows."""
    texts = [line.split(b"\t")[NAMES.index(name)] for day in days for line in day]
    commonest = Counter(text for text in texts if text).most_common(1)
    if not commonest:
        return None
    text, count = commonest[0]
    if name[0] == "C" and modulus:
        return f"{int(text, 16) % modulus:08x} (after modulo {modulus:,})", count / len(texts)
    return text.decode(), count / len(texts)


def found(folder: DatasetFolder) -> dict[str, tuple[str, float]]:
    return {entry["column"]: (entry["value"], entry["share"]) for entry in folder.report["largest_shares"]}


@pytest.mark.each_value
@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("modulus", [0, MODULUS])
@pytest.mark.parametrize("vocabulary", ["reference", "train_only"])
def test_missing_values_are_no_values_and_a_modulo_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vocabulary: str, modulus: int, engine: str
) -> None:
    use_engine(engine, monkeypatch)
    days = [lines(0), lines(1)]
    options = PreprocessOptions(vocabulary=vocabulary, max_ind_range=modulus or -1)  # type: ignore[arg-type]
    report = preprocess(write_days(tmp_path / "raw", days), tmp_path / "out", options)
    shares = found(report.folder)
    for name in SHARES:
        categorical_days = days[:1] if vocabulary == "train_only" and name[0] == "C" else days
        wanted = counted(categorical_days, name, modulus)
        assert shares.get(name) == (wanted and (wanted[0], pytest.approx(wanted[1], abs=1e-6))), name
    assert not report.folder.report.get("uncounted_columns")
    assert "C22=0000000b 20.0%" in str(report)
    assert str(report).count("modulo") == bool(modulus)
    assert (f"; hexadecimal values are shown after modulo {modulus:,}" in str(report)) == bool(modulus)
    assert "C22 80.0%" in str(report), "missing values stand beside"


def test_zeros_are_left_out_where_dropped_rows_hide_which_are_missing(tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [lines(0), lines(1)])
    shares = found(preprocess(raw, tmp_path / "out", PreprocessOptions(subsample_rate=0.5, max_ind_range=-1)).folder)
    assert shares["C22"][0] == "0000000b"
    assert shares["C7"][0] == "0000000c"


def test_warnings_of_constant_columns_tell_missing_values_from_zeros(tmp_path: Path) -> None:
    days = [[line.split(b"\t") for line in lines(day)] for day in range(3)]
    for rows in days:
        for place, row in enumerate(rows):
            row[NAMES.index("I5")] = b"" if place % 2 else b"0"
            row[NAMES.index("I6")] = b"0"
    warnings = preprocess(
        write_days(tmp_path / "raw", [[b"\t".join(row) for row in rows] for rows in days]), tmp_path / "out"
    ).folder.report["warnings"]
    constant = [warning for warning in warnings if "constant" in warning]
    assert constant == [
        "I3 is constant: missing in every row.",
        "I5 is constant: 0 or missing in every row.",
        "I6 is constant: 0 in every row.",
        "C9 is constant: missing or 0 in every row.",
    ]


def test_a_given_vocabulary_leaves_the_categories_uncounted_and_says_so(tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [lines(0), lines(1)])
    preprocess(raw, tmp_path / "old")
    report = preprocess(raw, tmp_path / "new", PreprocessOptions(vocabulary_from=tmp_path / "old"))
    assert report.folder.report["uncounted_columns"] == 26
    for text in (str(report), describe(tmp_path / "new")):
        assert "not counted in 26 categorical columns" in " ".join(text.split())
    assert "not counted" not in describe(tmp_path / "old")


@pytest.mark.parametrize(
    ("kind", "values", "commonest"),
    [
        ("hex", np.array([5, 0, 9], np.uint32), "00000009"),
        ("integer", np.array([5, MISSING_INTEGER, 0]), "0"),
        ("string", Strings.of([b"a", MISSING_STRING, b""]), '""'),
    ],
)
def test_a_table_tells_its_missing_values_from_its_commonest(kind: str, values: object, commonest: str) -> None:
    summary = summary_of(kind, values, np.array([1, 7, 2], np.uint32))  # type: ignore[arg-type]
    assert dataclasses.astuple(summary) == (3, 10, commonest, 2, 7, True)
