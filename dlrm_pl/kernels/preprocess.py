"""The functions of preprocess.cpp on NumPy arrays; the twins are in data/preprocessing/portable.py."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.kernels.library import load

VERSION = 2
FIELDS = 40
DENSE = 13
DENSE_BINS = 4096
"""Bins of the histogram of a dense feature; the last one holds all larger values."""

TEXT_PADDING = 16
"""Bytes that must be readable behind a text."""

KEYED_DTYPE = np.dtype([("key", "<u8"), ("record", "<i4", (FIELDS,))])
"""A record behind the 64-bit key that its place follows from."""

Columns = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int32]
Values = npt.NDArray[np.uint32]
Files = npt.NDArray[np.int32]
Order = npt.NDArray[np.uint32]

_STOPPED = -2

_POINTER, _LONG, _ULONG, _UINT, _INT = (
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_uint64,
    ctypes.c_uint32,
    ctypes.c_int32,
)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "dlrm_parse": (_LONG, [_POINTER, _LONG, _UINT, _INT, _POINTER, _LONG, *[_POINTER] * 5, _LONG, _POINTER]),
    "dlrm_table_new": (_POINTER, []),
    "dlrm_table_free": (None, [_POINTER]),
    "dlrm_table_size": (_LONG, [_POINTER]),
    "dlrm_table_bytes": (_LONG, [_POINTER]),
    "dlrm_table_read": (None, [_POINTER, _LONG, _POINTER, _POINTER]),
    "dlrm_table_restore": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG]),
    "dlrm_line_new": (_POINTER, [_POINTER, _LONG]),
    "dlrm_line_free": (None, [_POINTER]),
    "dlrm_line_stop": (None, [_POINTER]),
    "dlrm_line_number": (_LONG, [_POINTER, _LONG, _POINTER, _LONG, _LONG, _INT]),
    "dlrm_records": (None, [_POINTER, _LONG, _LONG, _POINTER]),
    "dlrm_scatter": (None, [_POINTER, _LONG, _LONG, _ULONG, _ULONG, _LONG, _POINTER, _POINTER]),
    "dlrm_append": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG]),
    "dlrm_order": (_LONG, [_POINTER, _LONG, _POINTER]),
    "dlrm_take": (_LONG, [_POINTER, _POINTER, _LONG, _POINTER]),
    "dlrm_remap": (None, [_POINTER, _LONG, _LONG, _POINTER]),
}


def library() -> ctypes.CDLL | None:
    """The library with its signatures declared, or None where the twins must do."""
    found = load("preprocess", VERSION)
    if found is not None:
        for name, (result, arguments) in _SIGNATURES.items():
            function = found[name]
            function.restype, function.argtypes = result, arguments
            setattr(found, name, function)
    return found


class StoppedError(Exception):
    """Another thread failed; its error is the one that counts."""


class NativeTable:
    """Raw value -> number by first appearance, with a count of each value's rows."""

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native
        self._table = native.dlrm_table_new()
        if not self._table:
            raise MemoryError("a vocabulary table")

    def __del__(self) -> None:
        if getattr(self, "_table", None):
            self._native.dlrm_table_free(self._table)

    @property
    def pointer(self) -> int:
        """For the library."""
        return int(self._table)

    def __len__(self) -> int:
        """Distinct values."""
        return int(self._native.dlrm_table_size(self._table))

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return int(self._native.dlrm_table_bytes(self._table))

    def read(self, first: int = 0) -> tuple[Values, Values]:
        """Values in the order of their numbers from ``first`` on, and the counts of all."""
        values, counts = np.empty(len(self) - first, np.uint32), np.empty(len(self), np.uint32)
        self._native.dlrm_table_read(self._table, first, values.ctypes.data, counts.ctypes.data)
        return values, counts

    def restore(self, values: Values, counts: Values) -> None:
        """Become the table that ``read`` gave."""
        values, counts = np.ascontiguousarray(values), np.ascontiguousarray(counts)
        _check(self._native.dlrm_table_restore(self._table, values.ctypes.data, counts.ctypes.data, len(values)))


