"""A dataset's counts and dictionaries suffice to score new logs and to preprocess one new day."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlrm_pl import inspection
from dlrm_pl.data.formats.binary_format import open_records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import DataFormatError
from tests.support.logs.raw_logs import random_lines, read, write_days

LINES = random_lines(301, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    preprocess(write_days(folder / "raw", [LINES, LINES]), folder / "data")
    return folder / "data"


@pytest.fixture
def dictionaries(whole: Path, tmp_path: Path) -> Path:
    """A dataset without its rows."""
    folder = tmp_path / "dictionaries"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.bin", "*.blocks"))
    return folder


def test_a_raw_log_is_scored_by_the_dictionaries_alone(whole: Path, dictionaries: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"\n".join(LINES))
    found = []
    for folder in (whole, dictionaries):
        data = DLRMDataModule(str(folder), predict_raw=str(tmp_path / "new"))
        found.append([batch.indices.tolist() for batch in data.predict_dataloader()])
    assert found[0] == found[1]
    for stage in ("fit", "validate", "test"):
        with pytest.raises(DataFormatError, match=r"terabyte_processed_\w+\.bin: is missing"):
            data.setup(stage)
    with pytest.raises(DataFormatError, match=r"terabyte_processed_train\.bin: is missing"):
        DLRMDataModule(str(dictionaries))


@pytest.mark.parametrize("randomize", ["total", "day", "none"])
def test_one_day_is_enough_with_given_ids(whole: Path, dictionaries: Path, tmp_path: Path, randomize: str) -> None:
    raw = write_days(tmp_path / "raw", [LINES])
    options = PreprocessOptions(vocabulary_from=dictionaries, randomize=randomize)  # type: ignore[arg-type]
    report = preprocess(raw, tmp_path / "out", options)
    assert {name: split.records for name, split in report.folder.splits.items()} == {"val": 150, "test": 151}
    rows = [open_records(tmp_path / "out" / split_file_name(split)).tolist() for split in ("test", "val")]
    assert rows[0] + rows[1] == read(whole)["test"] + read(whole)["val"]  # The same day with the same ids.
    assert not list((tmp_path / "out").glob("*train*"))
    assert report.folder.fingerprint == DatasetFolder.open(whole).fingerprint
    assert "301 rows of 1 day," in str(report)
    assert "train" not in inspection.describe(tmp_path / "out", full=True).replace("day_", "")
    data = DLRMDataModule(str(tmp_path / "out"))
    data.setup("test")
    with pytest.raises(DataFormatError, match=r"out: has no train rows, only val and test\. A single day"):
        data.setup("fit")
    assert preprocess(raw, tmp_path / "out", options).seconds is None


def test_one_day_of_a_file_that_is_cut_into_days(dictionaries: Path, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\n".join(LINES))
    report = preprocess(
        tmp_path / "log", tmp_path / "out", PreprocessOptions(vocabulary_from=dictionaries, layout="kaggle", days=1)
    )
    assert report.rows_by_day == (301,)


def test_one_day_that_is_there_is_still_needed(dictionaries: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="no day files were found; at least 1 are needed"):
        preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(vocabulary_from=dictionaries))
