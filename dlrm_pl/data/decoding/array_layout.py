"""Arrays of days in the form that the C++ functions of this folder read."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.native import Decoded, Pinned, Rows, decoding_error, dense_fields
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.arrays import address

Array = npt.NDArray[Any]

_INT64 = np.dtype(np.int64)

# Must match arrays.cpp.
_ARRAY = np.dtype([("values", "u8"), ("stride", "i8"), ("item_bytes", "i8")])
_TABLE = np.dtype([("width", "i8"), ("size", "i8"), ("modulus", "i8"), ("drawn", "i8"), ("lookup", "u8")])
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


class _Layout(ctypes.Structure):
    _fields_ = (
        ("num_dense", _LONG),
        ("num_tables", _LONG),
        ("one_hot", _LONG),
        ("dense", _POINTER),
        ("tables", _POINTER),
    )


class _Days(ctypes.Structure):
    _fields_ = (("count", _LONG), ("ends", _POINTER), ("dense", _POINTER), ("labels", _POINTER), ("ids", _POINTER))


class _Request(ctypes.Structure):
    _fields_ = (
        ("firsts", _POINTER),
        ("rows", _POINTER),
        ("sizes", _POINTER),
        ("batches", _LONG),
        ("dense", _POINTER),
        ("labels", _POINTER),
        ("indices", _POINTER),
        ("offsets", _POINTER),
        ("room_rows", _LONG),
        ("room_indices", _LONG),
        ("room_offsets", _LONG),
    )


class DayArrays(NamedTuple):
    """Arrays of a day, or of a file of records; they may begin at any byte.

    Attributes:
        dense: float32 or int32 ``[n, N]``, as the columns say.
        labels: int32 ``[n, 1]``.
        ids: for each table, int32 or int64 ``[n, width]``.
    """

    dense: Array
    labels: Array
    ids: tuple[Array, ...]


class ArrayLayout:
    """Mapped arrays of days, whose addresses are collected once.

    Args:
        columns: columns of the rows; a table's bag consists of the ids in the arrays followed by those in its lookup
            table.
        table_sizes: number of rows of each table; a larger id is a wrong value.
        takes_remainder: whether ids in the arrays are taken modulo the number of rows of their table.
        days: the arrays of each day.
        lookup: for each table, int32 ``[rows, ids of a bag - 1]``; None if bags are not drawn.

    Raises:
        ShapeError: the arrays do not fit together.
    """

    def __init__(
        self,
        columns: Columns,
        table_sizes: Sequence[int],
        *,
        takes_remainder: bool,
        days: Sequence[DayArrays],
        lookup: Sequence[Array | None],
    ) -> None:
        self._columns = columns
        self._kept = days, lookup  # Keeps the arrays alive, since only their addresses are used below.
        self._dense = dense_fields(columns)
        tables = []
        for number, (column, size, drawn) in enumerate(zip(columns.sparse, table_sizes, lookup, strict=True)):
            extra = column.bag - 1 if drawn is not None else 0
            place = 0
            if drawn is not None:
                place = address(f"lookup table {number}", drawn, np.dtype("<i4"), size, extra)
            tables.append((column.bag - extra, size, size if takes_remainder else 0, extra, place))
        self._tables = np.array(tables, _TABLE)
        self._ends = np.cumsum([len(day.dense) for day in days], dtype=np.int64)
        widths = [table[0] for table in tables]
        self._day_dense = np.array([_array("dense", day.dense, columns.num_dense, "f4i4") for day in days], _ARRAY)
        self._day_labels = np.array([_array("labels", day.labels, 1, "i4") for day in days], _ARRAY)
        self._day_ids = np.array(
            [
                _array(f"ids of table {number}", ids, width, "i4i8", len(day.dense))
                for day in days
                for number, (ids, width) in enumerate(zip(day.ids, widths, strict=True))
            ],
            _ARRAY,
        )
        for day in days:
            if len(day.labels) != len(day.dense):
                raise ShapeError(f"There are {len(day.labels)} labels of {len(day.dense)} rows.")

    def decode(self, native: ctypes.CDLL, rows: Rows, *, pin_memory: bool, buffers: Buffers | None = None) -> Decoded:
        """Decode batches up to the first one with a wrong value, as defined by ``ArrayRows.records``.

        Args:
            native: the library.
            rows: rows of each batch, numbered over all days.
            pin_memory: make tensors in memory that is pinned for a copy to a CUDA device.
            buffers: memory to use for the tensors unless they are pinned; None: new memory.

        Raises:
            ShapeError: a row is not in the arrays.
        """
        columns, count, total = self._columns, len(rows.sizes), int(rows.sizes.sum())
        one_hot, width = columns.is_one_hot, columns.record_ints - 1 - columns.num_dense
        bounds = 0 if one_hot else total * columns.num_sparse + count
        memory = Pinned() if pin_memory else buffers or Buffers()
        dense = memory.empty("dense", total * columns.num_dense, np.float32).view(total, columns.num_dense)
        labels = memory.empty("labels", total, np.float32)
        indices = memory.empty("indices", total * width, np.int64)
        offsets = None if one_hot else memory.empty("offsets", bounds, np.int64)
        numbers = address("rows", rows.numbers, _INT64, count if rows.consecutive else total)
        layout = _Layout(
            columns.num_dense, columns.num_sparse, one_hot, self._dense.ctypes.data, self._tables.ctypes.data
        )
        days = _Days(
            len(self._ends),
            *(array.ctypes.data for array in (self._ends, self._day_dense, self._day_labels, self._day_ids)),
        )
        request = _Request(
            numbers if rows.consecutive else None,
            None if rows.consecutive else numbers,
            address("sizes", rows.sizes, _INT64, count),
            count,
            dense.data_ptr(),
            labels.data_ptr(),
            indices.data_ptr(),
            None if offsets is None else offsets.data_ptr(),
            total,
            total * width,
            bounds,
        )
        status = native.dlrm_decode_arrays(ctypes.byref(layout), ctypes.byref(days), ctypes.byref(request))
        if status < 0:
            raise decoding_error(status, native.dlrm_decoding_arrays_refusal())
        return Decoded(status, dense, labels, indices, offsets, rows.sizes * width)


def _array(name: str, array: Array, width: int, kinds: str, rows: int | None = None) -> tuple[int, int, int]:
    """Return the address, row stride and item size in bytes, after checking everything that native code relies on."""
    kind = array.dtype.str.lstrip("<")
    if array.ndim != 2 or array.shape[1] != width or kind not in (kinds[:2], kinds[2:]):
        raise ShapeError(f"{name}: shape [rows, {width}] is needed, got {array.dtype} {list(array.shape)}.")
    if rows is not None and len(array) != rows:
        raise ShapeError(f"{name}: {rows} rows are needed, got {len(array)}.")
    stride, item = array.strides[0], array.itemsize
    if (width > 1 and array.strides[1] != item) or stride < width * item:
        raise ShapeError(
            f"{name}: the values of a row must be contiguous, and the rows must follow each other without gaps."
        )
    return array.ctypes.data, stride, item
