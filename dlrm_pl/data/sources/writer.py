"""Write rows with named columns to CSV and Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import Bools, RawDense, RawRows, RawSparse
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.sources.library import arrow

if TYPE_CHECKING:
    import pyarrow as pa

TableFormat = Literal["csv", "parquet"]


def table_of(rows: RawRows, columns: Columns) -> pa.Table:
    """Return rows as a table, whose names are those of the columns.

    Hexadecimal values are texts of eight digits; missing values are null.

    Args:
        rows: rows with labels.
        columns: their columns.
    """
    assert rows.label is not None
    arrays = [arrow().array(rows.label.astype(np.int8))]
    arrays += [_numbers(raw) for raw in rows.dense]
    arrays += [_categories(column, raw) for column, raw in zip(columns.sparse, rows.sparse, strict=True)]
    return arrow().table(arrays, names=columns.names)


class TableWriter:
    """Writes tables to a file, one after the other.

    Args:
        path: file to write.
        format: its format.
    """

    def __init__(self, path: Path, format: TableFormat) -> None:
        self._path = path
        self._format = format
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table."""
        if self._writer is None:
            pa = arrow()
            if self._format == "csv":
                # An empty text in quotes is no missing value.
                self._writer = pa.csv.CSVWriter(
                    str(self._path), table.schema, write_options=pa.csv.WriteOptions(quoting_style="needed")
                )
            else:
                self._writer = pa.parquet.ParquetWriter(str(self._path), table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


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
