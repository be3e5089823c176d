"""Write rows with named columns to CSV and Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import Bools, RawDense, RawRows, RawSparse
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.errors import DataFormatError

if TYPE_CHECKING:
    import pyarrow as pa

TableFormat = Literal["csv", "parquet"]


def table_of(rows: RawRows, columns: Columns) -> pa.Table:
    """Return rows as a table with the names of the columns.

    Hexadecimal values become strings of eight digits; missing values are null.

    Args:
        rows: rows with labels.
        columns: columns of the rows.
    """
    assert rows.label is not None
    arrays = [arrow().array(rows.label.astype(np.int8))]
    arrays += [_numbers(raw) for raw in rows.dense]
    arrays += [_categories(column, raw) for column, raw in zip(columns.sparse, rows.sparse, strict=True)]
    return arrow().table(arrays, names=columns.names)


class TableWriter:
    """Writes tables to a file, one after the other.

    Args:
        file: file to write: a path, or an open binary file, which stays open.
        format: format of the file.
        group_rows: tables are collected until they have this many rows, which become one Parquet row group.
    """

    def __init__(self, file: Path | IO[bytes], format: TableFormat, *, group_rows: int = 0) -> None:
        self._file = str(file) if isinstance(file, Path) else file
        self._format = format
        self._group_rows = group_rows if format == "parquet" else 0
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table.

        Raises:
            DataFormatError: the format cannot hold a column; the message names it.
        """
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= self._group_rows:
            self._write_waiting()

    def close(self) -> None:
        """Finish the file."""
        if self._waiting:
            self._write_waiting()
        if self._writer is not None:
            self._writer.close()

    def _write_waiting(self) -> None:
        table = arrow().concat_tables(self._waiting)
        self._waiting, self._rows = [], 0
        if self._writer is None:
            pa = arrow()
            if self._format == "csv":
                _require_plain(table.schema)
                # A quoted empty string is not a missing value.
                self._writer = pa.csv.CSVWriter(
                    self._file, table.schema, write_options=pa.csv.WriteOptions(quoting_style="needed")
                )
            else:
                self._writer = pa.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)


def _require_plain(schema: pa.Schema) -> None:
    types = arrow().types
    for field in schema:
        if types.is_nested(field.type):
            raise DataFormatError(f"column {field.name} has lists, which CSV cannot hold. Write .parquet instead.")


def _numbers(raw: RawDense) -> pa.Array:
    return arrow().array(raw.values, mask=raw.missing)


def _categories(column: SparseColumn, raw: RawSparse) -> pa.Array:
    pa = arrow()
    if isinstance(raw.values, Strings):
        elements = _texts(raw.values, raw.missing)
    elif column.kind == "hex":
        digits = [f"{value:08x}" for value in raw.values.tolist()]
        elements = pa.array(digits, pa.large_string(), mask=raw.missing)
    else:
        elements = pa.array(raw.values, mask=raw.missing)
    return elements if raw.offsets is None else pa.LargeListArray.from_arrays(raw.offsets, elements)


def _texts(texts: Strings, missing: Bools | None) -> pa.Array:
    pa = arrow()
    present = None
    if missing is not None:
        present = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.LargeStringArray.from_buffers(
        texts.num_strings, pa.py_buffer(texts.offsets), pa.py_buffer(texts.data), present
    )
