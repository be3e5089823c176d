"""Model inputs from records: transformed dense values, and lookups. Needs only NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import DenseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Records

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def dense_inputs(dense: Records, columns: Columns) -> Floats:
    """Return the model's dense inputs, float32 ``[B, N]``: record values after each column's transform.

    Args:
        dense: dense fields of records, int32 ``[B, N]``: integers, or the bits of floats (``DenseColumn.holds_float``).
        columns: columns of the records.
    """
    runs = columns.dense_runs
    if len(runs) == 1:
        return _transformed(dense, columns.dense)
    inputs = np.empty(dense.shape, np.float32)
    for fields in runs:
        inputs[:, fields] = _transformed(dense[:, fields], columns.dense[fields])
    return inputs


def lookups(ids: Records, columns: Columns) -> tuple[Integers, Integers | None]:
    """Return the indices and offsets of a batch, as in ``ClickBatch``; absent elements are left out.

    Args:
        ids: ids of records, ``[B, W]``: the ids of all sparse columns, column by column.
        columns: columns of the records.

    Returns:
        int64 ``[T, B]`` and None if no column has lists; otherwise ``[L]`` and the offsets ``[T * B + 1]``.
    """
    if columns.is_one_hot:
        return np.ascontiguousarray(ids.T, dtype=np.int64), None
    rows = len(ids)
    indices, offsets = np.empty(ids.size, np.int64), np.empty(columns.num_sparse * rows + 1, np.int64)
    offsets[0] = end = 0
    for tables in columns.sparse_runs:
        column = columns.sparse[tables.start]
        bags = ids[:, columns.id_fields[tables.start].start : columns.id_fields[tables.stop - 1].stop]
        ends = offsets[1 + tables.start * rows : 1 + tables.stop * rows]
        if not column.is_list:
            indices[end : end + bags.size].reshape(bags.T.shape)[...] = bags.T
            ends[...] = np.arange(end + 1, end + 1 + bags.size)
        elif column.at_most is None:
            indices[end : end + bags.size].reshape(bags.shape)[...] = bags
            ends[...] = np.arange(end + column.width, end + 1 + bags.size, column.width)
        else:
            # Lists are left-aligned in their fields, so row by row this is the order of their elements.
            present = bags >= 0
            found = bags[present]
            indices[end : end + len(found)] = found
            # Summing bytes is five times as fast as count_nonzero.
            np.cumsum(np.einsum("ij->i", present.view(np.uint8), dtype=np.int64), out=ends)
            ends += end
        end = int(offsets[tables.stop * rows])
    return indices[:end], offsets


def _transformed(fields: Records, columns: tuple[DenseColumn, ...]) -> Floats:
    """Return the inputs of columns with the same transform, float32."""
    first = columns[0]
    # A contiguous copy, since only contiguous fields can be viewed as floats.
    values = np.ascontiguousarray(fields).view("<f4") if first.holds_float else fields.astype(np.float32)
    if first.transform == "log1p" and first.holds_float:
        values = np.maximum(values, np.float32(0))
    return transformed(values, columns)


def transformed(values: Floats, columns: tuple[DenseColumn, ...]) -> Floats:
    """Apply the common transform of some columns to their values; values for ``log1p`` must not be negative.

    Args:
        values: float32 ``[B, n]``.
        columns: the n columns.
    """
    transform = columns[0].transform
    if transform == "log1p":
        # Same as upstream; np.log1p would differ in the last bits.
        return np.log(values + np.float32(1))  # type: ignore[no-any-return]
    if transform == "none":
        return np.array(values, np.float32)
    mean, deviation = (np.array([getattr(column, name) for column in columns]) for name in ("mean", "deviation"))
    return np.asarray((values - mean) / deviation, np.float32)
