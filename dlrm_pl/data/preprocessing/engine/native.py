"""The C++ functions of this folder on NumPy arrays; their NumPy fallbacks are in numpy_engine.py."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import RECORD_INTS
from dlrm_pl.data.formats.criteo_counts import NUM_DENSE
from dlrm_pl.data.preprocessing.threads import StoppedError
from dlrm_pl.errors import DataFormatError, ShapeError
from dlrm_pl.kernels.arrays import address, check_room
from dlrm_pl.kernels.library import load

VERSION = 4
DENSE_BINS = 4096
"""Bins of the histogram of a dense feature; the last one holds all larger values."""

TEXT_PADDING = 16
"""Number of bytes after a text that must be readable."""


def keyed_dtype(record_ints: int) -> np.dtype[np.void]:
    """Return the type of a record of so many integers, preceded by the 64-bit key that determines its place."""
    return np.dtype([("key", "<u8"), ("record", "<i4", (record_ints,))])


KEYED_DTYPE = keyed_dtype(RECORD_INTS)
"""A keyed record of Criteo's logs."""

_UINT8, _INT32, _UINT32, _INT64 = (np.dtype(kind) for kind in (np.uint8, np.int32, np.uint32, np.int64))

Columns = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int32]
Values = npt.NDArray[np.uint32]
Files = npt.NDArray[np.int32]
Order = npt.NDArray[np.uint32]

# Statuses that functions return instead of a result.
_NO_MEMORY, _STOPPED, _REFUSED, _REPEATED = -1, -2, -3, -4

_POINTER, _LONG, _ULONG, _UINT, _INT = (
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_uint64,
    ctypes.c_uint32,
    ctypes.c_int32,
)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "dlrm_preprocess_refusal": (ctypes.c_char_p, []),
    "dlrm_parse": (_LONG, [_POINTER, _LONG, _UINT, _INT, _POINTER, _LONG, *[_POINTER] * 5, _LONG, _POINTER]),
    "dlrm_table_new": (_POINTER, []),
    "dlrm_table_free": (None, [_POINTER]),
    "dlrm_table_size": (_LONG, [_POINTER]),
    "dlrm_table_bytes": (_LONG, [_POINTER]),
    "dlrm_table_read": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _POINTER]),
    "dlrm_table_restore": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG]),
    "dlrm_pipeline_new": (_POINTER, [_POINTER, _LONG]),
    "dlrm_pipeline_free": (None, [_POINTER]),
    "dlrm_pipeline_stop": (None, [_POINTER]),
    "dlrm_pipeline_number": (_LONG, [_POINTER, _LONG, _POINTER, _LONG, _LONG, _INT]),
    "dlrm_records": (_LONG, [_POINTER, _LONG, _LONG, _POINTER]),
    "dlrm_scatter": (_LONG, [_POINTER, _LONG, _LONG, _ULONG, _ULONG, _LONG, _POINTER, _POINTER]),
    "dlrm_append": (_LONG, [_POINTER, _POINTER, _LONG, _POINTER, _LONG]),
    "dlrm_order": (_LONG, [_POINTER, _LONG, _POINTER]),
    "dlrm_take": (_LONG, [_POINTER, _LONG, _POINTER, _LONG, _POINTER]),
    "dlrm_remap": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _LONG]),
}


def library() -> ctypes.CDLL | None:
    """Return the library with its signatures declared, or None if it is missing and the NumPy fallback is used."""
    native = load("preprocess", VERSION, Path(__file__).parent)
    if native is not None:
        for name, (result, arguments) in _SIGNATURES.items():
            function = native[name]
            function.restype, function.argtypes = result, arguments
            setattr(native, name, function)
    return native


class NativeTable:
    """Raw value -> number by first appearance, with a count of each value's rows."""

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native
        self._table = native.dlrm_table_new()
        if not self._table:
            raise MemoryError("not enough memory for a vocabulary table")

    def __del__(self) -> None:
        if getattr(self, "_table", None):
            self._native.dlrm_table_free(self._table)

    @property
    def pointer(self) -> int:
        """Address of the table, for the library."""
        return int(self._table)

    def __len__(self) -> int:
        """Return the number of distinct values."""
        return int(self._native.dlrm_table_size(self._table))

    @property
    def nbytes(self) -> int:
        """Memory of the table, in bytes."""
        return int(self._native.dlrm_table_bytes(self._table))

    def read(self, first: int = 0) -> tuple[Values, Values]:
        """Return the values from number ``first`` on, in order, and the counts of all values."""
        size = len(self)
        check_room("values before the first that is read", first, size)
        values, counts = np.empty(size - first, np.uint32), np.empty(size, np.uint32)
        _check(
            self._native, self._native.dlrm_table_read(self._table, first, size, values.ctypes.data, counts.ctypes.data)
        )
        return values, counts

    def restore(self, values: Values, counts: Values) -> None:
        """Restore the values and counts that ``read`` returned.

        Raises:
            DataFormatError: a value occurs twice.
            MemoryError: the table cannot grow.
        """
        values, counts = np.ascontiguousarray(values), np.ascontiguousarray(counts)
        status = self._native.dlrm_table_restore(
            self._table,
            address("values", values, _UINT32, None),
            address("counts", counts, _UINT32, len(values)),
            len(values),
        )
        if status == _REPEATED:
            raise repeated_value(values)
        _check(self._native, status)


