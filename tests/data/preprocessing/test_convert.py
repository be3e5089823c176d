"""The files that the reference's preprocessing writes become the same dataset as the raw logs."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, open_records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DESCRIPTION_NAME, DatasetFolder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.upstream import convert
from dlrm_pl.data.preprocessing.upstream.arrays import UpstreamArrays
from dlrm_pl.errors import ConfigurationError, DataFormatError
from tests.support.logs.raw_logs import contents, random_lines, write_days

DENSE, SPARSE = Columns.criteo().dense_fields, Columns.criteo().sparse_fields

ROWS = (700, 1, 400, 301)
CAP = 1000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """The dataset made from the logs in their order."""
    folder = tmp_path_factory.mktemp("logs")
    raw = write_days(folder / "raw", [random_lines(rows, seed) for seed, rows in enumerate(ROWS)])
    return preprocess(raw, folder / "out", PreprocessOptions(randomize="none", max_ind_range=CAP)).folder


def in_order(dataset: DatasetFolder) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return all records in the order of the logs."""
    return np.concatenate([open_records(dataset.split_path(split)) for split in ("train", "test", "val")])


def save_as_reference(path: Path, records: np.ndarray[Any, Any], **more: Any) -> None:
    """Save as data_utils.py does: compressed float64, with transposed categories, so in Fortran order."""
    cat = np.transpose(np.ascontiguousarray(records[:, SPARSE].T.astype(np.float64)))
    arrays = {"X_cat": cat, "X_int": records[:, DENSE].astype(np.float64), "y": records[:, 0].astype(np.float64)}
    np.savez_compressed(path, **(arrays | more))


def copy_vocabulary(dataset: DatasetFolder, folder: Path, stem: str = "day") -> None:
    """Copy counts and dictionaries under the reference's names."""
    shutil.copy(dataset.path / "day_fea_count.npz", folder / f"{stem}_fea_count.npz")
    for table in range(Columns.criteo().num_sparse):
        shutil.copy(dataset.path / f"day_fea_dict_{table}.npz", folder / f"{stem}_fea_dict_{table}.npz")


@pytest.fixture
def reordered(dataset: DatasetFolder, tmp_path: Path) -> Path:
    """Write a file for each day; returns the prefix."""
    folder = tmp_path / "reference"
    folder.mkdir()
    copy_vocabulary(dataset, folder)
    for day, records in enumerate(np.split(in_order(dataset), np.cumsum(ROWS)[:-1])):
        save_as_reference(folder / f"day_{day}_reordered.npz", records)
    return folder / "day"


@pytest.fixture
def processed(dataset: DatasetFolder, tmp_path: Path) -> Path:
    """Write one file with all days."""
    folder = tmp_path / "processed"
    folder.mkdir()
    copy_vocabulary(dataset, folder)
    np.savez_compressed(folder / "day_day_count.npz", total_per_file=np.array(ROWS))
    save_as_reference(folder / "terabyte_processed.npz", in_order(dataset), counts=np.array(dataset.table_sizes))
    return folder / "terabyte_processed.npz"


@pytest.fixture
def binaries(dataset: DatasetFolder, tmp_path: Path) -> Path:
    """Make the folder of an MLPerf run."""
    folder = tmp_path / "binaries"
    folder.mkdir()
    copy_vocabulary(dataset, folder)
    for split in SPLITS:
        shutil.copy(dataset.split_path(split), folder / f"terabyte_processed_{split}.bin")
    return folder


def same(made: Path, dataset: DatasetFolder) -> bool:
    """Tell whether two datasets are equal, except for how their descriptions say they were made."""
    return {**contents(made), DESCRIPTION_NAME: b""} == {**contents(dataset.path), DESCRIPTION_NAME: b""}


@pytest.mark.parametrize("form", ["reordered", "processed", "binaries"])
def test_each_form_becomes_the_dataset_of_the_logs(
    form: str, request: pytest.FixtureRequest, dataset: DatasetFolder, tmp_path: Path
) -> None:
    options = PreprocessOptions(max_ind_range=CAP)
    report = preprocess(request.getfixturevalue(form), tmp_path / "out", options)
    made = report.folder
    assert same(made.path, dataset)
    assert (made.fingerprint, made.splits, made.max_ind_range) == (dataset.fingerprint, dataset.splits, CAP)
    made.verify_checksums()
    # Missing values are 0 in these files, so the share of 0 includes both.
    records = in_order(dataset)
    zeros = sorted(((records[:, DENSE] == 0).mean(axis=0)), reverse=True)[:10]
    shares = made.report["largest_shares"]
    assert [share["share"] for share in shares] == pytest.approx(zeros, abs=1e-6)
    assert {(share["column"][0], share["value"]) for share in shares} == {("I", "0 or missing")}
    assert made.report["uncounted_columns"] == 26
    assert made.report["missing_rates"] == {}
    assert "unknown" in str(report)
    assert not list(tmp_path.glob(".out*")), "something temporary is left"
    assert preprocess(request.getfixturevalue(form), tmp_path / "out", options).seconds is None


