"""Encode rows from any source as records, with an existing vocabulary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.columns.difference import difference
from dlrm_pl.data.formats.raw_rows import Integers, RawDense, RawRows, RawSparse
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Numbers
from dlrm_pl.errors import ConfigurationError

ABSENT = -1
"""Value that pads a list that is shorter than its fields in a record."""


class RowEncoder:
    """Turns rows into records, with the ids of a vocabulary.

    Args:
        columns: columns of the rows.
        vocabulary: vocabulary of the same columns.
        max_ind_range: modulus for the values of hex columns with a vocabulary; 0 or less: none.

    Raises:
        ConfigurationError: the vocabulary belongs to other columns, or the numbers of a transform are not known.
    """

    def __init__(self, columns: Columns, vocabulary: Vocabulary, max_ind_range: int = -1) -> None:
        if columns.sparse != vocabulary.sparse:
            other = replace(columns, sparse=vocabulary.sparse)
            raise ConfigurationError(
                f"The vocabulary does not fit the rows: {difference('the rows', columns, 'the vocabulary', other)}. "
                "Use the columns of the dataset that the vocabulary belongs to."
            )
        columns.require_computed()
        self.columns = columns
        self.vocabulary = vocabulary
        self.max_ind_range = max_ind_range

    def encode(self, rows: RawRows) -> tuple[Numbers, int]:
        """Return records, int32 ``[B, record_ints]``, and the number of elements that are not in the vocabulary.

        Unknown labels become 0.
        """
        records, unseen = self.encode_counted(rows)
        return records, int(unseen.sum())

    def encode_counted(self, rows: RawRows) -> tuple[Numbers, Integers]:
        """Return records as ``encode`` does, and each sparse column's number of unknown elements, int64 ``[T]``."""
        columns, unseen = self.columns, np.zeros(self.columns.num_sparse, np.int64)
        records = np.empty((rows.num_rows, columns.record_ints), np.int32)
        records[:, 0] = 0 if rows.label is None else rows.label
        for field, (dense, numbers) in enumerate(zip(columns.dense, rows.dense, strict=True), start=1):
            records[:, field] = dense_field(dense, numbers)
        for table, (sparse, raw) in enumerate(zip(columns.sparse, rows.sparse, strict=True)):
            ids, unknown = self.vocabulary.ids(table, self._reduced(sparse, raw))
            records[:, columns.table_fields[table]] = id_fields(sparse, ids, raw.offsets)
            unseen[table] = unknown
        return records, unseen

    def _reduced(self, column: SparseColumn, raw: RawSparse) -> RawSparse:
        if self.max_ind_range <= 0 or column.kind != "hex" or column.ids != "vocabulary":
            return raw
        assert not isinstance(raw.values, Strings)
        if not len(raw.values) or raw.values.max() < self.max_ind_range:  # Six times as fast as taking the remainders.
            return raw
        return replace(raw, values=raw.values % self.max_ind_range)


def dense_field(column: DenseColumn, raw: RawDense) -> Numbers:
    """Return the record values of a dense column, int32 ``[B]``: integers, or the bits of floats.

    Missing values are 0, or the mean of a standardized column; negative integers with ``log1p`` become 0.
    """
    values = raw.values
    if column.type == "float" or column.transform == "standardize":
        floats = values.astype(np.float32)
        if raw.missing is not None:
            floats[raw.missing] = column.mean or 0
        return floats.view(np.int32)
    if raw.missing is not None:
        values = np.where(raw.missing, 0, values)
    if column.transform == "log1p":
        values = np.maximum(values, 0)
    return values.astype(np.int32)


def id_fields(column: SparseColumn, ids: Numbers, offsets: Integers | None) -> Numbers:
    """Return the record values of a sparse column, int32 ``[B, width]``: ids on the left, then ABSENT.

    Args:
        column: the column.
        ids: ids of all elements, ``[E]``.
        offsets: start of each row's elements, ``[B + 1]``; None for a column without lists.
    """
    if offsets is None:
        return ids[:, None]
    lengths = np.diff(offsets)
    assert not len(lengths) or lengths.max() <= column.width, "the source lets no longer list pass"
    if len(lengths) * column.width == len(ids):
        return ids.reshape(len(lengths), column.width)
    fields = np.full((len(lengths), column.width), ABSENT, np.int32)
    # Each row of the mask has as many places as the row has elements, in the same order.
    fields[np.arange(column.width) < lengths[:, None]] = ids
    return fields