class NativeTablePipeline:
    """Tables that chunks of rows pass in order, with different threads at different tables.

    Args:
        tables: one for each categorical column.
    """

    def __init__(self, native: ctypes.CDLL, tables: Sequence[NativeTable]) -> None:
        self._native = native
        self._tables = tables  # They must live as long as the pipeline.
        pointers = (_POINTER * len(tables))(*(table.pointer for table in tables))
        self._pipeline = native.dlrm_pipeline_new(pointers, len(tables))
        if not self._pipeline:
            _check(native, _REFUSED if native.dlrm_preprocess_refusal() else _NO_MEMORY)

    def __del__(self) -> None:
        if getattr(self, "_pipeline", None):
            self._native.dlrm_pipeline_free(self._pipeline)

    def number(self, chunk: int, columns: Columns, rows: int, *, learn: bool) -> None:
        """Replace raw values by their numbers; waits for the chunk's turn at each table.

        Args:
            chunk: number of the chunk, from 0; each number must come exactly once.
            columns: int32 ``[40, capacity]``; the categories, unsigned, are replaced.
            rows: number of rows in the columns.
            learn: whether new values get the next numbers; else they become -1.

        Raises:
            StoppedError: ``stop`` was called.
            MemoryError: a table cannot grow.
        """
        count = len(self._tables)
        check_room("tables of a pipeline, in columns", count, len(columns))
        first = address("columns", columns[-count:], _INT32, count, None, written=True)
        status = self._native.dlrm_pipeline_number(self._pipeline, chunk, first, columns.shape[1], rows, learn)
        if status == _STOPPED:
            raise StoppedError
        _check(self._native, status)

    def stop(self) -> None:
        """Wake all waiting threads, which raise StoppedError."""
        self._native.dlrm_pipeline_stop(self._pipeline)


