"""Commands on a damaged dataset end with status 2 and one message; nothing is half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import split_file_name
from tests.support.commands import expect_error, write_config

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_missing_dataset(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, tmp_path / "nowhere")
    expect_error(capsys, r"nowhere: there is no such dataset folder", "fit", "-c", config)


def test_truncated_bin(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    path = dataset_copy / split_file_name("train")
    path.write_bytes(path.read_bytes()[:-7])
    expect_error(capsys, "not a whole number of 160-byte records", "fit", "-c", write_config(tmp_path, dataset_copy))


def test_records_lost_at_the_end(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    path = dataset_copy / split_file_name("val")
    path.write_bytes(path.read_bytes()[: -Columns.criteo().record_bytes])
    message = r"has 1999 records, but dataset\.json states 2000"
    expect_error(capsys, message, "fit", "-c", write_config(tmp_path, dataset_copy))


def damage(folder: Path, split: str, record: int, column: int, value: int) -> None:
    path = folder / split_file_name(split)  # type: ignore[arg-type]
    records = np.fromfile(path, dtype="<i4").reshape(-1, 40)
    records[record, column] = value
    records.tofile(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 2, "record 77: the label is 2, but must be 0 or 1"),
        (4, -5, "record 77: dense field I4 is -5"),
        (14 + 3, 100_000, r"record 77: table 3 \(C4\) has \d+ rows, but the index is 100000"),
        (14 + 3, -1, r"record 77: table 3 \(C4\) has \d+ rows, but the index is -1"),
    ],
)
def test_record_with_an_impossible_value(
    capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path, column: int, value: int, message: str
) -> None:
    damage(dataset_copy, "train", 77, column, value)
    (dataset_copy / "dataset.json").unlink()  # It would reveal the changed row.
    expect_error(capsys, message, "fit", "-c", write_config(tmp_path, dataset_copy))
    assert not (tmp_path / "artifact").exists()


def test_empty_split(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    (dataset_copy / split_file_name("test")).write_bytes(b"")
    expect_error(capsys, r"test\.bin: is empty", "fit", "-c", write_config(tmp_path, dataset_copy))


def test_single_class_val_split(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    path = dataset_copy / split_file_name("val")
    records = np.fromfile(path, dtype="<i4").reshape(-1, 40)
    records[:, 0] = 0
    records.tofile(path)
    (dataset_copy / "dataset.json").unlink()
    message = "all 2000 labels of the val split are 0"
    expect_error(capsys, message, "fit", "-c", write_config(tmp_path, dataset_copy))
