"""Raw logs with columns other than Criteo's: lines of tab-separated integers and hexadecimal values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import open_records
from dlrm_pl.data.preprocessing.options import PreprocessOptions, VocabularyRule
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import DataFormatError
from tests.reference.click_logs import dictionaries, records_of
from tests.support.logs.raw_logs import contents, use_engine, write_days

COLUMNS = Columns(
    "click",
    (DenseColumn(name="age"), DenseColumn(name="views")),
    tuple(SparseColumn(name=name, kind="hex") for name in ("site", "app", "device")),
)


def rows_of(count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row: dict[str, Any] = {"click": int(rng.random() < 0.3)}
        row |= {column.name: int(rng.integers(-2, 90)) for column in COLUMNS.dense}
        row |= {column.name: f"{int(rng.integers(0, 40)) * 77_777_777 % 2**32:x}" for column in COLUMNS.sparse}
        rows.append({name: None if rng.random() < 0.1 and name != "click" else value for name, value in row.items()})
    return rows


def line_of(row: dict[str, Any]) -> bytes:
    return b"\t".join(b"" if value is None else str(value).encode() for value in row.values())


@pytest.fixture
def days() -> list[list[dict[str, Any]]]:
    return [rows_of(count, seed) for seed, count in enumerate((900, 700, 501))]


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("rule", ["reference", "train_only"])
def test_records_are_those_of_the_reference(
    days: list[list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, rule: VocabularyRule
) -> None:
    use_engine(engine, monkeypatch)
    raw = write_days(tmp_path / "raw", [[line_of(row) for row in day] for day in days])
    options = PreprocessOptions(columns=COLUMNS, randomize="none", max_ind_range=1000, vocabulary=rule)
    folder = preprocess(raw, tmp_path / "out", options).folder
    columns, train, last = asdict(COLUMNS), [row for day in days[:-1] for row in day], days[-1]
    values = dictionaries(columns, train if rule == "train_only" else train + last, rule == "train_only")
    reduced = [list(dict.fromkeys(value if value < 0 else value % 1000 for value in table or ())) for table in values]
    assert [table.tolist() for table in folder.vocabulary().values] == reduced  # type: ignore[union-attr]
    found = {split: open_records(folder.split_path(split), COLUMNS).tolist() for split in folder.splits}
    assert found["train"] == records_of(columns, reduced, train, 1000)
    assert found["test"] + found["val"] == records_of(columns, reduced, last, 1000)
    assert folder.columns == COLUMNS
    assert list(folder.report["missing_rates"]) == list(COLUMNS.feature_names)
    folder.verify_checksums()


def test_neither_threads_nor_memory_change_a_byte(days: list[list[dict[str, Any]]], tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [[line_of(row) for row in day] for day in days])
    for number, run in enumerate(
        (
            PreprocessOptions(columns=COLUMNS, workers=1),
            PreprocessOptions(columns=COLUMNS, workers=5, memory_bytes=16 << 20, checkpoint_bytes=10_000),
        )
    ):
        preprocess(raw, tmp_path / str(number), run)
    assert contents(tmp_path / "0") == contents(tmp_path / "1")


def test_a_bad_line_names_the_column(days: list[list[dict[str, Any]]], tmp_path: Path) -> None:
    lines = [[line_of(row) for row in day] for day in days]
    lines[1][7] = b"0\t1\t2\tabc\txyz\t1"
    raw = write_days(tmp_path / "raw", lines)
    with pytest.raises(DataFormatError, match=r"day_1:8: field 5 \(app\) is 'xyz'"):
        preprocess(raw, tmp_path / "out", PreprocessOptions(columns=COLUMNS))
    lines[1][7] = b"0\t1\t2\tabc"
    raw = write_days(tmp_path / "raw", lines)
    with pytest.raises(DataFormatError, match="day_1:8: has 4 fields; expected 6"):
        preprocess(raw, tmp_path / "out", PreprocessOptions(columns=COLUMNS))
