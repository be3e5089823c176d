"""C++ functions of this folder: records -> dense inputs, lookups and labels of several batches in one call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.capping import is_capped
from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.arrays import address
from dlrm_pl.kernels.library import Signatures, declare, load

VERSION = 2

_INT32, _INT64, _UINT64 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.uint64)
_FOLDER = Path(__file__).parent
_REFUSED = -1
_NUM_KEYS = 6
_TRANSFORMS = {"none": 0, "log1p": 1, "standardize": 2}
_LARGEST_MODULUS = 2**31 - 1

# Must match dense.h and decoding.cpp.
_DENSE_FIELD = np.dtype([("is_float", "i4"), ("transform", "i4"), ("mean", "f8"), ("deviation", "f8")])
_SPARSE_FIELD = np.dtype(
    [("first", "i8"), ("width", "i8"), ("size", "i8"), ("modulus", "i8"), ("may_be_absent", "i4"), ("unused", "i4")]
)
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


class _Layout(ctypes.Structure):
    _fields_ = (
        ("record_ints", _LONG),
        ("num_dense", _LONG),
        ("num_sparse", _LONG),
        ("dense", _POINTER),
        ("sparse", _POINTER),
        ("one_hot", _LONG),
    )


class _Request(ctypes.Structure):
    _fields_ = (
        ("records", _POINTER),
        ("num_records", _LONG),
        ("firsts", _POINTER),
        ("rows", _POINTER),
        ("sizes", _POINTER),
        ("batches", _LONG),
        ("dense", _POINTER),
        ("labels", _POINTER),
        ("indices", _POINTER),
        ("offsets", _POINTER),
        ("lookups", _POINTER),
        ("room_rows", _LONG),
        ("room_indices", _LONG),
        ("room_offsets", _LONG),
    )


_SIGNATURES: Signatures = {
    "dlrm_decoding_refusal": (ctypes.c_char_p, []),
    "dlrm_decoding_arrays_refusal": (ctypes.c_char_p, []),
    "dlrm_decode_arrays": (_LONG, [_POINTER, _POINTER, _POINTER]),
    "dlrm_decode": (_LONG, [ctypes.POINTER(_Layout), ctypes.POINTER(_Request)]),
    "dlrm_decoding_permute": (_LONG, [_LONG, _LONG, _POINTER, _POINTER, _LONG, _POINTER]),
    "dlrm_decoding_will_need": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _POINTER, _LONG]),
}


def library() -> ctypes.CDLL | None:
    """Return the library with its signatures declared, or None if it is missing and NumPy is used."""
    native = load("decoding", VERSION, _FOLDER)
    return None if native is None else declare(native, _SIGNATURES)


class Rows(NamedTuple):
    """Rows of several batches.

    Attributes:
        sizes: number of rows in each batch, int64.
        numbers: int64: the first row of each batch if ``consecutive``, else all row numbers, batch after batch.
        consecutive: whether the rows of each batch follow each other.
    """

    sizes: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    consecutive: bool


class Decoded(NamedTuple):
    """Values of several batches, contiguous; those from the first wrong value on are undefined.

    Attributes:
        batches: number of batches without a wrong value.
        dense: dense inputs, float32 ``[rows, N]``; columns with ``log1p`` hold ``x + 1``.
        labels: float32 ``[rows]``.
        indices: int64, for each batch as many as its records have id fields; the first ``lookups`` of these are used.
        offsets: int64, ``[T * B + 1]`` for each batch; None if no column has lists.
        lookups: lookups of each batch, int64.
    """

    batches: int
    dense: Tensor
    labels: Tensor
    indices: Tensor
    offsets: Tensor | None
    lookups: npt.NDArray[np.int64]


class Pinned:
    """Makes tensors in pinned memory, which torch itself reuses."""

    def empty(self, kind: str, count: int, dtype: npt.DTypeLike) -> Tensor:
        """Return an uninitialized tensor ``[count]``."""
        kinds = {np.float32: torch.float32, np.int64: torch.int64}
        return torch.empty(count, dtype=kinds[dtype], pin_memory=True)  # type: ignore[index]


class RecordLayout:
    """Columns of records in the form that native code reads.

    Args:
        columns: columns of the records.
        table_sizes: number of rows of each table; a larger index is a wrong value.
        max_ind_range: if positive, ids of the columns for which ``is_capped`` is true are taken modulo this number.
    """

    def __init__(self, columns: Columns, table_sizes: Sequence[int], max_ind_range: int) -> None:
        self._columns = columns
        self._dense = dense_fields(columns)
        modulus = max_ind_range if 0 < max_ind_range <= _LARGEST_MODULUS else 0  # A larger modulus changes no int32.
        self._sparse = np.array(
            [
                (
                    fields.start,
                    column.width,
                    size,
                    modulus if is_capped(column) else 0,
                    column.at_most is not None,
                    0,
                )
                for column, fields, size in zip(columns.sparse, columns.table_fields, table_sizes, strict=True)
            ],
            _SPARSE_FIELD,
        )

    def decode(
        self, native: ctypes.CDLL, records: Records, rows: Rows, *, pin_memory: bool, buffers: Buffers | None = None
    ) -> Decoded:
        """Decode batches of records up to the first one with a wrong value, as defined by ``RecordChecks``.

        Args:
            native: the library.
            records: int32 ``[records, record_ints]``.
            rows: rows of each batch.
            pin_memory: make tensors in memory that is pinned for a copy to a CUDA device.
            buffers: memory to use for the tensors unless they are pinned; None: new memory.

        Raises:
            ShapeError: the arguments do not fit together.
        """
        columns, count, total = self._columns, len(rows.sizes), int(rows.sizes.sum())
        one_hot = columns.is_one_hot
        ids = total * (columns.record_ints - 1 - columns.num_dense)
        bounds = 0 if one_hot else total * columns.num_sparse + count
        memory = Pinned() if pin_memory else buffers or Buffers()
        dense = memory.empty("dense", total * columns.num_dense, np.float32).view(total, columns.num_dense)
        labels = memory.empty("labels", total, np.float32)
        indices = memory.empty("indices", ids, np.int64)
        offsets = None if one_hot else memory.empty("offsets", bounds, np.int64)
        lookups = np.empty(count, np.int64)
        numbers = address("rows", rows.numbers, _INT64, count if rows.consecutive else total)
        layout = _Layout(
            columns.record_ints,
            columns.num_dense,
            columns.num_sparse,
            self._dense.ctypes.data,
            self._sparse.ctypes.data,
            one_hot,
        )
        request = _Request(
            address("records", records, _INT32, None, columns.record_ints),
            len(records),
            numbers if rows.consecutive else None,
            None if rows.consecutive else numbers,
            address("sizes", rows.sizes, _INT64, count),
            count,
            dense.data_ptr(),
            labels.data_ptr(),
            indices.data_ptr(),
            None if offsets is None else offsets.data_ptr(),
            lookups.ctypes.data,
            total,
            ids,
            bounds,
        )
        status = native.dlrm_decode(ctypes.byref(layout), ctypes.byref(request))
        if status < 0:
            raise decoding_error(status, native.dlrm_decoding_refusal())
        return Decoded(status, dense, labels, indices, offsets, lookups)


def will_need(native: ctypes.CDLL, records: Records, rows: Rows) -> None:
    """Ask the kernel to read rows of a mapped file into memory in the background.

    Raises:
        ShapeError: a row is not in the file.
    """
    count = len(rows.sizes) if rows.consecutive else int(rows.sizes.sum())
    status = native.dlrm_decoding_will_need(
        address("records", records, _INT32, None, None),
        *records.shape,
        address("rows", rows.numbers, _INT64, count),
        address("sizes", rows.sizes, _INT64, None) if rows.consecutive else None,
        count,
    )
    if status < 0:
        raise decoding_error(status, native.dlrm_decoding_refusal())


def permute(
    native: ctypes.CDLL, size: int, half_bits: int, keys: npt.NDArray[np.uint64], positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the rows at positions of a random order, as defined by ``RandomPermutation``.

    Raises:
        ShapeError: a position is outside the size, or the size is too large.
    """
    rows = np.empty(len(positions), np.int64)
    status = native.dlrm_decoding_permute(
        size,
        half_bits,
        address("keys", keys, _UINT64, _NUM_KEYS),
        address("positions", positions, _INT64, None),
        len(positions),
        rows.ctypes.data,
    )
    if status:
        raise ShapeError(f"positions: they must be between 0 and {size - 1:,}, and the size must be below 2**62.")
    return rows


def dense_fields(columns: Columns) -> npt.NDArray[np.void]:
    """Return the dense columns in the form that native code reads: one structure per column."""
    return np.array(
        [
            (column.holds_float, _TRANSFORMS[column.transform], column.mean or 0.0, column.deviation or 1.0)
            for column in columns.dense
        ],
        _DENSE_FIELD,
    )


def decoding_error(status: int, reason: bytes) -> Exception:
    """Return the error for a call that native code refused, with the reason, or for which memory was lacking."""
    if status == _REFUSED:
        return ShapeError(f"Native code was called with arguments that do not fit together: {reason.decode()}.")
    return MemoryError("not enough memory to decode a batch")
