"""Rows of raw logs and of files with named columns become the batches that their values require."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.loading.raw_dataset import RawLogDataset
from dlrm_pl.errors import ConfigurationError, DataFormatError
from tests.support.logs.raw_values import VALUES, write_folder

HASHED = SparseColumn(name="site", ids="hash", rows=7)
CRITEO = Columns.criteo()
CRITEO_ENCODER = RowEncoder(CRITEO, Vocabulary([np.arange(table + 3) for table in range(CRITEO.num_sparse)]), 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return write_folder(tmp_path_factory.mktemp("raw") / "data")


def raw_lines(rows: int) -> list[list[str]]:
    rng = np.random.default_rng(0)
    dense = rng.integers(-2, 50, (rows, CRITEO.num_dense)).astype(str)
    sparse = [[f"{value:08x}" if value else "" for value in row] for row in rng.integers(0, 30, (rows, 26))]
    dense[rng.random(dense.shape) < 0.2] = ""
    return [[str(row % 2), *dense[row], *sparse[row]] for row in range(rows)]


def joined(batches: list[ClickBatch]) -> tuple[Any, ...]:
    """Concatenate dense values, indices of one-hot batches and labels of all rows."""
    return (
        torch.cat([batch.dense for batch in batches]),
        torch.cat([batch.indices for batch in batches], dim=1),
        torch.cat([batch.known_labels for batch in batches]),
    )


@pytest.mark.parametrize("ending", ["csv", "txt", "tsv.gz"])
def test_raw_log_and_table_of_the_same_values_give_the_same_batches(tmp_path: Path, ending: str) -> None:
    lines = raw_lines(20)
    log = tmp_path / f"log.{ending.replace('csv', 'txt')}"
    separator = "," if ending == "csv" else "\t"
    for path, rows, mark in (
        (log, lines, "\t"),
        (tmp_path / f"table.{ending}", [[*CRITEO.names], *lines], separator),
    ):
        text = "".join(mark.join(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if ending.endswith(".gz") else text)
    datasets = [RawLogDataset(path, CRITEO_ENCODER, 7) for path in (log, tmp_path / f"table.{ending}")]
    expected, found = (joined(list(dataset)) for dataset in datasets)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)
    assert datasets[0].unseen.tolist() == datasets[1].unseen.tolist()
    assert datasets[0].unseen.any()
    assert expected[1].max() < 7


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_files_of_any_columns_give_the_batches_of_their_frame(
    folder: DatasetFolder, tmp_path: Path, ending: str, batch_size: int
) -> None:
    write: Any = {"parquet": pa.parquet.write_table, "arrow": pa.feather.write_feather}[ending]
    for number in range(2):
        write(pa.table(VALUES | {"click": [number, 1, 0]}), tmp_path / f"part-{number}.{ending}")
    dataset = RawLogDataset(tmp_path, folder.encoder, batch_size)
    parts = [VALUES | {"click": [number, 1, 0]} for number in range(2)]
    slices = [{name: values[start : start + batch_size] for name, values in part.items()}
              for part in parts for start in range(0, 3, batch_size)]  # fmt: skip
    expected = [ClickBatch.from_frame(part, folder) for part in slices]
    for _ in range(2):
        found = list(dataset)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None)
        assert dataset.unseen.sum() == 2 * 2


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_processes_share_the_rows_of_each_step(folder: DatasetFolder, tmp_path: Path, ranks: int) -> None:
    rows = {name: values * 5 for name, values in VALUES.items()} | {"click": [0, 1, 0] * 5}
    pa.parquet.write_table(pa.table(rows), tmp_path / "rows.parquet")
    whole = ClickBatch.from_frame(rows, folder)
    shares = [
        list(RawLogDataset(tmp_path / "rows.parquet", folder.encoder, 2, rank=rank, world_size=ranks))
        for rank in range(ranks)
    ]
    assert {len(batches) for batches in shares} == {-(-15 // (2 * ranks))}
    in_order = [batch.dense for step in zip(*shares, strict=True) for batch in step]
    assert torch.equal(torch.cat(in_order), whole.dense)


def test_a_pipe_cannot_be_shared(tmp_path: Path, folder: DatasetFolder) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        ConfigurationError, match=r"pipe is a pipe, from which each of 2 processes .* --trainer\.devices 1"
    ):
        RawLogDataset(tmp_path / "pipe", folder.encoder, 10, world_size=2)


def test_a_pipe_holds_a_raw_log_alone(tmp_path: Path, folder: DatasetFolder) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        ConfigurationError, match=r"pipe: is a pipe, .* but column price cannot be in one\. Give the CSV"
    ):
        list(RawLogDataset(tmp_path / "pipe", folder.encoder, 10))


def test_bad_row_is_named_with_its_file_and_place(folder: DatasetFolder, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table(VALUES | {"tags": [["new"], ["a"] * 4, []]}), tmp_path / "rows.parquet")
    with pytest.raises(DataFormatError, match=r"rows\.parquet: row 2: column tags .*at most 3 .* Correct the row"):
        list(RawLogDataset(tmp_path / "rows.parquet", folder.encoder, 10))
    cut = RawLogDataset(tmp_path / "rows.parquet", folder.encoder, 10, truncate_lists=True)
    assert len(list(cut)) == 1


def test_bad_row_of_a_csv_is_counted_after_the_header(tmp_path: Path) -> None:
    columns = Columns("click", (DenseColumn(name="price", type="float", transform="none"),), (HASHED,))
    path = tmp_path / "rows.csv"
    path.write_text("price,site\n1.5,a\nnan,b\n")
    with pytest.raises(
        DataFormatError, match=r"rows\.csv: row 2 after the header: column price is 'nan'; .*predict again"
    ):
        list(RawLogDataset(path, RowEncoder(columns, Vocabulary([None], columns)), 10))


def test_file_without_rows_is_refused(folder: DatasetFolder, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table(VALUES).slice(0, 0), tmp_path / "rows.parquet")
    with pytest.raises(DataFormatError, match=r"rows\.parquet: is empty"):
        list(RawLogDataset(tmp_path / "rows.parquet", folder.encoder, 10))


def test_data_module_cuts_lists_on_request(folder: DatasetFolder, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table(VALUES | {"tags": [["new"], ["sale"] * 4, []]}), tmp_path / "rows.parquet")
    options = {"predict_raw": tmp_path / "rows.parquet"}
    with pytest.raises(DataFormatError, match="column tags"):
        list(DLRMDataModule(folder.path, **options).predict_dataloader())
    (batch,) = DLRMDataModule(folder.path, **options, predict_truncate_lists=True).predict_dataloader()
    assert batch.indices[3:7].tolist() == [0, 1, 1, 1]
