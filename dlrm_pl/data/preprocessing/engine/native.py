"""C++ functions of this folder on NumPy arrays; their NumPy fallbacks are in numpy_engine.py."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import get_args

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.preprocessing.engine.library import NO_MEMORY, check
from dlrm_pl.data.preprocessing.engine.native_tables import NativeTable, NativeTablePipeline
from dlrm_pl.data.raw_logs.line import Label
from dlrm_pl.errors import DataFormatError
from dlrm_pl.kernels.arrays import address, check_room

DENSE_BINS = 4096
"""Number of bins in the histogram of a dense feature; the last one holds all larger values."""

TEXT_PADDING = 16
"""Number of bytes that must be readable after a text."""

_UINT8, _INT32, _UINT32, _INT64 = (np.dtype(kind) for kind in (np.uint8, np.int32, np.uint32, np.int64))

Matrix = npt.NDArray[np.int32]
"""Columns of a chunk of rows, ``[fields, capacity]``: label, dense and sparse, in the order of a record."""

Numbers = npt.NDArray[np.int32]
Files = npt.NDArray[np.int32]
Order = npt.NDArray[np.uint32]

Keyed = npt.NDArray[np.void]
"""Records of ``keyed_dtype``, ``[rows]``."""


@cache
def keyed_dtype(record_ints: int) -> np.dtype[np.void]:
    """Return the dtype of a record with that many values, preceded by the 64-bit key that determines its place."""
    return np.dtype([("key", "<u8"), ("record", "<i4", (record_ints,))])


class NativeEngine:
    """Computations of preprocessing in native code."""

    name = "native"

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native

    def table(self) -> NativeTable:
        """Return a new table."""
        return NativeTable(self._native)

    def pipeline(self, tables: Sequence[NativeTable]) -> NativeTablePipeline:
        """Return a pipeline of tables through which chunks pass in order."""
        return NativeTablePipeline(self._native, tables)

    def parse(
        self,
        text: npt.NDArray[np.uint8],
        size: int,
        modulus: int,
        columns: Matrix,
        missing: npt.NDArray[np.int64],
        histogram: npt.NDArray[np.int64],
        largest: npt.NDArray[np.int64],
        bad: npt.NDArray[np.int64],
        label: Label = "needed",
        *,
        keep_negatives: bool = False,
    ) -> tuple[int, int, int]:
        """Parse whole lines.

        Args:
            text: ``size`` bytes that end in a newline, followed by TEXT_PADDING more.
            size: number of bytes of text.
            modulus: modulus of the categories; 0 for none.
            columns: int32 ``[fields, capacity]``, filled by the call; categories are unsigned.
            missing: number of missing values, ``[fields]``, added to.
            histogram: ``[dense, DENSE_BINS]``, added to; its shape gives the number of dense features.
            largest: largest dense values, ``[dense]``, updated.
            bad: ``[2, capacity]``, filled with the offset and number of each invalid line; if it is full, parsing ends
                at the next invalid line.
            label: whether lines begin with a label.
            keep_negatives: whether dense values below 0 are stored unchanged; if not, they become 0. The statistics
                count them as 0 either way.

        Returns:
            Number of rows stored, of lines read, and of bad lines.
        """
        check_room("bytes of text and of its padding", size + TEXT_PADDING, len(text))
        counts, fields, dense = np.zeros(2, np.int64), len(columns), len(histogram)
        offsets = address("bad", bad, _INT64, 2, None, written=True)
        rows = self._native.dlrm_parse(
            address("text", text, _UINT8, None),
            size,
            modulus,
            get_args(Label).index(label),
            keep_negatives,
            dense,
            fields,
            address("columns", columns, _INT32, fields, None, written=True),
            columns.shape[1],
            address("missing", missing, _INT64, fields, written=True),
            address("histogram", histogram, _INT64, dense, DENSE_BINS, written=True),
            address("largest", largest, _INT64, dense, written=True),
            offsets,
            offsets + bad.strides[0],
            bad.shape[1],
            counts.ctypes.data,
        )
        check(self._native, min(rows, 0))
        return int(rows), int(counts[0]), int(counts[1])

    def records(self, columns: Matrix, rows: int, out: npt.NDArray[np.int32]) -> None:
        """Transpose columns ``[fields, capacity]`` to records ``[rows, fields]`` in ``out``."""
        first, fields = address("columns", columns, _INT32, None, None), len(columns)
        records = address("out", out, _INT32, rows, fields, written=True)
        check(self._native, self._native.dlrm_records(first, fields, columns.shape[1], rows, records))

    def scatter(
        self, columns: Matrix, rows: int, seed: int, first_row: int, buckets: int, out: Keyed
    ) -> npt.NDArray[np.int64]:
        """Write columns to ``out`` as keyed records grouped by bucket; returns the number of rows of each bucket.

        A row's key is computed from ``seed`` and its number, counted from ``first_row``; its bucket is computed from
        the key.
        """
        check_room("rows in the records", rows, len(out))
        sizes = np.empty(max(buckets, 0), np.int64)
        status = self._native.dlrm_scatter(
            address("columns", columns, _INT32, None, None),
            len(columns),
            columns.shape[1],
            rows,
            seed,
            first_row,
            buckets,
            address("out", out, keyed_dtype(len(columns)), None, written=True),
            sizes.ctypes.data,
        )
        check(self._native, status)
        return sizes

    def append(self, files: Files, keyed: Keyed, sizes: npt.NDArray[np.int64]) -> None:
        """Append records that are grouped by bucket to the buckets' files, possibly in several threads.

        Args:
            files: descriptors of files opened for appending, int32 ``[buckets]``.
            keyed: records from ``scatter``.
            sizes: number of rows of each bucket.

        Raises:
            OSError: a write failed; the file may end with a partial record.
        """
        number = self._native.dlrm_append(
            address("files", files, _INT32, len(sizes)),
            *_keyed(keyed),
            len(keyed),
            address("sizes", sizes, _INT64, None),
            len(sizes),
        )
        if number > 0:
            raise OSError(number, os.strerror(number))
        check(self._native, number)

    def order(self, keyed: Keyed) -> Order:
        """Return the row numbers of keyed records, sorted by key."""
        rows = np.empty(len(keyed), np.uint32)
        status = self._native.dlrm_order(*_keyed(keyed), len(keyed), rows.ctypes.data)
        if status == NO_MEMORY:
            raise MemoryError("not enough memory to sort a bucket: lower --memory to make buckets smaller")
        check(self._native, status)
        return rows

    def take(self, keyed: Keyed, order: Order, out: npt.NDArray[np.int32]) -> int:
        """Copy the records of the rows in ``order`` to ``out``, int32 ``[rows, fields]``; returns the click count."""
        first, fields = _keyed(keyed)
        clicks = self._native.dlrm_take(
            first,
            fields,
            len(keyed),
            address("order", order, _UINT32, None),
            len(order),
            address("out", out, _INT32, len(order), fields, written=True),
        )
        check(self._native, min(clicks, 0))
        return int(clicks)

    def swap(self, values: Order, targets: npt.NDArray[np.int64]) -> None:
        """Swap the last value with the one at the first target, the second last with that at the second, and so on."""
        status = self._native.dlrm_swap(
            address("values", values, _UINT32, None, written=True),
            len(values),
            address("targets", targets, _INT64, None),
            len(targets),
        )
        check(self._native, status)

    def remap(self, records: npt.NDArray[np.int32], field: int, mapping: Numbers) -> None:
        """Replace each number n of a column of ``[rows, fields]`` by ``mapping[n]``.

        Raises:
            DataFormatError: a number is outside the mapping; the rows before it have already been changed.
        """
        done = self._native.dlrm_remap(
            address("records", records, _INT32, None, None, written=True),
            records.shape[1],
            len(records),
            field,
            address("mapping", mapping, _INT32, None),
            len(mapping),
        )
        check(self._native, min(done, 0))
        if done < len(records):
            raise outside_mapping(done, field, records[done, field], len(mapping))


def outside_mapping(row: int, field: int, number: int, size: int) -> DataFormatError:
    """Return the error for a number outside a mapping."""
    return DataFormatError(
        f"Record {row} has number {number} in field {field}, but must have 0 to {size - 1}. The files of the "
        "unfinished run are corrupt: remove its folder and preprocess again."
    )


def _keyed(keyed: Keyed) -> tuple[int, int]:
    """Return the address of keyed records, and the number of their fields."""
    names = keyed.dtype.names
    fields = keyed.dtype["record"].shape if names == ("key", "record") else ()
    return address("keyed", keyed, keyed_dtype(fields[0] if fields else 1), None), fields[0]