def test_a_file_of_a_day_stands_for_all_days(reordered: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    (reordered.parent / "day_0").write_text("The raw log is here as well, and would be taken for `day`.")
    first = reordered.with_name("day_0_reordered.npz")
    preprocess(first, tmp_path / "out", PreprocessOptions(max_ind_range=CAP))
    assert same(tmp_path / "out", dataset)


def test_kaggle_is_cut_into_equal_days(dataset: DatasetFolder, tmp_path: Path) -> None:
    records = in_order(dataset)
    path = tmp_path / "kaggleAdDisplayChallenge_processed.npz"
    save_as_reference(path, records, counts=np.array(dataset.table_sizes), X_int=records[:, DENSE], y=records[:, 0])
    made = preprocess(path, tmp_path / "out", PreprocessOptions(layout="kaggle")).folder
    last = len(records) // 7
    rows = {name: split.records for name, split in made.splits.items()}
    assert rows == {"train": len(records) - last, "test": last - last // 2, "val": last // 2}
    assert made.table_sizes == dataset.table_sizes
    with pytest.raises(DataFormatError, match=r"day_fea_dict_0.npz: is missing"):
        Vocabulary.load(made.path)


def test_binary_files_are_not_copied(binaries: Path, tmp_path: Path) -> None:
    made = preprocess(binaries, tmp_path / "out", PreprocessOptions(max_ind_range=CAP)).folder
    source = binaries / split_file_name("train")
    assert made.split_path("train").samefile(source)
    assert source.stat().st_nlink == 2


def test_binary_files_are_copied_where_links_cannot_be(
    binaries: Path, dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(convert.os, "link", link)
    made = preprocess(binaries, tmp_path / "out", PreprocessOptions(max_ind_range=CAP)).folder
    assert same(made.path, dataset)
    assert not made.split_path("train").samefile(binaries / split_file_name("train"))


class Killed(BaseException):
    """A stand-in for a signal that kills the process."""


@pytest.mark.parametrize("stop_at", [1, 350, 701, 1102, 1401])
def test_a_killed_conversion_goes_on(
    reordered: Path,
    dataset: DatasetFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stop_at: int,
) -> None:
    options = PreprocessOptions(max_ind_range=CAP, checkpoint_bytes=100 * 160)
    monkeypatch.setattr(convert, "_BLOCK_ROWS", 37)
    done = 0
    real = UpstreamArrays.records

    def records(self: UpstreamArrays, first: int, stop: int, sizes: tuple[int, ...]) -> Any:
        nonlocal done
        done += stop - first
        if done > stop_at:
            raise Killed
        return real(self, first, stop, sizes)

    with monkeypatch.context() as patch:
        patch.setattr(UpstreamArrays, "records", records)
        with pytest.raises(Killed):
            preprocess(reordered, tmp_path / "out", options)
    work = CheckpointFolder(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (work.load() is not None) == (stop_at > 100)
    with caplog.at_level(logging.INFO):
        preprocess(reordered, tmp_path / "out", options)
    assert ("resuming an interrupted run" in caplog.text) == (stop_at > 100)
    assert same(tmp_path / "out", dataset)
    assert not list(tmp_path.glob(".out*"))


def changed(values: np.ndarray[Any, Any], place: Any, value: float) -> np.ndarray[Any, Any]:
    """Return a copy with one value replaced."""
    copy = values.astype(np.float64)
    copy[place] = value
    return copy


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (lambda r: {"X_cat": changed(r[:, SPARSE], (7, 3), 1e6)}, r"day_2_reordered.npz: X_cat\[7, 3\] is 1000000.0"),
        (lambda r: {"X_cat": changed(r[:, SPARSE], (7, 3), -1)}, r"X_cat\[7, 3\] is -1"),
        (lambda r: {"X_int": changed(r[:, DENSE], (0, 12), np.nan)}, r"X_int\[0, 12\] is nan"),
        (lambda r: {"X_int": changed(r[:, DENSE], (0, 12), 2.0**31)}, r"X_int\[0, 12\] is 2147483648"),
        (lambda r: {"X_int": changed(r[:, DENSE], (0, 12), 0.5)}, r"X_int\[0, 12\] is 0.5"),
        (lambda r: {"y": changed(r[:, 0], 9, 2)}, r"y\[9, 0\] is 2"),
        (lambda r: {"y": r[:-1, 0]}, "X_cat is float64"),
        (lambda r: {"X_int": r[:, :12]}, "X_int is int32"),
        (lambda r: {"X_int": r[:, DENSE].astype(object)}, "X_int is object"),
        (lambda r: {"X_int": r[:, DENSE].astype("U9")}, "X_int is <U9"),
    ],
)
def test_wrong_arrays_are_named(
    reordered: Path, dataset: DatasetFolder, tmp_path: Path, arrays: Callable[[Any], dict[str, Any]], message: str
) -> None:
    records = in_order(dataset)[701:1101]
    save_as_reference(reordered.with_name("day_2_reordered.npz"), records, **arrays(records))
    with pytest.raises(DataFormatError, match=message):
        preprocess(reordered, tmp_path / "out", PreprocessOptions(max_ind_range=CAP))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_damaged_files_are_named(reordered: Path, tmp_path: Path) -> None:
    path = reordered.with_name("day_2_reordered.npz")
    whole = path.read_bytes()
    sizes = [0, 3, 30, 100, len(whole) // 2, len(whole) - 1]
    for damaged in [whole[:size] for size in sizes] + [whole[:5000] + b"damage" + whole[5006:]]:
        path.write_bytes(damaged)
        with pytest.raises(DataFormatError, match=r"day_2_reordered.npz: is corrupt or not an .npz file"):
            preprocess(reordered, tmp_path / "out", PreprocessOptions(max_ind_range=CAP))
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".out*"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X_cat.npy", b"x")
    with pytest.raises(DataFormatError, match="is corrupt"):
        preprocess(reordered, tmp_path / "out")
    path.unlink()
    with pytest.raises(DataFormatError, match=r"day_2_reordered.npz: is missing"):
        preprocess(reordered, tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [
        PreprocessOptions(subsample_rate=0.5),
        PreprocessOptions(randomize="total"),
        PreprocessOptions(vocabulary="train_only"),
        PreprocessOptions(vocabulary="train_only", min_count=2),
        PreprocessOptions(bad_rows=0.1),
    ],
)
def test_options_that_need_the_logs_are_refused(reordered: Path, tmp_path: Path, options: PreprocessOptions) -> None:
    with pytest.raises(ConfigurationError, match="needs the raw logs"):
        preprocess(reordered, tmp_path / "out", options)


def test_a_given_vocabulary_needs_the_logs(reordered: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs the raw logs"):
        preprocess(reordered, tmp_path / "out", PreprocessOptions(vocabulary_from=dataset.path))


def test_files_that_do_not_fit_together_are_named(
    reordered: Path, processed: Path, binaries: Path, dataset: DatasetFolder, tmp_path: Path
) -> None:
    out, options = tmp_path / "out", PreprocessOptions(max_ind_range=CAP)

    def refused(raw: Path, message: str, options: PreprocessOptions = options) -> None:
        with pytest.raises(DataFormatError, match=message):
            preprocess(raw, out, options)
        assert not out.exists()
        assert not list(tmp_path.glob(".out*"))

    refused(reordered, "so max_ind_range was not 10", PreprocessOptions(max_ind_range=10))
    np.savez_compressed(processed.with_name("day_day_count.npz"), total_per_file=np.array(ROWS) * 2)
    refused(processed, "has 1,402 rows, but the days of .*day_day_count.npz have 2,804")
    processed.with_name("day_day_count.npz").unlink()
    refused(processed, r"\*_day_count.npz: expected exactly one such upstream file")
    values = dataset.table_sizes[3]
    np.savez(reordered.with_name("day_fea_dict_3.npz"), unique=np.arange(values - 1))
    refused(reordered, f"table 3 has {values - 1} values here and {values} rows in the counts")
    reordered.with_name("day_fea_dict_3.npz").unlink()
    refused(reordered, r"day_fea_dict_3.npz: is missing, but others")
    test = binaries / split_file_name("test")
    records = np.fromfile(test, np.int32).reshape(-1, 40)
    records[5, 16] = dataset.table_sizes[2]
    records.tofile(test)
    refused(
        binaries,
        rf"test.bin: record 5: table 2 is {dataset.table_sizes[2]}, but must be 0 to {dataset.table_sizes[2] - 1}",
    )
    test.write_bytes(test.read_bytes()[:-1])
    refused(binaries, "not a whole number")
    refused(tmp_path / "reference", r"0 files \*_train.bin; expected one")
