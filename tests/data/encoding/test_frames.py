"""Frames with raw values become batches, by the vocabulary of a dataset or an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.encoding.encoders import encoder_of
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.lookup.hashing import hashed_ids
from dlrm_pl.errors import ConfigurationError, DataFormatError, DatasetError
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.logs.raw_values import COLUMNS, TABLES, VALUES, write_folder

USERS = hashed_ids(np.array([12, 0, -12]), 50).tolist()
DENSE = [[np.log(np.float32(4)), 0.5, -5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 7.0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return write_folder(tmp_path_factory.mktemp("frames") / "data")


def frames(values: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        "dict": values,
        "arrow": pa.table(values),
        "pandas": pd.DataFrame(values).astype({"age": "Int64", "delta": "Int64", "user": "Int64"}),
        "polars": pl.DataFrame(values, strict=False),
    }


@pytest.mark.parametrize("kind", ["dict", "arrow", "pandas", "polars"])
def test_raw_values_get_the_ids_of_the_dictionaries(folder: DatasetFolder, kind: str) -> None:
    batch = ClickBatch.from_frame(frames(VALUES)[kind], folder)
    torch.testing.assert_close(batch.dense, torch.tensor(DENSE, dtype=torch.float32), rtol=0, atol=0)
    assert batch.offsets is not None
    # The codes 7 % 5 and 255 % 5 are not in their table, so they are scored as missing.
    expected = [1, 2, 2, 1, 0, USERS[0], 0, USERS[2], 1, 1, 1]
    assert batch.indices.tolist() == expected
    assert batch.offsets.tolist() == [0, 1, 2, 3, 5, 5, 5, 6, 7, 8, 9, 10, 11]
    assert batch.labels is None


def test_labels_are_read_where_the_frame_has_them(folder: DatasetFolder) -> None:
    batch = ClickBatch.from_frame(VALUES | {"click": [1, 0, 1]}, folder)
    assert batch.known_labels.tolist() == [1.0, 0.0, 1.0]


def test_null_labels_are_no_rows_without_a_click(folder: DatasetFolder) -> None:
    assert ClickBatch.from_frame(VALUES | {"click": [None] * 3}, folder).labels is None
    with pytest.raises(DataFormatError, match=r"row 1 .*column click is null"):
        ClickBatch.from_frame(VALUES | {"click": [True, None, False]}, folder)


def test_what_unseen_values_are_scored_as_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """City has a row for missing values, tags has none, and code has a row of its own for unseen values."""
    tables = [*TABLES[:-1], [-1, 7, 0]]
    made = write_folder(tmp_path / "data", tables=tables)
    ClickBatch.from_frame(VALUES | {"tags": [["hot", "sale"], None, ["cold"]]}, made)
    (record,) = caplog.records
    assert record.getMessage().split("; ") == [
        "1 category value is not in the vocabulary (code), scored as the row for unseen values",
        "1 category value is not in the vocabulary (city), scored as missing",
        "2 category values are not in the vocabulary (tags), scored as tags='new', since the dictionary has no row for "
        "unseen values",
        "preprocess with --vocabulary train_only to get one",
    ]


def test_path_of_a_folder_and_its_encoder_give_the_same(folder: DatasetFolder) -> None:
    expected = ClickBatch.from_frame(VALUES, folder)
    for source in (folder.path, str(folder.path), folder.encoder):
        assert torch.equal(ClickBatch.from_frame(VALUES, source).indices, expected.indices)


def test_what_has_no_vocabulary_is_named(folder: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="source=5 must be a DatasetFolder, an Artifact"):
        ClickBatch.from_frame(VALUES, 5)
    with pytest.raises(DatasetError, match="there is no such dataset folder"):
        ClickBatch.from_frame(VALUES, tmp_path / "none")
    with pytest.raises(ConfigurationError, match="num_dense and num_sparse are for frames of ids"):
        ClickBatch.from_frame(VALUES, folder, num_dense=3)


def test_value_that_does_not_fit_is_named(folder: DatasetFolder) -> None:
    with pytest.raises(DataFormatError, match="tags"):
        ClickBatch.from_frame(VALUES | {"tags": [["a"] * 4, [], []]}, folder)
    cut = ClickBatch.from_frame(VALUES | {"tags": [["new"] * 4, [], []]}, folder, truncate_lists=True)
    assert cut.indices[3:6].tolist() == [0, 0, 0]
    with pytest.raises(DataFormatError, match="has no column city"):
        ClickBatch.from_frame({name: values for name, values in VALUES.items() if name != "city"}, folder)


def test_dictionary_that_was_changed_is_not_used(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "data").path
    np.savez(path / "day_fea_dict_3.npz", unique=np.array([8, 0]))
    with pytest.raises(DataFormatError, match=r"day_fea_dict_3\.npz changed after the dataset was written"):
        encoder_of(path)


def test_arrays_go_through_the_transforms_of_the_columns() -> None:
    dense = np.array([[3, 4.0, -5], [np.nan, np.nan, np.nan], [-2, 2.0, 7]])
    batch = ClickBatch.from_arrays(dense, np.zeros((3, 4), np.int64), columns=COLUMNS)
    torch.testing.assert_close(batch.dense, torch.tensor(DENSE, dtype=torch.float32), rtol=0, atol=0)


def test_models_score_frames_of_raw_values_only_with_a_vocabulary() -> None:
    hashed = Columns("y", COLUMNS.dense, COLUMNS.sparse[2:3])
    module = DLRMModule([50], embedding_dim=2, bottom_mlp=[0, 2], top_mlp=[1], columns=hashed).eval()
    frame = {name: VALUES[name] for name in ("age", "price", "delta", "user")}
    dense = np.array([[3, 4.0, -5], [np.nan, np.nan, np.nan], [-2, 2.0, 7]])
    expected = module.predict((dense, np.array([[USERS[0]], [0], [USERS[2]]])))
    np.testing.assert_array_equal(module.predict(frame), expected)
    np.testing.assert_array_equal(module.predict(pa.table(frame), batch_size=2), expected)
    with pytest.raises(ConfigurationError, match="no column 'I1'"):
        module.predict(frame, raw=False)
    other = DLRMModule([50, 3], embedding_dim=2, bottom_mlp=[3, 2], top_mlp=[1])
    with pytest.raises(ConfigurationError, match=r"this model has no vocabulary.*from_frame\(frame, folder\)"):
        other.predict(frame, raw=True)
