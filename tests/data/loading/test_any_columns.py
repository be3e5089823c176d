"""Batches of any columns against a slow reference: transforms, lists, checks, workers, shuffles and shares."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.batch import ClickBatch, first_samples, to_batch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.record_checks import RecordChecks
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.resumable_loader import ClickLoader
from dlrm_pl.data.loading.sampling import EpochSampler, Shuffle
from dlrm_pl.errors import ConfigurationError, DataFormatError
from tests.reference import batches as reference
from tests.support.examples import examples
from tests.support.logs.any_columns import MIXED, any_columns, random_records, sizes_of, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return write_dataset(tmp_path_factory.mktemp("any") / "mixed", MIXED)


def bags_of(batch: ClickBatch, tables: int) -> list[list[list[int]]]:
    """Return the ids of each table's bag in each row."""
    rows = batch.num_samples
    if batch.offsets is None:
        return [[[int(index)] for index in batch.indices[:, row]] for row in range(rows)]
    bounds = batch.offsets.tolist()
    ids = batch.indices.tolist()
    return [[ids[bounds[t * rows + b] : bounds[t * rows + b + 1]] for t in range(tables)] for b in range(rows)]


def assert_is_of(batch: ClickBatch, records: np.ndarray, columns: Columns) -> None:
    stated = asdict(columns)
    dense = [
        [
            reference.dense_input(column, field)
            for column, field in zip(stated["dense"], record[1 : 1 + columns.num_dense], strict=True)
        ]
        for record in records.tolist()
    ]
    # float32 has 24 bits: the logarithm of a sum of two float32 is off by a few units in the last place.
    torch.testing.assert_close(batch.dense, torch.tensor(np.array(dense)), rtol=1e-6, atol=2e-7)
    assert batch.known_labels.tolist() == records[:, 0].tolist()
    bags = [reference.bags(stated["sparse"], record[1 + columns.num_dense :]) for record in records.tolist()]
    indices, offsets = reference.lookups(bags)
    if columns.is_one_hot:
        assert batch.offsets is None
        assert batch.indices.is_contiguous()
        assert batch.indices.flatten().tolist() == indices
    else:
        assert batch.offsets is not None
        assert (batch.indices.tolist(), batch.offsets.tolist()) == (indices, offsets)
    assert {batch.indices.dtype, torch.int64} == {torch.int64}


@settings(deadline=None, max_examples=examples(100))
@given(columns=any_columns(), rows=st.integers(1, 9), seed=st.integers(0, 99))
def test_batch_is_what_the_reference_makes_of_each_record(columns: Columns, rows: int, seed: int) -> None:
    records = random_records(columns, rows, seed)
    before = records.copy()
    batch = to_batch(records, columns)
    assert_is_of(batch, records, columns)
    np.testing.assert_array_equal(records, before)
    assert_is_of(first_samples(batch, rows // 2 + 1), records[: rows // 2 + 1], columns)


@settings(deadline=None, max_examples=examples(100))
@given(data=st.data(), columns=any_columns())
def test_any_value_that_preprocessing_never_writes_is_found(data: st.DataObject, columns: Columns) -> None:
    records = random_records(columns, 5, data.draw(st.integers(0, 9)))
    row, field = data.draw(st.integers(0, 4)), data.draw(st.integers(0, columns.record_ints - 1))
    bits = [int(np.float32(value).view(np.int32)) for value in (np.nan, np.inf, -np.inf, -1.5)]
    records[row, field] = data.draw(st.sampled_from([-2, -1, 0, 1, 2, 5, 6, 8, 9, 2**31 - 1, -(2**31), *bits]))
    sizes = sizes_of(columns)
    expected = [reference.fault(asdict(columns), sizes, record) for record in records.tolist()]
    assert set(expected) - {expected[row]} <= {""}
    checks = RecordChecks(Path("x.bin"), columns, sizes)
    if not expected[row]:
        checks.check(records, range(100, 105))
        return
    with pytest.raises(DataFormatError, match=rf"^x\.bin: record {100 + row}: .*\b{expected[row]}\b"):
        checks.check(records, range(100, 105))


def change(field: int, value: int) -> np.ndarray:
    records = random_records(MIXED, 3)
    records[1, field] = value
    return records


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (0, 2, "the label is 2, but must be 0 or 1"),
        (1, -5, "dense field age is -5, but must not be negative"),
        (2, 0x7FC00000, "dense field price is nan, but must be a finite number"),
        (4, 0x7F800000, "dense field weight is inf, but must be a finite number"),
        (6, 6, "table 0 (code) has 6 rows, but the index is 6"),
        (6, -1, "table 0 (code) has 6 rows, but the index is -1"),
        (7, -1, "the list of tags is [-1, "),
        (11, -1, "table 2 (pair) has 6 rows, but the index is -1"),
        (13, 50, "table 3 (user) has 50 rows, but the index is 50"),
    ],
)
def test_a_wrong_value_is_named(field: int, value: int, message: str) -> None:
    records = random_records(MIXED, 3)
    records[1, MIXED.table_fields[1]] = 1
    records[1, field] = value
    with pytest.raises(DataFormatError, match=re.escape(f"x.bin: record 8: {message}")):
        RecordChecks(Path("x.bin"), MIXED, sizes_of(MIXED)).check(records, range(7, 10))