class NativeEngine:
    """The computations of preprocessing in native code."""

    name = "native"

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native

    def table(self) -> NativeTable:
        """Return a new table."""
        return NativeTable(self._native)

    def pipeline(self, tables: Sequence[NativeTable]) -> NativeTablePipeline:
        """Return a pipeline of tables that chunks pass in order."""
        return NativeTablePipeline(self._native, tables)

    def parse(
        self,
        text: npt.NDArray[np.uint8],
        size: int,
        modulus: int,
        columns: Columns,
        missing: npt.NDArray[np.int64],
        histogram: npt.NDArray[np.int64],
        largest: npt.NDArray[np.int64],
        bad: npt.NDArray[np.int64],
    ) -> tuple[int, int, int]:
        """Parse whole lines.

        Args:
            text: ``size`` bytes that end in a newline, and TEXT_PADDING more.
            size: number of bytes.
            modulus: modulus of the categories; 0 for none.
            columns: int32 ``[40, capacity]``, filled; categories are unsigned.
            missing: ``[40]``, added to.
            histogram: ``[13, DENSE_BINS]``, added to.
            largest: largest dense values, ``[13]``, updated.
            bad: ``[2, capacity]``, filled with offset and number of each invalid line; parsing ends when it is full
                and another one comes.

        Returns:
            Number of rows stored, lines read, and bad lines.
        """
        check_room("bytes of text and of its padding", size + TEXT_PADDING, len(text))
        counts = np.zeros(2, np.int64)
        offsets = address("bad", bad, _INT64, 2, None, written=True)
        rows = self._native.dlrm_parse(
            address("text", text, _UINT8, None),
            size,
            modulus,
            1,
            address("columns", columns, _INT32, RECORD_INTS, None, written=True),
            columns.shape[1],
            address("missing", missing, _INT64, RECORD_INTS, written=True),
            address("histogram", histogram, _INT64, NUM_DENSE, DENSE_BINS, written=True),
            address("largest", largest, _INT64, NUM_DENSE, written=True),
            offsets,
            offsets + bad.strides[0],
            bad.shape[1],
            counts.ctypes.data,
        )
        _check(self._native, min(rows, 0))
        return int(rows), int(counts[0]), int(counts[1])

    def records(self, columns: Columns, rows: int, out: npt.NDArray[np.int32]) -> None:
        """Transpose columns ``[40, capacity]`` to records ``[rows, 40]`` in ``out``."""
        first = address("columns", columns, _INT32, RECORD_INTS, None)
        records = address("out", out, _INT32, rows, RECORD_INTS, written=True)
        _check(self._native, self._native.dlrm_records(first, columns.shape[1], rows, records))

    def scatter(
        self, columns: Columns, rows: int, seed: int, first_row: int, buckets: int, out: npt.NDArray[np.void]
    ) -> npt.NDArray[np.int64]:
        """Write columns to ``out`` as keyed records grouped by bucket; returns the number of rows of each bucket.

        A row's key follows from ``seed`` and its number, counted from ``first_row``; its bucket follows from the key.
        """
        check_room("rows in the records", rows, len(out))
        sizes = np.empty(max(buckets, 0), np.int64)
        status = self._native.dlrm_scatter(
            address("columns", columns, _INT32, RECORD_INTS, None),
            columns.shape[1],
            rows,
            seed,
            first_row,
            buckets,
            address("out", out, KEYED_DTYPE, None, written=True),
            sizes.ctypes.data,
        )
        _check(self._native, status)
        return sizes

    def append(self, files: Files, keyed: npt.NDArray[np.void], sizes: npt.NDArray[np.int64]) -> None:
        """Append records that are grouped by bucket to the files of the buckets, possibly in several threads.

        Args:
            files: descriptors, int32 ``[buckets]``, opened to append.
            keyed: records from ``scatter``.
            sizes: number of rows of each bucket.

        Raises:
            OSError: a write failed; the file may end with a part of a record.
        """
        number = self._native.dlrm_append(
            address("files", files, _INT32, len(sizes)),
            address("keyed", keyed, KEYED_DTYPE, None),
            len(keyed),
            address("sizes", sizes, _INT64, None),
            len(sizes),
        )
        if number > 0:
            raise OSError(number, os.strerror(number))
        _check(self._native, number)

    def order(self, keyed: npt.NDArray[np.void]) -> Order:
        """Return the row numbers of keyed records, sorted by key."""
        rows = np.empty(len(keyed), np.uint32)
        status = self._native.dlrm_order(address("keyed", keyed, KEYED_DTYPE, None), len(keyed), rows.ctypes.data)
        if status == _NO_MEMORY:
            raise MemoryError("not enough memory to sort a bucket: lower --memory to make buckets smaller")
        _check(self._native, status)
        return rows

    def take(self, keyed: npt.NDArray[np.void], order: Order, out: npt.NDArray[np.int32]) -> int:
        """Copy the records of the rows in ``order`` to ``out``, int32 ``[rows, 40]``; returns the number of clicks."""
        clicks = self._native.dlrm_take(
            address("keyed", keyed, KEYED_DTYPE, None),
            len(keyed),
            address("order", order, _UINT32, None),
            len(order),
            address("out", out, _INT32, len(order), RECORD_INTS, written=True),
        )
        _check(self._native, min(clicks, 0))
        return int(clicks)

    def remap(self, records: npt.NDArray[np.int32], field: int, mapping: Numbers) -> None:
        """Replace each number n of a column of ``[rows, 40]`` by ``mapping[n]``.

        Raises:
            DataFormatError: a number is outside the mapping; the rows before it were replaced.
        """
        done = self._native.dlrm_remap(
            address("records", records, _INT32, None, RECORD_INTS, written=True),
            len(records),
            field,
            address("mapping", mapping, _INT32, None),
            len(mapping),
        )
        _check(self._native, min(done, 0))
        if done < len(records):
            raise outside_mapping(done, field, records[done, field], len(mapping))


def outside_mapping(row: int, field: int, number: int, size: int) -> DataFormatError:
    """Return the error for a number outside a mapping."""
    return DataFormatError(
        f"Record {row} has number {number} in field {field}, but must have 0 to {size - 1}. The files of the "
        "unfinished run are corrupt: remove its folder and preprocess again."
    )


def repeated_value(values: Values) -> DataFormatError:
    """Return the error for values of a table that are not all different."""
    distinct, counts = np.unique(values, return_counts=True)
    return DataFormatError(
        f"The value {distinct[counts > 1][0]} occurs twice in a vocabulary table. The dictionary or the unfinished run "
        "that it comes from is corrupt: preprocess the raw log again."
    )


def _check(native: ctypes.CDLL, status: int) -> None:
    """Raise the error for a status of the library."""
    if status == _REFUSED:
        reason = native.dlrm_preprocess_refusal().decode()
        raise ShapeError(f"Native code was called with arguments that do not fit together: {reason}.")
    if status:
        raise MemoryError("a vocabulary table cannot grow: cap the tables with --max_ind_range, or use more memory")
