"""The functions of preprocess.cpp on NumPy arrays; the twins are in data/preprocessing/portable.py."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.kernels.library import load

VERSION = 1
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

_POINTER, _LONG, _ULONG, _UINT, _INT = (
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_uint64,
    ctypes.c_uint32,
    ctypes.c_int32,
)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "dlrm_parse": (_LONG, [_POINTER, _LONG, _UINT, _INT, _POINTER, _LONG, *[_POINTER] * 4, _LONG, _POINTER]),
    "dlrm_table_new": (_POINTER, []),
    "dlrm_table_free": (None, [_POINTER]),
    "dlrm_table_size": (_LONG, [_POINTER]),
    "dlrm_table_bytes": (_LONG, [_POINTER]),
    "dlrm_table_read": (None, [_POINTER, _LONG, _POINTER, _POINTER]),
    "dlrm_table_restore": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG]),
    "dlrm_table_add": (_LONG, [_POINTER, _POINTER, _LONG, _POINTER]),
    "dlrm_table_find": (None, [_POINTER, _POINTER, _LONG, _POINTER]),
    "dlrm_records": (None, [_POINTER, _LONG, _LONG, _POINTER]),
    "dlrm_scatter": (None, [_POINTER, _LONG, _LONG, _ULONG, _ULONG, _LONG, _POINTER, _POINTER]),
    "dlrm_gather": (None, [_POINTER, _LONG, _POINTER]),
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

    def __len__(self) -> int:
        """Distinct values."""
        return int(self._native.dlrm_table_size(self._table))

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return int(self._native.dlrm_table_bytes(self._table))

    def add(self, column: Numbers) -> None:
        """Replace raw values, unsigned in int32 ``[rows]``, by their numbers; new values get the next ones."""
        _check(self._native.dlrm_table_add(self._table, column.ctypes.data, len(column), column.ctypes.data))

    def find(self, column: Numbers) -> None:
        """Replace raw values by their numbers, -1 for unknown ones."""
        self._native.dlrm_table_find(self._table, column.ctypes.data, len(column), column.ctypes.data)

    def read(self, first: int = 0) -> tuple[Values, Values]:
        """Values in the order of their numbers from ``first`` on, and the counts of all."""
        values, counts = np.empty(len(self) - first, np.uint32), np.empty(len(self), np.uint32)
        self._native.dlrm_table_read(self._table, first, values.ctypes.data, counts.ctypes.data)
        return values, counts

    def restore(self, values: Values, counts: Values) -> None:
        """Become the table that ``read`` gave."""
        values, counts = np.ascontiguousarray(values), np.ascontiguousarray(counts)
        _check(self._native.dlrm_table_restore(self._table, values.ctypes.data, counts.ctypes.data, len(values)))


class NativeEngine:
    """What preprocessing computes, by the library."""

    name = "native"

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native

    def table(self) -> NativeTable:
        """A new table."""
        return NativeTable(self._native)

    def parse(
        self,
        text: npt.NDArray[np.uint8],
        size: int,
        modulus: int,
        columns: Columns,
        missing: npt.NDArray[np.int64],
        histogram: npt.NDArray[np.int64],
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
            bad: ``[2, capacity]``, filled with offset and number of each line that cannot be parsed; parsing ends
                when more come.

        Returns:
            rows stored, lines read, bad lines.
        """
        counts = np.zeros(2, np.int64)
        rows = self._native.dlrm_parse(
            *(text.ctypes.data, size, modulus, 1, columns.ctypes.data, columns.shape[1]),
            *(missing.ctypes.data, histogram.ctypes.data, bad[0].ctypes.data, bad[1].ctypes.data, bad.shape[1]),
            counts.ctypes.data,
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

    def gather(self, keyed: npt.NDArray[np.void], out: npt.NDArray[np.int32]) -> None:
        """Records in the order of their keys, to ``out``, int32 ``[rows, 40]``."""
        self._native.dlrm_gather(keyed.ctypes.data, len(keyed), out.ctypes.data)

    def remap(self, records: npt.NDArray[np.int32], field: int, mapping: Numbers) -> None:
        """Replace each number n of a column of ``[rows, 40]`` by ``mapping[n]``."""
        self._native.dlrm_remap(records.ctypes.data, len(records), field, mapping.ctypes.data)


def _check(status: int) -> None:
    if status:
        raise MemoryError("a vocabulary table cannot grow: cap the tables with --max_ind_range, or use more memory")
