"""Days in TorchRec's format as a dataset: single ids, stored bags, and drawn bags."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.binary_format import SPLITS, Split
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.resumable_loader import ClickLoader
from dlrm_pl.data.loading.sampling import EpochSampler, Shuffle
from dlrm_pl.errors import ConfigurationError, DataFormatError
from tests.reference import torchrec_days as reference
from tests.support.logs.days import BAGS, ROWS, SIZES, DaysWritten, write_days

KINDS = ["single", "stored", "uniform", "pareto"]


def made(folder: Path, kind: str) -> tuple[DaysWritten, StatedTables]:
    written = write_days(folder, bags=BAGS if kind == "stored" else None)
    if kind == "single":
        return written, StatedTables(SIZES, draws=True)
    distribution: Any = None if kind == "stored" else kind
    return written, StatedTables(SIZES, BAGS, distribution, draws=True)


def expected_bags(written: DaysWritten, kind: str) -> list[list[Any]]:
    """Return the bags of each day and table."""
    if kind == "stored":
        return written.bags
    if kind == "single":
        return [[ids[:, table : table + 1] % size for table, size in enumerate(SIZES)] for ids in written.ids]
    tables = reference.lookup_tables(SIZES, BAGS, kind)
    return [reference.bags_of_day(ids, SIZES, tables) for ids in written.ids]


def assert_is(batch: ClickBatch, written: DaysWritten, bags: list[list[Any]], rows: list[tuple[int, int]]) -> None:
    np.testing.assert_array_equal(batch.dense.numpy(), [written.dense[day][row] for day, row in rows])
    assert batch.known_labels.tolist() == [float(written.labels[day][row, 0]) for day, row in rows]
    of_tables = [[bags[day][table][row].tolist() for day, row in rows] for table in range(len(SIZES))]
    assert batch.indices.dtype == torch.int64
    assert batch.indices.flatten().tolist() == [index for table in of_tables for bag in table for index in bag]
    if batch.offsets is None:
        assert batch.indices.shape == (len(SIZES), len(rows))
    else:
        lengths = [len(bag) for table in of_tables for bag in table]
        assert batch.offsets.tolist() == [0, *np.cumsum(lengths).tolist()]


@pytest.mark.parametrize("isa", ["native", "fallback"])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_have_the_rows_of_each_split(
    tmp_path: Path, kind: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isa == "fallback":
        monkeypatch.setenv("DLRM_PL_ISA", isa)
    written, stated = made(tmp_path, kind)
    folder, bags = DatasetFolder.open(tmp_path, stated=stated), expected_bags(written, kind)
    assert folder.table_sizes == SIZES
    assert [column.bag for column in folder.columns.sparse] == [1] * len(SIZES) if kind == "single" else list(BAGS)
    for split in SPLITS:
        rows, places = ClickDataset.of_split(folder, split), reference.split_of(ROWS, split)
        assert len(rows) == folder.splits[split].records == len(places)
        assert folder.splits[split].positives == sum(int(written.labels[day][row, 0]) for day, row in places)
        assert_is(rows[:], written, bags, places)
        assert_is(rows[3:9], written, bags, places[3:9])
        chosen = [5, 0, 11, 3]
        assert_is(rows[np.array(chosen)], written, bags, [places[row] for row in sorted(chosen)])
        part = ClickDataset.of_split(folder, split, start=2, stop=12)
        assert_is(part[4:30], written, bags, places[6:12])
        assert_is(pickle.loads(pickle.dumps(part))[0:2], written, bags, places[2:4])
        assert rows[7:7].num_samples == 0


@pytest.mark.parametrize("kind", KINDS)
def test_native_code_gives_the_bits_of_numpy(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, stated = made(tmp_path, kind)
    folder = DatasetFolder.open(tmp_path, stated=stated)
    rng = np.random.default_rng(4)
    selections: list[Any] = [slice(0, 71), slice(29, 33), rng.integers(0, 71, 50), np.empty(0, np.int64)]
    native = ClickDataset.of_split(folder, "train").read(selections)
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    for one, other in zip(native, ClickDataset.of_split(folder, "train").read(selections), strict=True):
        assert [None if value is None else value.numpy().tobytes() for value in one] == [
            None if value is None else value.numpy().tobytes() for value in other
        ]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", ["none", "batch", "row"])
def test_workers_and_shuffles_lose_no_row(tmp_path: Path, workers: int, shuffle: Shuffle) -> None:
    _, stated = made(tmp_path, "uniform")
    rows = ClickDataset.of_split(DatasetFolder.open(tmp_path, stated=stated), "train")
    seen: Counter[tuple[float, ...]] = Counter()
    for rank in range(2):
        sampler = EpochSampler(len(rows), 8, shuffle, seed=3, rank=rank, world_size=2)
        for batch in ClickLoader(rows, sampler, workers):
            seen.update(map(tuple, batch.dense.tolist()))
    assert seen == Counter(map(tuple, rows[:].dense.tolist()))


@pytest.mark.parametrize("shuffle", ["batch", "row"])
def test_an_epoch_goes_on_where_it_stopped(tmp_path: Path, shuffle: Shuffle) -> None:
    write_days(tmp_path)

    def module() -> DLRMDataModule:
        return DLRMDataModule(
            tmp_path, batch_size=8, shuffle=shuffle, table_sizes=list(SIZES), multi_hot_sizes=list(BAGS)
        )

    whole = [batch.indices.tolist() for batch in module().train_dataloader()]
    first = module().train_dataloader()
    some = iter(first)
    begun = [next(some).indices.tolist() for _ in range(3)]
    rest = module().train_dataloader()
    rest.load_state_dict(first.state_dict())
    assert begun + [batch.indices.tolist() for batch in rest] == whole


def test_stored_and_drawn_bags_of_the_same_data_are_one_dataset(tmp_path: Path) -> None:
    written = write_days(tmp_path / "single")
    tables = reference.lookup_tables(SIZES, BAGS, "uniform")
    shutil.copytree(tmp_path / "single", tmp_path / "stored", ignore=shutil.ignore_patterns("*_sparse.npy"))
    for day, ids in enumerate(written.ids):
        named = {str(table): bags for table, bags in enumerate(reference.bags_of_day(ids, SIZES, tables))}
        np.savez(tmp_path / "stored" / f"day_{day}_sparse_multi_hot.npz", **named)
    modules = [
        DLRMDataModule(tmp_path / name, table_sizes=list(SIZES), multi_hot_sizes=list(BAGS))
        for name in ("single", "stored")
    ]
    one, other = (
        (data.dataset_fingerprint, data.columns, data.row_identities(), data.certification_checksum())
        for data in modules
    )
    assert one == other


def test_checksum_of_rows_is_that_of_a_file_of_their_records(tmp_path: Path) -> None:
    write_days(tmp_path / "days")
    folder = DatasetFolder.open(tmp_path / "days", stated=StatedTables(SIZES))
    rows = folder.rows("train")
    rows.records(slice(0, 71)).tofile(tmp_path / "train.bin")
    from dlrm_pl.data.formats.binary_rows import BinaryRows

    file = BinaryRows(tmp_path / "train.bin", folder.columns)
    assert rows.checksum(0, 71) == file.checksum(0, 71)
    assert rows.identity(5, 60) == file.identity(5, 60)
    assert rows.checksum(1, 71) != rows.checksum(0, 71)
    assert rows.single_label(0, 71) is None
    labels = rows.records(slice(0, 71))[:, 0]
    for row in range(71):
        assert rows.single_label(row, row + 1) == labels[row]


def test_a_large_range_is_known_by_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlrm_pl.data.formats.torchrec import array_rows

    write_days(tmp_path, [20_000, 10])
    monkeypatch.setattr(array_rows, "MOST_BYTES", 1000)
    rows = DatasetFolder.open(tmp_path, stated=StatedTables(SIZES)).rows("train")
    assert rows.checksum(0, 20_000) == ""
    before = rows.identity(0, 20_000)
    assert before.startswith("sample:")
    assert before == rows.identity(0, 20_000)
    assert before != rows.identity(1, 20_000)


def test_a_single_day_has_val_and_test_alone(tmp_path: Path) -> None:
    write_days(tmp_path, [9])
    data = DLRMDataModule(tmp_path, table_sizes=list(SIZES))
    assert {name: info.records for name, info in data.folder.splits.items()} == {"val": 5, "test": 4}
    with pytest.raises(DataFormatError, match="has no train rows: train consists of all days but the last"):
        data.setup("fit")


@pytest.mark.parametrize("isa", ["native", "fallback"])
@pytest.mark.parametrize(
    ("part", "place", "value", "message"),
    [
        ("labels", (4, 0), 2, "day_1_labels.npy: row 4: the label is 2, but must be 0 or 1"),
        ("dense", (0, 1), np.nan, "day_1_dense.npy: row 0: int_1 is nan, but must be a finite number"),
        ("dense", (8, 2), -np.inf, "day_1_dense.npy: row 8: int_2 is -inf, but must be a finite number"),
        ("sparse", (40, 3), -1, "day_1_sparse.npy: row 40: table 3: the id is -1, but must not be negative"),
    ],
)
def test_a_wrong_value_is_named(
    tmp_path: Path, part: str, place: Any, value: Any, message: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isa == "fallback":
        monkeypatch.setenv("DLRM_PL_ISA", isa)
    write_days(tmp_path)
    path = tmp_path / f"day_1_{part}.npy"
    values = np.load(path)
    values[place] = value
    np.save(path, values)
    rows = ClickDataset.of_split(DatasetFolder.open(tmp_path, stated=StatedTables(SIZES)), "train")
    assert rows[:30].num_samples == 30
    with pytest.raises(DataFormatError, match=message):
        rows[:]
    with pytest.raises(DataFormatError, match=message):
        DatasetFolder.open(tmp_path, stated=StatedTables(SIZES)).verify_checksums()


@pytest.mark.parametrize("value", [-3, SIZES[2]])
def test_an_id_of_a_stored_bag_must_be_in_its_table(tmp_path: Path, value: int) -> None:
    written = write_days(tmp_path, bags=BAGS)
    written.bags[0][2][6, 1] = value
    np.savez(tmp_path / "day_0_sparse_multi_hot.npz", **{str(t): bags for t, bags in enumerate(written.bags[0])})
    rows = ClickDataset.of_split(DatasetFolder.open(tmp_path, stated=StatedTables(SIZES)), "train")
    with pytest.raises(
        DataFormatError, match=f"day_0_sparse_multi_hot.npz: row 6: 2.npy of table 2: the id is {value}"
    ):
        rows[:]


def test_an_id_of_a_lookup_table_must_be_in_its_table(tmp_path: Path) -> None:
    _, stated = made(tmp_path, "uniform")
    DatasetFolder.open(tmp_path, stated=stated)
    path = tmp_path / "multi_hot_tables" / "table_3.npy"
    values = np.load(path)
    values[:, 5] = 11
    np.save(path, values)
    with pytest.raises(
        DataFormatError, match="lookup table 3 contains id 11, but its embedding table has only 11 rows"
    ):
        DatasetFolder.open(tmp_path, stated=stated)


def test_a_file_that_is_changed_meanwhile_is_found(tmp_path: Path) -> None:
    write_days(tmp_path)
    rows = ClickDataset.of_split(DatasetFolder.open(tmp_path, stated=StatedTables(SIZES)), "train")
    write_days(tmp_path, seed=1)
    with pytest.raises(DataFormatError, match=r"day_0_dense.npy: was replaced or changed since the dataset was opened"):
        rows[:]


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    write_days(tmp_path)
    folder = DatasetFolder.open(tmp_path, stated=StatedTables(SIZES))
    with pytest.raises(ConfigurationError, match="rows 0 to 72 were requested, but the split has 71"):
        ClickDataset.of_split(folder, "train", stop=72)


def test_columns_can_be_kept(tmp_path: Path) -> None:
    from dlrm_pl.data.sources.kept import kept_of_split

    written, stated = made(tmp_path, "stored")
    split: Split = "val"
    table = kept_of_split(DatasetFolder.open(tmp_path, stated=stated), split, ["label", "int_1", "cat_3"]).take(14)
    assert table.column("label").to_pylist() == written.labels[2][:14, 0].tolist()
    assert table.column("int_1").to_pylist() == written.dense[2][:14, 1].tolist()
    assert table.column("cat_3").to_pylist() == written.bags[2][3][:14].tolist()