class NativeLine:
    """Tables that chunks of rows pass in their order, different threads at different tables.

    Args:
        tables: one for each categorical column.
    """

    def __init__(self, native: ctypes.CDLL, tables: Sequence[NativeTable]) -> None:
        self._native, self._tables = native, tables  # Which must live as long as the line.
        pointers = (_POINTER * len(tables))(*(table.pointer for table in tables))
        self._line = native.dlrm_line_new(pointers, len(tables))
        if not self._line:
            raise MemoryError("a line of vocabulary tables")

    def __del__(self) -> None:
        if getattr(self, "_line", None):
            self._native.dlrm_line_free(self._line)

    def number(self, chunk: int, columns: Columns, rows: int, *, learn: bool) -> None:
        """Replace raw values by their numbers; waits for the chunk's turn at each table.

        Args:
            chunk: counts from 0; each must come once, and none may be left out.
            columns: ``[40, capacity]``, categories unsigned in int32, replaced.
            rows: of the columns.
            learn: new values get the next numbers; else -1.

        Raises:
            StoppedError: ``stop`` was called.
            MemoryError: a table cannot grow.
        """
        first = columns[-len(self._tables) :]
        stride = columns.shape[1]
        status = self._native.dlrm_line_number(self._line, chunk, first.ctypes.data, stride, rows, learn)
        if status == _STOPPED:
            raise StoppedError
        _check(status)

    def stop(self) -> None:
        """Wake all that wait, to end."""
        self._native.dlrm_line_stop(self._line)


class NativeEngine:
    """What preprocessing computes, by the library."""

    name = "native"

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native

    def table(self) -> NativeTable:
        """A new table."""
        return NativeTable(self._native)

    def line(self, tables: Sequence[NativeTable]) -> NativeLine:
        """Tables that chunks pass in turn."""
        return NativeLine(self._native, tables)

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
            size: bytes.
            modulus: of the categories; 0: none.
            columns: int32 ``[40, capacity]``, filled; categories are unsigned in it.
            missing: ``[40]``, added to.
            histogram: ``[13, DENSE_BINS]``, added to.
            largest: of the dense values, ``[13]``, raised.
            bad: ``[2, capacity]``, filled with offset and number of each line that cannot be parsed; parsing ends
                when more come.

        Returns:
            rows stored, lines read, bad lines.
        """
        counts = np.zeros(2, np.int64)
        rows = self._native.dlrm_parse(
            *(text.ctypes.data, size, modulus, 1, columns.ctypes.data, columns.shape[1]),
            *(missing.ctypes.data, histogram.ctypes.data, largest.ctypes.data),
            *(bad[0].ctypes.data, bad[1].ctypes.data, bad.shape[1], counts.ctypes.data),
        )
        return int(rows), int(counts[0]), int(counts[1])

    def records(self, columns: Columns, rows: int, out: npt.NDArray[np.int32]) -> None:
        """Columns ``[40, capacity]`` -> records ``[rows, 40]``."""
        self._native.dlrm_records(columns.ctypes.data, columns.shape[1], rows, out.ctypes.data)

    def scatter(
        self, columns: Columns, rows: int, seed: int, first_row: int, buckets: int, out: npt.NDArray[np.void]
    ) -> npt.NDArray[np.int64]:
        """Columns -> records of KEYED_DTYPE grouped by bucket, in ``out``; returns the rows of each bucket.

        A row's key follows from ``seed`` and its number, which counts from ``first_row``; the bucket from the key.
        """
        sizes = np.empty(buckets, np.int64)
        self._native.dlrm_scatter(
            *(columns.ctypes.data, columns.shape[1], rows, seed, first_row, buckets),
            *(out.ctypes.data, sizes.ctypes.data),
        )
        return sizes

    def append(self, files: Files, keyed: npt.NDArray[np.void], sizes: npt.NDArray[np.int64]) -> None:
        """Append records that are grouped by bucket to the files of the buckets, whatever other threads append.

        Args:
            files: descriptors, int32 ``[buckets]``, opened to append.
            keyed: as ``scatter`` gave them.
            sizes: rows of each bucket.

        Raises:
            OSError: a file takes no more, and may end with a part of a record.
        """
        number = self._native.dlrm_append(files.ctypes.data, keyed.ctypes.data, sizes.ctypes.data, len(sizes))
        if number:
            raise OSError(number, os.strerror(number))

    def order(self, keyed: npt.NDArray[np.void]) -> Order:
        """The rows of keyed records in the order of their keys."""
        rows = np.empty(len(keyed), np.uint32)
        if self._native.dlrm_order(keyed.ctypes.data, len(keyed), rows.ctypes.data):
            raise MemoryError("sorting a bucket: lower --memory, so that buckets are smaller")
        return rows

    def take(self, keyed: npt.NDArray[np.void], order: Order, out: npt.NDArray[np.int32]) -> int:
        """The records of the rows in ``order``, to ``out``, int32 ``[rows, 40]``; returns the clicks among them."""
        return int(self._native.dlrm_take(keyed.ctypes.data, order.ctypes.data, len(order), out.ctypes.data))

    def remap(self, records: npt.NDArray[np.int32], field: int, mapping: Numbers) -> None:
        """Replace each number n of a column of ``[rows, 40]`` by ``mapping[n]``."""
        self._native.dlrm_remap(records.ctypes.data, len(records), field, mapping.ctypes.data)


def _check(status: int) -> None:
    if status:
        raise MemoryError("a vocabulary table cannot grow: cap the tables with --max_ind_range, or use more memory")