def test_rows_of_a_folder_are_read_by_its_columns(folder: DatasetFolder) -> None:
    rows = ClickDataset.of_split(folder, "val", start=10, checked=True)
    records = random_records(MIXED, 300, seed=1)[10:]
    assert len(rows) == 290
    assert_is_of(rows[3:40], records[3:40], MIXED)
    assert_is_of(rows[np.array([70, 2, 5])], records[[2, 5, 70]], MIXED)
    empty = rows[5:5]
    assert (empty.num_samples, empty.indices.numel(), empty.offsets.tolist()) == (0, 0, [0])
    assert_is_of(pickle.loads(pickle.dumps(rows))[0:4], records[:4], MIXED)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", ["none", "batch", "row"])
def test_workers_and_shuffles_lose_no_row(folder: DatasetFolder, workers: int, shuffle: Shuffle) -> None:
    rows = ClickDataset.of_split(folder, "train")
    seen: Counter[str] = Counter()
    for rank in range(2):
        sampler = EpochSampler(len(rows), 32, shuffle, seed=3, rank=rank, world_size=2)
        for batch in ClickLoader(rows, sampler, workers):
            seen.update(keys_of(batch))
    assert seen == Counter(keys_of(to_batch(random_records(MIXED, 300), MIXED)))


def keys_of(batch: ClickBatch) -> list[str]:
    """Return values that identify rows."""
    bags = bags_of(batch, MIXED.num_sparse)
    return [repr(row) for row in zip(batch.dense.tolist(), bags, batch.known_labels.tolist(), strict=True)]


def test_data_module_gives_the_three_sets_of_rows(folder: DatasetFolder) -> None:
    data = DLRMDataModule(folder.path, eval_batch_size=100, calibration_rows=25)
    assert (data.columns, data.num_dense, data.table_sizes) == (MIXED, 5, [6, 6, 6, 50, 7])
    val, test = random_records(MIXED, 300, seed=1), random_records(MIXED, 300, seed=2)
    for batches, records in (
        (data.calibration_dataloader(), val[:25]),
        (data.tuning_dataloader(), val[25:]),
        (data.certification_dataloader(), test),
    ):
        start = 0
        for batch in batches:
            assert_is_of(batch, records[start : start + batch.num_samples], MIXED)
            start += batch.num_samples
        assert start == len(records)
    identities = data.row_identities()
    assert len({*identities.values(), data.certification_checksum()}) == 3


def test_cap_is_for_hex_columns_with_a_vocabulary_alone(folder: DatasetFolder) -> None:
    data = DLRMDataModule(folder.path, max_ind_range=4)
    assert data.table_sizes == [4, 6, 6, 50, 7]
    batch = next(iter(data.val_dataloader()))
    plain = to_batch(random_records(MIXED, 300, seed=1), MIXED)
    bags = bags_of(plain, MIXED.num_sparse)
    assert bags_of(batch, MIXED.num_sparse) == [[[row[0][0] % 4], *row[1:]] for row in bags]


def test_absent_elements_of_a_capped_list_stay_absent(tmp_path: Path) -> None:
    (dense,) = MIXED.dense[:1]
    columns = Columns("y", (dense,), (SparseColumn(name="codes", kind="hex", at_most=3),))
    rows = ClickDataset.of_split(write_dataset(tmp_path, columns), "train", max_ind_range=2)
    records = random_records(columns, 300)
    records[:, 2:] = np.where(records[:, 2:] < 0, -1, records[:, 2:] % 2)
    assert_is_of(rows[0:300], records, columns)


def test_number_of_tables_must_be_that_of_the_columns(folder: DatasetFolder) -> None:
    with pytest.raises(ConfigurationError, match="table_sizes has 26 sizes, but a record has 5 tables"):
        ClickDataset(folder.split_path("val"), [3] * 26, columns=MIXED)


def test_columns_need_the_numbers_of_their_transforms(folder: DatasetFolder) -> None:
    price = DenseColumn(name="price", type="float", transform="standardize")
    columns = replace(MIXED, dense=(MIXED.dense[0], price, *MIXED.dense[2:]))
    with pytest.raises(ConfigurationError, match="Column price: mean and deviation of transform=standardize"):
        ClickDataset(folder.split_path("val"), sizes_of(MIXED), columns=columns)


def test_file_of_other_columns_is_no_whole_number_of_records(folder: DatasetFolder) -> None:
    # 300 records of 17 values are not a whole number of Criteo's records of 40.
    with pytest.raises(DataFormatError, match="20400 bytes is not a whole number of 160-byte records"):
        ClickDataset(folder.split_path("val"), [3] * 26)
