"""Files of every format give the same chunks, starting from any chunk."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.sources import source as source_module
from dlrm_pl.data.sources.source import Source, SourceChunk, chunk_rows, open_source

COLUMNS = Columns(
    "click",
    (DenseColumn(name="age"), DenseColumn(name="price", type="float", transform="none")),
    (SparseColumn(name="site"), SparseColumn(name="hash", kind="hex"), SparseColumn(name="zone", kind="integer")),
)
ROWS = 1_000


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 256)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(7)

    def with_nulls(values: Any) -> pa.Array:
        return pa.array(values, mask=rng.random(ROWS) < 0.1)

    words = np.array(["", "a", "plain text", 'with "quotes"', "comma, tab\tand\nline", "語のテスト", "x" * 300])
    return pa.table(
        {
            "id": np.arange(ROWS),
            "zone": with_nulls(rng.integers(-(1 << 62), 1 << 62, ROWS)),
            "click": rng.integers(0, 2, ROWS),
            "site": with_nulls(words[rng.integers(0, len(words), ROWS)]),
            "price": with_nulls(rng.standard_normal(ROWS).astype(np.float32)),
            "hash": with_nulls([f"{value:x}" for value in rng.integers(0, 1 << 32, ROWS)]),
            "age": with_nulls(rng.integers(-5, 1_000, ROWS)),
            "text": ["unused"] * ROWS,
        }
    )


def write(table: pa.Table, path: Path) -> Path:
    """Write a table in the format and compression that the name states."""
    if ".parquet" in path.suffixes:
        pa.parquet.write_table(table, path, row_group_size=300)
    elif ".feather" in path.suffixes:
        pa.feather.write_feather(table, path, chunksize=300)
    elif ".arrows" in path.suffixes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, 300)
        pack(sink.getvalue().to_pybytes(), path)
    else:
        sink = pa.BufferOutputStream()
        separator = "\t" if ".tsv" in path.suffixes else ","
        pa.csv.write_csv(table, sink, pa.csv.WriteOptions(delimiter=separator))
        pack(sink.getvalue().to_pybytes(), path)
    return path


def pack(data: bytes, path: Path) -> None:
    kind = {".zst": "zstd", ".lz4": "lz4", ".br": "brotli"}.get(path.suffix)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    elif kind:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, kind) as stream:
            stream.write(data)
        data = sink.getvalue().to_pybytes()
    path.write_bytes(data)


def content(chunk: SourceChunk) -> list[Any]:
    """Return the rows of a chunk as plain values."""
    rows = chunk.rows
    assert rows.label is not None
    result: list[Any] = [chunk.file, chunk.first_row, chunk.num_rows, rows.label.tolist()]
    for column in (*rows.dense, *rows.sparse):
        values: Any = column.values
        listed = values.tolist() if isinstance(values, np.ndarray) else values.to_list()
        missing = np.zeros(rows.num_rows, bool) if column.missing is None else column.missing
        result.append([None if gone else value for value, gone in zip(listed, missing, strict=True)])
    return result


def contents(source: Source, **start: int) -> list[Any]:
    return [content(chunk) for chunk in source.chunks(**start)]


def expected(table: pa.Table, file: int = 0) -> list[Any]:
    chunks = []
    for first in range(0, table.num_rows, 256):
        part = table.slice(first, 256).to_pydict()
        site = [None if text is None else text.encode() for text in part["site"]]
        hashes = [None if text is None else int(text, 16) for text in part["hash"]]
        chunks.append([file, first, len(site), part["click"], part["age"], part["price"], site, hashes, part["zone"]])
    return chunks


@pytest.mark.parametrize(
    "name",
    [
        *("a.parquet", "a.feather", "a.arrows", "a.arrows.gz", "a.csv", "a.tsv", "a.csv.gz", "a.csv.zst", "a.csv.bz2"),
        *("a.csv.lz4", "a.tsv.br", "a.txt"),
    ],
)
def test_every_format_gives_the_same_chunks(name: str, table: pa.Table, tmp_path: Path) -> None:
    source = open_source(write(table, tmp_path / name), COLUMNS)
    assert contents(source) == expected(table)
    assert source.num_rows == (ROWS if name in ("a.parquet", "a.feather") else None)
    for first_row in (256, 768):
        assert contents(source, first_row=first_row) == expected(table)[first_row // 256 :]


def test_files_of_a_folder_come_in_the_order_of_their_numbers(table: pa.Table, tmp_path: Path) -> None:
    for number in (10, 9, 1):
        write(table.slice(10 * number), tmp_path / f"part-{number}.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part-1.parquet.crc").write_bytes(b"crc")
    source = open_source(tmp_path, COLUMNS)
    assert [file.path.name for file in source.files] == ["part-1.parquet", "part-9.parquet", "part-10.parquet"]
    every = [chunk for file, cut in enumerate((10, 90, 100)) for chunk in expected(table.slice(cut), file)]
    assert contents(source) == every
    assert contents(source, file=1, first_row=512) == [chunk for chunk in every if chunk[:2] >= [1, 512]]
    assert source.num_rows == 3 * ROWS - 200


def test_chunks_of_wide_records_have_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 65_536)
    wide = Columns("click", COLUMNS.dense, tuple(SparseColumn(name=f"c{i}x", at_most=4096) for i in range(15)))
    assert chunk_rows(COLUMNS) == 65_536
    assert chunk_rows(wide) == 256
