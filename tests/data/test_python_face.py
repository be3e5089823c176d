"""How users call the data package: paths and integers of any type, checked values, short reprs."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl import (
    ClickDataset,
    DatasetFolder,
    DLRMDataModule,
    PreprocessOptions,
    RowRange,
    preprocess,
    synthesize,
    verify_artifact,
)
from dlrm_pl.errors import ConfigurationError


class Place(os.PathLike[str]):
    """A path that is neither a string nor pathlib's."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __fspath__(self) -> str:
        return self._path


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face") / "logs"
    synthesize(folder, rows=100, days=2, max_table_size=20, format="raw")
    return folder


@pytest.fixture(scope="module")
def clicks(logs: Path) -> Path:
    folder = logs.parent / "clicks"
    preprocess(logs / "day", folder, PreprocessOptions(workers=1))
    return folder


@pytest.mark.parametrize("kind", [str, Path, Place])
def test_paths_of_any_type_are_taken(logs: Path, clicks: Path, tmp_path: Path, kind: Any) -> None:
    synthesize(kind(tmp_path / "made"), rows=100, days=2, max_table_size=20)
    options = PreprocessOptions(vocabulary_from=kind(clicks), workers=1)
    report = preprocess(kind(logs / "day"), kind(tmp_path / "out"), options)
    assert report.rows_by_day == (50, 50)
    folder = DatasetFolder.open(kind(tmp_path / "out"))
    assert len(ClickDataset(kind(folder.split_path("val")), folder.table_sizes)) == 25
    assert DLRMDataModule(kind(clicks)).folder.path == clicks
    stated = json.loads((tmp_path / "out" / "dataset.json").read_text())["preprocess"]["options"]["vocabulary_from"]
    assert stated == str(clicks)


def test_integers_of_numpy_are_taken(logs: Path, clicks: Path, tmp_path: Path) -> None:
    options = PreprocessOptions(seed=np.int64(123), workers=np.int32(1), min_count=np.uint8(1))
    preprocess(logs / "day", tmp_path / "out", options)
    # As when made with Python's integers: a second run with these finds the result complete.
    assert preprocess(logs / "day", tmp_path / "out", PreprocessOptions(workers=1)).seconds is None
    synthesize(tmp_path / "made", rows=np.int64(100), days=np.int8(2), seed=np.int16(3), max_table_size=np.int64(20))
    data = DLRMDataModule(clicks, batch_size=np.int64(7), calibration_rows=np.int32(2))
    assert json.dumps([data.batch_size, data.calibration_rows]) == "[7, 2]"
    assert RowRange("val", np.int64(0), np.int64(5)) == RowRange("val", 0, 5)
    assert len(ClickDataset.of_split(data.folder, "val", start=np.int64(3), stop=np.int64(9))) == 6


@pytest.mark.parametrize(("rows", "size", "batches"), [(25, 10, 3), (20, 10, 2), (1, 10, 1), (0, 10, 0)])
def test_number_of_batches_is_known(clicks: Path, rows: int, size: int, batches: int) -> None:
    dataset = ClickDataset.of_split(DatasetFolder.open(clicks), "val", stop=rows)
    assert len(dataset.batches(size)) == len(list(dataset.batches(size))) == batches


def test_tuning_batches_have_a_length(clicks: Path) -> None:
    data = DLRMDataModule(clicks, eval_batch_size=10)
    assert data.row_ranges["tuning"].stop == 25
    assert [len(data.calibration_dataloader()), len(data.tuning_dataloader())] == [1, 3]


def test_reprs_take_a_line(clicks: Path) -> None:
    folder = DatasetFolder.open(clicks)
    dataset = ClickDataset.of_split(folder, "test", start=5)
    path = folder.split_path("test")
    assert repr(folder) == f"DatasetFolder('{clicks}', train=50, val=25, test=25, tables=26)"
    assert repr(DLRMDataModule(clicks)) == f"DLRMDataModule('{clicks}', train=50, val=25, test=25, batch_size=2048)"
    assert repr(dataset) == f"ClickDataset('{path}', start=5, stop=25)"
    assert repr(dataset.batches(7)) == f"Batches({dataset!r}, batch_size=7)"
    assert repr(folder.vocabulary()) == f"Vocabulary(26 tables, {sum(folder.table_sizes)} values)"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": 2.5}, "rows=2.5 must be a whole number"),
        ({"rows": "many"}, "rows='many' must be a whole number"),
        ({"days": True}, "days=True must be a whole number"),
        ({"label_rate": "0.1"}, "label_rate='0.1' must be a number"),
        ({"format": "tsv"}, "format='tsv' must be one of 'dataset', 'raw', 'csv', 'parquet'"),
        ({"max_table_size": "all"}, "max_table_size='all' must be a whole number or None"),
    ],
)
def test_wrong_arguments_of_synthesize_are_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        synthesize(tmp_path / "out", **values)
    with pytest.raises(ConfigurationError, match="output=5 must be a path"):
        synthesize(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("train", 5, 3), r"train\[5:3\]: start must be between 0 and stop"),
        (("train", -1, 3), r"train\[-1:3\]"),
        (("all", 0, 3), "split='all' must be one of 'train', 'val', 'test'"),
        (("val", 0, 3.5), "stop=3.5 must be a whole number"),
    ],
)
def test_wrong_row_ranges_are_refused(values: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RowRange(*values)


def test_dataset_for_another_number_of_tables_is_refused(clicks: Path) -> None:
    with pytest.raises(ConfigurationError, match="table_sizes has 2 sizes, but a record has 26 tables"):
        ClickDataset(DatasetFolder.open(clicks).split_path("val"), [3, 4])


@pytest.mark.parametrize(
    ("values", "message"),
    [({"options": {}}, r"options=\{\} must be a PreprocessOptions"), ({"raw": 3}, "raw=3 must be a path")],
)
def test_wrong_arguments_of_preprocess_are_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        preprocess(**({"raw": tmp_path / "day", "output": tmp_path / "out"} | values))


def test_a_loader_says_how_much_it_loads(clicks: Path) -> None:
    data = DLRMDataModule(clicks, batch_size=10)
    data.setup("fit")
    assert repr(data.train_dataloader()) == "ClickLoader(5 batches, num_workers=0)"


@pytest.mark.parametrize("function", [preprocess, synthesize, verify_artifact])
def test_progress_is_optional(function: Any) -> None:
    assert inspect.signature(function).parameters["progress"].default is None
