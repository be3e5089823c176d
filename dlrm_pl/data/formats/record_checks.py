"""Check the values of records before a model reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records
from dlrm_pl.errors import DataFormatError

_AGAIN = "Preprocess the raw log again."


class RecordChecks:
    """Checks whole batches in a few passes, and locates an error only if there is one.

    Args:
        path: file of the records, for messages.
        columns: columns of the records.
        table_sizes: number of rows of each table.
    """

    def __init__(self, path: Path, columns: Columns, table_sizes: Sequence[int]) -> None:
        self._path = path
        self._columns = columns
        self._table_sizes = [int(size) for size in table_sizes]
        widths = [column.width for column in columns.sparse]
        self._sizes = np.repeat(np.array(table_sizes, np.int64), widths)
        self._lowest = np.repeat(
            np.array([0 if column.at_most is None else -1 for column in columns.sparse], np.int64), widths
        )
        self._lists = [
            fields
            for column, fields in zip(columns.sparse, columns.id_fields, strict=True)
            if column.at_most is not None and column.at_most > 1
        ]

    def check(self, records: Records, numbers: Iterable[int]) -> None:
        """Check records.

        Args:
            records: int32 ``[B, record_ints]``.
            numbers: numbers of the records in the file, for messages.

        Raises:
            DataFormatError: a label is not 0 or 1, a dense value is not finite or is negative although its logarithm is
                taken, an id is outside its table, or an absent element of a list precedes a present one; the message
                names the file, record, column and value.
        """
        if len(records) and not self._fit(records):
            for record, number in zip(records, numbers, strict=True):
                self._find_fault(record, f"{self._path}: record {number}")

    def _fit(self, records: Records) -> bool:
        labels, ids = records[:, LABEL], records[:, self._columns.sparse_fields]
        if labels.min() < 0 or labels.max() > 1 or (ids.max(axis=0) >= self._sizes).any():
            return False
        dense = records[:, self._columns.dense_fields]
        for fields in self._columns.dense_runs:
            first = self._columns.dense[fields.start]
            values = dense[:, fields]
            if first.holds_float:
                if not np.isfinite(_floats(values)).all():
                    return False
            elif first.transform == "log1p" and values.min() < 0:
                return False
        if not self._lists:
            return bool(ids.min() >= 0)
        return bool((ids.min(axis=0) >= self._lowest).all()) and not any(_has_gap(ids[:, part]) for part in self._lists)

    def _find_fault(self, record: Records, where: str) -> None:
        """Raise the error of a record's first fault, if it has one."""
        columns = self._columns
        if record[LABEL] not in (0, 1):
            raise DataFormatError(f"{where}: the label is {record[LABEL]}, but must be 0 or 1. {_AGAIN}")
        for index, column in enumerate(columns.dense):
            field = record[1 + index : 2 + index]
            if column.holds_float:
                value = _floats(field)[0]
                if not np.isfinite(value):
                    raise DataFormatError(
                        f"{where}: dense field {column.name} is {value}, but must be a finite number. {_AGAIN}"
                    )
            elif column.transform == "log1p" and field[0] < 0:
                raise DataFormatError(
                    f"{where}: dense field {column.name} is {field[0]}, but must not be negative; "
                    f"preprocessing stores 0 instead. {_AGAIN}"
                )
        for table, (column_, fields) in enumerate(zip(columns.sparse, columns.table_fields, strict=True)):
            ids, size = record[fields], self._table_sizes[table]
            lowest = 0 if column_.at_most is None else -1
            for index_ in ids[(ids < lowest) | (ids >= size)].tolist():
                raise DataFormatError(
                    f"{where}: table {table} ({column_.name}) has {size} rows, but the index is {index_}. The file "
                    "and day_fea_count.npz come from different runs; preprocess the raw log again."
                )
            if _has_gap(ids[None]):
                raise DataFormatError(
                    f"{where}: the list of {column_.name} is {ids.tolist()}, but absent elements, -1, must come last. "
                    f"{_AGAIN}"
                )


def _has_gap(ids: Records) -> bool:
    """Return whether an element of a list follows an absent one."""
    return bool(((ids[:, :-1] < 0) & (ids[:, 1:] >= 0)).any())


def _floats(fields: Records) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(fields).view(np.float32)
