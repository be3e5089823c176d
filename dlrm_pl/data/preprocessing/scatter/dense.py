"""Dense values of a chunk's rows: fields of records, and counts for the report."""

from __future__ import annotations

import numpy as np

from dlrm_pl.columns.column import DenseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import Integers, RawDense, RawRows, RawSparse
from dlrm_pl.data.formats.row_encoder import dense_field
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Bools, Numbers
from dlrm_pl.data.preprocessing.engine.native import Matrix
from dlrm_pl.data.preprocessing.statistics.dense_bins import histogram_of, is_counted
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted
from dlrm_pl.data.preprocessing.statistics.moments import Moments


def write_dense(columns: Columns, rows: RawRows, matrix: Matrix) -> None:
    """Write the label and the dense fields of rows.

    A missing value in a standardized column is NaN until the mean is known, see ``LastChanges``.

    Args:
        columns: columns of the log.
        rows: rows with labels.
        matrix: ``[record_ints, capacity]``.
    """
    count = rows.num_rows
    assert rows.label is not None
    matrix[0, :count] = rows.label
    for field, (column, raw) in enumerate(zip(columns.dense, rows.dense, strict=True), start=1):
        matrix[field, :count] = _field(column, raw)


def _field(column: DenseColumn, raw: RawDense) -> Numbers:
    if column.transform != "standardize" or raw.missing is None:
        return dense_field(column, raw)
    floats = raw.values.astype(np.float32)
    floats[raw.missing] = np.nan
    return floats.view(np.int32)


def moments_of(columns: Columns, matrix: Matrix, rows: int) -> Moments:
    """Return the sums for mean and deviation of the first rows of a chunk."""
    moments = Moments.nothing(columns)
    for dense, column in enumerate(columns.dense):
        if not column.computed:
            values = matrix[1 + dense, :rows].view(np.float32)
            moments.set(dense, values[~np.isnan(values)])
    return moments


def count_values(columns: Columns, rows: RawRows, chosen: Integers | slice, counted: Counted) -> None:
    """Add some of a chunk's rows to the counts of their day."""
    for dense, (column, raw) in enumerate(zip(columns.dense, rows.dense, strict=True)):
        values, missing = raw.values[chosen], None if raw.missing is None else raw.missing[chosen]
        if column.rounds_integers:
            known = values if missing is None else values[~missing]
            # Computed from both ends, since the absolute value of the lowest int32 is not an int32.
            ends = (int(known.min()), int(known.max())) if len(known) else (0,)
            counted.largest[dense] = max(counted.largest[dense], *(abs(end) for end in ends))
        if missing is not None:
            counted.missing[1 + dense] += np.count_nonzero(missing)
            # As in raw logs, a missing integer counts as 0, which it becomes.
            values = np.where(missing, 0, values) if is_counted(column) else values[~missing]
        counted.histogram[dense] += histogram_of(column, values)
    for number, sparse in enumerate(rows.sparse, start=1 + columns.num_dense):
        absent = _all_missing(sparse)
        if absent is not None:
            counted.missing[number] += np.count_nonzero(absent[chosen])


def _all_missing(raw: RawSparse) -> Bools | None:
    """Return which rows have only missing elements, or none at all; None if a plain column has no missing values."""
    if raw.offsets is None:
        return raw.missing
    offsets = raw.offsets - raw.offsets[0]
    if raw.missing is None:
        empty: Bools = np.diff(offsets) == 0
        return empty
    size = raw.values.num_strings if isinstance(raw.values, Strings) else len(raw.values)
    before = np.zeros(size + 1, np.int64)
    np.cumsum(~raw.missing, out=before[1:])
    none: Bools = before[offsets[1:]] == before[offsets[:-1]]
    return none
