"""Chunks are also limited by the bytes of their strings and lists, for any batches of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.sources import cutting
from dlrm_pl.data.sources import source as source_module
from dlrm_pl.data.sources.readers import parquet_file
from dlrm_pl.data.sources.source import open_source

TEXTS = Columns("click", (DenseColumn(name="age"),), (SparseColumn(name="site"), SparseColumn(name="page")))
LISTS = Columns(
    "click",
    (DenseColumn(name="age"),),
    (SparseColumn(name="tags", at_most=100), SparseColumn(name="items", kind="integer", at_most=100)),
)
ROWS, MOST_ROWS, MOST_BYTES = 900, 256, 5_000


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "CHUNK_ROWS", MOST_ROWS)
    monkeypatch.setattr(cutting, "CHUNK_BYTES", MOST_BYTES)


def table_of(columns: Columns) -> pa.Table:
    """Make rows some of which are far longer than others, and one longer than a chunk."""
    rng = np.random.default_rng(3)
    table: dict[str, Any] = {"click": rng.integers(0, 2, ROWS), "age": rng.integers(0, 99, ROWS)}
    for column in columns.sparse:
        lengths = np.where(np.arange(ROWS) // 300 == 1, 0, rng.integers(0, 60, ROWS))
        lengths[20] = 90 if column.is_list else 6_000
        values: list[Any] = ["é" * length for length in lengths]
        if column.is_list:
            element = (lambda number: number) if column.kind == "integer" else (lambda number: "x" * number)
            values = [[element(number) for number in range(length)] for length in lengths]
        values[5] = None
        table[column.name] = values
    return pa.table(table)


def size_of(value: Any) -> int:
    if value is None or isinstance(value, int):
        return 0
    if isinstance(value, list):
        return sum(8 + size_of(element) for element in value)
    return len(value.encode())


def expected(table: pa.Table, columns: Columns) -> list[tuple[int, int]]:
    """Return the first row and number of rows of each chunk, counting row by row."""
    chunks, first, size = [], 0, 0
    for row, values in enumerate(table.to_pylist()):
        added = sum(size_of(values[column.name]) for column in columns.sparse)
        if row > first and (row - first == MOST_ROWS or size + added > MOST_BYTES):
            chunks.append((first, row - first))
            first, size = row, 0
        size += added
    return [*chunks, (first, ROWS - first)]


def write(table: pa.Table, path: Path, rows: int) -> Path:
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    elif path.suffix == ".parquet":
        pa.parquet.write_table(table, path, row_group_size=rows)
    else:
        with (pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream)(str(path), table.schema) as writer:
            writer.write_table(table, rows)
    return path


@pytest.mark.parametrize("rows", [70, 1_000])
@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.arrow", "log.arrows", "packed.arrow"])
@pytest.mark.parametrize("columns", [TEXTS, LISTS], ids=["texts", "lists"])
def test_chunks_depend_on_the_values_alone(
    columns: Columns, name: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "log.csv" and columns is LISTS:
        pytest.skip("CSV has no lists.")
    monkeypatch.setattr(parquet_file, "_BATCH_BYTES", 2_000)
    table = table_of(columns)
    chunks = expected(table, columns)
    assert max(count for _, count in chunks) == MOST_ROWS
    assert min(count for _, count in chunks) == 1
    if name == "packed.arrow":
        table = pa.table(
            {
                field: column if pa.types.is_list(column.type) else column.dictionary_encode()
                for field, column in zip(table.column_names, table.columns, strict=True)
            }
        )
    source = open_source(write(table, tmp_path / name, rows), columns)
    assert [(chunk.first_row, chunk.num_rows) for chunk in source.raw_chunks()] == chunks
    again = source.raw_chunks(0, chunks[3][0])
    assert [(chunk.first_row, chunk.num_rows) for chunk in again] == chunks[3:]


def test_a_batch_of_long_texts_is_small(tmp_path: Path) -> None:
    texts = pa.array(["x" * 50_000, "y" * 50_000]).take(pa.array([0, 1] * 2_000))
    table = pa.table({"click": [0, 1] * 2_000, "site": texts})
    file = parquet_file.ParquetFile(write(table, tmp_path / "log.parquet", 4_000))
    sizes = [batch.table.num_rows for batch in file.batches(["site"], 0, 4_000, threads=False)]
    assert max(sizes) == 335
    assert sum(sizes) == 4_000
