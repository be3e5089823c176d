"""Bags drawn from the single ids of this program's own dataset folders."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.batch import ClickBatch, to_batch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, Split
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import ConfigurationError, DataFormatError, DatasetError
from tests.reference import torchrec_days as reference
from tests.support.logs.any_columns import random_records, sizes_of, write_dataset

COLUMNS = Columns(
    "y",
    (
        DenseColumn(name="count"),
        DenseColumn(name="price", type="float", transform="standardize", mean=5.5, deviation=2.25),
        DenseColumn(name="delta", transform="none"),
    ),
    (
        SparseColumn(name="code", kind="hex"),
        SparseColumn(name="user", kind="integer", ids="hash", rows=50),
        SparseColumn(name="page", kind="integer"),
    ),
)
BAGS = (3, 1, 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "own", COLUMNS).path


def opened(folder: Path, **changes: Any) -> DatasetFolder:
    return DatasetFolder.open(folder, stated=StatedTables(None, BAGS, draws=True, **changes))


def expected(split: Split, distribution: str = "uniform") -> tuple[Any, list[Any]]:
    """Return the plain records of a split, and the bags of each table."""
    records = random_records(COLUMNS, 300, SPLITS.index(split))
    tables = reference.lookup_tables(sizes_of(COLUMNS), BAGS, distribution)
    return records, reference.bags_of_day(records[:, COLUMNS.sparse_fields], sizes_of(COLUMNS), tables)


def assert_is(batch: ClickBatch, split: Split, rows: Any, distribution: str = "uniform") -> None:
    records, bags = expected(split, distribution)
    plain = to_batch(records[rows], COLUMNS)
    np.testing.assert_array_equal(batch.dense.numpy(), plain.dense.numpy())
    np.testing.assert_array_equal(batch.known_labels.numpy(), plain.known_labels.numpy())
    assert batch.offsets is not None
    assert batch.indices.tolist() == [index for table in bags for index in table[rows].reshape(-1)]
    assert batch.offsets.tolist() == np.cumsum([0, *np.repeat(BAGS, batch.num_samples)]).tolist()


@pytest.mark.parametrize("isa", ["native", "fallback"])
@pytest.mark.parametrize("distribution", ["uniform", "pareto"])
def test_bags_are_those_of_the_reference(
    folder: Path, isa: str, distribution: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isa == "fallback":
        monkeypatch.setenv("DLRM_PL_ISA", isa)
    dataset = opened(folder, multi_hot_distribution=distribution)
    for split in SPLITS:
        rows = ClickDataset.of_split(dataset, split)
        assert_is(rows[:], split, slice(None), distribution)
        assert_is(rows[np.array([70, 2, 5])], split, [2, 5, 70], distribution)
        part = pickle.loads(pickle.dumps(ClickDataset.of_split(dataset, split, start=9, stop=20, checked=True)))
        assert_is(part[2:], split, slice(11, 20), distribution)


def test_whole_epoch_is_read_by_the_data_module(folder: Path) -> None:
    data = DLRMDataModule(folder, batch_size=64, shuffle="none", multi_hot_sizes=list(BAGS))
    first = next(iter(data.train_dataloader()))
    assert_is(first, "train", slice(0, 64))
    assert [column.bag for column in data.columns.sparse] == list(BAGS)
    single = DLRMDataModule(folder)
    assert data.table_sizes == single.table_sizes
    assert data.dataset_fingerprint != single.dataset_fingerprint
    assert data.certification_checksum() not in ("", single.certification_checksum())
    assert len(set(data.row_identities().values())) == 2


@pytest.mark.parametrize("isa", ["native", "fallback"])
@pytest.mark.parametrize(
    ("field", "value", "message"), [(0, 3, "the label is 3"), (1, -4, "count is -4"), (4, 6, "the index is 6")]
)
def test_a_wrong_value_is_named(
    folder: Path, field: int, value: int, message: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isa == "fallback":
        monkeypatch.setenv("DLRM_PL_ISA", isa)
    opened(folder)
    path = folder / "terabyte_processed_val.bin"
    records = np.fromfile(path, np.int32).reshape(300, -1)
    records[40, field] = value
    records.tofile(path)
    rows = ClickDataset.of_split(opened(folder), "val")
    with pytest.raises(DataFormatError, match=rf"terabyte_processed_val.bin: record 40: .*{message}"):
        rows[30:50]


def test_everything_else_is_that_of_the_folder(folder: Path) -> None:
    dataset, single = opened(folder), DatasetFolder.open(folder)
    assert dataset.verify_checksums() == single.verify_checksums()
    assert dataset.check_samples() == single.check_samples()
    assert dataset.check_split("val") == single.check_split("val")
    dataset.check_dictionaries()
    assert dataset.vocabulary().sizes == single.vocabulary().sizes
    path = folder / "terabyte_processed_val.bin"
    path.write_bytes(path.read_bytes()[:-4] + b"\7\0\0\0")
    with pytest.raises(DataFormatError, match="do not match their checksum"):
        dataset.check_split("val")


def test_bags_of_one_id_draw_nothing(folder: Path) -> None:
    dataset = DatasetFolder.open(folder, stated=StatedTables(None, (1, 1, 1), draws=True))
    assert type(dataset) is DatasetFolder
    assert not (folder / "multi_hot_tables").exists()


def test_a_cap_would_make_other_ids(folder: Path) -> None:
    data = DLRMDataModule(folder, multi_hot_sizes=list(BAGS), max_ind_range=3)
    with pytest.raises(
        ConfigurationError, match="max_ind_range=3 would give ids other than those that the bags were drawn from"
    ):
        data.train_dataloader()


def test_a_model_of_bags_finds_the_tables_or_refuses_the_folder(folder: Path, tmp_path: Path) -> None:
    model = StatedTables.of_model(sizes_of(COLUMNS), opened(folder).columns)
    assert DatasetFolder.open(folder, stated=model).fingerprint == opened(folder).fingerprint
    shutil.copytree(folder, tmp_path / "without", ignore=shutil.ignore_patterns("multi_hot_tables"))
    with pytest.raises(
        DatasetError, match="has single ids, but bags of 3, 1, 20 are expected, and there are no lookup tables"
    ):
        DatasetFolder.open(tmp_path / "without", stated=model)
